"""Intervals over images and over seeds, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from icelib import metrics
from icelib.evaluation import statistics


def draws():
    generator = np.random.default_rng(0)
    return generator.normal(1, 1, 300), {name: generator.normal(x, 1, 100) for name, x in (("a", 0), ("b", -1))}


def test_detection_has_the_metrics_of_each_set_and_their_means():
    known, outliers = draws()
    found = statistics.detection(known, outliers, {"near": ["a"], "far": ["a", "b"], "none": []}, 200)
    assert set(found) == {"a", "b", "near", "far"}, "a mean over no sets is left out"
    for name, x in outliers.items():
        for metric, value in metrics.detection_metrics(known, x).items():
            entry = found[name][metric]
            assert entry["value"] == pytest.approx(value, abs=1e-9) and entry["low"] <= value <= entry["high"]
    assert found["near"] == found["a"]
    assert found["far"]["auroc"]["value"] == pytest.approx(
        (found["a"]["auroc"]["value"] + found["b"]["auroc"]["value"]) / 2
    )


def test_the_interval_of_a_mean_is_taken_within_the_repeats():
    """Sets share their known images: of two equal sets the mean varies nearly as one alone."""
    known, outliers = draws()
    found = statistics.detection(known, outliers | {"c": outliers["a"]}, {"mean": ["a", "c"]}, 500)
    width = lambda name: found[name]["auroc"]["high"] - found[name]["auroc"]["low"]
    assert width("a") / np.sqrt(2) < width("mean") <= max(width("a"), width("c"))


def test_accuracy_with_its_interval():
    labels = np.arange(400) % 4
    found = statistics.accuracy(labels, np.where(np.arange(400) < 300, labels, 9), 500)
    assert found["value"] == 0.75
    spread = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (found["low"], found["high"]) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.01)


def test_paired_differences_are_those_of_a_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 5))
    expected = stats.ttest_rel(a, b).confidence_interval()
    found = statistics.paired(a, b)
    assert (found.low, found.high) == pytest.approx(expected) and found.n == 5
    assert found.mean == pytest.approx(np.mean(a - b))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pairs_have_no_interval(count):
    found = statistics.paired([3.0] * count, [1.0] * count)
    assert found.n == count and np.isnan([found.low, found.high]).all()
    assert found.mean == 2 if count else np.isnan(found.mean)


@pytest.mark.parametrize(
    ("a", "verdict", "of_less"),
    [
        ((3, 4, 5), "ahead", "behind"),
        ((-3, -4, -5), "behind", "ahead"),
        ((-1, 0, 2), "open", "open"),
        ((3, 4), "open", "open"),
        ((), "open", "open"),
    ],
)
def test_verdicts_need_three_pairs_and_an_interval_without_0(a, verdict, of_less):
    found = statistics.paired(a, np.zeros(len(a)))
    assert (found.verdict(), found.verdict(less_is_better=True)) == (verdict, of_less)


def test_a_smaller_difference_could_not_have_been_shown():
    a = np.random.default_rng(0).normal(size=5)
    found = statistics.paired(a - a.mean() + 1, np.zeros(5))
    moved = lambda mean: statistics.paired(a - a.mean() + mean, np.zeros(5)).verdict()
    assert moved(0.99 * found.shown) == "open" and moved(1.01 * found.shown) == "ahead"


def test_values_that_are_no_pairs():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\) are no pairs; expected two equal shapes"):
        statistics.paired([1, 2], [1, 2, 3])
