"""Tables, captions, claims and figures from made-up result files: arithmetic, conventions, wording."""

import json
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from icelib import metrics
from icelib.config import runs
from icelib.methods import own_detector
from icelib.report import captions, claims, figures, render, results, tables
from icelib.training import store
from icelib.util import paths
from icelib.util.files import write_json
from tests.conftest import SOURCE

NAMES = ("table1", "table2", "table3", "extended", "differences")
MADE = {"plain": 0.7, "oe": 0.8, "energy": 0.85, "ice": 0.9}


def write_result(run, value=None, accuracy=0.9, without=(), device="cpu"):
    """Write a result whose five metrics are `value` and up, 0.01 lower on each further set of outliers."""

    def entry(v):
        return {"value": v, "low": v - 0.01, "high": v + 0.01}

    value = MADE.get(run.method, 0.75) if value is None else value
    task = runs.load().tasks[run.task]
    sets = list(task.outliers)
    means = [name for name in ("far", "near") if getattr(task, name)]
    values = {
        name: {metric: entry(value - 0.01 * place + 0.001 * i) for i, metric in enumerate(metrics.NAMES)}
        for place, name in enumerate([*sets, *means])
    }
    environment = {"device": device, "threads": 1, "precision": "float32", "torch": "2"}
    content = {
        "run": run.name,
        "configuration": run.configuration,
        "digest": store.digest(run),
        "environment": environment,
        "images": {"known": 300, **{name: 100 + place for place, name in enumerate(sets)}},
        "accuracy": entry(accuracy),
        "detectors": {name: values for name in [*tables.POSTHOC, own_detector(run.method)] if name not in without},
    }
    folder = paths.results(run.scale)
    write_json(folder / "metrics" / f"{run.name}.json", content)
    history = {key: content[key] for key in ("run", "configuration", "digest", "environment")} | {"epochs": []}
    write_json(folder / "history" / f"{run.name}.json", history)


def change(project, edit):
    """Change the parameters and write results of all declared runs."""
    values = project.params
    edit(values)
    project.params = values
    for run in runs.declared():
        write_result(run)


def chosen(method, protocol="scratch", network="wideresnet"):
    return [run for run in runs.declared() if (run.method, run.protocol, run.network) == (method, protocol, network)]


def methods_of(values, protocol, methods):
    for group in values["runs"]:
        if (group["network"], group["protocol"]) == ("wideresnet", protocol):
            group["methods"] = methods


@pytest.fixture
def written(inside):
    """Results of OE, Energy and ICE in both protocols, DenseNet with ICE alone, BCE, ratio; a noise set in no mean."""

    def edit(values):
        methods_of(values, "scratch", ["plain", "oe", "energy", "ice", "bce", "ratio"])
        methods_of(values, "finetune", ["oe", "energy", "ice"])
        head = {key: x for key, x in values["train"]["ice"].items() if key != "weight"}
        values["train"] |= {
            "energy": {"weight": 0.1, "margin_known": -6.0, "margin_outlier": -2.0},
            "bce": {"weight": 0.1},
            "ratio": {"weight": 1.0, "radius": 0.0, **head},
        }
        values["datasets"].append("blobs")
        task = values["tasks"]["digits"]
        task["outliers"] = {
            "digits-8": {"set": "digits-test", "classes": [8], "plays": "CIFAR100"},
            "digits-9": {"set": "digits-test", "classes": [9], "plays": "SVHN"},
            "gaussian": {"set": "gaussian"},
            "blobs": {"set": "blobs", "plays": "Textures"},
        }
        task |= {"near": ["digits-8"], "far": ["digits-9", "gaussian"]}

    change(inside, edit)
    return inside


def several(project, seeds, values=None):
    """Write results of several seeds: those of `values` by method and seed, 0.1 higher with each further seed else."""
    change(project, lambda content: content.update(seeds=list(seeds)))
    for run in runs.declared():
        own = (values or {}).get(run.method)
        write_result(run, own[run.seed] if own else MADE.get(run.method, 0.75) - 0.3 + 0.1 * run.seed)


def cell(table, convention="outlier_positive", **keys):
    found = table[table.convention == convention]
    for key, value in keys.items():
        found = found[found[key] == value]
    assert len(found) == 1
    return found.iloc[0]


def cell1(table, method, outliers, metric="auroc", column="outliers", protocol="scratch", network="wideresnet", **keys):
    keys |= {"method": method, column: outliers, "metric": metric, "protocol": protocol, "network": network}
    return cell(table, **{"paper_known": "CIFAR10", **keys})


def cell2(table, row, metric, convention="outlier_positive", known="CIFAR10", protocol="scratch", outliers="far"):
    keys = {"row": row, "metric": metric, "paper_known": known, "protocol": protocol, "outliers": outliers}
    return cell(table, convention, **keys)


