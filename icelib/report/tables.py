"""The paper's Tables 1 to 3 beside ours, as long data made from result files; `render` prints them.

Values are in percent. Of each cell (`cells`) there is a row for either convention, see `icelib.metrics`, with the
columns ``metric``, ``convention``, ``paper``, ``paper_fits_convention``, ``ours`` (mean over seeds; NaN if not run),
``low`` and ``high`` (95 % bootstrap interval over test images, where there is one seed), ``std`` (over seeds, where
there are more), ``difference`` (ours − paper, where the paper's value fits the convention), ``seeds`` (how many),
``by_seed`` (its values), ``device`` (by seed) and ``runs``. Outliers ``near`` and ``far`` are means over the task's
sets of that kind; sets in neither stand by themselves. Methods that params.yaml declares beside the paper's follow its
rows.
"""

import functools
from collections import defaultdict

import numpy as np
import pandas as pd

from icelib import paper
from icelib.config import runs
from icelib.evaluation import statistics
from icelib.methods import METHODS, PAPER, own_detector
from icelib.report import results

CONVENTIONS = ("outlier_positive", "known_positive")  # which class is positive
METRICS = {"aupr": "AUPR ↑", "auroc": "AUROC ↑", "fpr95": "FPR95 ↓", "accuracy": "Accuracy ↑"}
DETECTION = ("aupr", "auroc", "fpr95")
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
OURS = "matched_energy"  # the variant that validation images chose, see 09_ours
MARKS = {"plain": "", "finetune": " †", "scratch": " ‡"}  # of a protocol, beside the name of a method
# metric, outlier-positive, and outliers of `differences`; the first is the primary measure
MEASURES = (("auroc", "near"), ("auroc", "far"), ("fpr95", "near"), ("fpr95", "far"), ("accuracy", ""))
# Post-hoc detectors of result files, which read every network, with their titles.
POSTHOC = {"msp": "MSP", "odin": "ODIN", "mahalanobis": "Mahalanobis", "energy": "energy", "max_logit": "max logit"}
POSTHOC |= {"vim": "ViM", "knn": "kNN", "react": "ReAct", "gen": "GEN", "ash": "ASH", "kl_matching": "KL matching"}
NOTHING = dict.fromkeys(METRICS, np.nan) | {"convention": None}  # what the paper says of what it does not have


def table1():
    """Table 1 and the means over its near and far sets: each block, set of outliers, method, metric and convention.

    ``kind`` of a set is near, far or in no mean; ``paper_outliers`` is the paper's set and ``outliers`` ours that plays
    it, either empty where there is none. The paper's near set is CIFAR100, and its far means are those of the others.
    """
    found, rows = _results(), []
    for block, theirs in _blocks_of_table1().items():
        methods = TRIPLE | {METHODS[method].title: method for method in added() if found[*block, method]}
        images = next((result["images"] for method in methods.values() for result in found[*block, method]), {})
        task = runs.task_playing(block[0])[1] if images else None
        for kind, their_set, our_set in _pairs(list(theirs.outliers), task):
            about = dict(zip(("paper_known", "network", "protocol"), block, strict=True)) | {
                "known": task.title if task else "",
                "kind": kind,
                "paper_outliers": their_set,
                "outliers": our_set,
                "known_images": images.get("known"),
                "outlier_images": images.get(our_set),
            }
            for row, method in methods.items():
                ours, value = found[*block, method] if our_set else [], _paper1(block, their_set, row)
                named = about | {"method": row, "name": marked(row, block[2])}
                rows += cells(named, ours, method, value, our_set, DETECTION)
    return pd.DataFrame(rows).astype({"known_images": "Int64", "outlier_images": "Int64"})


def table2():
    """Table 2, of far means, with the near means, which the paper has in Table 1 alone, and blocks that it lacks."""
    (found, rows), theirs = (_results(), []), paper.table("table2").to_dict("records")
    for row in theirs:
        method, detector = ROWS[row["row"]]
        block = (row["known"], "wideresnet", "scratch" if row["protocol"] == "plain" else row["protocol"])
        about = _about(block[0], found[*block, method]) | _row(row["row"], row["protocol"])
        rows += _far_and_near(about, found[*block, method], detector, row, _paper1(block, "near", row["row"]))
    for (known, network, protocol, method), ours in list(found.items()):
        lacking = (known, protocol) not in {(row["known"], row["protocol"]) for row in theirs}
        if network == "wideresnet" and (method in added() or (lacking and method in TRIPLE.values())):
            about = _about(known, ours) | _row(METHODS[method].title, protocol)
            rows += _far_and_near(about, ours, method, NOTHING, NOTHING)
    return pd.DataFrame(rows)


