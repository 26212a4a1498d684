"""Reading result files: ValueError if one is missing, unreadable, or of other parameters or another training."""

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


def sweeps():
    """List the names of the declared sweeps; of a recorded scale those that were recorded."""
    there = {path.stem for path in (paths.results(runs.load().scale) / "sweeps").glob("*.json")}
    return [name for name in runs.load().sweeps if name in there or not paths.SHOWN]


def sweep(name):
    """Read ``sweeps/NAME.json``: the candidates of a sweep, as `choice.run_all` has them."""
    path = paths.results(runs.load().scale) / "sweeps" / f"{name}.json"
    result, expected = read_json(path), choice.candidates(name)
    rows = [(row["change"], one) for row in result.get("candidates", []) for one in row.get("runs", [row])]
    found = [(change, one.get("configuration")) for change, one in rows]
    return _checked(result, path, found, [(change, run.configuration) for change, run in expected])


def _of(run, folder):
    path, made = run.file(folder), run.file("history")
    result = read_json(path)
    _checked(result, path, result.get("configuration"), run.configuration)
    expected = read_json(made).get("digest") if folder != "history" and made.exists() else result.get("digest")
    if result.get("digest") != expected:  # of other images or code, of which the configuration tells nothing
        found = f"{paths.relative(path)} is of another training than {paths.relative(made)}"
        raise ValueError(f"{found}: digest {result.get('digest')}, expected {expected}; run `dvc repro`")
    return result


def _checked(result, path, found, expected):
    if found != expected and not paths.SHOWN:  # `tools.record` has compared those of a recorded scale
        raise ValueError(f"{paths.relative(path)} was made with other parameters than params.yaml has; run `dvc repro`")
    return result
