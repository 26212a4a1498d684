"""Measures of the three causes, on cases whose answers are known; and what a run's traces hold."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.stats import norm

from icelib import (
    causes,
    causes_figures,
    causes_verdicts,
    confidence,
    contradiction,
    heads,
    losses,
    mixing,
    models,
    params,
    paths,
    tasks,
    tensors,
    traces,
    training,
)
from icelib.methods import METHODS
from tests.conftest import RUN, once


def gaussian(count, shift=0.0, dimensions=2, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, dimensions))
    x[:, 0] += shift
    return x


def test_overlap_of_separated_and_of_equal_gaussians():
    assert mixing.overlap(gaussian(500), gaussian(500, shift=20, seed=1)) == 0
    assert mixing.overlap(gaussian(2000), gaussian(2000, seed=1)) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_overlap_of_shifted_gaussians_is_the_integral_of_the_smaller_density(distance):
    expected = 2 * norm.cdf(-distance / 2)  # ∫ min(p, q) of unit Gaussians
    found = mixing.overlap(gaussian(4000), gaussian(4000, shift=distance, seed=1))
    assert expected - 0.02 < found < expected + 0.1, "a vote of few is never better than the best classifier"


def test_overlap_is_symmetric_free_of_scale_and_rather_too_large_in_many_dimensions():
    known, outlier = gaussian(800), gaussian(800, shift=2, seed=1)
    assert mixing.overlap(known, outlier) == mixing.overlap(1000 * known, 1000 * outlier)
    assert mixing.overlap(known, outlier) == pytest.approx(mixing.overlap(outlier, known), abs=0.03)
    many = mixing.overlap(gaussian(800, dimensions=64), gaussian(800, shift=2, dimensions=64, seed=1))
    assert many > 2 * norm.cdf(-1) - 0.02


def test_overlap_counts_both_kinds_alike():
    """Ten times as many known samples would outvote the outliers if all of them voted."""
    assert mixing.overlap(gaussian(5000), gaussian(500, seed=1)) == pytest.approx(1, abs=0.1)


def test_overlap_of_too_few_samples():
    with pytest.raises(ValueError, match="10 samples of one kind; expected more than the 15 neighbours"):
        mixing.overlap(gaussian(100), gaussian(10))


def test_centrality_of_outliers_in_the_middle_and_beyond():
    known = np.array([[-2.0, 0], [-2, 0], [2, 0], [2, 0], [2, 0], [2, 0]])  # uneven classes: the centre is 0
    labels = np.array([0, 0, 1, 1, 1, 1])
    assert mixing.centrality(known, labels, np.zeros((3, 2))) == 0
    assert mixing.centrality(known, labels, np.array([[0.0, 4], [0, -8]])) == pytest.approx(3)


def test_opposite_order_counts_pairs_by_hand():
    known_score, outlier_score = [3.0, 1.0], [2.0, 0.0]
    known_likelihood, outlier_likelihood = [1.0, 4.0], [3.0, 0.0]
    # pairs (known, outlier): (0,0) score right, likelihood wrong; (0,1) both right;
    # (1,0) score wrong, likelihood right; (1,1) both right
    found = mixing.opposite_order(known_score, outlier_score, known_likelihood, outlier_likelihood)
    assert found == {"score_wrong": 0.25, "likelihood_wrong": 0.25, "both_wrong": 0.0}
    reverse = mixing.opposite_order([0.0], [1.0], [-2.0], [-1.0])
    assert reverse == {"score_wrong": 0.0, "likelihood_wrong": 0.0, "both_wrong": 1.0}
    assert set(mixing.opposite_order([1.0], [1.0], [0.0], [1.0]).values()) == {0.0}, "a tie is no order"


def test_a_hand_made_contradictory_gradient():
    cross_entropy = torch.tensor([[-1.0, 0.5, 0.5], [0.2, -0.4, 0.2], [0.1, 0.1, -0.2], [0.3, 0.3, -0.6]])
    auxiliary = torch.tensor([[-1.0, -0.1, 0.5], [0.2, 0.4, 0.2], [0.0, 0.0, 0.0], [0.3, 0.1, -0.6]])
    # one logit is raised against cross-entropy, one is lowered, of 12; in two samples of four
    found = contradiction.logit_shares(cross_entropy, auxiliary)
    assert found == pytest.approx({"raised": 1 / 12, "lowered": 1 / 12, "samples": 0.5})
    assert contradiction.outlier_shares(auxiliary) == pytest.approx({"outlier_raised": 3 / 12, "outlier_samples": 0.5})


def test_cosine_of_opposite_orthogonal_and_vanishing_gradients():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert contradiction.cosine(a, -3 * a) == pytest.approx(-1)
    assert contradiction.cosine(a, torch.tensor([[0.0, 1.0], [1.0, 0.0]])) == 0
    assert np.isnan(contradiction.cosine(a, torch.zeros(2, 2)))


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    known, outlier = (torch.randn(200, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    return known, torch.arange(200) % 6, outlier


def test_energy_raises_every_wrong_logit_of_a_known_sample(logits):
    """Eq. 0.8 with the margin out of reach, and outliers below theirs."""
    margins = {"weight": 0.1, "margin_known": -100.0, "margin_outlier": -100.0}
    cross_entropy, auxiliary = contradiction.gradients(losses.energy, *logits, **margins)
    found = contradiction.logit_shares(cross_entropy[0], auxiliary[0])
    assert found == pytest.approx({"raised": 5 / 6, "lowered": 0.0, "samples": 1.0})
    assert contradiction.outlier_shares(auxiliary[1]) == {"outlier_raised": 0.0, "outlier_samples": 0.0}


def test_energy_within_its_margins_contradicts_nothing(logits):
    margins = {"weight": 0.1, "margin_known": 100.0, "margin_outlier": -100.0}
    cross_entropy, auxiliary = contradiction.gradients(losses.energy, *logits, **margins)
    assert contradiction.logit_shares(cross_entropy[0], auxiliary[0])["samples"] == 0


def test_outlier_exposure_raises_the_logits_below_average_and_sees_no_known_sample(logits):
    """Eq. 0.6: the sign of softmax(f)_i − 1/K."""
    cross_entropy, auxiliary = contradiction.gradients(losses.outlier_exposure, *logits, weight=0.5)
    assert not auxiliary[0].any() and not cross_entropy[1].any()
    below = (logits[2].softmax(1) < 1 / 6).double().mean().item()
    assert contradiction.outlier_shares(auxiliary[1])["outlier_raised"] == pytest.approx(below)


@pytest.mark.parametrize("loss", [losses.ice, losses.ice_minus, losses.binary_cross_entropy])
def test_ice_and_bce_contradict_on_no_logit(loss, logits):
    known, labels, outlier = logits
    if loss is not losses.binary_cross_entropy:
        known, outlier = -known.exp(), -outlier.exp()  # of the Gaussian head: all below 0
    cross_entropy, auxiliary = contradiction.gradients(loss, known, labels, outlier, weight=0.2)
    assert contradiction.logit_shares(cross_entropy[0], auxiliary[0])["samples"] == 0
    assert contradiction.outlier_shares(auxiliary[1])["outlier_samples"] == 0


class Linear(torch.nn.Module):
    """A backbone whose gradients can be written down: features are three pixels times a weight each."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -0.5, 2.0]))

    def forward(self, x):
        return x.mean((2, 3)) * self.weight


