"""Sweeps: the rule of choice, what is trained, and what is recorded."""

import json

import numpy as np
import pytest

from icelib import ablations, engine, errors, params, paths, sweeps


def row(accuracy, outliers=0.9, jigsaw=0.5):
    return {
        "accuracy": accuracy,
        "outliers": {"auroc": outliers, "fpr95": 0.1},
        "jigsaw": {"auroc": jigsaw, "fpr95": 0.2},
    }


def test_the_rule_takes_the_best_detector_within_two_points_of_accuracy():
    rows = [row(0.80, 0.90), row(0.785, 0.95), row(0.7799, 0.99), row(0.795, 0.93, 0.51), {"diverged": "at once"}]
    assert sweeps.choose(rows) is rows[1], "rows[2] costs more than two points of accuracy"
    assert sweeps.choose([row(0.8), row(0.8)]) is not None
    with pytest.raises(ValueError, match="all 1 diverged: at once"):
        sweeps.choose(rows[4:])


def test_a_sweep_trains_each_candidate_once_and_touches_no_tracked_result(inside, monkeypatch):
    trained, real = [], engine.Engine.epoch
    monkeypatch.setattr(
        engine.Engine, "epoch", lambda self, number: trained.append(self.run.loss["weight"]) or real(self, number)
    )
    result = sweeps.run("tiny", "ice-weight")
    assert trained == [0.05, 0.2] and result == sweeps.load("tiny", "ice-weight")
    assert [entry["change"]["weight"] for entry in result["candidates"]] == [0.05, 0.2]
    assert [entry["chosen"] for entry in result["candidates"]].count(True) == 1
    assert set(result["images"]) == {"known", "outliers", "jigsaw"}
    assert not (inside.root / "checkpoints").exists() and not (inside.root / "results" / "history").exists()
    sweeps.run("tiny", "ice-weight")
    assert len(trained) == 2, "a candidate that was trained is not trained again"


def test_a_diverged_candidate_is_recorded_and_not_chosen(inside, monkeypatch):
    real = engine.Engine.epoch

    def epoch(self, number):
        if self.run.loss["weight"] == 0.05:
            raise errors.DivergedError("loss is not finite")
        return real(self, number)

    monkeypatch.setattr(engine.Engine, "epoch", epoch)
    first, second = sweeps.run("tiny", "ice-weight")["candidates"]
    assert first["diverged"] == "loss is not finite" and not first["chosen"] and second["chosen"]
    table = ablations.table(sweeps.load("tiny", "ice-weight"))
    assert table["accuracy"].isna().tolist() == [True, False]
    ablations.figure(sweeps.load("tiny", "ice-weight"))


def test_stale_missing_and_unknown_sweeps_are_refused(inside):
    with pytest.raises(ValueError, match=r"results/sweeps/tiny/ice-weight.json is missing"):
        sweeps.load("tiny", "ice-weight")
    with pytest.raises(ValueError, match=r"unknown tiny.sweeps: 'ice-wieght' \(did you mean 'ice-weight'\?\)"):
        sweeps.candidates("tiny", "ice-wieght")
    values = inside.params
    values["tiny"]["sweeps"]["ice-weight"]["values"] = [{"wight": 0.1}]
    inside.params = values
    with pytest.raises(ValueError, match=r"sweeps.ice-weight.wight: no such parameter"):
        sweeps.candidates("tiny", "ice-weight")
    values["tiny"]["sweeps"]["ice-weight"]["values"] = [{"weight": 0.1}]
    inside.params = values
    paths.sweep("tiny", "ice-weight").parent.mkdir(parents=True)
    content = {"base": values["tiny"]["sweeps"]["ice-weight"]["base"], "candidates": [{"change": {"weight": 0.3}}]}
    paths.sweep("tiny", "ice-weight").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="was made with other values than params.yaml has"):
        sweeps.load("tiny", "ice-weight")


def test_the_table_marks_the_rule_and_what_is_in_use(inside):
    values = inside.params
    values["tiny"]["train"]["ice"]["weight"] = 0.2
    inside.params = values
    result = {
        "sweep": "ice-weight",
        "scale": "tiny",
        "method": "ice",
        "protocol": "sweep",
        "title": "t",
        "base": values["tiny"]["sweeps"]["ice-weight"]["base"],
        "images": {"known": 100},
        "candidates": [{"change": {"weight": w}, "chosen": w == 0.05} | row(0.8) for w in (0.05, 0.2)],
    }
    table = ablations.table(result)
    assert table.index.tolist() == ["0.05", "0.2"] and table.index.name == "weight"
    assert table["rule"].tolist() == ["✓", ""] and table["in use"].tolist() == ["", "✓"]
    assert table.loc["0.2", "mean AUROC"] == pytest.approx(70.0)


def test_confidence_is_the_exponential_of_the_median_score(inside):
    for run in params.declared("tiny"):
        quantiles = {"known": [-9, -5, -2, -1, -0.5, -0.1, 0], "outliers": [-20, -9, -8, -7, -6, -5, -4]}
        paths.history(run).parent.mkdir(parents=True, exist_ok=True)
        paths.history(run).write_text(json.dumps({"epochs": [{}, {"score_quantiles": quantiles}]}))
    found = ablations.confidence("tiny")
    assert all("-ice-" in name for name in found.index) and len(found) == 3, "the plain network has no likelihoods"
    assert found["known"].tolist() == pytest.approx([np.exp(-1)] * 3)
    assert found["outliers"].tolist() == pytest.approx([np.exp(-7)] * 3)


def test_labels_name_what_changes():
    assert ablations.label({"margin_known": -6.0, "margin_outlier": -2.0}) == "−6 / −2"
    assert ablations.label({"factor": "lower"}) == "lower"


def test_params_use_what_the_committed_sweeps_chose():
    """The project's own choices follow from its own validation figures."""
    loaded = params.load(paths.PARAMS)
    for scale in loaded.scales:
        for name in loaded.sweeps:
            result = sweeps.load(scale, name)
            if name in {"ice-factor", "ice-clip", "ice-finetune-start", "ice-minus-weight"}:
                continue  # compared, not chosen: the paper's form of L, one clip for all, eq. 0.9, ICE's own λ
            (chosen,) = [entry for entry in result["candidates"] if entry["chosen"]]
            assert chosen["change"] == sweeps.choose(result["candidates"])["change"]
            assert ablations.in_use(result, chosen), f"{name}: the rule takes {chosen['change']}"
