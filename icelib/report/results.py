"""Result files: the metrics of a run, computed from its score file.

``python -m icelib.results RUN…`` (the parts of a run's name) writes ``results/metrics/SCALE/RUN.json``:
accuracy and, for every detector, each metric of `icelib.metrics` on every set of outliers and its
mean over the sets that params.yaml names, all as shares in 0…1 with a bootstrap interval. ``origin``
holds the SHA-256 of the checkpoint's and of the score file's tensors, and on what scores were computed.
"""

import numpy as np

from icelib import metrics, params, paths, tensors
from icelib.errors import readable_errors
from icelib.files import read_json, write_json


def measure(run):
    """Compute and write the metrics of one run.

    Parameters
    ----------
    run : params.Run

    Returns
    -------
    dict
        The content of the result file.

    Raises
    ------
    ValueError
        If the score file is missing or damaged, or is of another run or other parameters.
    """
    scores, about = tensors.load(paths.scores(run))
    if about["run"] != run.model_dump():
        raise ValueError(
            f"{paths.relative(paths.scores(run))} is of a network trained with other parameters than params.yaml has; run `dvc repro`"
        )
    scores = {name: tensor.numpy() for name, tensor in scores.items()}
    repeats = params.load().blocks[run.scale].bootstrap
    averaged = params.task(run.scale, run.known).mean_over
    right = (scores.pop("labels") == scores.pop("predicted")).astype(float)
    redrawn = np.random.default_rng(0).choice(right, (repeats, len(right))).mean(1)
    detectors = {}
    for name in dict.fromkeys(key.split("/")[0] for key in scores):
        known = scores[f"{name}/known"]
        outliers = {
            key.split("/")[1]: x for key, x in scores.items() if key.startswith(f"{name}/") and key != f"{name}/known"
        }
        detectors[name] = detection(known, outliers, averaged, repeats)
    low, high = metrics.percentile_interval(redrawn)
    result = {
        "run": run.name,
        "scale": run.scale,
        "digest": run.digest,
        "environment": about["environment"],
        "origin": {"checkpoint": about.get("checkpoint"), "scores": about["sha256"], "scoring": about.get("scoring")},
        "images": {key.split("/")[1]: len(x) for key, x in scores.items() if key.startswith(f"{name}/")},
        "accuracy": _entry(right.mean(), low, high),
        "detectors": detectors,
    }
    write_json(paths.metrics(run), result)
    return result


def detection(known, outliers, averaged, repeats):
    """Compute the metrics of one detector with their intervals, and their means over some sets.

    Parameters
    ----------
    known : ndarray, shape (N,)
    outliers : dict of str to ndarray, shapes (M,)
    averaged : list of str
        Sets of the row ``mean``; without any there is none.
    repeats : int
        Of the bootstrap.

    Returns
    -------
    dict
        For each set and each of `metrics.NAMES`: ``value``, ``low`` and ``high``, as shares.
    """
    values = {key: np.array(list(metrics.detection_metrics(known, x).values())) for key, x in outliers.items()}
    spread = metrics.bootstrap(known, outliers, repeats)
    if averaged:
        values["mean"] = np.mean([values[key] for key in averaged], axis=0)
        spread["mean"] = np.mean([spread[key] for key in averaged], axis=0)
    return {key: _table(values[key], metrics.percentile_interval(spread[key])) for key in values}


def load(run):
    """Read the result file of a run.

    Raises
    ------
    ValueError
        If it is missing, unreadable, or was made with other parameters than params.yaml has.
    """
    path = paths.metrics(run)
    result = read_json(path)
    if result.get("digest") != run.digest:
        raise ValueError(f"{paths.relative(path)} was made with other parameters than params.yaml has; run `dvc repro`")
    return result


def _table(values, interval):
    return {name: _entry(*x) for name, x in zip(metrics.NAMES, zip(values, *interval), strict=True)}


def _entry(value, low, high):
    # ten digits: more than any sample supports, and none that depends on the order of a sum
    return {"value": round(float(value), 10), "low": round(float(low), 10), "high": round(float(high), 10)}


if __name__ == "__main__":
    with readable_errors():
        measure(params.run_from_arguments("Compute the metrics of a run from its score file."))