def test_measure_compares_the_gradients_of_a_training_step():
    """All images of a kind are alike, so that the order and the crops' place do not matter."""
    data = {
        "known": torch.full((64, 3, 32, 32), 200, dtype=torch.uint8),
        "labels": torch.zeros(64, dtype=torch.int64),
        "outliers": torch.full((64, 3, 32, 32), 200, dtype=torch.uint8),
    }
    torch.manual_seed(0)
    model = models.Classifier(Linear(), heads.LinearHead(3, 4))
    (found,) = contradiction.measure(model, METHODS["oe"], {"weight": 0.5}, data, (16, 16), 1)
    assert np.isnan(found["features"]), "OE does not see known samples"
    assert found["raised"] == found["lowered"] == found["samples"] == 0
    assert -1 <= found["backbone"] <= 1 and found["ratio"] > 0

    (bce,) = contradiction.measure(model, METHODS["bce"], {"weight": 0.5}, data, (16, 16), 1)
    assert bce["features"] > 0.5, "pulls a known sample's features where cross-entropy pulls them"
    (minus,) = contradiction.measure(model, METHODS["bce"], {"weight": -0.5}, data, (16, 16), 1)
    assert minus["features"] == pytest.approx(-bce["features"], abs=1e-5)
    assert minus["backbone"] == pytest.approx(-bce["backbone"], abs=1e-5)
    assert minus["ratio"] == pytest.approx(bce["ratio"], rel=1e-5)
    assert minus["samples"] == 1 and minus["outlier_samples"] == 1