def line(text, *words):
    (only,) = [line for line in text.splitlines() if all(f"| {word} " in line for word in words)]
    return [part.strip() for part in only.strip("| ").split("|")]


def part(text, title):
    (only,) = [piece for piece in text.split("### ") if piece.startswith(title)]
    return only


def test_ours_stands_beside_the_papers_value_in_its_convention(written):
    table = tables.table2()
    ice = cell2(table, "ICE", "auroc")
    assert (ice.paper, ice.ours, ice.seeds, ice.by_seed) == (99.16, pytest.approx(86.0), 1, {0: 86.0})
    assert ice.difference == pytest.approx(86.0 - 99.16) and (ice.low, ice.high) == pytest.approx((85, 87))
    assert cell2(table, "ICE", "fpr95").ours == pytest.approx(86.3)
    assert cell2(table, "ICE", "fpr95", "known_positive").ours == pytest.approx(86.4)
    assert np.isnan(cell2(table, "ICE", "fpr95", "known_positive").difference)
    assert np.isnan(cell2(table, "MSP", "fpr95", protocol="plain").difference), "fits the other convention"
    msp = cell2(table, "MSP", "fpr95", "known_positive", protocol="plain")
    assert msp.difference == pytest.approx(66.4 - 56.03)
    near = cell2(table, "ICE", "fpr95", outliers="near")
    assert (near.paper, near.ours) == (22.36, pytest.approx(85.3)), "the paper's is in its Table 1"
    assert np.isnan(cell2(table, "MSP", "auroc", protocol="plain", outliers="near").paper)


def test_every_cell_of_ours_is_that_of_its_result_files(written):
    by_title = {"own score": None, **{title: name for name, title in tables.POSTHOC.items()}}
    for table in (tables.table1(), tables.table2(), tables.table3(), tables.extended()):
        for row in table[table.seeds > 0].itertuples():
            (name,) = row.runs.split()
            result = json.loads((paths.results("tiny") / "metrics" / f"{name}.json").read_text())
            method = name.split("-")[-2]
            detector = by_title.get(getattr(row, "row", ""), tables.ROWS.get(getattr(row, "row", ""), (0, None))[1])
            detector = detector or own_detector(method)
            metric = row.metric if row.metric == "auroc" else f"{row.metric}_{row.convention}"
            outliers = getattr(row, "outliers", "far")
            found = result["accuracy"] if row.metric == "accuracy" else result["detectors"][detector][outliers][metric]
            assert (row.ours, row.low, row.high) == pytest.approx(
                [100 * found[key] for key in ("value", "low", "high")]
            )


def test_fine_tuned_rows_stand_for_themselves(written):
    (run,) = chosen("ice", "finetune")
    write_result(run, 0.5)
    table = tables.table2()
    fine = cell2(table, "ICE", "auroc", protocol="finetune")
    assert (fine.paper, fine.ours, fine.runs, fine["name"]) == (98.96, pytest.approx(46.0), run.name, "ICE †")
    assert cell2(table, "ICE", "auroc").ours == pytest.approx(86.0)


def test_a_block_that_the_paper_lacks_stands_in_table_2(written):
    change(written, lambda values: values["tasks"]["digits"].update(plays="CIFAR100"))
    (run,) = chosen("energy", "finetune")
    write_result(run, 0.5)
    table = tables.table2()
    fine = cell2(table, "Energy", "auroc", known="CIFAR100", protocol="finetune")
    assert (fine.ours, fine.runs, fine["name"]) == (pytest.approx(46.0), run.name, "Energy †") and np.isnan(fine.paper)
    assert len(table[(table.paper_known == "CIFAR100") & (table.row == "Energy") & (table.metric == "accuracy")]) == 4
    assert "fine-tuned" in " ".join(captions.caption("table2").told())