def table3():
    """Table 3, the ablation on CIFAR10, in the form of `table2` with ``model`` for ``protocol``: `runs.main_block`."""
    found, block, rows = _results(), runs.main_block(), []
    for row in paper.table("table3").to_dict("records"):
        method = ABLATION[row["row"], row["model"]]
        about = _about(block[0], found[*block, method]) | {"row": row["row"], "model": row["model"]}
        near = _paper1(block, "near", row["row"]) if row["row"] in TRIPLE and method in TRIPLE.values() else NOTHING
        rows += _far_and_near(about, found[*block, method], method, row, near)
    for method in added():
        if ours := found[*block, method]:
            head = METHODS[method].head
            model = {"linear": "WRN", "gaussian": "WRN(G)"}.get(head, f"WRN({getattr(head, '__name__', head)})")
            about = _about(block[0], ours) | {"row": METHODS[method].title, "model": model}
            rows += _far_and_near(about, ours, method, NOTHING, NOTHING)
    return pd.DataFrame(rows)


def extended():
    """Every detector on every network of `runs.main_runs`: does training with outliers help a post-hoc one?

    The paper has no such table. ``row`` is a detector, ``network`` the method that trained the network.
    """
    rows = []
    for method, several in runs.main_runs().items():
        ours, trained = [results.metrics(run) for run in several], METHODS[method]
        own = [(own_detector(method), "own score")] if trained.outliers else []
        for detector, row in [*POSTHOC.items(), *own]:
            about = _about(runs.main_block()[0], ours) | {"row": row, "network": trained.title}
            rows += _far_and_near(about, ours, detector, NOTHING, NOTHING, DETECTION)
    return pd.DataFrame(rows)


def differences():
    """Differences between methods by their own scores, in pairs of one seed, block and device (`statistics.paired`).

    ICE − each other method of the paper, and each that the paper lacks − all before it; the plain network, which
    fine-tuned ones start from, stands beside either. Columns ``first``, ``second``, ``metric``, ``outliers``, mean
    ``difference`` with its interval ``low`` to ``high``, ``shown`` (half of it), ``seeds`` (how many pairs),
    ``verdict`` on the first, ``by_seed`` and ``runs``.
    """
    found, rows = _results(), []
    order = [*(method for method in PAPER if method != "ice"), "ice", *added()]
    pairs = [(a, b) for place, a in enumerate(order) for b in order[:place] if a == "ice" or a not in PAPER]
    for known, network, protocol in dict.fromkeys(key[:3] for key in list(found)):
        ours = {method: found[known, network, protocol, method] for method in order}
        ours["plain"] = ours["plain"] or found[known, network, "scratch", "plain"]
        names = {method: marked(METHODS[method].title, protocol) for method in order} | {"plain": "MSP"}
        about = {"scale": runs.load().scale, "paper_known": known, "known": runs.task_playing(known)[1].title}
        about |= {"network": network, "protocol": protocol}
        for metric, outliers in MEASURES:
            sides = {method: _own(method, ours[method], metric, outliers) for method in order}
            for first, second in pairs:
                if sides[first]["seeds"] and sides[second]["seeds"]:
                    named = {"first": names[first], "second": names[second], "metric": metric, "outliers": outliers}
                    rows.append(about | named | _difference(sides[first], sides[second]))
    return pd.DataFrame(rows)


def common_seeds(a, b):
    """List the seeds that two rows of `cells` have in common, each on the same device."""
    return [seed for seed in a["by_seed"] if seed in b["by_seed"] and a["device"][seed] == b["device"][seed]]


def _own(method, found, metric, outliers):
    """The outlier-positive one of `cells` by a method's own score, of the runs that have these outliers."""
    detector = own_detector(method)
    there = [result for result in found if not outliers or outliers in result["detectors"][detector]]
    return next(cells({}, there, detector, NOTHING, outliers, [metric]))


def _difference(first, second):
    seeds = common_seeds(first, second)
    a, b = ([side["by_seed"][seed] for seed in seeds] for side in (first, second))
    found = statistics.paired(a, b)
    values = {"difference": found.mean, "low": found.low, "high": found.high, "shown": found.shown}
    return {
        **{key: round(x, 4) for key, x in values.items()},
        "seeds": found.n,
        "verdict": found.verdict(less_is_better=first["metric"] == "fpr95"),
        "by_seed": {seed: round(x - y, 4) for seed, x, y in zip(seeds, a, b, strict=True)},
        "runs": f"{first['runs']} {second['runs']}",
    }


