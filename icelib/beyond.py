"""Variants of ICE that are ours, compared with it on validation images over several seeds.

``python -m icelib.beyond SCALE NAME`` chooses a variant's values as a sweep does, trains it with each
seed and writes ``results/beyond/SCALE/NAME.json``; without NAME it trains ICE and the best of ours with
further seeds and writes ``results/confirmation/SCALE.json``. Test figures are recorded beside those
on validation images, and nothing is chosen by them.
"""

import argparse

import numpy as np
from tqdm.auto import tqdm

from icelib import own_runs, params, paths, sweeps, tensors
from icelib.errors import DivergedError, readable_errors
from icelib.files import read_json, write_json
from icelib.methods import PAPER, own_detector


def search(scale, name):
    """Choose a variant's values, train it with each seed and write its figures.

    Interrupted, it goes on where it was.

    Parameters
    ----------
    scale, name : str
        ``SCALE.beyond.candidates.NAME`` in params.yaml.

    Returns
    -------
    dict
        The content of the result file: ``values``; ``candidates`` with their validation figures after
        the sweep protocol, where there are any; and ``runs`` as of `trained`. If all candidates or one
        of the runs diverged, ``runs`` is empty and ``diverged`` is the message.

    Raises
    ------
    ValueError
        If there is no such variant.
    StoppedError, BusyError, OSError, RuntimeError
        As `training.train`.
    """
    about = params.pick(block(scale).candidates, name, f"{scale}.beyond.candidates")
    seeds = [int(seed) for seed in block(scale).seeds]
    values, rows, found = about.base, [], {"runs": []}
    if about.values:
        candidates = [about.base | change for change in about.values]
        runs = [_run(scale, name, seeds[0], candidate, "sweep") for candidate in candidates]
        trials = [sweeps.trial(run) for run in tqdm(runs, desc=name, leave=False)]
        rows = [{"change": change} | trial for change, trial in zip(about.values, trials, strict=True)]
        whole = [row for row in rows if "diverged" not in row]
        chosen = sweeps.choose(rows) if whole else rows[0]
        for row in rows:
            row["chosen"] = bool(whole) and row is chosen
        values = candidates[rows.index(chosen)]
        found |= {} if whole else {"diverged": rows[0]["diverged"]}
    if "diverged" not in found:
        try:
            found["runs"] = [trained(scale, name, seed, values) for seed in seeds]
        except DivergedError as error:
            found["diverged"] = str(error)
    result = {"variant": name, "scale": scale, "base": about.base, "values": values, "candidates": rows, **found}
    write_json(paths.beyond(scale, name), result)
    return result


def trained(scale, name, seed, values):
    """Train a variant as long as the runs of Table 3, and take its figures.

    Parameters
    ----------
    scale, name : str
        As of `search`.
    seed : int
    values : dict of str to float or str
        Of loss and head.

    Returns
    -------
    dict
        ``seed``, ``digest`` of the run and ``checkpoint`` of its weights, ``validation`` as of
        `sweeps.figures`, ``test`` (accuracy; AUROC and FPR95, outlier-positive, averaged over the far sets
        and over the near ones), all as shares, ``environment``, and ``data``, the SHA-256 of the images' tensors.

    Raises
    ------
    DivergedError, StoppedError, BusyError, OSError, RuntimeError
        As `training.train`.
    """
    run = _run(scale, name, seed, values, own_runs.PROTOCOL)
    own_runs.finish(run)
    past = read_json(paths.history(run))
    measured = read_json(paths.metrics(run))
    sets, task = measured["detectors"][own_detector(name)], params.task(scale, run.known)
    groups = {"far": task.mean_over, "near": [key for key in task.outliers if key not in task.mean_over]}
    test = {"accuracy": measured["accuracy"]["value"]}
    for group, names in groups.items():
        for metric, key in (("auroc", "auroc"), ("fpr95", "fpr95_outlier_positive")):
            if names:
                test[f"{group}_{metric}"] = float(np.mean([sets[x][key]["value"] for x in names]))
    return {
        "seed": seed,
        "digest": run.digest,
        "checkpoint": tensors.read_about(paths.checkpoint(run))["sha256"],
        "validation": sweeps.figures(past["epochs"][-1]),
        "test": test,
        "environment": past["environment"],
        "data": past["data"],
    }