def test_table_1_pairs_each_set_with_the_one_that_plays_it(written):
    table = tables.table1()
    block = table[(table.paper_known == "CIFAR10") & (table.network == "wideresnet") & (table.protocol == "scratch")]
    assert list(dict.fromkeys(zip(block.kind, block.paper_outliers, block.outliers, strict=True))) == [
        ("far", "SVHN", "digits-9"),
        *(("far", name, "") for name in ("iSUN", "Places365", "LSUN")),
        ("far", "", "gaussian"),
        ("far", "far", "far"),
        ("near", "CIFAR100", "digits-8"),
        ("near", "near", "near"),
        ("in no mean", "Textures", "blobs"),
    ]
    near = cell1(table, "ICE", "digits-8", "aupr")
    assert (near.paper, near.paper_outliers, near.known_images, near.outlier_images) == (95.38, "CIFAR100", 300, 100)
    assert near.ours == pytest.approx(90.1) and near.difference == pytest.approx(90.1 - 95.38)
    assert near.runs == "digits-wideresnet-scratch-ice-0"
    other = cell1(table, "ICE", "digits-8", "aupr", convention="known_positive")
    assert np.isnan(other.difference) and other.ours == pytest.approx(90.2)
    ours_alone, theirs_alone = cell1(table, "OE", "gaussian"), cell1(table, "OE", "iSUN", column="paper_outliers")
    assert np.isnan(ours_alone.paper) and ours_alone.ours == pytest.approx(78)
    assert theirs_alone.paper == 99.36 and theirs_alone.seeds == 0 and np.isnan(theirs_alone.ours)
    rows = 9 * 4 + 9 * 3 + 9 * 3 + 6 * 3  # sets and means times methods: scratch with ratio, the other three blocks
    assert len(table) == rows * 3 * 2, "and metrics, conventions"


def test_two_sets_may_play_the_same_one(written):
    change(written, lambda values: values["tasks"]["digits"]["outliers"]["gaussian"].update(plays="SVHN"))
    table = tables.table1()
    first, second = cell1(table, "OE", "digits-9"), cell1(table, "OE", "gaussian")
    assert first.paper == second.paper == 99.48 and first.ours != second.ours


def test_means_are_over_far_sets_in_both(written):
    table = tables.table1()
    mean = cell1(table, "ICE", "far", "fpr95", protocol="finetune")
    assert mean.paper == pytest.approx((2.27 + 11.73 + 4.37 + 1.46 + 1.94) / 5)
    assert mean.ours == cell2(tables.table2(), "ICE", "fpr95", protocol="finetune").ours
    assert mean.difference == pytest.approx(mean.ours - mean.paper, abs=1e-4)
    many = cell1(table, "OE", "far", "aupr", paper_known="CIFAR100", column="paper_outliers")
    assert many.paper == pytest.approx(90.974) and many.seeds == 0
    assert cell1(table, "ICE", "near", "fpr95").paper == 22.36


def test_added_methods_follow_the_papers_rows(written):
    title = "likelihood ratio (ours)"
    for table, column in ((tables.table1(), "method"), (tables.table2(), "row"), (tables.table3(), "row")):
        ours = table[(table[column] == title) & (table.metric == "auroc")]
        assert ours.paper.isna().all() and (ours[ours.outliers != ""].ours > 0).all()
    assert cell2(tables.table2(), title, "accuracy").ours == 90.0
    assert cell(tables.table3(), row=title, metric="auroc", outliers="far").model == "WRN(RatioHead)"
    assert title in render.markdown("table1", tables.table1())


def test_rows_that_were_not_run_say_so(written):
    table = tables.table2()
    missing = cell2(table, "ICE", "auroc", known="CIFAR100")
    assert missing.seeds == 0 and np.isnan(missing.ours)
    assert render.markdown("table2", table).endswith("### CIFAR100 in the paper\n\nNot run at this scale.\n")
    table = tables.table3()
    assert table.groupby(["row", "model"], sort=False).seeds.max().tolist() == [1, 0, 1, 0, 1, 1]
    text = part(
        render.markdown("table3", table), "CIFAR10 in the paper, digits 0 to 5 here, far outliers, outlier-positive"
    )
    assert line(text, "ICE⁻, WRN\\(G\\)".replace("\\", ""))[2] == "not run"
    alone = {
        "task": "digits",
        "network": "wideresnet",
        "protocol": "finetune",
        "methods": ["bce"],
    }  # in no table's rows
    written.params = written.params | {"runs": [alone]}
    write_result(*runs.declared())
    for name in NAMES:
        ends = "A difference needs" if name == "differences" else "Not run at this scale.\n"
        assert ends in render.markdown(name, getattr(tables, name)()).rpartition("\n\n")[2]
        assert r"\begin{table}" not in render.tex(name, getattr(tables, name)())


def test_a_task_without_near_outliers_has_no_near_mean(written):
    def edit(values):
        values["tasks"]["digits"] |= {"near": [], "far": ["digits-8", "digits-9"]}

    change(written, edit)
    assert cell1(tables.table1(), "ICE", "near", column="paper_outliers").seeds == 0
    assert cell2(tables.table2(), "ICE", "auroc", outliers="near").seeds == 0
    assert ", near outliers" not in render.markdown("table2", tables.table2())
    assert ", near outliers" not in render.markdown("extended", tables.extended())


