"""The paper's three causes of incompatibility, arranged from snapshots of networks: by epoch, and as tables.

A snapshot file (`icelib.evaluation.snapshots`) is one run: ``near``, its nearest set of outliers; ``epochs``, for each
epoch that was kept from 0, the start, its ``overlap``, ``centrality`` and ``contradiction``; and ``likelihood``, of the
last one alone. Here ``snapshots`` are those of one method, one for each seed, and ``found`` holds them by method.
"""

import numpy as np
import pandas as pd

from icelib.methods import METHODS

# measures of `icelib.analysis.gradients`, by their unit
SHARES = ("raised", "lowered", "samples", "outlier_raised", "outlier_samples")
COSINES = ("features", "shift", "backbone")
RATIO = "ratio"  # norm of the auxiliary gradient over that of cross-entropy
WRONG = ("score_wrong", "likelihood_wrong", "both_wrong")  # which of logit and likelihood orders a pair wrongly
MEAN = "mean over far sets"


def contradiction(snapshots, name, part="mean"):
    """Return one of `SHARES` (0…1), `COSINES` or `RATIO` by seed and epoch, (seeds, E), NaN where it is not defined.

    `part` is "mean" over the batches of an epoch, or "std", their standard deviation.
    """
    measured = lambda epoch: (epoch["contradiction"] or {}).get(name) or {}  # None of a method without outliers
    return np.array([[measured(epoch).get(part, np.nan) for epoch in x["epochs"]] for x in snapshots])


def shift(snapshots, measure, kind):
    """Return "overlap" or "centrality" of a kind of outliers (a set, or "auxiliary") by seed and epoch, (seeds, E)."""
    return np.array([[epoch[measure][kind] for epoch in snapshot["epochs"]] for snapshot in snapshots])


def likelihood(snapshots, kinds):
    """Return the shares of pairs that are ordered wrongly, mean over sets of outliers, in the order of `WRONG`.

    (seeds, 3); a pair is a known test image and an outlier: by the logit alone, the fitted likelihood alone, both.
    """
    shares = [[[snapshot["likelihood"][kind][way] for way in WRONG] for kind in kinds] for snapshot in snapshots]
    return np.array(shares).mean(1)


def band(values, deviations=None):
    """Middle and half width of a line: mean and standard deviation over seeds, (E,) each, of values (seeds, E).

    With one seed the width is `deviations` (1, E), those over batches, or 0.
    """
    if len(values) > 1:
        return values.mean(0), values.std(0, ddof=1)
    return values[0], np.zeros_like(values[0]) if deviations is None else deviations[0]


def epochs(snapshots):
    """Numbers of the finished epochs that were kept."""
    return [epoch["epoch"] for epoch in snapshots[0]["epochs"]]


def over_training(values):
    """Mean over the epochs after the start in which a measure is defined, (seeds,), of values (seeds, E); else NaN."""
    later = values[:, 1:]
    return np.array([row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else np.nan for row in later])


def contradiction_table(found):
    """Contradiction of the methods with outliers: mean over the epochs after the start, and after the last.

    Rows are methods, columns (measure, "mean" or "last"); mean over seeds, shares in 0…1.
    """
    lines = {}
    for method, snapshots in found.items():
        if METHODS[method].outliers:
            for name in (*SHARES, *COSINES, RATIO):
                values = contradiction(snapshots, name)
                line = lines.setdefault(METHODS[method].title, {})
                line |= {(name, "mean"): over_training(values).mean(), (name, "last"): values[:, -1].mean()}
    return pd.DataFrame(lines).T


def likelihood_table(found, far):
    """Shares in percent of (known, outlier) pairs ordered wrongly, as `likelihood`, mean over seeds.

    Rows are (method, set of outliers) and, as `MEAN`, the mean over the sets `far`.
    """
    lines = {}
    for method, snapshots in found.items():
        groups = {kind: [kind] for kind in snapshots[0]["likelihood"]} | ({MEAN: far} if far else {})
        for name, kinds in groups.items():
            shares = 100 * likelihood(snapshots, kinds).mean(0)
            lines[METHODS[method].title, name] = dict(zip(WRONG, shares, strict=True))
    return pd.DataFrame(lines).T.rename_axis(["method", "outliers"])


def shift_table(found):
    """Overlap and centrality at the start, at their largest and after the last epoch, mean over seeds.

    Rows are methods, columns (measure, kind of outliers, when).
    """
    lines = {}
    for method, snapshots in found.items():
        line = lines.setdefault(METHODS[method].title, {})
        for measure in ("overlap", "centrality"):
            for kind in snapshots[0]["epochs"][0][measure]:
                values = shift(snapshots, measure, kind).mean(0)
                line |= {(measure, kind, "start"): values[0], (measure, kind, "largest"): values.max()}
                line |= {(measure, kind, "last"): values[-1]}
    return pd.DataFrame(lines).T
