"""Metrics against scikit-learn and pytorch-ood, at random, with heavy ties and at the extremes."""

import numpy as np
import pytest
import torch
from pytorch_ood.metrics import OODMetrics
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from icelib import metrics


def reference(known, outlier):
    """The same five values by scikit-learn."""
    scores, is_known = np.concatenate([known, outlier]), np.repeat([1, 0], [len(known), len(outlier)])

    def fpr95(positive, scores):
        fpr, tpr, _ = roc_curve(positive, scores, drop_intermediate=False)
        return fpr[np.argmax(tpr >= 0.95)]

    return {
        "auroc": roc_auc_score(is_known, scores),
        "aupr_outlier_positive": average_precision_score(1 - is_known, -scores),
        "aupr_known_positive": average_precision_score(is_known, scores),
        "fpr95_outlier_positive": fpr95(1 - is_known, -scores),
        "fpr95_known_positive": fpr95(is_known, scores),
    }


def draw(seed, kind):
    generator = np.random.default_rng(seed)
    n, m = generator.integers(1, 400, 2)
    known, outlier = generator.normal(1, 1, n), generator.normal(0, 2, m)
    if kind == "ties":
        known, outlier = np.round(known), np.round(outlier)
    if kind == "few values":
        known, outlier = known > 0.5, outlier > 0.5
    return known.astype(float), outlier.astype(float)


SAMPLES = {f"{kind} {seed}": draw(seed, kind) for kind in ("random", "ties", "few values") for seed in range(20)} | {
    "perfect": (np.arange(10.0) + 10, np.arange(10.0)),
    "reversed": (np.arange(10.0), np.arange(10.0) + 10),
    "constant": (np.zeros(10), np.zeros(7)),
    "one each": (np.array([1.0]), np.array([0.0])),
    "one each, tied": (np.array([1.0]), np.array([1.0])),
    "twenty": (np.arange(20.0), np.arange(20.0) - 0.5),  # 95 % is a whole number of samples
    "huge and tiny": (np.array([1e300, -1e300, 0]), np.array([-1e-300, 1e-300])),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_equal_to_scikit_learn(name):
    known, outlier = SAMPLES[name]
    assert metrics.detection_metrics(known, outlier) == pytest.approx(reference(known, outlier), abs=1e-12)


@pytest.mark.parametrize("name", SAMPLES)
def test_equal_to_pytorch_ood(name):
    known, outlier = SAMPLES[name]
    theirs = OODMetrics()
    scores = torch.from_numpy(-np.concatenate([known, outlier]))  # theirs are higher for outliers
    theirs.update(scores, torch.from_numpy(np.repeat([0, -1], [len(known), len(outlier)])))
    values, found = theirs.compute(), metrics.detection_metrics(known, outlier)
    assert found["auroc"] == pytest.approx(values["AUROC"], abs=1e-12)
    assert found["fpr95_outlier_positive"] == pytest.approx(values["FPR95TPR"], abs=1e-12)


def test_every_one_of_many_sizes_meets_the_recall():
    for size in range(1, 300):
        needed = metrics._enough(size)
        assert needed / size >= 0.95 and (needed - 1) / size < 0.95


def test_the_conventions_mirror_each_other():
    known, outlier = draw(3, "ties")
    found, mirrored = metrics.detection_metrics(known, outlier), metrics.detection_metrics(-outlier, -known)
    assert found["auroc"] == pytest.approx(mirrored["auroc"])
    for name in ("aupr", "fpr95"):
        assert found[f"{name}_known_positive"] == pytest.approx(mirrored[f"{name}_outlier_positive"])
        assert found[f"{name}_outlier_positive"] == pytest.approx(mirrored[f"{name}_known_positive"])


@pytest.mark.parametrize(
    ("known", "outlier", "message"),
    [
        ([], [1.0], "known scores have shape"),
        ([1.0], [], "outlier scores have shape"),
        ([[1.0]], [1.0], "known scores have shape"),
        ([1.0, np.nan, np.inf], [1.0], "2 of 3 known scores are not finite"),
        ([1.0], [-np.inf], "1 of 1 outlier scores are not finite"),
    ],
)
def test_bad_scores_are_refused(known, outlier, message):
    with pytest.raises(ValueError, match=message):
        metrics.detection_metrics(known, outlier)


def test_bootstrap_covers_the_true_value():
    """About 95 of 100 intervals of level 95 % hold the AUROC of the distributions."""
    from scipy.stats import norm

    truth = norm.cdf(1 / np.sqrt(2))
    inside = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        values = metrics.bootstrap(generator.normal(1, 1, 200), {"x": generator.normal(0, 1, 150)}, 200, seed)
        low, high = metrics.percentile_interval(values["x"])[:, 0]
        inside += low <= truth <= high
    assert 88 <= inside <= 100


def test_bootstrap_redraws_the_same_known_samples_for_every_set():
    generator = np.random.default_rng(0)
    known, far = generator.normal(0, 1, 300), generator.normal(-9, 1, 50)
    values = metrics.bootstrap(known, {"a": far, "b": far - 100}, 50)
    # far outliers leave only the known samples' part of the spread, which is then the same
    assert np.array_equal(values["a"][:, 3], values["b"][:, 3])
    near = metrics.bootstrap(known, {"a": generator.normal(0, 1, 50), "b": generator.normal(0, 1, 50)}, 50)
    assert not np.array_equal(near["a"], near["b"])


def test_bootstrap_of_all_samples_in_place_is_the_value_itself():
    known, outlier = draw(1, "ties")
    n, m = metrics._counts(known, outlier)
    assert n.sum() == len(known) and m.sum() == len(outlier)
    assert dict(zip(metrics.NAMES, metrics._from_counts(n, m), strict=True)) == pytest.approx(reference(known, outlier))


def test_accuracy():
    assert metrics.accuracy_score([0, 1, 2, 2], [0, 1, 1, 2]) == 0.75
    for labels, predicted in [([], []), ([0], [0, 1]), ([[0]], [[0]])]:
        with pytest.raises(ValueError, match="expected two equal shapes"):
            metrics.accuracy_score(labels, predicted)
