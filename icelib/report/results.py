"""Reading result files: ValueError if one is missing, unreadable, or was made with other parameters."""

from icelib.analysis import choice
from icelib.config import runs
from icelib.util import paths
from icelib.util.files import read_json


def metrics(run):
    """Read ``metrics/RUN.json``: accuracy, and each detector's metrics on each outlier set, as `evaluate` has them."""
    return _of(run, "metrics")


def history(run):
    """Read ``history/RUN.json``: ``epochs`` with one entry each as `train.train` returns them, or ``diverged``."""
    return _of(run, "history")


def snapshots(run):
    """Read ``snapshots/RUN.json``: what `evaluation.snapshots` measured at each epoch that was kept."""
    return _of(run, "snapshots")


def sweep(name):
    """Read ``sweeps/NAME.json``: the candidates of a sweep, as `choice.run_all` has them."""
    path = paths.results(runs.load().scale) / "sweeps" / f"{name}.json"
    result, expected = read_json(path), choice.candidates(name)
    found = [(row["change"], row.get("configuration")) for row in result.get("candidates", [])]
    return _checked(result, path, found, [(change, run.configuration) for change, run in expected])


def _of(run, folder):
    path = paths.results(run.scale) / folder / f"{run.name}.json"
    result = read_json(path)
    return _checked(result, path, result.get("configuration"), run.configuration)


def _checked(result, path, found, expected):
    if found != expected:
        raise ValueError(f"{paths.relative(path)} was made with other parameters than params.yaml has; run `dvc repro`")
    return result
