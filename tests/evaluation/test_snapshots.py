"""What is measured of a run's networks on the way."""

import pytest
import torch

from icelib import models
from icelib.analysis import gradients
from icelib.config import runs
from icelib.data import tasks
from icelib.evaluation import snapshots
from icelib.training import store, train
from icelib.util import paths, tensors
from icelib.util.files import read_json
from tests.conftest import RUN, once


@pytest.fixture
def measured(inside):
    def make():
        for method in ("plain", "ice"):
            run = runs.run(*RUN, method, 0)
            train.train(run)
            snapshots.measure(run)

    once(inside, "snapshots", make)
    return inside


def test_every_kept_epoch_is_measured_and_the_last_is_the_trained_network(measured):
    run = runs.run(*RUN, "ice", 0)
    assert run.schedule.kept_epochs == [0, 1, 2]
    found = snapshots.measure(run)
    assert [epoch["epoch"] for epoch in found["epochs"]] == [0, 1, 2]
    assert found["near"] == "digits-89" and found["digest"] == store.digest(run)
    assert set(found["likelihood"]) == {"digits-89", "gaussian"}
    for epoch in found["epochs"]:
        assert set(epoch["overlap"]) == set(epoch["centrality"]) == {"digits-89", "auxiliary"}
        assert epoch["contradiction"]["raised"]["mean"] == 0
        assert -1 <= epoch["contradiction"]["backbone"]["mean"] <= 1
    logits, about = tensors.load(snapshots.place(run) / "logits.safetensors")
    assert about["near"] == "digits-89" and about["digest"] == found["digest"]
    assert found["origin"] == {"checkpoint": store.load(run)[1]["sha256"], "logits": about["sha256"]}
    test, _ = tasks.load("digits", "test")
    assert torch.equal(logits["labels"], test["labels"])
    for epoch in (0, 2):
        model, _ = store.load(run, epoch=epoch)
        expected = models.predict(model, test["known"], torch.float32)
        torch.testing.assert_close(logits[f"{epoch}/known"], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits["0/known"], logits["2/known"], atol=0.1)
    assert "1/gaussian" not in logits and "2/gaussian" in logits and "validation/jigsaw" in logits


def test_plain_training_contradicts_nothing(measured):
    found = snapshots.measure(runs.run(*RUN, "plain", 0))
    assert [epoch["contradiction"] for epoch in found["epochs"]] == [None] * 3


def test_what_was_measured_is_taken_and_gives_the_same_bytes_again(measured, monkeypatch):
    run = runs.run(*RUN, "ice", 0)
    files = [snapshots.place(run) / name for name in snapshots.FILES]
    before = [path.read_bytes() for path in files]
    files[1].unlink()
    snapshots.measure(run)
    assert [path.read_bytes() for path in files] == before
    monkeypatch.setattr(snapshots, "_measure", lambda run: pytest.fail("it is in the store"))
    snapshots.measure(run)


def test_the_command_writes_the_runs_that_are_shown(measured):
    values = measured.params
    values["tasks"]["other"] = values["tasks"]["digits"] | {"plays": "CIFAR100"}
    group = {"network": "wideresnet", "protocol": "scratch", "methods": ["plain"]}
    finetuned = {"task": "digits", "network": "wideresnet", "protocol": "finetune", "methods": ["ice"]}
    values["runs"] = [group | {"task": "digits", "methods": ["plain", "ice"]}, group | {"task": "other"}, finetuned]
    measured.params = values
    names = [f"digits-wideresnet-scratch-{method}-0" for method in ("plain", "ice")]
    assert [run.name for run in snapshots.shown()] == names
    measured.python("evaluation.snapshots", "--jobs", 1)
    for folder in ("snapshots", "logits"):
        assert sorted(path.stem for path in (paths.results("tiny") / folder).iterdir()) == sorted(names)
    written = read_json(paths.results("tiny") / "snapshots" / f"{names[1]}.json")
    assert written == snapshots.measure(runs.run(*RUN, "ice", 0))


def test_batches_without_an_auxiliary_gradient_are_left_out_of_a_cosine(inside, monkeypatch):
    """Where every known sample is within Energy's margins, there is no gradient to compare."""
    steps = [
        {"features": 0.2, "raised": 0.0},
        {"features": float("nan"), "raised": 0.5},
        {"features": 0.4, "raised": 0.1},
    ]
    monkeypatch.setattr(gradients, "measure", lambda *arguments: steps)
    monkeypatch.setattr(snapshots, "BATCHES", 3)
    found = snapshots._contradiction(runs.run(*RUN, "ice", 0), None, None)
    assert found["features"] == {"mean": pytest.approx(0.3), "std": pytest.approx(0.1), "defined": pytest.approx(2 / 3)}
    assert found["raised"]["mean"] == pytest.approx(0.2)
    steps[:] = [{"features": float("nan")}] * 3
    assert snapshots._contradiction(runs.run(*RUN, "ice", 0), None, None) == {"features": None}


def test_a_task_without_near_sets_takes_its_first_one(inside):
    values = inside.params
    values["tasks"]["digits"]["near"] = []
    inside.params = values
    assert snapshots._near(runs.run(*RUN, "ice", 0)) == "digits-89"
