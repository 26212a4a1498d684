"""Calibration measures against hand-made cases and against scikit-learn."""

import functools

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.calibration import calibration_curve

from icelib import scores
from icelib.analysis import calibration
from icelib.config import runs
from icelib.methods import METHODS
from icelib.util import paths, tensors
from tests.conftest import RUN


def true_probabilities(count, seed=0):
    draw = np.random.default_rng(seed)
    probability = draw.uniform(size=count)
    return probability, (draw.uniform(size=count) < probability).astype(float), np.full(count, 1 / count)


def test_calibration_error_by_hand():
    """Two bins: 0.9 stated and half of them true; 0.1 stated and none true."""
    probability, true = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0])
    assert calibration.calibration_error(probability, true, np.full(4, 0.25)) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    # the weights count, not the numbers
    weight = np.array([0.4, 0.4, 0.1, 0.1])
    assert calibration.calibration_error(probability, true, weight) == pytest.approx(0.8 * 0.4 + 0.2 * 0.1)


def test_certainty_belongs_to_the_last_bin():
    bins = calibration.reliability(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    assert bins.weight.iloc[0] == bins.weight.iloc[-1] == 0.5 and bins.weight.sum() == 1
    assert bins.stated.iloc[-1] == 1 and np.isnan(bins.stated.iloc[3])


def test_true_probabilities_have_no_error_and_exaggerated_ones_have():
    probability, true, weight = true_probabilities(50_000)
    assert calibration.calibration_error(probability, true, weight) < 0.01
    assert calibration.calibration_error((probability > 0.5) * 1.0, true, weight) == pytest.approx(0.25, abs=0.01)
    assert calibration.brier(probability, true, weight) == pytest.approx(1 / 6, abs=0.005)  # E[p(1 − p)]


def test_reliability_is_that_of_scikit_learn():
    probability, true, weight = true_probabilities(2000)
    bins = calibration.reliability(probability, true, weight).dropna()
    observed, stated = calibration_curve(true, probability, n_bins=calibration.BINS)
    assert np.allclose(bins.observed, observed) and np.allclose(bins.stated, stated)
    assert bins.weight.sum() == pytest.approx(1)


def test_an_even_mixture_does_not_depend_on_the_numbers():
    draw = np.random.default_rng(0)
    known, outlier = draw.beta(5, 2, 3000), draw.beta(2, 5, 3000)
    even = calibration.calibration_error(*calibration.even_mixture(known, outlier))
    many = calibration.calibration_error(*calibration.even_mixture(np.tile(known, 7), outlier))
    assert many == pytest.approx(even)
    probability, true, weight = calibration.even_mixture([0.9], [0.2, 0.3])
    assert weight[true == 1].sum() == weight[true == 0].sum() == 0.5 and probability.tolist() == [0.9, 0.2, 0.3]


@pytest.mark.parametrize(
    ("known", "outlier", "message"),
    [
        ([], [0.5], "no known samples; expected at least one"),
        ([0.5], [0.1, 1.5], r"outlier samples: expected probabilities in 0…1, found 0.1 to 1.5"),
        ([0.5, np.nan], [0.5], r"known samples: expected probabilities in 0…1"),
    ],
)
def test_what_is_no_probability_is_refused(known, outlier, message):
    with pytest.raises(ValueError, match=message):
        calibration.even_mixture(known, outlier)


def test_platt_finds_the_true_parameters():
    """Two Gaussians of equal spread: P(known | s) is a sigmoid with slope (difference of means) / variance."""
    draw = np.random.default_rng(0)
    known, outlier = draw.normal(-300, 20, 40_000), draw.normal(-360, 20, 4_000)  # uneven numbers
    scaled = calibration.platt(known, outlier)
    scores = np.array([-380.0, -345.0, -330.0, -310.0])
    assert np.allclose(scaled(scores), expit(60 / 20**2 * (scores + 330)), atol=0.02)


def shifted(draw, shift=0.0):
    """Single draws of one kind, of which the share probability + shift is true: an error of `shift` in every bin."""
    probability = (1 - shift) * draw.uniform(size=1000)
    return probability, (draw.uniform(size=1000) < probability + shift).astype(float), np.full(1000, 1e-3), None


def mixture(draw):
    """Known images with density 2p of the stated p, outliers with 2(1 − p): of an even mixture the share p is known."""
    stated = calibration.even_mixture(draw.beta(2, 1, 600), draw.beta(1, 2, 200))
    return *stated, stated[1]


@pytest.mark.parametrize(
    ("sample", "error"), [(shifted, 0), (mixture, 0), (functools.partial(shifted, shift=0.1), 0.1)]
)
def test_the_debiased_error_and_its_interval_hold_the_truth(sample, error):
    found = np.array([calibration.debiased(*sample(np.random.default_rng(seed))) for seed in range(200)])
    value, low, high = found.T
    assert abs(value.mean() - error**2) < 4 * value.std() / np.sqrt(200)
    assert 0.9 <= np.mean((low <= error**2) & (error**2 <= high)) <= 1
    assert (low < value).all() and (value < high).all()


def test_the_plain_errors_bootstrap_interval_misses_the_0_of_calibrated_statements():
    """Which is why tables have no such interval: a resample only adds to what chance has put into the estimate."""
    covered = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        stated = np.stack(shifted(draw)[:3])
        resampled = stated[:, draw.integers(0, 1000, (40, 1000))]  # (3, 40, 1000)
        values = [calibration.calibration_error(*resampled[:, i]) for i in range(40)]
        covered += np.quantile(values, 0.025) < 1e-3
    assert covered == 0


def test_the_debiased_error_by_hand():
    """One bin, 0.9 stated of four, of which one is false: R = ¼ Σ r, and each r as likely 0.1 or −0.9 as found."""
    residual = np.array([0.1, 0.1, 0.1, -0.9])
    expected = (residual.mean() ** 2 - residual.var(ddof=1) / 4) / 1.0
    value, *_ = calibration.debiased(np.full(4, 0.9), np.array([1.0, 1, 1, 0]), np.full(4, 0.25))
    assert value == pytest.approx(expected) and value < 0
    assert calibration.root_percent(value) == 0 and calibration.root_percent(0.0004) == pytest.approx(2)


def test_what_is_drawn_apart_does_not_vary():
    """Known images and outliers that all say ½: in an even mixture it is true, and no draw changes that."""
    stated = calibration.even_mixture(np.full(50, 0.5), np.full(50, 0.5))
    assert calibration.debiased(*stated, strata=stated[1]) == pytest.approx((0, 0, 0))
    value, low, high = calibration.debiased(*stated)
    assert value < 0 and low < 0 < high
    with pytest.raises(ValueError, match=r"strata of \[1, 50\] samples; expected at least two in each"):
        stated = calibration.even_mixture(np.full(50, 0.5), np.full(1, 0.5))
        calibration.debiased(*stated, strata=stated[1])


def test_classification_states_the_largest_softmax():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.25, 0.5]]))
    probability, true, weight = calibration.classification(logits, torch.tensor([0, 2, 2]))
    assert np.allclose(probability, [0.7, 0.6, 0.5]) and true.tolist() == [1, 0, 1] and weight.sum() == pytest.approx(1)


