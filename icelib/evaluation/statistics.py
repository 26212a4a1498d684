"""Intervals: over test images by bootstrap, and over seeds by paired differences."""

from typing import NamedTuple

import numpy as np

from icelib import metrics

SEEDS = 3  # pairs that a verdict needs: fewer say too little of what another seed would give
AHEAD, BEHIND, OPEN = "ahead", "behind", "open"


def accuracy(labels, predicted, repeats):
    """Accuracy of labels (N,) and predicted classes (N,): ``value``, ``low`` and ``high``, as shares."""
    right = (np.asarray(labels) == np.asarray(predicted)).astype(float)
    redrawn = np.random.default_rng(0).choice(right, (repeats, len(right))).mean(1)
    return _entry(right.mean(), *metrics.percentile_interval(redrawn))


def detection(known, outliers, means, repeats):
    """Compute the metrics of one detector with 95 % bootstrap intervals, and their means over some sets.

    `known` are scores (N,), higher for known samples; `outliers` has scores (M,) by set, and `means` the sets of each
    mean, one over no sets being left out. Returns ``value``, ``low`` and ``high``, as shares, for each set and mean and
    each of `metrics.NAMES`.
    """
    values = {name: np.array(list(metrics.detection_metrics(known, x).values())) for name, x in outliers.items()}
    spread = metrics.bootstrap(known, outliers, repeats)
    for mean, names in means.items():
        if names:  # within each repeat, since all sets share the known images
            values[mean] = np.mean([values[name] for name in names], axis=0)
            spread[mean] = np.mean([spread[name] for name in names], axis=0)
    found = {name: (values[name], *metrics.percentile_interval(spread[name])) for name in values}
    return {name: {key: _entry(*x) for key, x in zip(metrics.NAMES, zip(*found[name]))} for name in found}


def _entry(value, low, high):
    # ten digits: more than any sample supports, and none that depends on the order of a sum
    return {"value": round(float(value), 10), "low": round(float(low), 10), "high": round(float(high), 10)}


class Paired(NamedTuple):
    """Mean of n paired differences and its 95 % interval; NaN where there are too few."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def shown(self):
        """Half the interval: a mean difference must exceed it to be told from 0, so no smaller one could be shown."""
        return (self.high - self.low) / 2

    def verdict(self, less_is_better=False):
        """Whether a is ``ahead`` of b or ``behind``; ``open`` where 0 is in the interval, or n < `SEEDS`."""
        low, high = (-self.high, -self.low) if less_is_better else (self.low, self.high)
        return OPEN if self.n < SEEDS else AHEAD if low > 0 else BEHIND if high < 0 else OPEN


def paired(a, b):
    """Mean of a − b (n,) over seeds in the same order, with Student's t interval; ValueError if the shapes differ."""
    from scipy.stats import t  # slow to import

    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"values of shapes {a.shape} and {b.shape} are no pairs; expected two equal shapes (n,)")
    difference, count = a - b, len(a)
    mean = float(difference.mean()) if count else float("nan")
    half = float(t.ppf(0.975, count - 1) * difference.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Paired(mean, mean - half, mean + half, count)