def each(metric):
    """One metric of `icelib.metrics.NAMES` by each run's own score: rows runs, columns outlier sets, far and near."""
    rows = {}
    for run in runs.declared():
        sets = results.metrics(run)["detectors"][own_detector(run.method)]
        rows[run.name] = {name: 100 * found[metric]["value"] for name, found in sets.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def added():
    """List the declared methods that the paper does not have, in the order of `METHODS`."""
    declared = {run.method for run in runs.declared()}
    return [method for method in METHODS if method in declared and method not in PAPER]


def marked(row, protocol):
    """Write a row's name with the mark of its protocol."""
    return f"{row}{MARKS.get(protocol, f', {protocol}')}"


def cells(about, found, detector, paper, outliers, metrics=METRICS):
    """Yield the paper's value beside ours for each convention and metric, as the head of this module has them.

    `about` has the first columns of each row; `found` the result files of one training, a file for each seed;
    `detector` and `outliers` are as in them; `paper` has the value of each metric and the ``convention`` it fits.
    """
    about = {"scale": runs.load().scale} | about
    seeds = [int(result["run"].rpartition("-")[2]) for result in found]
    for convention in CONVENTIONS:
        for metric in metrics:
            fits = metric in ("auroc", "accuracy") or convention == paper["convention"]
            entries = [entry(result, detector, outliers, metric, convention) for result in found]
            values = [100 * x["value"] for x in entries]
            mean = float(np.mean(values)) if values else np.nan
            low, high = (100 * entries[0][end] if len(values) == 1 else np.nan for end in ("low", "high"))
            yield {
                **about,
                "metric": metric,
                "convention": convention,
                "paper": paper[metric],
                "paper_fits_convention": fits,
                "ours": round(mean, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "std": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else np.nan,
                "difference": round(mean - paper[metric], 4) if fits else np.nan,
                "seeds": len(values),
                "by_seed": {seed: round(x, 4) for seed, x in zip(seeds, values, strict=True)},
                "device": {seed: result["environment"]["device"] for seed, result in zip(seeds, found, strict=True)},
                "runs": " ".join(result["run"] for result in found),
            }


def entry(result, detector, outliers, metric, convention):
    """Pick ``value``, ``low`` and ``high``, shares, of a cell from a result file; KeyError if it has no such cell."""
    if metric == "accuracy":
        return result["accuracy"]
    return result["detectors"][detector][outliers][metric if metric == "auroc" else f"{metric}_{convention}"]


def _results():
    """Result files by the paper's known set, network, protocol and method; none of what is not declared."""
    groups = runs.by_block()
    return defaultdict(list, {key: [results.metrics(run) for run in group] for key, group in groups.items()})


def _about(known, found):
    return {"paper_known": known, "known": runs.task_playing(known)[1].title if found else ""}


def _row(row, protocol):
    return {"row": row, "protocol": protocol, "name": marked(row, protocol)}


def _far_and_near(about, found, detector, far, near, metrics=METRICS):
    """Cells of the far mean and, without accuracy, of the near one; of the seeds that have this detector."""
    found = [result for result in found if detector in result["detectors"]]
    for kind, value, shown in (("far", far, metrics), ("near", near, DETECTION)):
        ours = [result for result in found if kind in result["detectors"][detector]]
        yield from cells(about | {"outliers": kind}, ours, detector, value, kind, shown)


def _paper1(block, outliers, row):
    """What Table 1 says in a block of a set of outliers, or of the mean near or far, and a row of `TRIPLE`."""
    table = _blocks_of_table1()[block]
    if outliers in ("far", "near"):
        table = table[(table.outliers == "CIFAR100") == (outliers == "near")]
    else:
        table = table[table.outliers == outliers]
    if table.empty or row not in TRIPLE:
        return NOTHING
    values = {metric: round(float(table[f"{metric}_{TRIPLE[row]}"].mean()), 4) for metric in DETECTION}
    return values | {"convention": table.convention.iloc[0]}


@functools.cache
def _blocks_of_table1():
    return dict(list(paper.table("table1").groupby(["known", "network", "protocol"], sort=False)))


def _pairs(theirs, task):
    """List (kind, the paper's set, ours that plays it): far, near, then those in no mean; means end their kind."""
    sets = task.outliers if task else {}
    kinds = {name: "far" if name in task.far else "near" if name in task.near else "in no mean" for name in sets}
    played = {name: [own for own in sets if sets[own].plays == name] for name in theirs}
    pairs = [(kinds[own], name, own) for name in theirs for own in played[name]]
    pairs += [("near" if name == "CIFAR100" else "far", name, "") for name in theirs if not played[name]]
    pairs += [(kinds[own], "", own) for own in sets if sets[own].plays not in theirs]
    for kind, there in (("far", True), ("near", "CIFAR100" in theirs)):
        ours = bool(task and getattr(task, kind))
        pairs += [(kind, kind if there else "", kind if ours else "")] if there or ours else []
    return sorted(pairs, key=lambda pair: ("far", "near", "in no mean").index(pair[0]))  # stable: means stay last
