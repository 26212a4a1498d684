"""The paper's tables beside ours, as long data made from result files; `rendering` prints them.

Values are in percent. Conventions: *outlier-positive* and *known-positive*, see `icelib.metrics`.
"""

import numpy as np
import pandas as pd

from icelib import params, paths, results

# Row of Table 2: the method that is trained, and the detector that scores its network.
ROWS = {
    "MSP": ("plain", "msp"),
    "ODIN": ("plain", "odin"),
    "Mahalanobis": ("plain", "mahalanobis"),
    "OE": ("oe", "oe"),
    "Energy": ("energy", "energy"),
    "ICE": ("ice", "ice"),
}
CONVENTIONS = ("outlier_positive", "known_positive")
METRICS = {"aupr": "AUPR ↑", "auroc": "AUROC ↑", "fpr95": "FPR95 ↓", "accuracy": "Accuracy ↑"}


def paper_table2():
    """Return the paper's Table 2: one row for each row there, values in percent.

    Its column ``convention`` is not the paper's: it is the one that the values fit.
    """
    return pd.read_csv(paths.PAPER / "table2.csv")


def table2(scale):
    """Put the paper's Table 2 beside our runs at one scale.

    Parameters
    ----------
    scale : str
        Block of params.yaml.

    Returns
    -------
    DataFrame
        One row for each row of the paper's table, metric and convention, with columns ``paper``,
        ``ours`` (mean over seeds; NaN if not run), ``low`` and ``high`` (95 % bootstrap interval,
        where there is one seed), ``std`` (over seeds, where there are more), ``difference``
        (ours − paper, where the paper's value fits the convention), ``seeds`` and ``runs``.
    """
    tasks = params.load().blocks[scale].known
    lines = []
    for paper in paper_table2().itertuples():
        method, detector = ROWS[paper.row]
        protocol = "scratch" if paper.protocol == "plain" else paper.protocol
        runs = [
            run
            for run in params.declared(scale)
            if (run.method, run.protocol, run.network) == (method, protocol, "wideresnet")
            and tasks[run.known].plays == paper.known
        ]
        found = [results.load(run) for run in runs]
        for convention in CONVENTIONS:
            for metric in METRICS:
                entries = [_entry(result, detector, metric, convention) for result in found]
                fits = metric in ("auroc", "accuracy") or convention == paper.convention
                lines.append(
                    {
                        "scale": scale,
                        "paper_known": paper.known,
                        "known": ", ".join(dict.fromkeys(tasks[run.known].title for run in runs)),
                        "row": paper.row,
                        "protocol": paper.protocol,
                        "metric": metric,
                        "convention": convention,
                        "paper": getattr(paper, metric),
                        "paper_fits_convention": fits,
                        **_ours(entries, getattr(paper, metric) if fits else np.nan),
                        "runs": " ".join(run.name for run in runs),
                    }
                )
    return pd.DataFrame(lines)


def _entry(result, detector, metric, convention):
    if metric == "accuracy":
        return result["accuracy"]
    mean = result["detectors"][detector]["mean"]
    return mean[metric if metric == "auroc" else f"{metric}_{convention}"]


def _ours(entries, paper):
    values = [100 * entry["value"] for entry in entries]
    one, many = len(values) == 1, len(values) > 1
    ours = np.mean(values) if values else np.nan
    numbers = {
        "ours": ours,
        "low": 100 * entries[0]["low"] if one else np.nan,
        "high": 100 * entries[0]["high"] if one else np.nan,
        "std": np.std(values, ddof=1) if many else np.nan,
        "difference": ours - paper,
    }
    return {name: round(float(x), 4) for name, x in numbers.items()} | {"seeds": len(values)}


def detection_table(scale, metric):
    """Return one metric on every set of outliers for each declared run and detector, in percent.

    Parameters
    ----------
    scale : str
    metric : str
        One of `metrics.NAMES`.

    Returns
    -------
    DataFrame
        A row for each run and detector, a column for each outlier set and their ``mean``.
    """
    lines = {}
    for run in params.declared(scale):
        for detector, sets in results.load(run)["detectors"].items():
            lines[run.name, detector] = {key: 100 * entry[metric]["value"] for key, entry in sets.items()}
    table = pd.DataFrame(lines).T
    table.index.names = ["run", "detector"]
    return table
