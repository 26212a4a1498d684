"""What ICE's confidence exp(max_i h_i), and the probabilities of the other methods, are worth."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from icelib import calibration, params, paths, scores, tensors
from icelib.causes import traced
from icelib.methods import METHODS

# What a method says directly of the probability that an image is known, from its logits: name and function.
DIRECT = {
    "plain": ("MSP", scores.max_softmax),
    "oe": ("MSP", scores.max_softmax),
    "bce": ("max σ(f)", lambda logits: scores.max_logit(logits).sigmoid()),
    "ice": ("exp max h", lambda logits: scores.max_likelihood(logits).exp()),
    "ice_minus": ("exp max h", lambda logits: scores.max_likelihood(logits).exp()),
}


def load(scale):
    """Read the logits of a scale's traced runs with the first seed.

    Parameters
    ----------
    scale : str

    Returns
    -------
    dict of str to (dict of str to Tensor, dict)
        By method: tensors, as `icelib.traces` lists them, and what describes them.

    Raises
    ------
    ValueError
        If no run is declared, or a file is missing, damaged or made with other parameters.
    """
    found = {}
    for run in runs(scale):
        logits, about = tensors.load(paths.logits(run))
        if about["run"] != run.model_dump():
            raise ValueError(
                f"{paths.relative(paths.logits(run))} was made with other parameters than params.yaml has; run `dvc repro`"
            )
        found[run.method] = logits, about
    if not found:
        raise ValueError(f"{paths.relative(paths.PARAMS)}: runs.few declares no run, so there is nothing to show")
    return found


def runs(scale):
    """List the traced runs with the first seed: probabilities of several networks are not pooled."""
    first = int(params.load().seeds[0])
    return [run for run in traced(scale) if run.seed == first]


def by_epoch(found):
    """ICE's confidence exp(max_i h_i) on known test images and the nearest outliers, epoch by epoch.

    Parameters
    ----------
    found : dict
        From `load`.

    Returns
    -------
    dict of int to dict of str to ndarray
        Epoch to ``known`` (N,) and ``outlier`` (M,), in 0…1; empty if ICE is not declared.
    """
    if "ice" not in found:
        return {}
    logits, about = found["ice"]
    confidence = DIRECT["ice"][1]
    return {
        epoch: {
            "known": confidence(logits[f"{epoch}/known"]).numpy(),
            "outlier": confidence(logits[f"{epoch}/{about['near']}"]).numpy(),
        }
        for epoch in _epochs(logits)
    }


def epoch_table(confidences):
    """Quantiles of both distributions and how well they separate, a row for each epoch.

    Parameters
    ----------
    confidences : dict
        From `by_epoch`.

    Returns
    -------
    DataFrame
        ``known, median`` and ``outlier, median`` in 0…1; ``known > 0.9 (%)``, ``outlier < 0.1 (%)`` and
        ``AUROC (%)``.
    """
    rows = {}
    for epoch, values in confidences.items():
        known, outlier = values["known"], values["outlier"]
        true = np.repeat([1, 0], [len(known), len(outlier)])
        rows[epoch] = {
            "known, median": np.median(known),
            "outlier, median": np.median(outlier),
            "known > 0.9 (%)": 100 * np.mean(known > 0.9),
            "outlier < 0.1 (%)": 100 * np.mean(outlier < 0.1),
            "AUROC (%)": 100 * roc_auc_score(true, np.concatenate([known, outlier])),
        }
    return pd.DataFrame(rows).T.rename_axis("epoch")


def probabilities(found, method):
    """Stated probabilities of being known, of every test set, in each way a method offers.

    Parameters
    ----------
    found : (dict, dict)
        One entry of `load`.
    method : str

    Returns
    -------
    dict of str to dict of str to ndarray
        Way (the direct one's name, where there is one, and ``Platt``) to sets to probabilities.
        Platt's scaling of the method's own score is fitted on held-out known and auxiliary images.
    """
    logits, _ = found
    last, score = f"{_epochs(logits)[-1]}/", METHODS[method].score
    test = {name.removeprefix(last): x for name, x in logits.items() if name.startswith(last)}
    scaled = calibration.platt(*(score(logits[f"validation/{part}"]).numpy() for part in ("known", "outliers")))
    found = {"Platt": {name: scaled(score(x).numpy()) for name, x in test.items()}}
    if method in DIRECT:
        name, direct = DIRECT[method]
        found = {name: {part: direct(x).numpy() for part, x in test.items()}} | found
    return found


def detection_table(found, scale):
    """Calibration of being known on even mixtures, for every method and way of stating it.

    Parameters
    ----------
    found : dict
        From `load`.
    scale : str

    Returns
    -------
    DataFrame
        Rows: method and way; columns: for the nearest outliers ``ECE``, its 95 % interval ``low`` to
        ``high``, and ``Brier``; means of both over the sets of Table 2, ``ECE, far`` and
        ``Brier, far``. Percent for ECE, 0…1 for Brier.
    """
    loaded, rows = params.load(), {}
    for method, (logits, about) in found.items():
        far = loaded.blocks[scale].known[about["run"]["known"]].mean_over
        for way, stated in probabilities((logits, about), method).items():
            near = calibration.even_mixture(stated["known"], stated[about["near"]])
            others = [calibration.even_mixture(stated["known"], stated[name]) for name in far]
            low, high = calibration.interval(
                calibration.calibration_error, *near, loaded.blocks[scale].bootstrap, strata=near[1]
            )
            rows[METHODS[method].title, way] = {
                "ECE": 100 * calibration.calibration_error(*near),
                "low": 100 * low,
                "high": 100 * high,
                "Brier": calibration.brier(*near),
                "ECE, far": 100 * np.mean([calibration.calibration_error(*mixture) for mixture in others]),
                "Brier, far": np.mean([calibration.brier(*mixture) for mixture in others]),
            }
    table = pd.DataFrame(rows).T
    table.index.names = ["method", "probability of being known"]
    return table


def classification_table(found, scale):
    """Calibration of the predicted class on known test images, for every method.

    Parameters
    ----------
    found : dict
        From `load`.
    scale : str

    Returns
    -------
    DataFrame
        ``accuracy``, mean ``confidence``, ``ECE`` and its 95 % interval ``low`` to ``high``, in percent.
    """
    repeats, rows = params.load().blocks[scale].bootstrap, {}
    for method, (logits, _) in found.items():
        stated = calibration.classification(logits[f"{_epochs(logits)[-1]}/known"], logits["labels"])
        low, high = calibration.interval(calibration.calibration_error, *stated, repeats)
        rows[METHODS[method].title] = {
            "accuracy": 100 * stated[1].mean(),
            "confidence": 100 * stated[0].mean(),
            "ECE": 100 * calibration.calibration_error(*stated),
            "low": 100 * low,
            "high": 100 * high,
        }
    return pd.DataFrame(rows).T.rename_axis("method")


def _epochs(logits):
    return sorted(int(name.split("/")[0]) for name in logits if name.endswith("/known") and name[0].isdigit())
