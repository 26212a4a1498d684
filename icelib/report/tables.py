"""The paper's tables beside ours, as long data made from result files; `rendering` prints them.

Values are in percent; the columns that all tables share are those of `cells.lines`.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from icelib import params, results
from icelib.cells import DETECTION, METRICS, lines, paper, results_by_block, task_playing
from icelib.methods import METHODS

# Row of Table 2: the method that is trained, and the detector that scores its network.
ROWS = {
    "MSP": ("plain", "msp"),
    "ODIN": ("plain", "odin"),
    "Mahalanobis": ("plain", "mahalanobis"),
    "OE": ("oe", "oe"),
    "Energy": ("energy", "energy"),
    "ICE": ("ice", "ice"),
}
TRIPLE = {"OE": "oe", "Energy": "energy", "ICE": "ice"}  # what Table 1 compares
# Row and model of Table 3: the method, whose own score is the detector.
ABLATION = {
    ("Energy", "WRN"): "energy",
    ("Energy", "WRN(G)"): "energy_gaussian",
    ("BCE", "WRN"): "bce",
    ("ICE⁻", "WRN(G)"): "ice_minus",
    ("ICE", "WRN(G)"): "ice",
}
NOTHING = dict.fromkeys(METRICS, np.nan) | {"convention": None}  # what the paper says of a method that it does not have
# Detectors of score and result files on the plain network and ICE's, with their titles.
POSTHOC = {
    "msp": "MSP",
    "odin": "ODIN",
    "mahalanobis": "Mahalanobis",
    "energy": "energy",
    "max_logit": "max logit",
    "vim": "ViM",
    "knn": "kNN",
    "react": "ReAct",
    "gen": "GEN",
    "ash": "ASH",
    "kl_matching": "KL matching",
    "ice": "ICE's own score",
}


def table1(scale):
    """Put the paper's Table 1, and the means over its far sets, beside our runs at one scale.

    Parameters
    ----------
    scale : str
        Block of params.yaml.

    Returns
    -------
    DataFrame
        One row for each block (``paper_known``, ``network``, ``protocol``), set of outliers, method,
        metric and convention. ``paper_outliers`` is the paper's set and ``outliers`` ours that stands
        beside it; either is empty where there is none. In the row ``mean``, the paper's value is
        computed from its cells without CIFAR100, and ours is over the task's ``mean_over``.
        ``best_paper`` and ``best_ours`` mark the best of the paper's three methods, all in a tie, and
        none where one of them is missing. Methods that params.yaml adds follow the three.
    """
    found, rows = results_by_block(scale), []
    for (known, network, protocol), block in paper("table1").groupby(["known", "network", "protocol"], sort=False):
        methods = TRIPLE | {METHODS[method].title: method for method in own_methods()}
        trained = {row: found[known, network, protocol, method] for row, method in methods.items()}
        trained = {row: runs for row, runs in trained.items() if runs or row in TRIPLE}
        images = next((result["images"] for several in trained.values() for result in several), {})
        task = task_playing(scale, known) if images else None
        values = block.set_index("outliers").select_dtypes("number")
        values.loc["mean"] = values.drop(index="CIFAR100", errors="ignore").mean().round(4)
        values.loc[""] = np.nan
        for theirs, ours in _pairs(block.outliers, task):
            for row in trained:
                about = {
                    "scale": scale,
                    "paper_known": known,
                    "known": task.title if task else "",
                    "network": network,
                    "protocol": protocol,
                    "paper_outliers": theirs,
                    "outliers": ours,
                    "method": row,
                    "known_images": images.get("known"),
                    "outlier_images": images.get(ours),
                }
                cells = NOTHING
                if row in TRIPLE:
                    cells = {metric: values.loc[theirs, f"{metric}_{TRIPLE[row]}"] for metric in DETECTION}
                    cells["convention"] = block.convention.iloc[0]
                rows += lines(about, trained[row] if ours else [], methods[row], cells, ours, DETECTION)
    table = pd.DataFrame(rows).astype({"known_images": "Int64", "outlier_images": "Int64"})
    return table.assign(best_paper=_best(table, "paper"), best_ours=_best(table, "ours"))


def table2(scale):
    """Put the paper's Table 2 beside our runs at one scale: a row for each of its rows, metric and convention.

    Methods that params.yaml adds follow its rows.

    Parameters
    ----------
    scale : str
        Block of params.yaml.

    Returns
    -------
    DataFrame
    """
    found, rows = results_by_block(scale), []
    for row in paper("table2").to_dict("records"):
        method, detector = ROWS[row["row"]]
        protocol = "scratch" if row["protocol"] == "plain" else row["protocol"]
        runs = found[row["known"], "wideresnet", protocol, method]
        about = _about(scale, row["known"], runs) | {"row": row["row"], "protocol": row["protocol"]}
        rows += lines(about, runs, detector, row)
    for (known, network, protocol, method), runs in found.items():
        if method in own_methods() and network == "wideresnet":
            about = _about(scale, known, runs) | {"row": METHODS[method].title, "protocol": protocol}
            rows += lines(about, runs, method, NOTHING)
    return pd.DataFrame(rows)


def table3(scale, tried=()):
    """Put the paper's Table 3 (ablation on CIFAR10, from scratch) beside our runs, as `table2` does.

    Parameters
    ----------
    scale : str
        Block of params.yaml.
    tried : iterable of (str, str, str, dict)
        Further rows: name, head, detector, and the result file of a run that params.yaml does not
        declare.

    Returns
    -------
    DataFrame
    """
    found, rows = results_by_block(scale), []
    for row in paper("table3").to_dict("records"):
        method = ABLATION[row["row"], row["model"]]
        runs = found["CIFAR10", "wideresnet", "scratch", method]
        about = _about(scale, "CIFAR10", runs) | {"row": row["row"], "model": row["model"]}
        rows += lines(about, runs, method, row)
    about = _about(scale, "CIFAR10", rows)
    for method in own_methods():
        if runs := found["CIFAR10", "wideresnet", "scratch", method]:
            name = {"row": METHODS[method].title, "model": model(METHODS[method].head)}
            rows += lines(about | name, runs, method, NOTHING)
    for row, head, detector, result in tried:
        rows += lines(about | {"row": row, "model": model(head)}, [result], detector, NOTHING)
    return pd.DataFrame(rows)


def own_methods():
    """List the methods that params.yaml adds to the paper's."""
    return list(params.load().own_methods)


