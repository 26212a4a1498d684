"""Cells of the tables: a value of the paper beside ours, in percent, from result files.

Conventions: *outlier-positive* and *known-positive*, see `icelib.metrics`.
"""

from collections import defaultdict

import numpy as np
import pandas as pd

from icelib import params, paths, results

# which class is positive, and the metrics with their headings; the last three are of detection
CONVENTIONS = ("outlier_positive", "known_positive")
METRICS = {"aupr": "AUPR ↑", "auroc": "AUROC ↑", "fpr95": "FPR95 ↓", "accuracy": "Accuracy ↑"}
DETECTION = ("aupr", "auroc", "fpr95")


def paper(name):
    """Return a table of the paper, values in percent, or where it contradicts itself.

    Parameters
    ----------
    name : {"table1", "table2", "table3", "contradictions"}
        The column ``convention`` of a table is not the paper's: it is the one that the values fit.
        Of Table 3, whose layout is ambiguous, rows are assigned as the text describes them.

    Returns
    -------
    DataFrame
    """
    return pd.read_csv(paths.PAPER / f"{name}.csv")


def by_block(scale):
    """Group the declared runs (params.Run) of a scale by the paper's known set, network, protocol and method."""
    tasks, groups = params.pick(params.load().blocks, scale, "scale").known, defaultdict(list)
    for run in params.declared(scale):
        groups[tasks[run.known].plays, run.network, run.protocol, run.method].append(run)
    return groups


def task_playing(scale, paper_known):
    """Return the task (schema.Task) of a scale that plays a known set of the paper, ``CIFAR10`` say, or None."""
    return next((task for task in params.load().blocks[scale].known.values() if task.plays == paper_known), None)


def results_by_block(scale):
    """Read the result files of `by_block`, in its order; of a block that is not declared there are none."""
    groups = by_block(scale)
    return defaultdict(list, {key: [results.load(run) for run in runs] for key, runs in groups.items()})


def lines(about, found, detector, paper, outliers="mean", metrics=METRICS):
    """Yield the paper's value beside ours for each convention and metric.

    Parameters
    ----------
    about : dict
        What the cells belong to: the first columns of each line.
    found : list of dict
        Result files of the same training with several seeds, or of one, or none.
    detector : str
    paper : dict
        The paper's value of each metric, and the ``convention`` that it fits.
    outliers : str
        Set of outliers, or ``mean``.
    metrics : iterable of str

    Yields
    ------
    dict
        `about`, the metric and convention, and: ``paper`` and ``ours`` (mean over seeds; NaN if not
        run), ``low`` and ``high`` (95 % bootstrap interval, where there is one seed), ``std`` (over
        seeds, where there are more), ``difference`` (ours − paper, where the paper's value fits the
        convention), ``seeds`` and ``runs``.
    """
    for convention in CONVENTIONS:
        for metric in metrics:
            fits = metric in ("auroc", "accuracy") or convention == paper["convention"]
            yield {
                **about,
                "metric": metric,
                "convention": convention,
                "paper": paper[metric],
                "paper_fits_convention": fits,
                **ours(
                    [entry(result, detector, outliers, metric, convention) for result in found],
                    paper[metric] if fits else np.nan,
                ),
                "runs": " ".join(result["run"] for result in found),
            }


def entry(result, detector, outliers, metric, convention):
    """Pick what a result file says of a cell.

    Parameters
    ----------
    result : dict
        From `results.load`.
    detector, outliers, metric, convention : str
        As in `lines`.

    Returns
    -------
    dict of str to float
        ``value``, ``low`` and ``high``, as shares.

    Raises
    ------
    KeyError
        If the file has no such detector or set.
    """
    if metric == "accuracy":
        return result["accuracy"]
    return result["detectors"][detector][outliers][metric if metric == "auroc" else f"{metric}_{convention}"]


def ours(entries, paper=np.nan):
    """Sum up the entries of several seeds, or of one, or none, in percent.

    Parameters
    ----------
    entries : list of dict
        From `entry`, as shares.
    paper : float
        The paper's value, in percent; NaN where there is none to compare.

    Returns
    -------
    dict of str to float
        ``ours``, ``low``, ``high``, ``std``, ``difference`` and ``seeds``, see `lines`.
    """
    values = [100 * entry["value"] for entry in entries]
    one, many = len(values) == 1, len(values) > 1
    mean = np.mean(values) if values else np.nan
    numbers = {
        "ours": mean,
        "low": 100 * entries[0]["low"] if one else np.nan,
        "high": 100 * entries[0]["high"] if one else np.nan,
        "std": np.std(values, ddof=1) if many else np.nan,
        "difference": mean - paper,
    }
    return {name: round(float(x), 4) for name, x in numbers.items()} | {"seeds": len(values)}
