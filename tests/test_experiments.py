"""The recipes for experiments of docs/change.md: DVC's queue, which runs in copies of the project, and its comparisons."""

import csv
import functools
import io
import json
import re
import shutil
import sys
import time

import nbformat
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from tests.conftest import SOURCE

DVC = (sys.executable, "-m", "dvc")
# the pipeline's form: a notebook that reads params.yaml makes a report, a history and a summary
STAGE = {
    "cmd": "python -m icelib.tools.notebooks probe",
    "deps": ["notebooks/probe.ipynb"],
    "params": ["seeds", "train.ice.weight"],
    "plots": [
        {"history.json": {"cache": False, "x": "epoch", "y": "accuracy"}},
        {"reports/tiny/probe.ipynb": {"cache": False}},
    ],
    "metrics": [{"summary.json": {"cache": False}}],
}
PROBE = """\
from icelib.config import runs
from icelib.util import paths
from icelib.util.files import write_json

loaded = runs.load()
weight = loaded.train["ice"]["weight"]
write_json(paths.ROOT / "summary.json", {"ice": {"auroc": 80 + weight, "seeds": len(loaded.seeds)}, "plain": 60})
epochs = [{"epoch": number, "accuracy": number * weight} for number in (1, 2)]
write_json(paths.ROOT / "history.json", {"run": "ice", "epochs": epochs})
print("code", paths.PACKAGE, "store", paths.STORE)
"""


@pytest.fixture
def recorded(project):
    """The tiny project with a pipeline of one short notebook, run once and committed, as a user has it."""
    for name in ("ICELIB_ROOT", "PYTHONPATH"):  # an experiment must find its own code and folders without help
        del project.environment[name]
    project.environment |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROBE)]), project.root / "notebooks/probe.ipynb"
    )
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"probe": STAGE}}))
    project.call("git", "init", "-q")
    project.call(*DVC, "init", "-q")
    project.call(*DVC, "repro", "-q")
    project.call("git", "add", "-A")
    project.call("git", "commit", "-q", "-m", "first")
    return project


def numbers(part, place=()):
    """Places of all numbers of params.yaml that `-S` can name: in maps, not in lists."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from numbers(value, (*place, key))
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield place


def test_every_number_can_be_set_from_the_command_line(tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(SOURCE / "params.yaml", path)
    wanted = {".".join(place): 1000 + i for i, place in enumerate(numbers(yaml.safe_load(path.read_text())))}
    assert len(wanted) > 50 and "train.ice.weight" in wanted
    apply_overrides(path, [f"{key}={value}" for key, value in wanted.items()])
    content = yaml.safe_load(path.read_text())
    found = {".".join(place): functools.reduce(dict.__getitem__, place, content) for place in numbers(content)}
    assert found == wanted, "of shared values, DVC writes the old one back"


@pytest.mark.slow
def test_queued_experiments_run_the_code_of_their_copy_and_are_compared(recorded):
    weight = "train.ice.weight"
    _, output = recorded.call(*DVC, "exp", "run", "--queue", "-n", "weight", "-S", f"{weight}=0.2,0.3")
    assert output.count("Queued experiment") == 2
    recorded.call(*DVC, "exp", "run", "--queue", "-n", "seeds", "-S", "seeds=[0,1]")
    recorded.call(*DVC, "queue", "start", "-j", "2")
    deadline = time.monotonic() + 300
    while "Queued" in (status := recorded.call(*DVC, "queue", "status")[1]) or "Running" in status:
        assert time.monotonic() < deadline, status
        time.sleep(2)
    recorded.call(*DVC, "queue", "stop")
    assert status.count("Success") == 3, status

    _, shown = recorded.call(*DVC, "exp", "show", "--csv", "--only-changed", "--hide-workspace")
    rows = list(csv.DictReader(io.StringIO(shown[shown.index("Experiment,") :])))
    found = {row["Experiment"]: (row["ice.auroc"], row["ice.seeds"], row[weight]) for row in rows if row["Experiment"]}
    expected = {"weight-1": ("80.2", "1", "0.2"), "weight-2": ("80.3", "1", "0.3"), "seeds": ("80.1", "2", "0.1")}
    assert expected.items() <= found.items() and "plain" not in rows[0], "a number that is the same has no column"

    recorded.call(*DVC, "exp", "apply", "weight-2")
    assert recorded.params["train"]["ice"]["weight"] == 0.3
    report = nbformat.read(recorded.root / "reports/tiny/probe.ipynb", as_version=4)
    (printed,) = [output.text for output in report.cells[0].outputs]
    assert printed.startswith(f"code {recorded.root}/.dvc/tmp/exps/"), "neither the workspace nor what is installed"
    assert printed.endswith(f"store {recorded.root}/.dvc/store\n"), "trainings are shared with the workspace"

    _, difference = recorded.call(*DVC, "metrics", "diff", "--md")
    assert re.search(r"\| summary.json +\| ice.auroc +\| 80.1 +\| 80.3 +\| 0.2 +\|", difference), difference
    _, drawn = recorded.call(*DVC, "plots", "diff", "HEAD", "workspace", "--targets", "history.json", "--json")
    (plot,) = json.loads(drawn[drawn.index("{") :])["data"]["history.json"]
    assert set(plot["revisions"]) == {"HEAD", "workspace"}