@pytest.fixture
def traced(inside):
    def make():
        for method in ("plain", "ice"):
            run = params.run(*RUN, method, 0)
            training.train(run)
            traces.trace(run)

    once(inside, "traces", make)
    return inside


def test_traces_hold_every_kept_epoch_and_the_last_is_the_trained_network(traced):
    run = params.run(*RUN, "ice", 0)
    assert run.schedule.kept_epochs == [0, 1, 2]
    trace = json.loads(paths.trace(run).read_text())
    assert [epoch["epoch"] for epoch in trace["epochs"]] == [0, 1, 2]
    assert trace["near"] == "digits-89", "where no set is near, the first one"
    assert set(trace["likelihood"]) == {"digits-89", "gaussian"}
    for epoch in trace["epochs"]:
        assert set(epoch["overlap"]) == set(epoch["centrality"]) == {"digits-89", "auxiliary"}
        assert epoch["contradiction"]["raised"]["mean"] == 0
        assert -1 <= epoch["contradiction"]["backbone"]["mean"] <= 1
    logits, about = tensors.load(paths.logits(run))
    from icelib import batches, checkpoints

    test, _ = tasks.load("tiny", "few", "test")
    model, _ = checkpoints.load(run)
    assert torch.equal(logits["labels"], test["labels"]) and about["near"] == "digits-89"
    assert torch.allclose(logits["2/known"], batches.predict(model, test["known"], torch.float32), atol=1e-4)
    start, _ = checkpoints.load(run, epoch=0)
    assert torch.allclose(logits["0/known"], batches.predict(start, test["known"], torch.float32), atol=1e-4)
    assert not torch.allclose(logits["0/known"], logits["2/known"], atol=0.1)
    assert "1/gaussian" not in logits and "2/gaussian" in logits and "validation/jigsaw" in logits


def test_traces_are_the_same_bytes_again(traced):
    run = params.run(*RUN, "ice", 0)
    before = paths.trace(run).read_bytes(), paths.logits(run).read_bytes()
    traces.trace(run)
    assert (paths.trace(run).read_bytes(), paths.logits(run).read_bytes()) == before


def test_tables_and_verdicts_of_what_was_traced(traced):
    found = causes.load("tiny")
    assert list(found) == ["plain", "ice"]
    assert list(causes.contradiction_table(found).index) == ["ICE"], "plain training has no auxiliary term"
    assert ("Plain training", "gaussian") in causes.likelihood_table(found).index
    for verdict in (causes_verdicts.contradiction, causes_verdicts.likelihood, causes_verdicts.shift):
        assert "nan" not in verdict(found)


def test_a_missing_trace_is_named(traced):
    paths.trace(params.run(*RUN, "ice", 0)).unlink()
    with pytest.raises(
        ValueError, match=r"results/traces/tiny/few-wideresnet-scratch-ice-0.json is missing; `dvc repro`"
    ):
        causes.load("tiny")


def test_what_was_not_run_is_said(traced):
    found = causes.load("tiny")
    assert causes_verdicts.contradiction({"plain": found["plain"]}) == "No method with outliers was run."
    for kept in ("plain", "ice"):
        one = {kept: found[kept]}
        for draw in (causes_figures.contradiction, causes_figures.likelihood, causes_figures.shift):
            plt.close(draw(one))
        assert causes_verdicts.likelihood(one) and causes_verdicts.shift(one) is not None
    values = traced.params
    values["runs"]["few"]["methods"], values["runs"]["finetune"]["methods"] = [], []
    traced.params = values
    with pytest.raises(ValueError, match=r"params.yaml: runs.few declares no run, so there is nothing to show"):
        causes.load("tiny")


