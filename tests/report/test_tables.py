"""Tables and figures from made-up result files: arithmetic, conventions, wording."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from icelib import captions, latex, metrics, params, paths, plots, rendering, results, tables, verdicts
from icelib.files import write_json

NAMES = ("table1", "table2", "table3", "extended")
MADE = {"plain": 0.7, "oe": 0.8, "energy": 0.85, "ice": 0.9}


def write_result(run, value=None, accuracy=0.9, without=(), device="cpu"):
    """Write a result whose five metrics are `value` and up, 0.01 lower on each further set of outliers."""

    def entry(v):
        return {"value": v, "low": v - 0.01, "high": v + 0.01}

    value = MADE.get(run.method, 0.75) if value is None else value
    sets = list(params.task(run.scale, run.known).outliers)
    values = {
        name: {metric: entry(value - 0.01 * place + 0.001 * i) for i, metric in enumerate(metrics.NAMES)}
        for place, name in enumerate([*sets, "mean"])
    }
    posthoc = [name for name in tables.POSTHOC if name != "ice"]
    detectors = {"plain": posthoc, "ice": ["ice", *posthoc]}.get(run.method, [run.method])
    content = {
        "run": run.name,
        "digest": run.digest,
        "environment": {"device": device, "threads": 1, "precision": "float32", "torch": "2"},
        "images": {"known": 300, **{name: 100 + place for place, name in enumerate(sets)}},
        "accuracy": entry(accuracy),
        "detectors": {name: values for name in detectors if name not in without},
    }
    paths.metrics(run).parent.mkdir(parents=True, exist_ok=True)
    paths.metrics(run).write_text(json.dumps(content))


def write_results(project, change=lambda values: None):
    """Change the parameters and write results of all declared runs."""
    values = project.params
    change(values)
    project.params = values
    for run in params.declared("tiny"):
        write_result(run)


def chosen(method, protocol="scratch", network="wideresnet"):
    return [
        run for run in params.declared("tiny") if (run.method, run.protocol, run.network) == (method, protocol, network)
    ]


@pytest.fixture
def written(inside):
    """Results of OE, Energy and ICE in both protocols, DenseNet with ICE alone, BCE; the rest is not run."""

    def change(values):
        tiny = values["tiny"]
        values["runs"]["few"]["methods"] = ["plain", "oe", "energy", "ice", "bce"]
        values["runs"]["finetune"]["methods"] = ["oe", "energy", "ice"]
        tiny["train"] |= {
            "energy": {"weight": 0.1, "margin_known": -6.0, "margin_outlier": -2.0},
            "bce": {"weight": 0.1},
        }
        tiny["known"]["few"]["outliers"]["near_7"] = {"set": "digits-test", "classes": [7], "plays": "CIFAR100"}

    write_results(inside, change)
    return inside


def cell(table, convention="outlier_positive", **keys):
    found = table[table.convention == convention]
    for key, value in keys.items():
        found = found[found[key] == value]
    (only,) = found.itertuples()
    return only


def cell1(table, method, outliers, metric="auroc", column="outliers", protocol="scratch", network="wideresnet", **keys):
    keys |= {"method": method, column: outliers, "metric": metric, "protocol": protocol, "network": network}
    return cell(table, **{"paper_known": "CIFAR10", **keys})


def cell2(table, row, metric, convention="outlier_positive", known="CIFAR10", protocol="scratch"):
    return cell(table, convention, row=row, metric=metric, paper_known=known, protocol=protocol)


def line(text, *words):
    (only,) = [line for line in text.splitlines() if all(f"| {word} " in line for word in words)]
    return [part.strip() for part in only.strip("| ").split("|")]


def test_ours_stands_beside_the_papers_value_in_its_convention(written):
    table = tables.table2("tiny")
    ice = cell2(table, "ICE", "auroc")
    assert (ice.paper, ice.ours, ice.seeds) == (99.16, pytest.approx(87.0), 1)
    assert ice.difference == pytest.approx(87.0 - 99.16) and (ice.low, ice.high) == pytest.approx((86, 88))
    assert cell2(table, "ICE", "fpr95").ours == pytest.approx(87.3)
    assert cell2(table, "ICE", "fpr95", "known_positive").ours == pytest.approx(87.4)
    assert np.isnan(cell2(table, "ICE", "fpr95", "known_positive").difference)
    assert np.isnan(cell2(table, "MSP", "fpr95", protocol="plain").difference), "fits the other convention"
    msp = cell2(table, "MSP", "fpr95", "known_positive", protocol="plain")
    assert msp.difference == pytest.approx(67.4 - 56.03)


def test_fine_tuned_rows_stand_for_themselves(written):
    (run,) = chosen("ice", "finetune")
    write_result(run, 0.5)
    table = tables.table2("tiny")
    fine = cell2(table, "ICE", "auroc", protocol="finetune")
    assert (fine.paper, fine.ours, fine.runs) == (98.96, pytest.approx(47.0), run.name)
    assert cell2(table, "ICE", "auroc").ours == pytest.approx(87.0)


def test_table_1_pairs_each_set_with_the_one_that_plays_it(written):
    table = tables.table1("tiny")
    block = table[(table.paper_known == "CIFAR10") & (table.network == "wideresnet") & (table.protocol == "scratch")]
    pairs = list(dict.fromkeys(zip(block.paper_outliers, block.outliers)))
    assert pairs == [
        *(("iSUN", ""), ("Places365", ""), ("Textures", ""), ("LSUN", "")),
        *(("SVHN", "digits-89"), ("CIFAR100", "near_7"), ("", "gaussian"), ("mean", "mean")),
    ]
    near = cell1(table, "ICE", "near_7", "aupr")
    assert (near.paper, near.paper_outliers, near.known_images, near.outlier_images) == (95.38, "CIFAR100", 300, 102)
    assert near.ours == pytest.approx(88.1) and near.difference == pytest.approx(88.1 - 95.38)
    assert near.runs == "few-wideresnet-scratch-ice-0"
    other = cell1(table, "ICE", "near_7", "aupr", convention="known_positive")
    assert np.isnan(other.difference) and other.ours == pytest.approx(88.2)
    ours_alone, theirs_alone = cell1(table, "OE", "gaussian"), cell1(table, "OE", "iSUN", column="paper_outliers")
    assert np.isnan(ours_alone.paper) and ours_alone.ours == pytest.approx(79) and not ours_alone.best_paper
    assert theirs_alone.paper == 99.36 and theirs_alone.seeds == 0 and np.isnan(theirs_alone.ours)
    assert len(table) == (8 + 8 + 8 + 6) * 3 * 3 * 2, "rows of four blocks, methods, metrics, conventions"


def test_two_sets_may_play_the_same_one(written):
    write_results(written, lambda values: values["tiny"]["known"]["few"]["outliers"]["gaussian"].update(plays="SVHN"))
    table = tables.table1("tiny")
    first, second = cell1(table, "OE", "digits-89"), cell1(table, "OE", "gaussian")
    assert first.paper == second.paper == 99.48 and first.ours != second.ours
    assert "in 50 of 69 triples" in verdicts.verdict1(table, "tiny"), "the paper's cell counts once"


def test_means_are_over_far_sets_in_both(written):
    table = tables.table1("tiny")
    mean = cell1(table, "ICE", "mean", "fpr95", protocol="finetune")
    assert mean.paper == pytest.approx((2.27 + 11.73 + 4.37 + 1.46 + 1.94) / 5)
    assert mean.ours == cell2(tables.table2("tiny"), "ICE", "fpr95", protocol="finetune").ours
    assert mean.difference == pytest.approx(mean.ours - mean.paper, abs=1e-4)
    many = cell1(table, "OE", "mean", "aupr", paper_known="CIFAR100")
    assert many.paper == pytest.approx(90.974) and many.seeds == 0


def test_the_best_of_three_is_marked_and_ties_are_all_best(written):
    table = tables.table1("tiny")
    best = lambda mark, outliers, metric, **keys: [
        method for method in ("OE", "Energy", "ICE") if getattr(cell1(table, method, outliers, metric, **keys), mark)
    ]
    theirs = {"column": "paper_outliers"}
    assert best("best_paper", "SVHN", "fpr95", **theirs) == ["Energy"], "lower is better"
    assert best("best_paper", "Places365", "aupr", **theirs) == ["OE", "Energy", "ICE"]
    assert best("best_paper", "Places365", "aupr", protocol="finetune", **theirs) == ["Energy", "ICE"]
    assert best("best_ours", "digits-89", "auroc") == ["ICE"] and best("best_ours", "digits-89", "fpr95") == ["OE"]
    assert best("best_ours", "iSUN", "auroc", **theirs) == []
    assert best("best_ours", "digits-89", "auroc", network="densenet") == [], "no best where only ICE was run"


def test_markdown_of_table_1_is_bold_where_best_and_names_both_sets(written):
    text = rendering.markdown("table1", tables.table1("tiny"), "tiny")
    auroc = text.split("### ")[5]
    assert auroc.startswith("CIFAR10 in the paper, digits 0 to 5 here: WideResNet, from scratch, AUROC ↑")
    expected = ["SVHN", "digits-89", "99.48", "80.00 [79.0, 81.0]", "-19.48", "**99.76**", "85.00 [84.0, 86.0]"]
    assert line(auroc, "SVHN") == [*expected, "-14.76", "99.58", "**90.00** [89.0, 91.0]", "-9.58"]
    assert line(auroc, "iSUN")[1:5] == ["–", "99.36", "–", "–"]
    assert line(auroc, "gaussian")[:3] == ["–", "gaussian", "–"]
    dense = text[text.index("DenseNet, from scratch, AUPR") :]
    assert line(dense.split("###")[0], "SVHN")[2:6] == ["99.44", "not run at this scale", "–", "99.83"]
    assert text.endswith("its part is not run at this scale: WideResNet, from scratch\n\nNot run at this scale.\n")


def test_rows_that_were_not_run_say_so(written):
    table = tables.table2("tiny")
    missing = cell2(table, "ICE", "auroc", known="CIFAR100")
    assert missing.seeds == 0 and np.isnan(missing.ours)
    text = rendering.markdown("table2", table, "tiny")
    assert text.count("not run at this scale") == 1 + 6 * 3 and "CIFAR100 in the paper; its part is not" in text
    table = tables.table3("tiny")
    assert table.groupby(["row", "model"], sort=False).seeds.max().tolist() == [1, 0, 1, 0, 1]
    assert (
        line(rendering.markdown("table3", table, "tiny").split("###")[1], "ICE⁻, WRN(G)")[2] == "not run at this scale"
    )
    write_results(written, lambda values: [values["runs"][group].update(known=[]) for group in ("few", "finetune")])
    for name in ("table3", "extended"):
        assert rendering.markdown(name, getattr(tables, name)("tiny"), "tiny").endswith("Not run at this scale.\n")
        assert r"\begin{table}" not in rendering.tex(name, getattr(tables, name)("tiny"), "tiny")


def test_table_3_has_the_papers_rows(written):
    (run,) = chosen("bce")
    write_result(run, 0.6, accuracy=0.5)
    bce = cell(tables.table3("tiny"), row="BCE", metric="accuracy")
    assert (bce.paper, bce.ours, bce.model, bce.runs) == (95.81, 50.0, "WRN", run.name)
    table = tables.table3("tiny")
    assert cell(table, row="BCE", metric="fpr95").difference == pytest.approx(57.3 - 4.48)
    assert cell(table, row="Energy", model="WRN", metric="auroc").runs == "few-wideresnet-scratch-energy-0"


def test_the_extended_table_takes_ice_less_plain(written):
    (run,) = chosen("ice")
    write_result(run, without=["vim"])
    table = tables.extended("tiny")
    assert list(dict.fromkeys(table.row)) == list(tables.POSTHOC.values())
    assert list(dict.fromkeys(table.outliers)) == ["mean", "near_7"], "far sets are in the mean"
    knn = cell(table, row="kNN", outliers="near_7", metric="fpr95", convention="known_positive")
    assert (knn.plain, knn.ice, knn.difference) == pytest.approx((68.4, 88.4, 20.0))
    assert (knn.plain_low, knn.ice_high) == pytest.approx((67.4, 89.4))
    vim = cell(table, row="ViM", outliers="mean", metric="auroc")
    assert (vim.plain_seeds, vim.ice_seeds) == (1, 0) and np.isnan(vim.difference)
    own = cell(table, row="ICE's own score", outliers="mean", metric="auroc")
    assert own.ice == pytest.approx(87.0) and own.plain_seeds == 0
    text = rendering.markdown("extended", table, "tiny")
    assert line(text.split("###")[1], "ViM")[4:7] == ["67.00 [66.0, 68.0]", "not run at this scale", "–"]
    assert line(text.split("###")[1], "ICE's own score")[4:7] == ["–", "87.00 [86.0, 88.0]", "–"]


def test_several_seeds_become_mean_and_deviation(written):
    write_results(written, lambda values: values.update(seeds=["0", "1", "2"]))
    for run in params.declared("tiny"):
        write_result(run, 0.73 + 0.1 * run.seed)
    ice = cell2(tables.table2("tiny"), "ICE", "auroc")
    assert ice.ours == pytest.approx(80.0) and ice.std == pytest.approx(10.0) and ice.seeds == 3 and np.isnan(ice.low)
    assert "80.00 ± 10.00" in rendering.markdown("table2", tables.table2("tiny"), "tiny")
    first = cell1(tables.table1("tiny"), "OE", "digits-89")
    assert (first.ours, first.std) == pytest.approx((83.0, 10.0)) and len(first.runs.split()) == 3
    assert "seeds 0, 1, 2" in rendering.markdown("table1", tables.table1("tiny"), "tiny")
    knn = cell(tables.extended("tiny"), row="kNN", outliers="mean", metric="auroc")
    assert (knn.ice_std, knn.difference) == pytest.approx((10.0, 0.0))
    assert "of 20 comparisons 0 have" in verdicts.verdict2(tables.table2("tiny"), "tiny"), "all means are equal"


def test_latex_has_only_what_latex_can_set(written):
    counts = {}
    for name in NAMES:
        text = rendering.tex(name, getattr(tables, name)("tiny"), "tiny")
        assert text.isascii(), {c for c in text if not c.isascii()}
        unlabelled = "\n".join(line for line in text.splitlines() if not line.startswith(r"\label"))
        assert r"near\_7" in unlabelled and not re.search(r"(?<!\\)_", unlabelled)
        counts[name] = text.count(r"\begin{tabular}")
        assert counts[name] == text.count(r"\end{tabular}}") == text.count(r"\caption{")
        assert text.count(r" & ") and all(
            len({row.count(" & ") for row in tabular.splitlines() if row.endswith(r" \\") and "multicolumn" not in row})
            == 1
            for tabular in text.split(r"\end{table}")[:-1]
        )
    assert counts == {"table1": 9, "table2": 2, "table3": 2, "extended": 4}
    assert latex.escape("a_b 5 % **2.0** ~{x}^\\") == (
        r"a\_b 5 \% \textbf{2.0} \textasciitilde{}\{x\}\textasciicircum{}\textbackslash{}"
    )


def test_latex_captions_explain_the_marks_and_tell_of_their_own_block(written):
    text = rendering.tex("table2", tables.table2("tiny"), "tiny")
    for found in re.findall(r"\\caption\{(.*)\}\n", text):
        for part in (
            r"$\dagger$ fine-tuned, $\ddagger$ from scratch",
            "2 epochs from scratch",
            r"near\_7 (102, beside",
        ):
            assert part in found
    found = re.findall(r"\\caption\{(.*)\}\n", rendering.tex("table1", tables.table1("tiny"), "tiny"))
    assert ["DenseNet-7-4" in text for text in found] == [False] * 6 + [True] * 3
    assert ["1 epochs of fine-tuning" in text for text in found] == [True] * 3 + [False] * 6


def test_captions_state_counts_networks_and_hardware_of_each_block(written):
    (run,) = chosen("ice", network="densenet")
    write_result(run, device="GPU")
    about = captions.caption("table1", "tiny")
    assert about.told() == [
        "CIFAR10's part is played by digits 0 to 5 (300 test images); detection is averaged over "
        "digits-89 (100, beside SVHN), gaussian (101), and not over near_7 (102, beside CIFAR100).",
        "CIFAR10: WideResNet-10-1, 1 epochs of fine-tuning the plain network, seeds 0, "
        "runs few-wideresnet-finetune-{oe,energy,ice}-0; cpu, 1 threads, float32, torch 2.",
        "CIFAR10: WideResNet-10-1, 2 epochs from scratch, seeds 0, "
        "runs few-wideresnet-scratch-{oe,energy,ice}-0; cpu, 1 threads, float32, torch 2.",
        "CIFAR10: DenseNet-7-4, 2 epochs from scratch, seeds 0, "
        "runs few-densenet-scratch-ice-0; GPU, 1 threads, float32, torch 2.",
    ]
    for part in ("bootstrap", "standard deviation over seeds", "Outlier-positive", "Bold"):
        assert part in about.legend
    (run,) = chosen("bce")
    write_result(run, device="GPU")
    assert (
        captions.caption("table3", "tiny")
        .told()[1]
        .endswith("cpu, 1 threads, float32, torch 2 and GPU, 1 threads, float32, torch 2.")
    )
    assert " and GPU" not in captions.caption("table2", "tiny").told()[1], "BCE is not in Table 2"


def test_verdict_calls_a_lead_open_where_intervals_overlap(written):
    for protocol in ("scratch", "finetune"):
        for run in chosen("ice", protocol):
            write_result(run, 0.9, accuracy=0.905)
    text = verdicts.verdict2(tables.table2("tiny"), "tiny")
    assert line(text, "MSP, CIFAR10", "AUROC")[2:] == ["+8.34", "+20.00", "same order"]
    assert line(text, "MSP, CIFAR10", "Accuracy")[2:] == ["+1.27", "+0.50", "open"]
    assert line(text, "OE †, CIFAR10", "FPR95")[2:] == ["+2.79", "-10.00", "**other order**"]
    assert line(text, "Energy ‡, CIFAR10", "FPR95")[2:] == ["+0.79", "-5.00", "**other order**"]
    # post-hoc: three AUROC and one accuracy; OE and Energy, in both protocols: four metrics each
    assert "of 20 comparisons 11 have the paper's order, 4 the other one, and 5 are within the noise" in text


def test_verdict_of_table_1_counts_triples(written):
    text = verdicts.verdict1(tables.table1("tiny"), "tiny")
    assert "In the paper, ICE is best or ties in 50 of 69 triples" in text
    # three sets, two protocols: AUPR and AUROC are ICE's, FPR95 is OE's
    assert (
        "it is in 12 of 18: clearly ahead of the better of the others in 12, clearly behind it in 6, and open in 0"
        in text
    )
    assert line(text, "CIFAR10, WideResNet †", "AUPR")[2:] == ["6 of 6", "3 of 3", "3 (+5.00)", "0", "0"]
    assert line(text, "CIFAR10, WideResNet ‡", "FPR95")[2:] == ["3 of 6", "0 of 3", "0", "3 (-10.00)", "0"]
    (run,) = chosen("energy")
    write_result(run, 0.89)
    text = verdicts.verdict1(tables.table1("tiny"), "tiny")
    assert line(text, "CIFAR10, WideResNet ‡", "AUROC")[2:] == ["5 of 6", "3 of 3", "0", "0", "3"]
    write_results(written, lambda values: values["runs"]["few"].update(methods=["plain", "ice"]))
    write_results(written, lambda values: values["runs"]["finetune"].update(methods=["ice"]))
    assert verdicts.verdict1(tables.table1("tiny"), "tiny").endswith("At tiny scale, none of them was run.")


def test_verdict_of_table_3_compares_each_row_with_ice(written):
    text = verdicts.verdict3(tables.table3("tiny"), "tiny")
    assert line(text, "Energy, WRN", "AUROC")[2:] == ["+0.06", "+5.00", "same order"]
    assert line(text, "BCE, WRN", "FPR95")[2:] == ["+1.15", "-15.00", "**other order**"]
    assert "of 8 comparisons 4 have the paper's order, 2 the other one, and 2 are within the noise" in text
    write_results(written, lambda values: values["runs"]["few"].update(methods=["plain"]))
    assert verdicts.verdict3(tables.table3("tiny"), "tiny") == "At tiny scale, ICE and its baselines were not run."


def test_verdict_of_the_extended_table_counts_detectors(written):
    (run,) = chosen("ice")
    write_result(run, 0.71, without=["vim", "gen"])
    assert "| 9           | 0                         | 0       | 9      |" in (
        verdicts.verdict_extended(tables.extended("tiny"), "tiny")
    )
    write_result(run, 0.6)
    assert line(verdicts.verdict_extended(tables.extended("tiny"), "tiny"), "near set near_7")[1:] == [
        "11",
        "0",
        "11 (-10.00)",
        "0",
    ]
    write_result(run, without=tables.POSTHOC)
    assert "no post-hoc detector" in verdicts.verdict_extended(tables.extended("tiny"), "tiny")


def test_stale_missing_and_broken_results_are_refused(written):
    run = params.declared("tiny")[0]
    changed = run.model_copy(update={"shape": run.shape.model_copy(update={"widen": 2})})
    with pytest.raises(ValueError, match="was made with other parameters than params.yaml has"):
        results.load(changed)
    paths.metrics(run).write_text("{")
    with pytest.raises(
        ValueError, match=r"results/metrics/tiny/few-wideresnet-scratch-plain-0.json is not readable JSON"
    ):
        results.load(run)
    paths.metrics(run).unlink()
    with pytest.raises(ValueError, match="is missing; `dvc repro` makes it"):
        results.load(run)


def test_figures_and_tables_are_the_same_bytes_each_time(written):
    found = []
    for _ in range(2):
        made = {name: {"tiny": getattr(tables, name)("tiny")} for name in NAMES}
        plots.style()
        plots.save(plots.figure1(made["table2"]), "fig1", captions.FIGURE1, "small print")
        for name in NAMES:
            getattr(rendering, f"write_{name}")(made[name])
        found.append(written.bytes("figures/*"))
    assert found[0] == found[1] and len(found[0]) == 3 + 3 * len(NAMES)
    read = {name: len(pd.read_csv(paths.FIGURES / f"{name}.csv")) for name in ("table1", "table2", "table3")}
    assert read == {"table1": 540, "table2": 15 * 4 * 2, "table3": 5 * 4 * 2}
    assert len(pd.read_csv(paths.FIGURES / "table2_extended.csv")) == 12 * 2 * 3 * 2


def test_figure_1_shows_each_protocol_of_the_task_that_plays_cifar10(written):
    table = tables.table2("tiny")
    theirs, ours = plots.figure1({"tiny": table}).axes
    marked = lambda ax: [
        (line.get_label(), line.get_markerfacecolor()) for line in ax.lines if line.get_label() in plots.MARKERS
    ]
    assert len(marked(theirs)) == 9 and {face for _, face in marked(theirs)} == {"none"}
    assert len(marked(ours)) == 9 and "none" not in {face for _, face in marked(ours)}
    for ax in (theirs, ours):
        assert [note.get_text() for note in ax.texts] == ["*"] * 3
    assert max(line.get_ydata()[0] for line in ours.lines) < 91 and "digits 0 to 5" in ours.get_title()


def test_metrics_of_a_run_come_from_its_score_file(inside):
    import torch

    from icelib import tensors

    run = params.run("tiny", "few", "wideresnet", "scratch", "ice", 0)
    generator = torch.Generator().manual_seed(0)
    draw = lambda shift, count: shift + torch.randn(count, generator=generator, dtype=torch.float64)
    scores = {"ice/known": draw(1, 60), "ice/digits-89": draw(0, 50), "ice/gaussian": draw(-1, 40)}
    labels = torch.arange(60) % 6
    tensors.save(
        paths.scores(run),
        scores | {"labels": labels, "predicted": labels.roll(1) * (labels > 2) + labels * (labels <= 2)},
        {"environment": {}, "run": run.model_dump()},
    )
    result = results.measure(run)
    assert result == results.load(run)
    found = result["detectors"]["ice"]
    expected = {
        name: metrics.detection_metrics(scores["ice/known"], scores[f"ice/{name}"])
        for name in ("digits-89", "gaussian")
    }
    for name, values in expected.items():
        assert {key: entry["value"] for key, entry in found[name].items()} == pytest.approx(values, abs=1e-9)
    assert found["mean"]["auroc"]["value"] == pytest.approx(np.mean([values["auroc"] for values in expected.values()]))
    assert all(
        entry["low"] <= entry["value"] <= entry["high"] for entry in found["mean"].values() if 0 < entry["value"] < 1
    )
    assert result["accuracy"]["value"] == pytest.approx(0.5)
    assert result["images"] == {"known": 60, "digits-89": 50, "gaussian": 40}


def test_small_print_names_scale_task_runs_and_hardware(written):
    runs = [run for run in captions.runs_of_figure1() if run.protocol == "scratch"]
    for run in runs:
        write_json(paths.history(run), {"environment": results.load(run)["environment"]})
    text = captions.small_print(*runs)
    assert text.startswith(
        "tiny scale, few: digits 0 to 5. Runs (the last number is the seed): few-wideresnet-scratch-{"
    )
    assert text.endswith("-0. cpu, 1 threads, float32, torch 2.")
    paths.history(runs[0]).unlink()
    with pytest.raises(ValueError, match=r"results/history/tiny/.*.json is missing; `dvc repro` makes it"):
        captions.small_print(*runs)
    assert captions.small_print() == "No run is declared."


def test_small_print_and_legend_do_not_overlap(written):
    """The saved picture grows downwards for the small print; the legend must stay where it was."""
    drawn = plots.figure1({"tiny": tables.table2("tiny")})
    drawn.draw_without_rendering()
    before = drawn.legends[0].get_window_extent().y0
    plots.save(drawn, "fig1", captions.FIGURE1, "small print " * 30)
    renderer = drawn.canvas.get_renderer()
    legend, note = drawn.legends[0].get_window_extent(renderer), drawn.texts[-1].get_window_extent(renderer)
    assert note.y1 < legend.y0 and legend.y0 == pytest.approx(before, abs=2)
