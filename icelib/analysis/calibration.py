"""Calibration: does a stated probability come true? And Figure 5: how ICE's confidence develops.

*Detection*: the probability that an image is known, on an even mixture: known images and outliers have half of the
weight each, whatever their numbers. *Classification*: the probability that the predicted class is the true one, on
known images. Statements are arrays (N,) of float64: ``probability``, ``true`` (1 or 0) and ``weight``, which sums to 1.
"""

import inspect

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icelib import scores
from icelib.config import runs
from icelib.methods import METHODS
from icelib.util import paths, tensors

BINS = 15  # of equal width in 0…1
DEVIATIONS = 1.959964  # between which 95 % of a normal variable lie
# What a method says directly of the probability that an image is known, from its logits: name and function.
DIRECT = {
    "plain": ("MSP", scores.max_softmax),
    "oe": ("MSP", scores.max_softmax),
    "bce": ("max σ(f)", lambda logits: scores.max_logit(logits).sigmoid()),
    "ice": ("exp max h", lambda logits: scores.max_likelihood(logits).exp()),
    "ice_minus": ("exp max h", lambda logits: scores.max_likelihood(logits).exp()),
}


def even_mixture(known, outlier):
    """Put known samples (N,) and outliers (M,) together as a statement; ValueError if empty, or not probabilities."""
    known, outlier = np.asarray(known, float), np.asarray(outlier, float)
    for name, values in (("known", known), ("outlier", outlier)):
        if not values.size:
            raise ValueError(f"no {name} samples; expected at least one")
        if not ((values >= 0) & (values <= 1)).all():
            found = f"{values.min():g} to {values.max():g}"
            raise ValueError(f"{name} samples: expected probabilities in 0…1, found {found}")
    sizes = [len(known), len(outlier)]
    return np.concatenate([known, outlier]), np.repeat([1.0, 0.0], sizes), np.repeat([0.5 / n for n in sizes], sizes)


def reliability(probability, true, weight):
    """``stated`` and ``observed`` probability by bin, means that are NaN where it is empty, and its ``weight``."""
    number = _bins(probability)
    sums = {"stated": weight * probability, "observed": weight * true, "weight": weight}
    bins = pd.DataFrame({name: np.bincount(number, x, BINS) for name, x in sums.items()})
    return bins.assign(stated=bins.stated / bins.weight, observed=bins.observed / bins.weight)


def calibration_error(probability, true, weight):
    """Expected calibration error: Σ_b weight_b · |observed_b − stated_b| over bins b, in 0…1; lower is better.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015; Guo et al.,
    "On Calibration of Modern Neural Networks", 2017.
    """
    return float(np.abs(np.bincount(_bins(probability), weight * (true - probability), BINS)).sum())


def brier(probability, true, weight):
    """Brier score Σ weight · (true − probability)², in 0…1; lower is better. Source: Brier, 1950."""
    return float(brier_score_loss(true, probability, sample_weight=weight))


def debiased(probability, true, weight, strata=None):
    """Squared calibration error Σ_b R_b² / weight_b, debiased, and its 95 % interval: (value, low, high).

    R_b = weight_b · (observed_b − stated_b). Chance alone makes R_b² as large as the variance V_b of R_b, whatever is
    true, so that an estimate of V_b is taken off: a calibrated statement gives 0 on average, and less half of the time.
    The interval holds the errors t from which the value is no further than 1.96 deviations, by a variance of
    2 Σ_b (V_b / weight_b)² + 4 t Σ_b V_b. Samples with the same value in `strata` (N,) are taken as drawn among
    themselves: known ones and outliers of a mixture.

    Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019; strata and interval are ours.
    """
    bins, residual = _bins(probability), weight * (true - probability)
    groups = np.unique(np.zeros(len(true)) if strata is None else strata, return_inverse=True)[1]
    shape = groups.max() + 1, BINS
    sums, squares = (
        np.bincount(groups * BINS + bins, x, np.prod(shape)).reshape(shape) for x in (residual, residual**2)
    )
    size = np.bincount(groups)[:, None]
    if size.min() < 2:
        raise ValueError(f"strata of {size.ravel().tolist()} samples; expected at least two in each")
    variance = (size / (size - 1) * (squares - sums**2 / size)).sum(0)  # (BINS,)
    filled = np.bincount(bins, weight, BINS).clip(np.finfo(float).tiny)  # an empty bin adds 0
    value = float(((sums.sum(0) ** 2 - variance) / filled).sum())
    half = DEVIATIONS * float(np.sqrt(2 * ((variance / filled) ** 2).sum()))
    shift = DEVIATIONS**2 * 2 * float(variance.sum())
    root = np.sqrt(max(0, half**2 + 2 * shift * value + shift**2))
    return value, value - half if value < half else value + shift - root, max(value + half, value + shift + root)


def root_percent(squared):
    """Write a squared error, or an end of its interval, as the root in percent, 0 for what is below 0."""
    return 100 * np.sqrt(np.maximum(squared, 0))


def platt(known, outlier):
    """Fit P(known | s) = 1/(1 + exp(−(a s + b))) on scores s (N,) and (M,) of an even mixture; return it, a callable.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999; here without its correction of the targets, which
    matters for few samples.
    """
    values = np.concatenate([known, outlier])[:, None]
    true = np.repeat([1, 0], [len(known), len(outlier)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf, class_weight="balanced"))
    model.fit(values, true)
    return lambda scores: model.predict_proba(np.asarray(scores)[:, None])[:, 1]


def classification(logits, labels):
    """State the largest softmax probability of logits (N, K), which is true where its class is that of labels (N,)."""
    stated, predicted = logits.double().softmax(1).max(1)
    return stated.numpy(), (predicted == labels).double().numpy(), np.full(len(labels), 1 / len(labels))


