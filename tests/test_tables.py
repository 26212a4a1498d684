"""Tables and figures from made-up result files: arithmetic, conventions, wording."""

import json

import numpy as np
import pandas as pd
import pytest

from icelib import metrics, params, paths, plots, rendering, results, tables


def write_result(run, detector, value, accuracy=0.9, outside=("digits-89", "gaussian")):
    def entry(v):
        return {"value": v, "low": v - 0.01, "high": v + 0.01}

    values = {name: entry(value + 0.001 * i) for i, name in enumerate(metrics.NAMES)}
    content = {
        "run": run.name,
        "digest": run.digest,
        "environment": {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"},
        "images": {"known": 300, "digits-89": 100, "gaussian": 100},
        "accuracy": entry(accuracy),
        "detectors": {name: dict.fromkeys([*outside, "mean"], values) for name in detector},
    }
    paths.metrics(run).parent.mkdir(parents=True, exist_ok=True)
    paths.metrics(run).write_text(json.dumps(content))


@pytest.fixture
def written(inside):
    for run in params.declared("tiny"):
        write_result(run, {"plain": ["msp", "odin", "mahalanobis"]}.get(run.method, [run.method]), 0.8)
    return inside


def cell(table, row, metric, convention="outlier_positive", known="CIFAR10", protocol="scratch"):
    (found,) = table[
        (table.row == row)
        & (table.metric == metric)
        & (table.convention == convention)
        & (table.paper_known == known)
        & table.protocol.isin([protocol, "plain"])
    ].itertuples()
    return found


def test_the_papers_table_is_transcribed_whole():
    paper = tables.paper_table2()
    assert paper.groupby("known").size().to_dict() == {"CIFAR10": 9, "CIFAR100": 6}
    assert paper[["aupr", "auroc", "fpr95", "accuracy"]].sum().round(2).to_dict() == {
        "aupr": 1446.5,
        "auroc": 1373.81,
        "fpr95": 473.48,
        "accuracy": 1315.19,
    }


def test_ours_stands_beside_the_papers_value_in_its_convention(written):
    table = tables.table2("tiny")
    ice = cell(table, "ICE", "auroc")
    assert (ice.paper, ice.ours, ice.seeds) == (99.16, 80.0, 1)
    assert ice.difference == pytest.approx(80.0 - 99.16) and (ice.low, ice.high) == pytest.approx((79, 81))
    assert cell(table, "ICE", "fpr95").ours == pytest.approx(80.3)
    assert cell(table, "ICE", "fpr95", "known_positive").ours == pytest.approx(80.4)
    assert np.isnan(cell(table, "ICE", "fpr95", "known_positive").difference)
    assert np.isnan(cell(table, "MSP", "fpr95").difference), "the paper's MSP row fits the other convention"
    assert cell(table, "MSP", "fpr95", "known_positive").difference == pytest.approx(80.4 - 56.03)


def test_rows_that_were_not_run_say_so(written):
    table = tables.table2("tiny")
    for row, known, protocol in [
        ("Energy", "CIFAR10", "scratch"),
        ("ICE", "CIFAR10", "finetune"),
        ("ICE", "CIFAR100", "scratch"),
    ]:
        missing = cell(table, row, "auroc", known=known, protocol=protocol)
        assert missing.seeds == 0 and np.isnan(missing.ours)
    text = rendering.markdown(table, "tiny")
    assert (
        text.count("not run at this scale") > 10 and "CIFAR100 in the paper; its part is not run at this scale" in text
    )


def test_several_seeds_become_mean_and_deviation(written):
    values = written.params
    values["seeds"] = ["0", "1", "2"]
    written.params = values
    for run in params.declared("tiny"):
        write_result(run, {"plain": ["msp", "odin", "mahalanobis"]}.get(run.method, [run.method]), 0.7 + 0.1 * run.seed)
    ice = cell(tables.table2("tiny"), "ICE", "auroc")
    assert ice.ours == pytest.approx(80.0) and ice.std == pytest.approx(10.0) and ice.seeds == 3 and np.isnan(ice.low)
    assert "80.00 ± 10.00" in rendering.markdown(tables.table2("tiny"), "tiny")


def test_latex_has_only_what_latex_can_set(written):
    text = rendering.latex(tables.table2("tiny"), "tiny")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.isascii(), {c for c in body if not c.isascii()}
    assert text.count(r"\begin{tabular}") == 2 and r"95 \%" in text


def test_caption_states_counts_convention_and_hardware(written):
    text = rendering.caption("tiny")
    for part in ("300 test images", "gaussian (100)", "WideResNet-10-1", "2 epochs", "seeds 0", "float32", "bootstrap"):
        assert part in text


def test_verdict_calls_a_lead_open_where_intervals_overlap(written):
    for run in params.declared("tiny"):
        if run.method == "ice":
            write_result(run, ["ice"], 0.9, accuracy=0.905)
    text = rendering.verdict(tables.table2("tiny"), "tiny")
    assert "same order" in next(line for line in text.splitlines() if "MSP" in line and "AUROC" in line)
    assert "open" in next(line for line in text.splitlines() if "Accuracy" in line)
    assert "of 4 comparisons 3 have the paper's order, 0 the other one, and 1 are within the noise" in text


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
        table = {"tiny": tables.table2("tiny")}
        plots.style()
        plots.save(plots.figure1(table), "fig1")
        rendering.write_table2(table)
        found.append(written.bytes("figures/*"))
    assert found[0] == found[1] and len(found[0]) == 5
    assert len(pd.read_csv(paths.FIGURES / "table2.csv")) == 15 * 4 * 2


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
        {"environment": {}},
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
