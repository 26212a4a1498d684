"""Detection metrics of one pair of score samples, in both conventions, exact with ties.

Scores are higher for known samples. Which class is called positive decides two of the metrics,
so their names say it:

==============================  ====================================================================
``auroc``                       probability that a known sample scores above an outlier (ties: half);
                                the same in both conventions
``aupr_outlier_positive``       average precision at finding outliers
``aupr_known_positive``         average precision at finding known samples
``fpr95_outlier_positive``      share of known samples rejected when ≥ 95 % of outliers are rejected
``fpr95_known_positive``        share of outliers accepted when ≥ 95 % of known samples are accepted
==============================  ====================================================================

The thresholds of FPR95 are the first at which the recall is at least 0.95. AUPR is average
precision as in scikit-learn (pytorch-ood takes the trapezoidal area, which is a little larger or
smaller), and it depends on the numbers of samples: state them with it.
"""

import numpy as np

NAMES = ("auroc", "aupr_outlier_positive", "aupr_known_positive", "fpr95_outlier_positive", "fpr95_known_positive")
RECALL = 0.95


def detection_metrics(known, outlier):
    """Compute all metrics of this module from one sort.

    Parameters
    ----------
    known : array_like, shape (N,)
        Scores of known samples.
    outlier : array_like, shape (M,)
        Scores of outliers.

    Returns
    -------
    dict of str to float
        One value in 0…1 for each of `NAMES`.

    Raises
    ------
    ValueError
        If a sample is empty, not one-dimensional, or has values that are not finite.

    Examples
    --------
    >>> values = detection_metrics(known=[4, 3, 2], outlier=[2, 1])
    >>> round(values["auroc"], 3), values["fpr95_known_positive"]
    (0.917, 0.5)
    """
    return dict(zip(NAMES, map(float, _from_counts(*_counts(known, outlier))), strict=True))


def bootstrap(known, outliers, repeats=1000, seed=0):
    """Values of all metrics on redrawn samples, whose quantiles are percentile intervals.

    Each repeat redraws the known samples once, for all sets of outliers, and each set of outliers
    on its own: a mean over sets taken within the repeats has the right spread.

    Parameters
    ----------
    known : array_like, shape (N,)
        Scores of known samples.
    outliers : dict of str to array_like, shapes (M,)
        Scores of each set of outliers.
    repeats : int
    seed : int

    Returns
    -------
    dict of str to ndarray, shape (repeats, len(NAMES))
        For each set of outliers.

    Raises
    ------
    ValueError
        As `detection_metrics`.
    """
    values = {}
    for name, outlier in outliers.items():
        n, m = _counts(known, outlier)
        # The place, in order of score, of each sample: redrawing needs no second sort. The known
        # samples have the same order in every set, so equal draws are the same samples.
        known_place, outlier_place = np.repeat(np.arange(len(n)), n), np.repeat(np.arange(len(m)), m)
        draw_known = np.random.default_rng([seed, 0])
        draw_outlier = np.random.default_rng([seed, 1, *name.encode()])  # its own, whatever other sets there are
        values[name] = np.array(
            [
                _from_counts(_redraw(known_place, len(n), draw_known), _redraw(outlier_place, len(m), draw_outlier))
                for _ in range(repeats)
            ]
        )
    return values


def percentile_interval(values, level=0.95):
    """Lower and upper end of the percentile interval of bootstrap values: (repeats, …) → (2, …)."""
    tail = (1 - level) / 2
    return np.quantile(values, [tail, 1 - tail], axis=0)


def accuracy_score(labels, predicted):
    """Share of samples whose predicted class is the true one.

    Parameters
    ----------
    labels, predicted : array_like of int, shape (N,)

    Returns
    -------
    float
        In 0…1.

    Raises
    ------
    ValueError
        If the shapes differ or there is no sample.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"labels {labels.shape} and predicted {predicted.shape}: expected two equal shapes (N,), N ≥ 1"
        )
    return float(np.mean(labels == predicted))


def _counts(known, outlier):
    """Numbers of known samples and of outliers at each distinct score, from the highest down."""
    known, outlier = _checked(known, "known"), _checked(outlier, "outlier")
    ordered = np.sort(np.concatenate([known, outlier]))  # values alone sort several times as fast as their order
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # of each group of ties
    both = np.diff(np.append(first, len(ordered)))
    fewer = min(known, outlier, key=len)  # only these are looked up
    counts = np.bincount(np.searchsorted(ordered[first], fewer), minlength=len(first))
    n, m = (counts, both - counts) if fewer is known else (both - counts, counts)
    n, m = np.ascontiguousarray(n[::-1]), np.ascontiguousarray(m[::-1])
    return n, m


def _checked(scores, name):
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"{name} scores have shape {scores.shape}, expected (N,) with N ≥ 1")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.sum(~np.isfinite(scores))} of {scores.size} {name} scores are not finite")
    return scores


def _redraw(place, groups, draw):
    return np.bincount(place[draw.integers(0, len(place), len(place))], minlength=groups)


def _from_counts(n, m):
    """All metrics from the counts of known samples (n) and outliers (m) at falling scores."""
    above_n, above_m = n.cumsum(), m.cumsum()  # with this score or a higher one
    total_n, total_m = above_n[-1], above_m[-1]
    below_n, below_m = total_n - above_n + n, total_m - above_m + m  # with this score or a lower one
    # each outlier counts the known samples above it, and half of those that tie
    return (
        m @ (above_n - n / 2) / total_n / total_m,
        m @ _precision(below_m, below_n) / total_m,
        n @ _precision(above_n, above_m) / total_n,
        below_n[::-1][np.searchsorted(below_m[::-1], _enough(total_m))] / total_n,
        above_m[np.searchsorted(above_n, _enough(total_n))] / total_m,
    )


def _precision(true, false):
    return true / np.maximum(true + false, 1)  # thresholds outside a redrawn sample hold nothing


def _enough(total):
    """Smallest number of `total` positives that is a recall of at least 0.95."""
    count = int(RECALL * total)
    return count if count / total >= RECALL else count + 1