def test_table_3_has_the_papers_rows(written):
    (run,) = chosen("bce")
    write_result(run, 0.6, accuracy=0.5)
    table = tables.table3()
    bce = cell(table, row="BCE", metric="accuracy")
    assert (bce.paper, bce.ours, bce.model, bce.runs) == (95.81, 50.0, "WRN", run.name)
    assert cell(table, row="BCE", metric="fpr95", outliers="far").difference == pytest.approx(56.3 - 4.48)
    energy = cell(table, row="Energy", model="WRN", metric="auroc", outliers="far")
    assert energy.runs == "digits-wideresnet-scratch-energy-0"


def test_the_extended_table_has_every_detector_on_every_network(written):
    (run,) = chosen("ice")
    write_result(run, without=["vim"])
    table = tables.extended()
    assert list(dict.fromkeys(table.row)) == [*tables.POSTHOC.values(), "own score"]
    assert list(dict.fromkeys(table.outliers)) == ["far", "near"]
    assert set(table.network) == {"Plain training", "OE", "Energy", "ICE", "BCE", "likelihood ratio (ours)"}
    knn = cell(table, "known_positive", row="kNN", network="OE", outliers="near", metric="fpr95")
    assert knn.ours == pytest.approx(75.4) and (knn.low, knn.high) == pytest.approx((74.4, 76.4))
    assert cell(table, row="ViM", network="ICE", outliers="far", metric="auroc").seeds == 0
    text = part(render.markdown("extended", table), "CIFAR10 in the paper, digits 0 to 5 here, far outliers, AUROC")
    assert line(text, "ViM") == ["ViM", "66.0", "76.0", "81.0", "not run", "71.0", "71.0"]
    assert line(text, "own score")[1] == "–" and "network Plain training" in text


def test_each_run_is_shown_on_every_set(written):
    table = tables.each("auroc")
    assert list(table.index) == [run.name for run in runs.declared()]
    assert table.loc["digits-wideresnet-finetune-ice-0"].to_dict() == pytest.approx(
        {"digits-8": 90, "digits-9": 89, "gaussian": 88, "blobs": 87, "far": 86, "near": 85}
    )


def test_several_seeds_become_mean_and_deviation(written):
    change(written, lambda values: values.update(seeds=[0, 1, 2]))
    for run in runs.declared():
        write_result(run, 0.74 + 0.1 * run.seed)
    ice = cell2(tables.table2(), "ICE", "auroc")
    assert (
        ice.ours == pytest.approx(80.0) and ice["std"] == pytest.approx(10.0) and ice.seeds == 3 and np.isnan(ice.low)
    )
    assert ice.by_seed == {0: 70.0, 1: 80.0, 2: 90.0}
    text = render.markdown("table2", tables.table2())
    assert "80.00 ± 10.00" in text and "After ±: standard deviation over seeds" in text and "One seed" not in text
    first = cell1(tables.table1(), "OE", "digits-9")
    assert (first.ours, first["std"]) == pytest.approx((83.0, 10.0)) and len(first.runs.split()) == 3
    assert "seeds: 0, 1, 2" in render.markdown("table1", tables.table1())
    assert cell(tables.extended(), row="kNN", network="ICE", outliers="far", metric="auroc")["std"] == pytest.approx(10)


def test_markdown_of_table_1_names_both_sets_and_marks_no_best(written):
    text = render.markdown("table1", tables.table1())
    auroc = part(text, "CIFAR10 in the paper, digits 0 to 5 here: WideResNet, from scratch, AUROC ↑")
    expected = ["far", "SVHN", "digits-9", "99.48", "79.00", "99.76", "84.00", "99.58", "89.00"]
    assert line(auroc, "SVHN")[:-1] == expected, "one seed has no bracket"
    assert line(auroc, "iSUN")[2:5] == ["–", "99.36", "–"] and line(auroc, "gaussian")[:4] == [
        "far",
        "–",
        "gaussian",
        "–",
    ]
    assert line(auroc, "mean near")[:3] == ["near", "mean near", "mean near"]
    dense = part(text, "CIFAR10 in the paper, digits 0 to 5 here: DenseNet, from scratch, AUPR ↑")
    assert line(dense, "SVHN")[3:6] == ["99.44", "not run", "99.83"]
    assert "**" not in text, "no best is marked"


def test_latex_has_only_what_latex_can_set(written):
    counts = {}
    several(written, seeds=(0, 1))
    for name in NAMES:
        text = render.tex(name, getattr(tables, name)())
        assert text.isascii(), {c for c in text if not c.isascii()}
        unlabelled = "\n".join(line for line in text.splitlines() if not line.startswith(r"\label"))
        assert not re.search(r"(?<!\\)[_#]", unlabelled)
        counts[name] = text.count(r"\begin{tabular}")
        assert counts[name] == text.count(r"\end{tabular}}") == text.count(r"\caption{") == text.count(r"\resizebox")
        assert text.count(r"\multicolumn") >= counts[name]
    assert counts == {"table1": 9, "table2": 3, "table3": 3, "extended": 4, "differences": 10}


