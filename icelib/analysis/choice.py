"""How values are chosen: candidates that differ in one or two of them, compared on validation images alone.

``python -m icelib.analysis.choice`` trains the candidates of every sweep in params.yaml, takes from the store what was
trained before, and writes ``results/SCALE/sweeps/NAME.json``. No test image is looked at.
"""

import argparse

from icelib.analysis import matching
from icelib.config import runs
from icelib.data import tasks
from icelib.training import train
from icelib.training.engine import QUANTILES
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import write_json

WITHIN = 0.005  # accuracy that a choice may cost: half a point


def candidates(name):
    """List what each candidate of a sweep changes, and its runs, one for each seed: pairs (dict, `runs.Run`)."""
    sweep = runs.pick(runs.load().sweeps, name, "sweep")
    of = [runs.run(sweep.task, sweep.network, sweep.protocol, sweep.method, seed) for seed in _seeds(sweep)]
    return [(change, runs.vary(base, sweep.base | change)) for change in sweep.values for base in of]


def _seeds(sweep):
    return sweep.seeds or runs.load().seeds[:1]


def in_use(name, change):
    """Whether declared runs have what a candidate of a sweep changes; protocol ``sweep`` is a shorter ``scratch``."""
    sweep = runs.load().sweeps[name]
    protocol = "scratch" if sweep.protocol == "sweep" else sweep.protocol
    used = runs.run(sweep.task, sweep.network, protocol, sweep.method, runs.load().seeds[0])
    return runs.vary(used, sweep.base | change) == used


def run_all():
    """Train all candidates of all sweeps, equal ones once, and write a result file for each sweep.

    A file holds title, method, task, network, protocol, base and seeds, the numbers of validation images, whether the
    choice is `at_end`, and for each candidate its ``change``, the means of `figures` over seeds, with ``matched`` of
    `matching.measure`, those of each run beside what names it (``runs``), and whether `choose` takes it (``chosen``);
    in place of figures ``diverged``, a message, where one did. Files of sweeps that are no longer declared are removed.

    Returned are the files' contents by the sweeps' names; ValueError if all candidates of a sweep diverged, after the
    files were written.
    """
    params = runs.load()
    folder = paths.results(params.scale) / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)  # also where no sweep is declared
    found = {name: candidates(name) for name in params.sweeps}
    histories = iter(train.train_all([run for pairs in found.values() for _, run in pairs]))
    results = {}
    for name, pairs in found.items():
        sweep, rows = params.sweeps[name], []
        for _, run in pairs:
            row = {"seed": run.seed, "configuration": run.configuration} | outcome(next(histories))
            rows.append(row if "diverged" in row else row | {"matched": matching.measure(run)["matched"]})
        count = len(_seeds(sweep))
        results[name] = _result(name, [_candidate(x, rows[i * count :][:count]) for i, x in enumerate(sweep.values)])
        write_json(folder / f"{name}.json", results[name])
    for path in folder.glob("[!.]*.json"):
        if path.stem not in found:
            path.unlink()
    if failed := [name for name, result in results.items() if not any(row["chosen"] for row in result["candidates"])]:
        raise ValueError(f"no candidate can be chosen, all diverged: {', '.join(failed)}; see {paths.relative(folder)}")
    return results


def _candidate(change, rows):
    """Describe a candidate by the means over its runs; it diverged where one of them did."""
    diverged = [{"diverged": row["diverged"]} for row in rows if "diverged" in row]
    own = ("seed", "configuration", "digest")
    means = diverged[0] if diverged else _mean([{k: v for k, v in row.items() if k not in own} for row in rows])
    return {"change": change, **means, "runs": rows}


def _mean(figures):
    if isinstance(figures[0], dict):
        return {key: _mean([x[key] for x in figures]) for key in figures[0]}
    return sum(figures) / len(figures)


def _result(name, rows):
    sweep = runs.load().sweeps[name]
    chosen = choose(rows) if any("diverged" not in row for row in rows) else None
    validation, _ = tasks.load(sweep.task, "validation")
    return {
        "sweep": name,
        "scale": runs.load().scale,
        **{key: getattr(sweep, key) for key in ("title", "method", "task", "network", "protocol", "base")},
        "seeds": _seeds(sweep),
        "images": {kind: len(x) for kind, x in validation.items() if kind != "labels"},
        "at_end": chosen is not None and at_end(chosen["change"], sweep.values),
        "candidates": [row | {"chosen": row is chosen} for row in rows],
    }


def at_end(change, changes):
    """Whether one of the varied numbers of a candidate is the smallest or largest of all: the grid is to be widened."""
    columns = {key: [other[key] for other in changes] for key, value in change.items() if not isinstance(value, str)}
    return any(min(x) < max(x) and change[key] in (min(x), max(x)) for key, x in columns.items())


def outcome(history):
    """Take from a history (`store.history`) its digest and the last epoch's `figures`, or ``diverged``, the message."""
    found = {"diverged": history["diverged"]} if "diverged" in history else figures(history["epochs"][-1])
    return {"digest": history["digest"]} | found


def figures(last_epoch):
    """Take from an epoch of a history what choices are made by, as shares, the loss terms and medians of the score."""
    kinds = {
        kind: {"auroc": x["auroc"], "fpr95": x["fpr95_outlier_positive"]}
        for kind, x in last_epoch["validation"].items()
    }
    medians = {kind: x[QUANTILES.index(0.5)] for kind, x in last_epoch["score_quantiles"].items()}
    return {"accuracy": last_epoch["accuracy"], **kinds, "loss": last_epoch["loss"], "median_score": medians}


def choose(rows):
    """Take one candidate by the rule that holds for every method.

    Among the candidates within `WITHIN` of the best accuracy on known validation images, the one with the highest
    `mean_auroc`, the first of equals: one of `rows`, which are from `outcome`. ValueError if all diverged.
    """
    whole = [row for row in rows if "diverged" not in row]
    if not whole:
        raise ValueError(f"no candidate can be chosen, all {len(rows)} diverged: {rows[0]['diverged']}")
    best = max(row["accuracy"] for row in whole)
    return max((row for row in whole if row["accuracy"] >= best - WITHIN), key=mean_auroc)


def mean_auroc(row):
    """Mean AUROC, as a share, over held-out auxiliary images and jigsaw ones."""
    return (row["outliers"]["auroc"] + row["jigsaw"]["auroc"]) / 2


if __name__ == "__main__":
    argparse.ArgumentParser(description="Train the candidates of all sweeps and compare them.").parse_args()
    with readable_errors():
        run_all()
