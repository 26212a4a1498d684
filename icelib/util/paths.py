"""Where things live. Every path starts at the project folder, never at the working directory."""

import configparser
import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# Tests and experiments set ICELIB_ROOT to send every output to another folder.
ROOT = Path(os.environ.get("ICELIB_ROOT") or PACKAGE.parent).resolve()

PARAMS = ROOT / "params.yaml"
RECORDED = ROOT / "recorded"  # results that git keeps, one folder for each scale, see `tools.record`
NOTEBOOKS = ROOT / "notebooks"
DOWNLOADS = ROOT / "data" / "downloads"  # archives as published, also those put there by hand
DATASETS = ROOT / "data" / "sets"  # one folder of .npz files per prepared data set
CHECKED = ROOT / "data" / "params.txt"  # tells that params.yaml was checked
SITE = ROOT / "site"  # the reports as web pages
SCRATCH = ROOT / "scratch"  # what a user tries out, and notebooks that failed


def _store():
    """Folder beside DVC's cache: an experiment that DVC runs in a folder of its own shares both with the project."""
    local = configparser.ConfigParser(interpolation=None)
    local.read([ROOT / ".dvc" / "config", ROOT / ".dvc" / "config.local"])
    cache = local.get("cache", "dir", fallback="")
    return (ROOT / ".dvc" / cache).parent / "store" if cache else ROOT / ".dvc" / "store"


STORE = _store()  # finished and unfinished trainings, see `training.store`


def show(scale):
    """Take parameters and result files from ``recorded/SCALE``, here and in processes begun here; "" ends this."""
    global PARAMS, SHOWN
    os.environ["ICELIB_RECORDED"] = SHOWN = scale
    PARAMS = (RECORDED / scale if scale else ROOT) / "params.yaml"


show(os.environ.get("ICELIB_RECORDED", ""))


def tasks(scale):
    """Folder of the images of a scale's tasks, divided into train, validation and test."""
    return ROOT / "data" / "tasks" / scale


def checkpoints(scale):
    """Folder of the declared runs' networks, one folder for each run."""
    return ROOT / "checkpoints" / scale


def results(scale):
    """Folder of result files."""
    return (RECORDED if SHOWN else ROOT / "results") / scale


def figures(scale):
    """Folder of figures and tables, one folder for each notebook."""
    return ROOT / "figures" / scale


def reports(scale):
    """Folder of executed notebooks."""
    return ROOT / "reports" / scale


def relative(path):
    """Return `path` as messages show it: relative to the project folder where it lies inside."""
    path = Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