def test_latex_captions_tell_of_their_own_block(written):
    text = render.tex("table2", tables.table2())
    for found in re.findall(r"\\caption\{(.*)\}\n", text):
        for words in (
            r"$\dagger$ fine-tuned, $\ddagger$ from scratch",
            "from scratch; epochs: 2",
            "digits-8 (100, beside",
        ):
            assert words in found
    found = re.findall(r"\\caption\{(.*)\}\n", render.tex("table1", tables.table1()))
    assert ["DenseNet-7-4" in text for text in found] == [False] * 6 + [True] * 3
    assert ["from the plain network; epochs: 1" in text for text in found] == [True] * 3 + [False] * 6


def test_captions_state_counts_networks_and_hardware_of_each_block(written):
    (run,) = chosen("ice", network="densenet")
    write_result(run, device="GPU")
    about = captions.caption("table1")
    end = "seeds: 0; cpu, threads: 1, float32, torch 2."
    assert about.told() == [
        "CIFAR10's part is played by digits 0 to 5 (test images: 300). Outliers, far: digits-9 (101, beside SVHN), "
        "gaussian (102); near: digits-8 (100, beside CIFAR100); in no mean: blobs (103, beside Textures).",
        f"CIFAR10: WideResNet-10-1, fine-tuned, from the plain network; epochs: 1; {end}",
        f"CIFAR10: WideResNet-10-1, from scratch; epochs: 2; {end}",
        f"CIFAR10: DenseNet-7-4, from scratch; epochs: 2; {end.replace('cpu', 'GPU')}",
    ]
    for words in ("One seed: ", "no two values can be told apart", "Outlier-positive"):
        assert words in about.legend
    (run,) = chosen("bce")
    write_result(run, device="GPU")
    assert "cpu, threads: 1, float32, torch 2 and GPU" in captions.caption("table3").told()[1]
    assert " and GPU" not in captions.caption("table2").told()[1], "BCE is not in Table 2"


def test_small_print_names_scale_tasks_runs_and_hardware(written):
    scratch = [run for run in runs.declared() if run.protocol == "scratch" and run.network == "wideresnet"]
    first, second = captions.small_print(*scratch[:2]).splitlines()
    assert first == "tiny scale; digits: digits 0 to 5."
    assert second == (
        "digits: WideResNet-10-1, from scratch; epochs: 2; seeds: 0; cpu, threads: 1, float32, torch 2. "
        "Runs: digits-wideresnet-scratch-plain-0, digits-wideresnet-scratch-oe-0."
    )
    (paths.results("tiny") / "history" / f"{scratch[0].name}.json").unlink()
    with pytest.raises(ValueError, match=r"results/tiny/history/.*.json is missing; `dvc repro` makes it"):
        captions.small_print(*scratch)
    assert captions.small_print() == "No run is declared."


def test_one_seed_or_two_test_no_claim(written):
    table = tables.table2()
    cells = table[(table.paper_known == "CIFAR10") & (table.outliers == "far")]
    made = claims.compare("words", "place", cells, "auroc", "ICE ‡", "OE ‡")
    assert made == ("words", "place", "CIFAR10: AUROC, far, ICE ‡ − OE ‡", "+0.19", "+10.00, 1 seed", claims.NOT_TESTED)
    assert claims.compare("", "", cells, "accuracy", "ICE ‡", "MSP").paper == "+1.27"
    change(written, lambda values: values.update(seeds=[0, 1]))
    table = tables.table2()
    cells = table[(table.paper_known == "CIFAR10") & (table.outliers == "far")]
    made = claims.compare("", "", cells, "auroc", "ICE ‡", "OE ‡")
    assert made.ours == "+10.00 [+10.00, +10.00], 2 seeds" and made.verdict == claims.NOT_TESTED
    dense = tables.table1().query("network == 'densenet' and paper_outliers == 'near'")
    assert claims.compare("", "", dense, "fpr95", "OE ‡", "ICE ‡")[2:] == (
        *("CIFAR10, DenseNet: FPR95, near, OE ‡ − ICE ‡", "+0.69", "not run", claims.NOT_TESTED),
    )
    many = table[(table.paper_known == "CIFAR100") & (table.outliers == "far")]
    made = claims.compare("", "", many, "auroc", "ICE ‡", "OE ‡")
    assert (made.paper, made.ours, made.verdict) == ("+0.44", "not run", claims.NOT_TESTED)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.80, 0.82, 0.81), claims.OPEN),
        ((0.90, 0.91, 0.92), claims.HOLDS),
        ((0.70, 0.71, 0.72), claims.FAILS),
    ],
)
def test_three_seeds_test_a_claim_in_pairs(written, values, expected):
    change(written, lambda content: content.update(seeds=[0, 1, 2]))
    for run in chosen("ice"):
        write_result(run, values[run.seed])
    for run in chosen("oe"):
        write_result(run, (0.81, 0.80, 0.82)[run.seed])
    table = tables.table2()
    cells = table[(table.paper_known == "CIFAR10") & (table.outliers == "far")]
    assert claims.compare("", "", cells, "auroc", "ICE ‡", "OE ‡").verdict == expected
    for run in chosen("oe"):
        write_result(run, device="GPU")
    table = tables.table2()
    cells = table[(table.paper_known == "CIFAR10") & (table.outliers == "far")]
    assert claims.compare("", "", cells, "auroc", "ICE ‡", "OE ‡").verdict == claims.NOT_TESTED, "another device"


