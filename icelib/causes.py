"""The paper's three causes of incompatibility, as measured by `icelib.traces`: what was found, as tables and by epoch."""

import numpy as np
import pandas as pd

from icelib import params, paths
from icelib.files import read_json
from icelib.methods import METHODS

# measures of `icelib.contradiction`, by their unit
SHARES = ("raised", "lowered", "samples", "outlier_raised", "outlier_samples")
COSINES = ("features", "shift", "backbone")
_UNDEFINED = {"mean": np.nan, "std": np.nan}


def load(scale):
    """Read the traces of a scale.

    Parameters
    ----------
    scale : str

    Returns
    -------
    dict of str to list of dict
        By method, in the order of `METHODS`, those of all seeds.

    Raises
    ------
    ValueError
        If no run is declared, or a file is missing, damaged or made with other parameters.
    """
    runs, found = traced(scale), {}
    if not runs:
        raise ValueError(f"{paths.relative(paths.PARAMS)}: runs.few declares no run, so there is nothing to show")
    for run in runs:
        trace = read_json(paths.trace(run))
        if trace.get("digest") != run.digest:
            raise ValueError(
                f"{paths.relative(paths.trace(run))} was made with other parameters than params.yaml has; run `dvc repro`"
            )
        found.setdefault(run.method, []).append(trace)
    return {method: found[method] for method in METHODS if method in found}


def traced(scale):
    """List the runs (params.Run) to show: of ``runs.few`` in params.yaml, on its first known set and network."""
    group = params.load().runs.few
    return [
        run
        for run in params.declared(scale)
        if run.protocol == "scratch"
        and [run.known] == group.known[:1]
        and [run.network] == group.networks[:1]
        and run.method in group.methods
    ]


def contradiction_table(found):
    """Contradiction after the last epoch, and its mean over all epochs that were kept but the start.

    Parameters
    ----------
    found : dict
        From `load`.

    Returns
    -------
    DataFrame
        A row for each method with outliers; shares in 0…1, cosines and ``ratio`` as they are. NaN
        where a measure is not defined.
    """
    lines = {}
    for method, traces in found.items():
        if METHODS[method].outliers:
            by_epoch = {name: contradiction(traces, name)[0] for name in (*SHARES, *COSINES, "ratio")}
            lines[METHODS[method].title] = {
                (name, when): value
                for name, values in by_epoch.items()
                for when, value in (("mean", _mean(values[1:])), ("last", values[-1]))
            }
    return pd.DataFrame(lines).T


def likelihood_table(found):
    """Shares of (known, outlier) pairs, in percent, by which of logit and likelihood orders them wrongly.

    Parameters
    ----------
    found : dict
        From `load`.

    Returns
    -------
    DataFrame
        Rows: method and set of outliers (``mean``: over all sets but the nearest one, which stands
        alone). Columns: ``score_wrong``, ``likelihood_wrong``, ``both_wrong``; means over seeds.
    """
    lines = {}
    for method, traces in found.items():
        tables = [pd.DataFrame(trace["likelihood"]).T for trace in traces]
        table = 100 * sum(tables) / len(tables)
        near = traces[0]["near"]
        far = table.drop(near) if len(table) > 1 else table
        table = pd.concat([table, far.mean().to_frame("mean").T])
        lines |= {(METHODS[method].title, name): row for name, row in table.iterrows()}
    found = pd.DataFrame(lines).T
    found.index.names = ["method", "outliers"]
    return found


def shift_table(found):
    """Overlap and centrality at the start, at their largest and after the last epoch.

    Parameters
    ----------
    found : dict
        From `load`.

    Returns
    -------
    DataFrame
        Rows: method; columns: measure, set of outliers, when.
    """
    lines = {}
    for method, traces in found.items():
        lines[METHODS[method].title] = {
            (measure, name, when): value
            for measure in ("overlap", "centrality")
            for name in traces[0]["epochs"][0][measure]
            for values in [shift(traces, measure, name)[0]]
            for when, value in (("start", values[0]), ("largest", values.max()), ("last", values[-1]))
        }
    return pd.DataFrame(lines).T


def contradiction(traces, name):
    """Mean and standard deviation by epoch: over seeds, or with one seed over batches; NaN if not defined.

    Parameters
    ----------
    traces : list of dict
        Of one method, see `load`.
    name : str
        One of `SHARES` (0…1) and `COSINES`, or ``ratio``.

    Returns
    -------
    mean, deviation : ndarray, shapes (E,)
    """
    cells = [[epoch["contradiction"][name] or _UNDEFINED for epoch in trace["epochs"]] for trace in traces]
    means = np.array([[cell["mean"] for cell in row] for row in cells])  # (seeds, E)
    return means.mean(0), means.std(0, ddof=1) if len(means) > 1 else np.array([cell["std"] for cell in cells[0]])


def _mean(values):
    """Mean of the values that are defined; NaN if none is."""
    values = values[~np.isnan(values)]
    return values.mean() if len(values) else np.nan


def shift(traces, measure, name):
    """Mean and standard deviation over seeds by epoch, the latter 0 with one seed.

    Parameters
    ----------
    traces : list of dict
        Of one method, see `load`.
    measure : {"overlap", "centrality"}
    name : str
        Set of outliers.

    Returns
    -------
    mean, deviation : ndarray, shapes (E,)
    """
    values = np.array([[epoch[measure][name] for epoch in trace["epochs"]] for trace in traces])
    return values.mean(0), values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
