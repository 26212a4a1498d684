"""Scores and outliers of your own, tried on the networks of Table 3; see `icelib.own`."""

from pathlib import Path

import pandas as pd
import torch

from icelib import batches, checkpoints, hardware, own_rows, own_runs, params, paths, posthoc, results, tasks
from icelib.files import write_bytes
from icelib.images import read_own
from icelib.methods import METHODS, own_detector
from icelib.own_checks import check_score


def score(function, *, scale=None):
    """Score the test images of Table 3's networks by a function of your own, beside their own scores.

    The table goes to ``scratch/own/score-NAME.csv`` too.

    Parameters
    ----------
    function : callable
        Logits (N, K) to one value per image (N,), higher for known ones, as in `icelib.scores`.
    scale : str, optional
        By default the first in params.yaml.

    Returns
    -------
    DataFrame
        AUROC, AUPR and FPR95, mean over the far sets, in percent, for each network and score.

    Raises
    ------
    ValueError
        If a network was not trained yet, or the function returns something else.
    """
    scale = scale or params.load().scales[0]
    check_score(function, own_runs.classes(scale))
    lines = {}
    for run in own_rows.declared(scale):
        test, _ = tasks.load(scale, run.known, "test")
        logits = _logits(run, {name: images for name, images in test.items() if name != "labels"})
        found = _measured(run, function, logits, params.task(scale, run.known).mean_over)
        lines[METHODS[run.method].title, function.__name__] = own_rows.percent(found["mean"])
        own = own_detector(run.method)
        sets = results.load(run)["detectors"][own]
        lines[METHODS[run.method].title, own] = own_rows.percent(sets["mean"])
    return _kept(lines, ["network", "score"], f"score-{function.__name__}")


def outliers(path, *, scale=None):
    """Score outliers of your own by the networks of Table 3, each by its own score.

    The table goes to ``scratch/own/outliers-NAME.csv`` too.

    Parameters
    ----------
    path : path-like
        An ``.npz`` or a folder of images, as for ``own_datasets`` in params.yaml.
    scale : str, optional
        By default the first in params.yaml.

    Returns
    -------
    DataFrame
        AUROC, AUPR and FPR95 in percent, for each network.

    Raises
    ------
    ValueError
        If the images are not of that form, or a network was not trained yet.
    """
    scale, path = scale or params.load().scales[0], Path(path)
    images, _, _ = read_own(path)
    own = torch.from_numpy(images).permute(0, 3, 1, 2)
    lines = {}
    for run in own_rows.declared(scale):
        test, _ = tasks.load(scale, run.known, "test")
        logits = _logits(run, {"known": test["known"], "own": own})
        found = _measured(run, METHODS[run.method].score, logits, [])
        lines[METHODS[run.method].title] = own_rows.percent(found["own"])
    return _kept(lines, ["network"], f"outliers-{path.stem}")


def _logits(run, images):
    model, _ = checkpoints.load(run, hardware.device())
    return {name: batches.predict(model, x, posthoc.PRECISION) for name, x in images.items()}


def _measured(run, function, logits, averaged):
    values = {name: function(x).cpu().numpy() for name, x in logits.items()}
    for name, x in logits.items():
        if values[name].shape != (len(x),):
            raise ValueError(f"{function.__name__} returned {values[name].shape} for the {len(x)} images of {name}")
    known = values.pop("known")
    return results.detection(known, values, averaged, params.load().blocks[run.scale].bootstrap)


def _kept(lines, names, name):
    table = pd.DataFrame(lines).T.rename_axis(names)
    write_bytes(paths.OWN / f"{name}.csv", table.to_csv().encode())
    return table
