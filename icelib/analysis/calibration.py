"""Calibration: does a stated probability come true?

*Detection*: the probability that an image is known, on an even mixture: known images and outliers
have half of the weight each, whatever their numbers. *Classification*: the probability that the
predicted class is the true one, on known images.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BINS = 15  # of equal width in 0…1


def even_mixture(known, outlier):
    """Put known samples and outliers together with equal weight.

    Parameters
    ----------
    known, outlier : array_like, shapes (N,) and (M,)
        Stated probabilities of being known, in 0…1.

    Returns
    -------
    probability, true, weight : ndarray of float64, shapes (N + M,)
        `true` is 1 for known samples and 0 for outliers; the weights of each sum to ½.

    Raises
    ------
    ValueError
        If one of the two is empty, or a value is not a probability.
    """
    known, outlier = np.asarray(known, float), np.asarray(outlier, float)
    for name, values in (("known", known), ("outlier", outlier)):
        if not values.size:
            raise ValueError(f"no {name} samples; expected at least one")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"{name} samples: expected probabilities in 0…1, found {values.min():g} to {values.max():g}"
            )
    weight = np.repeat([0.5 / len(known), 0.5 / len(outlier)], [len(known), len(outlier)])
    return np.concatenate([known, outlier]), np.repeat([1.0, 0.0], [len(known), len(outlier)]), weight


def reliability(probability, true, weight):
    """Stated against observed probability, bin by bin: the reliability diagram.

    Parameters
    ----------
    probability, true, weight : ndarray, shapes (N,)
        As `even_mixture` returns them; the weights sum to 1.

    Returns
    -------
    DataFrame
        For each of `BINS` bins: ``stated`` and ``observed`` (weighted means, NaN where the bin is
        empty) and ``weight`` (of the bin).
    """
    number = _bins(probability)
    total = np.bincount(number, weight, BINS)
    with np.errstate(invalid="ignore"):
        columns = {
            "stated": np.bincount(number, weight * probability, BINS) / total,
            "observed": np.bincount(number, weight * true, BINS) / total,
        }
    return pd.DataFrame(columns | {"weight": total})


def calibration_error(probability, true, weight):
    """Expected calibration error: Σ_b weight_b · |observed_b − stated_b| over the bins b.

    Parameters
    ----------
    probability, true, weight : ndarray, shapes (N,)
        As for `reliability`.

    Returns
    -------
    float
        In 0…1; lower is better.

    Notes
    -----
    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    2015; Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    return float(np.abs(np.bincount(_bins(probability), weight * (true - probability), BINS)).sum())


def brier(probability, true, weight):
    """Brier score Σ weight · (true − probability)², in 0…1; lower is better, although its name ends so.

    Parameters are those of `calibration_error`. Source: Brier, 1950.
    """
    return float(brier_score_loss(true, probability, sample_weight=weight))


def interval(measure, probability, true, weight, repeats, strata=None, seed=0):
    """95 % bootstrap interval of a measure over samples.

    Parameters
    ----------
    measure : callable
        `calibration_error` or `brier`.
    probability, true, weight : ndarray, shapes (N,)
        As for `reliability`.
    repeats : int
    strata : ndarray, shape (N,), optional
        Samples with the same value are drawn among themselves: known ones and outliers of a mixture.
    seed : int

    Returns
    -------
    low, high : float
        A resample adds noise of its own to a calibration error, so that the interval of a small one
        may lie above it.
    """
    draw = np.random.default_rng(seed)
    strata = np.zeros(len(true)) if strata is None else strata
    groups = [np.flatnonzero(strata == value) for value in np.unique(strata)]
    values = []
    for _ in range(repeats):
        chosen = np.concatenate([draw.choice(group, len(group)) for group in groups])
        values.append(measure(probability[chosen], true[chosen], weight[chosen]))
    return tuple(np.quantile(values, [0.025, 0.975]).tolist())


def platt(known, outlier):
    """Fit Platt's scaling: P(known | s) = 1/(1 + exp(−(a s + b))) on scores s of an even mixture.

    Parameters
    ----------
    known, outlier : array_like, shapes (N,) and (M,)
        Detection scores of held-out samples.

    Returns
    -------
    callable
        Maps scores to as many probabilities of being known, in 0…1.

    Notes
    -----
    Platt, "Probabilistic Outputs for Support Vector Machines", 1999; here without its correction of
    the targets, which matters for few samples.
    """
    values = np.concatenate([known, outlier])[:, None]
    true = np.repeat([1, 0], [len(known), len(outlier)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf, class_weight="balanced"))
    model.fit(values, true)
    return lambda scores: model.predict_proba(np.asarray(scores)[:, None])[:, 1]


def classification(logits, labels):
    """Stated and true classification: largest softmax probability, and whether its class is right.

    Parameters
    ----------
    logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)

    Returns
    -------
    probability, true, weight : ndarray of float64, shapes (N,)
    """
    stated, predicted = logits.double().softmax(1).max(1)
    return stated.numpy(), (predicted == labels).double().numpy(), np.full(len(labels), 1 / len(labels))


def _bins(probability):
    return np.minimum((np.asarray(probability) * BINS).astype(int), BINS - 1)
