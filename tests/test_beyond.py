"""Variants compared with ICE: what is trained, by what the best is chosen, and when it is called ours."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icelib import beyond, beyond_figures, beyond_tables, engine, errors, params, paths, training, variant_trail
from icelib.methods import METHODS
from tests.conftest import once


def runs(accuracy, auroc, seeds=(0, 1, 2), far=0.8):
    """Runs as `beyond.trained` returns them, from figures by seed."""
    return [
        {
            "seed": seed,
            "digest": f"{seed:016x}",
            "checkpoint": "0",
            "validation": {
                "accuracy": a,
                "outliers": {"auroc": b + 0.1, "fpr95": 0.1},
                "jigsaw": {"auroc": b - 0.1, "fpr95": 0.1},
            },
            "test": {"accuracy": a, "far_auroc": far, "far_fpr95": 0.5, "near_auroc": 0.7, "near_fpr95": 0.6},
            "environment": {"device": "CPU", "threads": 1, "precision": "float32", "torch": "2"},
        }
        for seed, a, b in zip(seeds, accuracy, auroc, strict=True)
    ]


ICE = runs([0.70, 0.71, 0.72], [0.78, 0.79, 0.80])


def results(**found):
    return {name: {"runs": value} for name, value in found.items()}


def test_the_difference_is_paired_and_its_interval_is_students():
    other = runs([0.71, 0.73, 0.72], [0.80, 0.82, 0.84], far=0.9)
    compared = beyond_tables.difference(other, ICE, "validation")
    by_seed = np.array([2.0, 3.0, 4.0])
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    np.testing.assert_allclose(compared.loc["mean AUROC"], [3, *expected])
    np.testing.assert_allclose(compared.loc["accuracy", "mean"], 1)
    np.testing.assert_allclose(beyond_tables.difference(other, ICE, "test").loc["AUROC far"], [10, 10, 10])


def test_the_best_is_chosen_among_ours_within_two_points_of_accuracy_and_not_by_test_images():
    costly = runs([0.68, 0.68, 0.68], [0.95] * 3)
    good, better = runs([0.70] * 3, [0.85] * 3, far=0.99), runs([0.69] * 3, [0.86] * 3, far=0.1)
    paper = runs([0.75] * 3, [0.99] * 3)
    found = results(ice=ICE, energy=paper, volume=costly, margins=good, logistic=better)
    assert beyond.choose(found) == "logistic"
    assert beyond.choose(results(ice=ICE, energy=paper)) is None
    assert beyond.choose(results(ice=ICE, volume=costly)) is None


@pytest.mark.parametrize(
    ("accuracy", "auroc", "expected"),
    [
        ([0.75, 0.76, 0.77], [0.85, 0.86, 0.87], r"Both intervals exclude no improvement: it is \*ours\*"),
        ([0.70, 0.71, 0.70], [0.85, 0.86, 0.87], "improves mean AUROC, and of accuracy that cannot be said"),
        ([0.75, 0.76, 0.77], [0.70, 0.86, 0.87], "improves accuracy, and of mean AUROC that cannot be said"),
        ([0.60, 0.71, 0.70], [0.70, 0.86, 0.87], r"\*\*no variant of ours is named\*\*"),
        ([0.60, 0.61, 0.62], [0.60, 0.61, 0.62], r"\*\*no variant of ours is named\*\*"),
    ],
)
def test_ours_is_named_only_if_both_intervals_exclude_no_improvement(accuracy, auroc, expected):
    text = beyond_tables.verdict({"ice": ICE, "margins": runs(accuracy, auroc)})
    assert re.search(expected, text) and METHODS["margins"].title in text
    assert ("it is *ours*" in text) == expected.startswith("Both")


def test_nothing_to_confirm_is_said():
    assert "No variant of ours is declared" in beyond_tables.verdict({})


def test_a_search_chooses_by_the_rule_trains_every_seed_and_is_not_repeated(inside, monkeypatch):
    trained, real = [], engine.Engine.epoch
    monkeypatch.setattr(
        engine.Engine,
        "epoch",
        lambda self, number: (
            trained.append((self.run.method, self.run.seed, self.run.schedule.epochs)) or real(self, number)
        ),
    )
    found = {name: beyond.search("tiny", name) for name in ("ice", "two_weights")}
    # ICE's values are given; of the variant two candidates for an epoch, then both seeds for two
    assert trained == [("ice", s, 2) for s in (0, 0, 1, 1)] + [
        ("two_weights", s, e) for s, e in [(0, 1)] * 2 + [(0, 2)] * 2 + [(1, 2)] * 2
    ]
    rows = found["two_weights"]["candidates"]
    chosen = next(row for row in rows if row["chosen"])
    assert found["two_weights"]["values"].items() >= chosen["change"].items()
    ice = found["ice"]["runs"][0]
    assert ice["test"].keys() == {"accuracy", "far_auroc", "far_fpr95"}, "no near set is declared"
    declared = training.train(params.run("tiny", "few", "wideresnet", "scratch", "ice", 0), keep=False)[-1]
    assert ice["validation"]["accuracy"] == declared["accuracy"], "the same training as that of the tables"
    confirmed = beyond.confirm("tiny")
    assert confirmed["best"] in ("two_weights", None)

    trained.clear()
    for name, result in found.items():
        assert beyond.search("tiny", name) == result == beyond.load("tiny", name)
    assert beyond.confirm("tiny") == confirmed and trained == []
    assert not (inside.root / "checkpoints").exists() and not list(paths.OWN.glob("*")), "apart from a user's tries"

    search, further = beyond_tables.load("tiny")
    beyond_tables.write("tiny", search, further)
    beyond_figures.figure(search, further)
    written = pd.read_csv(paths.FIGURES / "beyond-tiny.csv")
    line = written[(written.variant == "ice") & (written.images == "validation") & (written.metric == "accuracy")]
    assert line.ours.iloc[0] == round(100 * np.mean([x["validation"]["accuracy"] for x in found["ice"]["runs"]]), 4)
    assert line.difference.iloc[0] == 0


@pytest.mark.parametrize("when", ["candidates", "a run"])
def test_a_variant_that_diverges_is_told_and_cannot_be_chosen(inside, monkeypatch, when):
    beyond.search("tiny", "ice")
    real = engine.Engine.epoch

    def epoch(self, number):
        if when == "candidates" or self.run.schedule.epochs == 2:
            raise errors.DivergedError("loss is not finite")
        return real(self, number)

    monkeypatch.setattr(engine.Engine, "epoch", epoch)
    found = beyond.search("tiny", "two_weights")
    assert found["runs"] == [] and found["diverged"] == "loss is not finite"
    assert beyond.load("tiny", "two_weights") == found and beyond.confirm("tiny")["best"] is None
    search, further = beyond_tables.load("tiny")
    assert list(search) == ["ice"] and further == {}
    told = beyond_tables.diverged("tiny")
    what = "2 of 2 candidates" if when == "candidates" else "a run"
    assert f"{what} diverged (loss is not finite)" in told
    beyond_tables.values("tiny")
    beyond_tables.write("tiny", search, further)
    assert told in (paths.FIGURES / "beyond-tiny.md").read_text()
    beyond_figures.figure(search, further)
    with pytest.raises(ValueError, match=rf"two_weights has no figures at tiny scale: {what} diverged \(loss is not"):
        variant_trail.find(["validation", "two_weights"])
    assert variant_trail.find(["search", "ice", "validation", "accuracy"]).variant == "ice"


def test_stale_results_are_refused(inside):
    beyond.search("tiny", "ice")
    values = inside.params
    values["tiny"]["beyond"]["candidates"]["ice"]["base"]["weight"] = 0.3
    inside.params = values
    with pytest.raises(ValueError, match=r"results/beyond/tiny/ice.json was made with other values"):
        beyond.load("tiny", "ice")
    with pytest.raises(ValueError, match=r"results/beyond/tiny/two_weights.json is missing"):
        beyond.load("tiny", "two_weights")
    with pytest.raises(
        ValueError, match=r"unknown tiny.beyond.candidates: 'two_weigths' \(did you mean 'two_weights'\?\)"
    ):
        beyond.search("tiny", "two_weigths")
    with pytest.raises(ValueError, match=r"'laptop' is not in beyond = \['tiny'\]"):
        beyond.search("laptop", "ice")


@pytest.fixture
def searched(inside):
    """What the searches for both variants found."""
    names = ("ice", "two_weights")
    once(inside, "searches", lambda: [beyond.search("tiny", name) for name in names])
    return {name: beyond.load("tiny", name) for name in names}


def test_a_confirmation_of_another_variant_is_refused(searched):
    other = None if beyond.choose(searched) else "two_weights"
    refused = r"results/confirmation/tiny.json is not of the variant, values and seeds that are wanted"
    paths.confirmation("tiny").parent.mkdir(parents=True)
    paths.confirmation("tiny").write_text(json.dumps({"scale": "tiny", "best": other, "values": {}, "runs": {}}))
    with pytest.raises(ValueError, match=refused):
        beyond_tables.load("tiny")


def test_a_confirmation_with_other_values_is_refused(searched, monkeypatch):
    monkeypatch.setattr(beyond, "choose", lambda found: "two_weights")
    confirmed = beyond.confirm("tiny")
    assert confirmed["values"] == {name: result["values"] for name, result in searched.items()}
    assert beyond_tables.load("tiny")[1] == confirmed["runs"]
    confirmed["values"]["ice"]["weight"] += 0.1
    paths.confirmation("tiny").write_text(json.dumps(confirmed))
    with pytest.raises(ValueError, match=r"results/confirmation/tiny.json is not of the variant, values and seeds"):
        beyond_tables.load("tiny")


HEAD = {"factor": "lower", "mean_scale": 0.5, "covariance_scale": 0.1}


def candidate(values, name, **base):
    values["tiny"]["beyond"]["candidates"][name] = {"base": base, "values": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(beyond=["paper"]), r"beyond names 'paper', which is not in scales: \['tiny'\]"),
        (lambda v: v.update(variants=["two_weights"]), r"variants = \['two_weights'\]: expected ice among them"),
        (lambda v: v.update(variants=["ice", "volume"]), r"variants names 'volume', unknown to tiny.beyond.candidates"),
        (
            lambda v: (v.update(known=[]), [group.update(known=[]) for group in v["runs"].values()]),
            r"sweeps needs the task 'few', in known and in tiny.known; or set sweeps: \[\]",
        ),
        (
            lambda v: (v.update(known=[], sweeps=[]), [group.update(known=[]) for group in v["runs"].values()]),
            r"beyond needs the task 'few', in known and in tiny.known; or set beyond: \[\]",
        ),
        (lambda v: v["tiny"].pop("beyond"), r"tiny.beyond is missing; expected seeds, confirmation and candidates"),
        (lambda v: v["tiny"]["beyond"].update(seeds=["0"]), r"tiny.beyond.seeds = \['0'\]: .*at least 2"),
        (lambda v: v["tiny"]["beyond"].update(confirmation=["1", "2"]), r"seeds and confirmation names '1' twice"),
        (
            lambda v: v["tiny"]["beyond"]["candidates"].update(volum={"base": {}, "values": []}),
            r"candidates.volum: no such method \(did you mean 'volume'\?\)",
        ),
        (
            lambda v: v["tiny"]["beyond"]["candidates"]["ice"]["base"].update(wieght=1.0),
            r"candidates.ice.wieght: no such parameter \(did you mean 'weight'\?\)",
        ),
        (
            lambda v: v["tiny"]["beyond"]["candidates"]["two_weights"]["values"][0].update(weight_outlier=-1.0),
            r"candidates.two_weights.weight_outlier = -1.0: expected a number ≥ 0",
        ),
        (
            lambda v: v["tiny"]["beyond"]["candidates"]["two_weights"]["values"].append({"weight_outlier": 0.5}),
            r"candidates.two_weights.values = .*\['weight_outlier'\] beside \['weight_known', 'weight_outlier'\]",
        ),
        (
            lambda v: candidate(v, "volume", weight=0.1, factor="diagonal", mean_scale=0.5, covariance_scale=0.1),
            r"candidates.volume.factor = 'diagonal': expected one of \['lower', 'precision'\]",
        ),
        (
            lambda v: candidate(v, "simplex", weight=0.1, factor="lower", separation=0.0, covariance_scale=0.1),
            r"candidates.simplex.separation = 0.0: expected a number > 0",
        ),
        (
            lambda v: candidate(v, "margins", **(HEAD | {"weight": 0.1, "inner": 9.0, "outer": 8.0})),
            r"candidates.margins.inner = 9.0 with outer = 8.0: expected inner ≤ outer",
        ),
    ],
)
def test_mistakes_in_params_are_told(inside, change, message):
    values = inside.params
    change(values)
    inside.params = values
    with pytest.raises(ValueError, match=message):
        params.load()