def declared(seed=None):
    """List the runs that are shown, `runs.main_runs`, of one seed or the first.

    Of a recorded scale the first is the first seed with recorded logits.
    """
    found = [run for several in runs.main_runs().values() for run in several]
    # a score that reads features cannot be had from logits, of which a recorded scale has some
    found = [run for run in found if "features" not in inspect.signature(METHODS[run.method].score).parameters]
    found = [run for run in found if not paths.SHOWN or run.file("logits", "safetensors").exists()]
    there = {run.seed for run in found}
    seed = next((x for x in runs.load().seeds if x in there), None) if seed is None else seed
    return [run for run in found if run.seed == seed]


def load(seed=None):
    """Read the logits of the `declared` runs of a seed, by method, and what describes them (`evaluation.snapshots`).

    Raises ValueError if no run is declared, or a file is missing, damaged or made with other parameters.
    """
    found = {}
    for run in declared(seed):
        path = run.file("logits", "safetensors")
        logits, about = tensors.load(path)
        if about.get("configuration") != run.configuration and not paths.SHOWN:
            wrong = "was made with other parameters than params.yaml has"
            raise ValueError(f"{paths.relative(path)} {wrong}; run `dvc repro`")
        found[run.method] = logits, about
    if not found:
        block = "-".join(runs.main_block())
        raise ValueError(f"{paths.relative(paths.PARAMS)}: no run of {block}, so there is nothing to show")
    return found


def by_epoch(found):
    """ICE's confidence exp(max_i h_i), in 0…1: epoch to ``known`` (N,) and ``outlier`` (M,); empty without ICE."""
    if "ice" not in found:
        return {}
    logits, about = found["ice"]
    sets, confidence = {"known": "known", "outlier": about["near"]}, DIRECT["ice"][1]
    return {
        epoch: {kind: confidence(logits[f"{epoch}/{name}"]).numpy() for kind, name in sets.items()}
        for epoch in _epochs(logits)
    }


def epoch_table(confidences):
    """What the distributions of `by_epoch` are like: a DataFrame with a row for each epoch."""
    rows = {}
    for epoch, values in confidences.items():
        known, outlier = values["known"], values["outlier"]
        true = np.repeat([1, 0], [len(known), len(outlier)])
        rows[epoch] = {
            "known, median": np.median(known),
            "outlier, median": np.median(outlier),
            "known > ½ (%)": 100 * np.mean(known > 0.5),
            "outlier < ½ (%)": 100 * np.mean(outlier < 0.5),
            "AUROC (%)": 100 * roc_auc_score(true, np.concatenate([known, outlier])),
        }
    return pd.DataFrame(rows).T.rename_axis("epoch")


def probabilities(found, method):
    """Probabilities of being known that a method states for every test set, from its entry of `load`: by way and set.

    Ways are the direct one, by its name, where there is one, and ``Platt``, fitted to the method's own score of
    held-out known and auxiliary images.
    """
    logits, _ = found
    last, score = f"{_epochs(logits)[-1]}/", METHODS[method].score
    test = {name.removeprefix(last): x for name, x in logits.items() if name.startswith(last)}
    scaled = platt(*(score(logits[f"validation/{part}"]).numpy() for part in ("known", "outliers")))
    ways = {"Platt": {name: scaled(score(x).numpy()) for name, x in test.items()}}
    if method in DIRECT:
        name, direct = DIRECT[method]
        ways = {name: {part: direct(x).numpy() for part, x in test.items()}} | ways
    return ways


def detection_table(found):
    """Calibration of being known on even mixtures, for every method of `load` and way of stating it.

    For the near outliers ``ECE`` (%), ``RMS error`` (%, the root of `debiased`) with its 95 % interval ``low`` to
    ``high``, and ``Brier`` (0…1); those with ``, far``: means over the far sets, where the task has some.
    """
    (task,), rows = {run.task for run in declared()}, {}
    for method, (logits, about) in found.items():
        for way, stated in probabilities((logits, about), method).items():
            near = even_mixture(stated["known"], stated[about["near"]])
            row = {"ECE": 100 * calibration_error(*near)} | _rooted(*near, strata=near[1]) | {"Brier": brier(*near)}
            if far := [even_mixture(stated["known"], stated[name]) for name in runs.load().tasks[task].far]:
                row["ECE, far"] = 100 * np.mean([calibration_error(*mixture) for mixture in far])
                row["RMS error, far"] = root_percent(np.mean([debiased(*mixture, mixture[1])[0] for mixture in far]))
                row["Brier, far"] = np.mean([brier(*mixture) for mixture in far])
            rows[METHODS[method].title, way] = row
    return pd.DataFrame(rows).T.rename_axis(["method", "probability of being known"])


def classification_table(found):
    """Calibration, in percent, of the class predicted on known test images, by method as `detection_table` has it."""
    rows = {}
    for method, (logits, _) in found.items():
        stated = classification(logits[f"{_epochs(logits)[-1]}/known"], logits["labels"])
        values = {"accuracy": stated[1].mean(), "confidence": stated[0].mean(), "ECE": calibration_error(*stated)}
        rows[METHODS[method].title] = {name: 100 * x for name, x in values.items()} | _rooted(*stated)
    return pd.DataFrame(rows).T.rename_axis("method")


def _rooted(*stated, strata=None):
    return dict(zip(("RMS error", "low", "high"), map(root_percent, debiased(*stated, strata)), strict=True))


def _epochs(logits):
    return sorted(int(name.split("/")[0]) for name in logits if name.endswith("/known") and name[0].isdigit())


def _bins(probability):
    return np.minimum((np.asarray(probability) * BINS).astype(int), BINS - 1)