def confirm(scale):
    """Train ICE and the best of ours with seeds that had no part in the choice, and write their figures.

    Returns
    -------
    dict
        The content of the result file: ``best``, as of `choose`; of ICE and of the best ``values``, and
        ``runs``, the list of `trained`.

    Raises
    ------
    ValueError
        As of `load`.
    DivergedError
        If a training with a further seed diverges.
    StoppedError, BusyError, OSError, RuntimeError
        As `training.train`.
    """
    found = declared(scale)
    best = choose(found)
    compared = ["ice", best] if best else []
    result = {"scale": scale, "best": best, "values": {name: found[name]["values"] for name in compared}, "runs": {}}
    for name in compared:
        seeds = [int(seed) for seed in block(scale).confirmation]
        result["runs"][name] = [trained(scale, name, seed, found[name]["values"]) for seed in seeds]
    write_json(paths.confirmation(scale), result)
    return result


def choose(found):
    """Take the best of ours by the rule of the sweeps, on means over seeds.

    Among those within two points of the best accuracy of any of them or of ICE, the one with the highest
    mean AUROC over both kinds of validation outliers.

    Parameters
    ----------
    found : dict of str to dict
        Result files by name; those that diverged cannot be chosen.

    Returns
    -------
    str or None
        None if none of ours is among them, or all of them cost more accuracy than that.
    """
    rows = {
        name: {
            "accuracy": mean(result["runs"], "accuracy"),
            **{kind: {"auroc": mean(result["runs"], kind, "auroc")} for kind in ("outliers", "jigsaw")},
        }
        for name, result in found.items()
        if result["runs"] and (name == "ice" or name not in PAPER)
    }
    if not rows:
        return None
    top = max(row["accuracy"] for row in rows.values())
    ours = {name: row for name, row in rows.items() if name != "ice" and row["accuracy"] >= top - sweeps.WITHIN}
    return max(ours, key=lambda name: sweeps.mean_auroc(ours[name]), default=None)


def mean(runs, *keys):
    """Mean over seeds of a validation figure, to which `keys` lead, as a share."""
    values = [run["validation"] for run in runs]
    for key in keys:
        values = [value[key] for value in values]
    return float(np.mean(values))


def load(scale, name):
    """Read the result file of a variant.

    Raises
    ------
    ValueError
        If it is missing or unreadable, or was made with other values or seeds than params.yaml has.
    """
    path = paths.beyond(scale, name)
    result = read_json(path)
    about = params.pick(block(scale).candidates, name, f"{scale}.beyond.candidates")
    changes = [row["change"] for row in result.get("candidates", [])]
    seeds = [str(run["seed"]) for run in result.get("runs", [])]
    wanted = [] if "diverged" in result else block(scale).seeds
    if changes != about.values or result.get("base") != about.base or seeds != wanted:
        raise ValueError(f"{paths.relative(path)} was made with other values than params.yaml has; run `dvc repro`")
    return result


def declared(scale):
    """Read the result files of all variants that params.yaml declares, ICE first."""
    names = params.load().variants
    return {name: load(scale, name) for name in sorted(names, key=lambda name: name != "ice")}


def block(scale):
    """Return the part ``SCALE.beyond`` of params.yaml; raise ValueError if there is none."""
    loaded = params.load()
    if scale not in loaded.beyond:
        raise ValueError(f"{scale!r} is not in beyond = {loaded.beyond} of params.yaml: nothing is compared there")
    return loaded.blocks[scale].beyond


def _run(scale, name, seed, values, protocol):
    return own_runs.run(scale, name, seed, values, protocol, kind=own_runs.VariantRun)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare a variant with ICE, or confirm the best one.")
    parser.add_argument("scale")
    parser.add_argument("name", nargs="?", help="left out: confirm the best one")
    options = parser.parse_args()
    with readable_errors():
        confirm(options.scale) if options.name is None else search(options.scale, options.name)
