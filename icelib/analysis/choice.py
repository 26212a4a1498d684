"""Sweeps: trainings that differ in one or two values, compared on validation images alone.

``python -m icelib.sweeps SCALE NAME`` trains every candidate of ``SCALE.sweeps.NAME`` in
params.yaml and writes ``results/sweeps/SCALE/NAME.json``. No test image is looked at.
"""

import argparse

from tqdm.auto import tqdm

from icelib import params, paths, tasks, training
from icelib.declaration import SWEPT
from icelib.errors import DivergedError, readable_errors
from icelib.files import read_json, write_json

KNOWN, NETWORK = SWEPT, "wideresnet"  # sweeps are run on one task and network
WITHIN = 0.02  # accuracy that a choice may cost: about two standard errors on 3,000 images


def candidates(scale, name):
    """List the runs of a sweep.

    Parameters
    ----------
    scale, name : str

    Returns
    -------
    list of (dict, params.Run)
        What each candidate changes, and the run with these changes.

    Raises
    ------
    ValueError
        If there is no such scale or sweep, or one of its values is not allowed or none of the
        method's or schedule's.
    """
    loaded = params.load()
    sweep = params.pick(params.pick(loaded.blocks, scale, "scale").sweeps, name, f"{scale}.sweeps")
    base = params.run(scale, KNOWN, NETWORK, sweep.protocol, sweep.method, loaded.seeds[0])
    return [(change, params.vary(base, sweep.base | change)) for change in sweep.values]


def run(scale, name):
    """Train all candidates of a sweep and write their validation figures.

    Interrupted, it goes on with the candidate where it was, and a candidate of another sweep is
    not trained twice. One that diverges is recorded as such and cannot be chosen.

    Parameters
    ----------
    scale, name : str

    Returns
    -------
    dict
        The content of the result file: title, method and, for each candidate, ``change``, and its
        accuracy, AUROC and FPR95 (outlier-positive) on both kinds of validation outliers, all as
        shares, the mean weighted loss terms of the last epoch, and whether `choose` takes it; in
        place of its figures ``diverged``, a message, where it did.

    Raises
    ------
    ValueError
        As `candidates`, `choose` and `training.train`.
    StoppedError, BusyError, OSError, RuntimeError
        As `training.train`.
    """
    found = candidates(scale, name)
    rows = [{"change": change} | trial(candidate) for change, candidate in tqdm(found, desc=name, leave=False)]
    chosen = choose(rows)
    for row in rows:
        row["chosen"] = row is chosen
    sweep = params.load().blocks[scale].sweeps[name]
    about = {"title": sweep.title, "method": sweep.method, "protocol": sweep.protocol, "base": sweep.base}
    validation, _ = tasks.load(scale, KNOWN, "validation")
    images = {kind: len(x) for kind, x in validation.items() if kind != "labels"}
    seed = found[0][1].seed
    result = {"sweep": name, "scale": scale, **about, "seed": seed, "images": images, "candidates": rows}
    write_json(paths.sweep(scale, name), result)
    return result


def trial(candidate):
    """Train a run without keeping it; return its last epoch's `figures`, or ``diverged``, the message, if it did."""
    try:
        last = training.train(candidate, keep=False)[-1]
    except DivergedError as error:
        return {"diverged": str(error)}
    return figures(last)


def figures(last):
    """Take from an epoch of a history what choices are made by, and the loss terms."""
    kinds = {
        kind: {"auroc": x["auroc"], "fpr95": x["fpr95_outlier_positive"]} for kind, x in last["validation"].items()
    }
    return {"accuracy": last["accuracy"], **kinds, "loss": last["loss"]}


def choose(rows):
    """Take one candidate by the rule that holds for every method.

    Among the candidates within two points of the best accuracy on known validation images, the one
    with the highest mean AUROC over the two kinds of validation outliers: held-out auxiliary
    ones, and jigsaw images, on which no method trains. The first of equals.

    Parameters
    ----------
    rows : list of dict
        From `trial`.

    Returns
    -------
    dict
        One of `rows`.

    Raises
    ------
    ValueError
        If all diverged.
    """
    whole = [row for row in rows if "diverged" not in row]
    if not whole:
        raise ValueError(f"no candidate can be chosen, all {len(rows)} diverged: {rows[0]['diverged']}")
    best = max(row["accuracy"] for row in whole)
    return max((row for row in whole if row["accuracy"] >= best - WITHIN), key=mean_auroc)


def mean_auroc(row):
    """Mean AUROC over the two kinds of validation outliers, as a share."""
    return (row["outliers"]["auroc"] + row["jigsaw"]["auroc"]) / 2


def load(scale, name):
    """Read the result file of a sweep: the dict that `run` returned.

    Raises
    ------
    ValueError
        If it is missing or unreadable, or is not of the candidates that params.yaml has.
    """
    path = paths.sweep(scale, name)
    result = read_json(path)
    sweep = params.pick(params.pick(params.load().blocks, scale, "scale").sweeps, name, f"{scale}.sweeps")
    found = [row["change"] for row in result.get("candidates", [])]
    if found != sweep.values or result.get("base") != sweep.base:
        raise ValueError(f"{paths.relative(path)} was made with other values than params.yaml has; run `dvc repro`")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Train the candidates of a sweep and compare them on validation images."
    )
    parser.add_argument("scale")
    parser.add_argument("name")
    with readable_errors():
        run(**vars(parser.parse_args()))