EPOCHS = 0, 1, 2


@pytest.fixture
def kept(inside):
    """Logits in files as `evaluation.snapshots` writes them, of networks that were not trained."""
    draw, sizes = torch.Generator().manual_seed(0), {"known": 80, "digits-89": 50, "gaussian": 40}
    for method in ("plain", "ice"):
        run = runs.run(*RUN, method, 0)
        random = lambda size, shift: -(torch.randn(size, 6, generator=draw) - shift).abs()
        found = {
            f"{epoch}/{name}": random(n, epoch * (name != "known")) for epoch in EPOCHS for name, n in sizes.items()
        }
        found |= {"validation/known": random(30, 0), "validation/outliers": random(30, 2)}
        found |= {"labels": torch.arange(80) % 6, "validation/labels": torch.arange(30) % 6}
        path = paths.results("tiny") / "logits" / f"{run.name}.safetensors"
        tensors.save(path, found, {"configuration": run.configuration, "near": "digits-89"})
    return inside


def test_tables_of_kept_logits(kept):
    found = calibration.load()
    assert list(found) == ["plain", "ice"]
    confidences = calibration.by_epoch(found)
    assert list(confidences) == [0, 1, 2]
    logits = found["ice"][0]["2/known"]
    assert np.allclose(confidences[2]["known"], np.exp(logits.double().max(1).values.numpy()))
    epochs = calibration.epoch_table(confidences)
    assert epochs["AUROC (%)"].is_monotonic_increasing and epochs.index.name == "epoch"
    assert epochs.loc[2, "known > ½ (%)"] == 100 * np.mean(confidences[2]["known"] > 0.5)
    table = calibration.detection_table(found)
    assert list(table.index) == [
        ("Plain training", "MSP"), ("Plain training", "Platt"), ("ICE", "exp max h"), ("ICE", "Platt"),
    ]  # fmt: skip
    assert (table.filter(regex="ECE|RMS") / 100).stack().between(0, 1).all()
    assert (table.low <= table["RMS error"]).all() and (table["RMS error"] <= table.high).all()
    known = confidences[2]["known"]
    for column, name in (("Brier", "digits-89"), ("Brier, far", "gaussian")):
        outlier = np.exp(found["ice"][0][f"2/{name}"].double().max(1).values.numpy())
        expected = (np.mean((known - 1) ** 2) + np.mean(outlier**2)) / 2
        assert table.loc[("ICE", "exp max h"), column] == pytest.approx(expected)
    classes = calibration.classification_table(found)
    right = found["ice"][0]["2/known"].argmax(1) == found["ice"][0]["labels"]
    assert classes.loc["ICE", "accuracy"] == pytest.approx(100 * right.double().mean().item())
    squared = calibration.debiased(
        *calibration.classification(*(found["ice"][0][key] for key in ("2/known", "labels")))
    )
    assert classes.loc["ICE", ["RMS error", "low", "high"]].tolist() == pytest.approx(
        [100 * max(0, x) ** 0.5 for x in squared]
    )
    assert calibration.by_epoch({"plain": found["plain"]}) == {}


def test_a_task_without_far_sets_has_no_columns_of_them(kept):
    kept.params = kept.params | {"tasks": {"digits": kept.params["tasks"]["digits"] | {"far": []}}}
    assert list(calibration.detection_table(calibration.load())) == ["ECE", "RMS error", "low", "high", "Brier"]


def test_logits_of_other_parameters_are_refused(kept):
    protocols = kept.params["protocols"]
    kept.params = kept.params | {"protocols": protocols | {"scratch": protocols["scratch"] | {"clip": 7.0}}}
    with pytest.raises(ValueError, match="results/tiny/logits/digits-.*-plain-0.safetensors was made with other param"):
        calibration.load()
    kept.params = kept.params | {"runs": [kept.params["runs"][1] | {"methods": ["oe"]}]}
    with pytest.raises(ValueError, match="params.yaml: no run of CIFAR10-wideresnet-scratch"):
        calibration.load()


def test_a_method_whose_score_reads_features_is_left_out(kept, monkeypatch):
    own = METHODS["plain"]._replace(score=lambda logits, features: scores.energy(logits))
    monkeypatch.setitem(METHODS, "plain", own)
    assert list(calibration.load()) == ["ice"]