def pair(table, second, metric="auroc", outliers="near", first="ICE", mark=" ‡", protocol="scratch", **keys):
    keys |= {"first": f"{first}{mark}", "second": second, "metric": metric, "outliers": outliers, "protocol": protocol}
    for key, value in keys.items():
        table = table[table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_differences_of_three_seeds_by_hand(written):
    """1, 2 and 3 points: mean 2, deviation 1, t = 4.3027 with two degrees of freedom, half 4.3027 / √3."""
    several(written, (0, 1, 2), {"ice": (0.80, 0.81, 0.82), "oe": (0.79, 0.79, 0.79), "energy": (0.75, 0.76, 0.77)})
    table = tables.differences()
    near = pair(table, "OE ‡")
    assert (near.difference, near.low, near.high) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert (near.shown, near.seeds, near.verdict) == (pytest.approx(2.4841, abs=1e-3), 3, "open")
    assert near.by_seed == pytest.approx({0: 1, 1: 2, 2: 3})
    assert near.runs.split() == [f"digits-wideresnet-scratch-{x}-{i}" for x in ("ice", "oe") for i in range(3)]
    ahead, less = pair(table, "Energy ‡"), pair(table, "Energy ‡", "fpr95")
    assert (ahead.difference, ahead.low, ahead.verdict) == (pytest.approx(5), pytest.approx(5), "ahead")
    assert (less.difference, less.verdict) == (pytest.approx(5), "behind"), "of FPR95 less is better"
    assert pair(table, "OE ‡", "accuracy", "").verdict == "open", "equal ones have an interval of 0 alone"
    assert pair(table, "Energy †", mark=" †", protocol="finetune").verdict == "ahead"
    assert pair(table, "MSP", mark=" †", protocol="finetune").runs.endswith("-scratch-plain-2"), "where they start from"
    assert table.metric.iloc[0] == "auroc" and table.outliers.iloc[0] == "near", "the primary measure"


def test_every_method_stands_beside_ice_and_the_added_ones_beside_all(written):
    several(written, (0, 1, 2))
    table = tables.differences()
    scratch = table[(table.protocol == "scratch") & (table.metric == "accuracy")]
    old, new = ["MSP", "OE ‡", "Energy ‡", "BCE ‡"], "likelihood ratio (ours) ‡"
    expected = [*(("ICE ‡", other) for other in old), *((new, other) for other in [*old, "ICE ‡"])]
    assert list(zip(scratch["first"], scratch["second"], strict=True)) == expected
    title = "CIFAR10 in the paper, digits 0 to 5 here: WideResNet, from scratch, AUROC ↑, near"
    text = part(render.markdown("differences", table), title)
    assert line(text, "ICE ‡ − OE ‡") == ["ICE ‡ − OE ‡", "+10.00", "+10.00 to +10.00", "0.00", "3", "ahead"]
    assert line(text, f"{new} − ICE ‡")[1] == "−15.00"


def test_five_seeds_of_one_method_and_three_of_another_are_three_pairs(written):
    several(written, range(5), {"ice": (0.80, 0.81, 0.82, 0.1, 0.1), "oe": (0.7, 0.7, 0.7, 0.9, 0.9)})
    short = [run for run in runs.declared() if run.method in ("oe", "bce") and run.seed > 2]
    groups = runs.by_block()
    with pytest.MonkeyPatch.context() as patch:
        left = {key: [run for run in group if run not in short] for key, group in groups.items()}
        patch.setattr(runs, "by_block", lambda: tables.defaultdict(list, left))
        table, text = tables.differences(), " ".join(captions.caption("differences").told())
    assert pair(table, "OE ‡").by_seed == pytest.approx({0: 10, 1: 11, 2: 12})
    assert (pair(table, "OE ‡").seeds, pair(table, "Energy ‡").seeds) == (3, 5)
    assert "seeds: 0, 1, 2, 3, 4 (Plain training, Energy, ICE, likelihood ratio (ours)) and 0, 1, 2 (OE, BCE)" in text


def test_no_pair_across_devices_and_no_verdict_of_two(written):
    several(written, (0, 1, 2))
    for run in chosen("oe")[:2]:
        write_result(run, device="GPU")
    table = tables.differences()
    assert (pair(table, "OE ‡").seeds, pair(table, "OE ‡").verdict) == (1, "open")
    for run in chosen("ice")[:1]:
        write_result(run, device="GPU")
    found = pair(tables.differences(), "OE ‡")
    assert (found.seeds, sorted(found.by_seed), found.verdict) == (2, [0, 2], "open")
    assert pair(tables.differences(), "BCE ‡").verdict == "open"


def test_one_seed_has_differences_and_no_verdict_anywhere(written):
    table = tables.differences()
    assert set(table.verdict) == {"open"} and table.low.isna().all() and set(table.seeds) == {1}
    for name in NAMES:
        text = render.markdown(name, getattr(tables, name)()) + render.tex(name, getattr(tables, name)())
        assert not re.search(r"\| (ahead|behind|open) ", text) and not re.search(r"\[\d|±\s?\d|\*\*", text)


def test_the_claim_table_says_repeated_words_once():
    rows = [claims.Claim("a", "Intro", f"m{i}", "+1.00", "–", claims.OPEN) for i in range(2)]
    table = claims.table([*rows, claims.Claim("b", "Intro", "m", "–", "–", claims.HOLDS)])
    assert list(table) == list(claims.HEADS) and table["place"].tolist() == ["Intro", "″", "Intro"]
    assert claims.table([]).empty
    table = claims.table([claims.Claim("“p(z|i)” is low", "Figure 2", "|a − b|", "0", "1", claims.OPEN)])
    row = table.to_markdown(index=False, disable_numparse=True).splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(claims.HEADS) + 1, "a row has as many cells as the head"


def test_stale_missing_and_broken_results_are_refused(written):
    run = runs.declared()[0]
    path = paths.results("tiny") / "metrics" / f"{run.name}.json"
    changed = run.model_copy(update={"shape": run.shape.model_copy(update={"widen": 2})})
    for read in (results.metrics, results.history):
        with pytest.raises(ValueError, match="was made with other parameters than params.yaml has"):
            read(changed)
    with pytest.raises(ValueError, match=r"results/tiny/snapshots/.*.json is missing; `dvc repro` makes it"):
        results.snapshots(run)
    path.write_text("{")
    with pytest.raises(
        ValueError, match=r"results/tiny/metrics/digits-wideresnet-scratch-plain-0.json is not readable"
    ):
        results.metrics(run)


def test_results_of_another_training_are_refused(written):
    """The configuration says nothing of images and code, the digest does."""
    run = runs.declared()[0]
    path = paths.results("tiny") / "history" / f"{run.name}.json"
    write_json(path, json.loads(path.read_text()) | {"digest": "0" * 32})
    expected = f"metrics/{run.name}.json is of another training than results/tiny/history/.*, expected 0000"
    with pytest.raises(ValueError, match=expected):
        results.metrics(run)


def test_a_sweep_of_other_values_is_refused(written):
    from icelib.analysis import choice

    rows = [{"change": change, "configuration": run.configuration} for change, run in choice.candidates("ice-weight")]
    path = paths.results("tiny") / "sweeps" / "ice-weight.json"
    write_json(path, {"candidates": rows})
    assert results.sweep("ice-weight")["candidates"] == rows
    change(written, lambda values: values["protocols"]["sweep"].update(learning_rate=0.05))
    with pytest.raises(ValueError, match=r"sweeps/ice-weight.json was made with other parameters"):
        results.sweep("ice-weight")


def test_tables_are_the_same_bytes_each_time(written):
    found = []
    for _ in range(2):
        for name in NAMES:
            render.write(name, getattr(tables, name)(), "benchmark")
        found.append(written.bytes("figures/tiny/benchmark/*"))
    assert found[0] == found[1] and len(found[0]) == 3 * len(NAMES)
    read = {name: len(pd.read_csv(paths.figures("tiny") / "benchmark" / f"{name}.csv")) for name in NAMES[1:4]}
    far_and_near = (4 + 3) * 2  # metrics and conventions
    assert read == {"table2": 16 * far_and_near, "table3": 6 * far_and_near, "extended": (6 * 11 + 5) * 12}


def test_a_figure_is_saved_a_column_wide_with_its_source_beside_it_always_in_the_same_bytes(written):
    found = []
    for _ in range(2):
        figures.style()
        figure, ax = plt.subplots()
        ax.plot([1, 2], label="ICE")
        figure.legend(loc="outside lower center")
        figures.save(figure, "training/history", "A caption.", "digits-wideresnet-scratch-ice-0")
        found.append(written.bytes("figures/tiny/training/*"))
    assert found[0] == found[1] and len(found[0]) == 3
    assert not figure.texts, "nothing is written into the picture"
    text = (paths.figures("tiny") / "training" / "history.txt").read_text()
    assert text == "A caption.\n\ndigits-wideresnet-scratch-ice-0\n"
    with Image.open(paths.figures("tiny") / "training" / "history.png") as picture:
        assert picture.text["Description"] == text.strip()
        assert picture.width / picture.info["dpi"][0] == pytest.approx(figures.COLUMN, abs=0.05)


@pytest.mark.parametrize(("width", "size"), [(figures.COLUMN, 5.9), (2 * figures.COLUMN, 11)])
def test_letters_too_small_for_a_column_are_refused(written, width, size):
    figures.style()
    figure, ax = plt.subplots(figsize=(width, 2))
    ax.plot([1, 2])
    ax.tick_params(labelsize=14)
    figures.save(figure, "training/fine", "A caption.", "made up")
    ax.set_title("accuracy", size=size)
    with pytest.raises(
        ValueError, match=r"small: 'accuracy' has 5.\d points in a column of 3.3 inches; expected at least 6"
    ):
        figures.save(figure, "training/small", "A caption.", "made up")
    ax.set_title("accuracy", size=14)
    ax.tick_params(labelsize=size)
    with pytest.raises(ValueError, match=r"small: '.*' has 5.\d points"):
        figures.save(figure, "training/small", "A caption.", "made up")


def test_a_training_is_drawn_with_one_line_for_each_term():
    epochs = [
        {
            "epoch": number,
            "loss": {"cross_entropy": 1.0, "known": 0.1},
            "accuracy": 0.5,
            "validation": {name: {"auroc": 0.7} for name in ("outliers", "jigsaw")},
            "score_quantiles": {name: list(range(7)) for name in ("known", "outliers")},
        }
        for number in (1, 2)
    ]
    figures.style()
    losses, *_ = figures.history(epochs).axes
    assert [line.get_label() for line in losses.lines] == ["cross entropy", "known"]


def test_style_overrides_the_users_own_settings():
    import matplotlib

    figures.style()
    wanted = dict(matplotlib.rcParams)
    matplotlib.rcParams.update({"font.size": 30, "lines.linewidth": 9, "savefig.facecolor": "red", "axes.grid": True})
    figures.style()
    assert {key: value for key, value in matplotlib.rcParams.items() if value != wanted[key]} == {}


def executed():
    """Run the code cells of notebook 03 in this process; return its names."""
    import nbformat

    notebook = nbformat.read(SOURCE / "notebooks" / "03_benchmark.ipynb", as_version=4)
    names = {"display": lambda *shown: None}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    return names


def test_the_benchmark_notebook_draws_figure_1_and_lists_claims(written):
    for folder in ("data", "checkpoints", "results/tiny/tasks", ".dvc"):  # it reads metrics and histories alone
        shutil.rmtree(written.root / folder, ignore_errors=True)
    assert {path.name for path in paths.results("tiny").iterdir()} == {"metrics", "history"}
    names = executed()
    theirs, _, far, near = names["figure1"](names["table2"]).axes
    marked = lambda ax: [x.get_markerfacecolor() for x in ax.lines if not x.get_label().startswith("_")]
    assert len(marked(theirs)) == 9 and marked(theirs).count("w") == 3, "three fine-tuned ones are hollow"
    for ax in (far, near):
        assert len(marked(ax)) == 10 and marked(ax).count("w") == 3, "with the likelihood ratio"
    assert {path.rpartition("/")[2] for path in written.bytes("figures/tiny/benchmark/*")} == {
        *(f"{name}.{suffix}" for name in NAMES if name != "table3" for suffix in ("csv", "md", "tex")),
        *("fig1.png", "fig1.pdf", "fig1.txt"),
    }
    rows = names["rows"]
    assert {row.verdict for row in rows} == {claims.NOT_TESTED} and len({row.measure for row in rows}) > 25
    stated = {(row.measure): row.paper for row in rows}
    assert stated["CIFAR10: FPR95, near, Energy ‡ − ICE ‡"] == "+3.79"
    assert stated["CIFAR10: FPR95, near, OE † − ICE †"] == "+7.19"
    assert stated["CIFAR10: Accuracy, ICE ‡ − MSP"] == "+1.27"
