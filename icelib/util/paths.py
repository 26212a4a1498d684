"""Where things live. Every path starts at the project folder, never at the working directory."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# Tests and experiments set ICELIB_ROOT to send every output to another folder.
ROOT = Path(os.environ.get("ICELIB_ROOT") or PACKAGE.parent).resolve()

PARAMS = ROOT / "params.yaml"
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
PAPER = PACKAGE / "paper"  # the paper's numbers travel with the package
DOWNLOADS = ROOT / "data" / "downloads"  # archives as published, also those put there by hand
DATASETS = ROOT / "data" / "sets"  # one folder of .npz files per prepared data set
CHECKED = ROOT / "data" / "params.txt"  # tells that params.yaml was checked
TASKS = ROOT / "data" / "tasks"  # data sets divided into train, validation and test
REPORTS = ROOT / "reports"  # executed notebooks
SITE = ROOT / "site"  # the reports as web pages
RESUME = ROOT / ".resume"  # states of unfinished runs
OWN = ROOT / "scratch" / "own"  # what a user tries out, one folder each


def home(run):
    """Return the folder that holds a run's files: the project, or one of its own for what is tried out."""
    return ROOT / "scratch" / run.own / f"{run.method}-{run.digest}" if run.own else ROOT


def checkpoint(run):
    """Return the path of a run's final weights."""
    return home(run) / "checkpoints" / run.scale / f"{run.name}.safetensors"


def snapshots(run):
    """Return the folder of a run's weights on the way, one file for each epoch that was kept."""
    return home(run) / "checkpoints" / run.scale / f"{run.name}.epochs"


def history(run):
    """Return the path of a run's per-epoch history."""
    return home(run) / "results" / "history" / run.scale / f"{run.name}.json"


def scores(run):
    """Return the path of a run's per-sample scores."""
    return home(run) / "results" / "scores" / run.scale / f"{run.name}.safetensors"


def metrics(run):
    """Return the path of a run's metrics."""
    return home(run) / "results" / "metrics" / run.scale / f"{run.name}.json"


def trace(run):
    """Return the path of what was measured on a run's networks on the way."""
    return ROOT / "results" / "traces" / run.scale / f"{run.name}.json"


def logits(run):
    """Return the path of the logits of a run's networks on the way."""
    return ROOT / "results" / "logits" / run.scale / f"{run.name}.safetensors"


def sweep(scale, name):
    """Return the path of a sweep's validation figures."""
    return ROOT / "results" / "sweeps" / scale / f"{name}.json"


def beyond(scale, name):
    """Return the path of a variant's figures, see `icelib.beyond`."""
    return ROOT / "results" / "beyond" / scale / f"{name}.json"


def confirmation(scale):
    """Return the path of the figures of the best variant and of ICE with further seeds."""
    return ROOT / "results" / "confirmation" / f"{scale}.json"


def relative(path):
    """Return `path` as messages show it: relative to the project folder where it lies inside."""
    path = Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