def model(head):
    """Name a network with a head as the paper's Table 3 does."""
    return {"linear": "WRN", "gaussian": "WRN(G)"}.get(head, f"WRN({head})")


def extended(scale):
    """Score the plain network and ICE's by every detector: does training with outliers help a post-hoc one?

    Both are trained from scratch for the task that plays CIFAR10; the paper has no such table.

    Parameters
    ----------
    scale : str
        Block of params.yaml.

    Returns
    -------
    DataFrame
        One row for each detector, set of outliers (``mean`` over the far ones, and each near one),
        metric and convention, with columns ``plain`` and ``ice``, for each of them ``_low``,
        ``_high``, ``_std``, ``_seeds`` and ``_runs``, and ``difference`` (ICE − plain).
    """
    found, task, rows = results_by_block(scale), task_playing(scale, "CIFAR10"), []
    networks = {method: found["CIFAR10", "wideresnet", "scratch", method] for method in ("plain", "ice")}
    near = [name for name in task.outliers if name not in task.mean_over] if task else []
    own = params.load().blocks[scale].detectors.own
    for detector, row in (POSTHOC | dict(zip(own, own, strict=True))).items():
        scored = {key: [x for x in several if detector in x["detectors"]] for key, several in networks.items()}
        for outliers in ("mean", *near):
            about = _about(scale, "CIFAR10", [*networks["plain"], *networks["ice"]]) | {
                "row": row,
                "outliers": outliers,
            }
            sides = [lines({}, scored[key], detector, NOTHING, outliers, DETECTION) for key in networks]
            for plain, ice in zip(*sides, strict=True):
                line = about | {key: plain[key] for key in ("metric", "convention")}
                for name, side in zip(networks, (plain, ice), strict=True):
                    line[name] = side["ours"]
                    line |= {f"{name}_{key}": side[key] for key in ("low", "high", "std", "seeds", "runs")}
                rows.append(line | {"difference": round(ice["ours"] - plain["ours"], 4)})
    return pd.DataFrame(rows)


def side(cell, network):
    """Give the numbers of a network ("plain" or "ice") in a row of `extended` the names of the other tables."""
    names = {"ours": network} | {name: f"{network}_{name}" for name in ("low", "high", "std", "seeds")}
    return SimpleNamespace(**{name: getattr(cell, column) for name, column in names.items()})


def _about(scale, paper_known, found):
    title = task_playing(scale, paper_known).title if found else ""
    return {"scale": scale, "paper_known": paper_known, "known": title}


def _pairs(theirs, task):
    """Pair the paper's sets of outliers with ours that play them; then those that play none."""
    sets = task.outliers if task else {}
    pairs = [(name, own) for name in theirs for own in [key for key in sets if sets[key].plays == name] or [""]]
    return [*pairs, *(("", key) for key in sets if sets[key].plays not in set(theirs)), ("mean", "mean")]


def _best(table, column):
    triple = ["paper_known", "network", "protocol", "paper_outliers", "outliers", "metric", "convention"]
    higher_is_better = table[column].where(table.metric != "fpr95", -table[column]).where(table.method.isin(TRIPLE))
    groups = higher_is_better.groupby([table[key] for key in triple])
    return (higher_is_better == groups.transform("max")) & (groups.transform("count") == len(TRIPLE))


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
    rows = {}
    for run in params.declared(scale):
        for detector, sets in results.load(run)["detectors"].items():
            rows[run.name, detector] = {key: 100 * entry[metric]["value"] for key, entry in sets.items()}
    table = pd.DataFrame(rows).T
    table.index.names = ["run", "detector"]
    return table
