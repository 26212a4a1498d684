"""The pipeline's first stage: params.yaml is checked before DVC removes what lies where a name leads."""

import shutil
import sys

import numpy as np
import pytest
import yaml

from tests.conftest import SOURCE

DVC = (sys.executable, "-m", "dvc")


@pytest.fixture
def pipeline(project):
    project.call("git", "init", "-q")
    project.call(*DVC, "init", "-q")
    return project


@pytest.mark.parametrize(
    ("keys", "to"),
    [(("datasets",), ["../../../outdir"]), (("datasets",), ["gaussian", "../x"])],
)
def test_a_name_that_leads_elsewhere_removes_nothing(pipeline, keys, to):
    kept = [pipeline.root.parent / "outdir", pipeline.root / "data/x", pipeline.root / "data/tasks/tiny"]
    for folder in kept:
        folder.mkdir(parents=True)
        (folder / "train.safetensors").write_text("mine")
    values = pipeline.params
    values[keys[0]] = to
    pipeline.params = values
    status, output = pipeline.call(*DVC, "repro", check=False)
    assert status != 0 and "Traceback" not in output
    assert f"error: params.yaml: {keys[0]}.{len(to) - 1} = {to[-1]!r}: " in output
    assert "failed to reproduce 'check'" in output and output.count("Running stage") == 1
    assert all((folder / "train.safetensors").read_text() == "mine" for folder in kept)


def test_all_that_params_name_waits_for_the_check():
    """Stages that take paths from params.yaml come after it by what they depend on, the first ones directly."""
    stages = yaml.safe_load((SOURCE / "dvc.yaml").read_text())["stages"]
    assert next(iter(stages)) == "check", "DVC takes stages that do not wait for each other in this order"
    (checked,) = stages["check"]["outs"]
    for name in ("data", "own_data"):
        stage = stages[name].get("do", stages[name])
        assert checked in stage["deps"], name


def test_a_path_of_ones_own_data_is_read_by_no_shell(pipeline):
    path = pipeline.root / "$(touch called) `touch called` \"'; touch called.npz"
    shutil.copy(pipeline.params["own_datasets"]["digits-train"]["path"], path)
    values = pipeline.params
    values["own_datasets"]["mine"] = {"path": path.name}
    pipeline.params = values
    pipeline.call(*DVC, "repro", "own_data@mine")
    assert not (pipeline.root / "called").exists() and not (pipeline.root / "called.npz").exists()
    made, given = np.load(pipeline.root / "data/sets/mine/all.npz"), np.load(path)
    assert np.array_equal(made["images"], given["images"]) and np.array_equal(made["labels"], given["labels"])
    # another value is checked, and makes nothing anew
    values["train"]["ice"]["weight"] = 0.7
    pipeline.params = values
    _, output = pipeline.call(*DVC, "repro", "own_data@mine")
    assert "Running stage 'check'" in output and "Stage 'own_data@mine' didn't change" in output