def test_known_sets_are_not_pooled_as_if_they_were_seeds(inside):
    values = inside.params
    values["tiny"]["known"]["other"] = values["tiny"]["known"]["few"] | {"plays": "CIFAR100"}
    values["known"], values["runs"]["few"]["known"] = ["few", "other"], ["few", "other"]
    inside.params = values
    assert {run.known for run in causes.traced("tiny")} == {"few"}


def test_files_of_other_parameters_are_refused(traced):
    values = traced.params
    values["tiny"]["train"]["ice"]["weight"] = 0.9
    traced.params = values
    message = "few-wideresnet-scratch-ice-0.{} was made with other parameters than params.yaml has; run `dvc repro`"
    with pytest.raises(ValueError, match=message.format("json")):
        causes.load("tiny")
    with pytest.raises(ValueError, match=message.format("safetensors")):
        confidence.load("tiny")


def test_a_truncated_trace_is_named(traced):
    path = paths.trace(params.run(*RUN, "plain", 0))
    path.write_text(path.read_text()[:200])
    with pytest.raises(
        ValueError, match=r"few-wideresnet-scratch-plain-0.json is not readable JSON: .* run `dvc repro`"
    ):
        causes.load("tiny")


def test_batches_without_an_auxiliary_gradient_are_left_out_of_a_cosine(inside, monkeypatch):
    """Where every known sample is within Energy's margins, there is no gradient to compare."""
    steps = [
        {"features": 0.2, "raised": 0.0},
        {"features": float("nan"), "raised": 0.5},
        {"features": 0.4, "raised": 0.1},
    ]
    monkeypatch.setattr(contradiction, "measure", lambda *arguments: steps)
    monkeypatch.setattr(traces, "BATCHES", 3)
    found = traces._contradiction(params.run(*RUN, "ice", 0), None, None)
    assert found["features"] == {"mean": pytest.approx(0.3), "std": pytest.approx(0.1), "defined": pytest.approx(2 / 3)}
    assert found["raised"]["mean"] == pytest.approx(0.2)
    steps[:] = [{"features": float("nan")}] * 3
    assert traces._contradiction(params.run(*RUN, "ice", 0), None, None) == {"features": None}


def a_trace(method, backbone, centre, overlap):
    """A trace of two epochs with what the verdicts read."""
    names = (*causes.SHARES, *causes.COSINES, "ratio")
    entry = {name: {"mean": 0.0, "std": 0.0} for name in names} | {"backbone": {"mean": backbone, "std": 0.0}}
    measures = {"overlap": {"near": overlap, "auxiliary": overlap}, "centrality": {"near": centre, "auxiliary": centre}}
    epochs = [{"epoch": i, "contradiction": None if method == "plain" else entry, **measures} for i in (0, 1)]
    shares = dict.fromkeys(("score_wrong", "likelihood_wrong", "both_wrong"), 0.1)
    return [{"near": "near", "epochs": epochs, "likelihood": {"near": shares, "far": shares}}]


@pytest.mark.parametrize(
    ("oe", "expected"),
    [
        ((0.5, 0.6), ("and than after plain training on both kinds", "Agrees.", "agrees")),
        ((0.95, 0.1), ("on no kind of outlier", "Does not agree.", "does not agree")),
    ],
)
def test_shift_is_told_against_plain_training(oe, expected):
    found = {
        "plain": a_trace("plain", 0, 0.9, 0.3), "oe": a_trace("oe", 0, *oe), "ice": a_trace("ice", 0, 1.4, 0.1),
    }  # fmt: skip
    inward, verdict, mixing_verdict = expected
    text = causes_verdicts.shift(found)
    assert inward in text and verdict in text and f"not under ICE: {mixing_verdict}." in text


def test_an_undefined_cosine_is_left_out_of_the_verdict():
    found = {method: a_trace(method, 0.1, 1, 0.1) for method in ("oe", "energy", "ice")}
    found["energy"][0]["epochs"][1]["contradiction"]["backbone"] = None
    text = causes_verdicts.contradiction(found)
    assert "nan" not in text and "mean cosine is OE +0.10, ICE +0.10" in text
