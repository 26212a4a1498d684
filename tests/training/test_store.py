"""The store: what a digest covers, and that nothing damaged or of another run is taken."""

import json
import shutil

import pytest

from icelib import models
from icelib.config import runs
from icelib.methods import METHODS
from icelib.training import store, train
from icelib.util import paths, tensors
from tests.conftest import RUN


@pytest.fixture
def run(inside):
    run = runs.vary(runs.run(*RUN, "ice", 0), {"epochs": 1})
    train.train(run)
    return run


def changed(inside, *keys, to):
    values = inside.params
    place = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    inside.params = values


@pytest.mark.parametrize(
    ("keys", "to", "concerned"),
    [
        (("train", "ice", "weight"), 0.3, {"ice", "finetune"}),
        (("train", "ice", "mean_scale"), 0.3, {"ice", "finetune"}),
        (("train", "oe", "weight"), 0.3, set()),
        (("protocols", "scratch", "weight_decay"), 0.1, {"plain", "ice", "finetune"}),
        (("protocols", "finetune", "epochs"), 3, {"finetune"}),
        (("protocols", "scratch", "train"), {"ice": {"weight": 0.3}}, {"ice"}),
        (("protocols", "finetune", "train"), {"ice": {"weight": 0.3}}, {"finetune"}),
        (("protocols", "scratch", "train"), {"oe": {"weight": 0.3}}, set()),
        (("threads",), 2, {"plain", "ice", "finetune"}),
        (("compile",), True, {"plain", "ice", "finetune"}),
        (("parallel",), {"jobs": 3}, set()),
        (("bootstrap",), 30, set()),
        (("scale",), "tiny", set()),
    ],
)
def test_a_digest_covers_what_weights_follow_from(inside, keys, to, concerned):
    names = {"plain": ("scratch", "plain"), "ice": ("scratch", "ice"), "finetune": ("finetune", "ice")}
    digests = lambda: {key: store.digest(runs.run("digits", "wideresnet", *name, 0)) for key, name in names.items()}
    before = digests()
    changed(inside, *keys, to=to)
    assert {key for key, value in digests().items() if value != before[key]} == concerned


def test_a_digest_covers_images_and_code_but_neither_names_nor_test_images(inside, monkeypatch):
    run = runs.run(*RUN, "ice", 0)
    before = store.digest(run)
    assert store.digest(run.model_copy(update={"scale": "tiny", "protocol": "other"})) == before
    folder = paths.tasks("tiny") / "digits"
    for part, same in (("test", True), ("train", False)):
        content, about = tensors.load(folder / f"{part}.safetensors")
        content["known"] = content["known"].flip(0)
        tensors.save(folder / f"{part}.safetensors", content, {"classes": about["classes"]})
        assert (store.digest(run) == before) == same
    before = store.digest(run)
    code = (("losses.py", False), ("methods/ice.py", False), ("methods/oe.py", True), ("training/engine.py", False))
    for name, same in code:
        with monkeypatch.context() as patch:
            patch.setitem(store.LOADED, paths.PACKAGE / name, b"other code")
            assert (store.digest(run) == before) == same, name


def test_code_that_a_method_takes_from_another_is_its_own():
    names = lambda method: {path.name for path in METHODS[method].files}
    assert names("ratio") == {"ratio.py", "logistic.py"} and names("ice") == {"ice.py"}


def test_a_resolved_precision_is_covered(inside, monkeypatch):
    run = runs.vary(runs.run(*RUN, "ice", 0), {"precision": "auto"})
    found = set()
    for kind in ("float32", "bfloat16"):
        monkeypatch.setattr(store.machine, "choose_precision", lambda wish, device, kind=kind: kind)
        found.add(store.digest(run))
    assert len(found) == 2


def test_a_file_in_the_place_of_an_entry_is_set_aside(run, capsys):
    entry = store.place(store.digest(run))
    shutil.rmtree(entry)
    entry.write_text("not a folder")
    assert store.take(run) is None and "was moved to .dvc/store/damaged/" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["bit", "missing", "cut", "about", "no about"])
def test_a_damaged_entry_is_set_aside_and_trained_anew(run, capsys, damage):
    entry = store.place(store.digest(run))
    expected = (entry / "weights.safetensors").read_bytes()
    path = entry / ("weights.safetensors" if "about" not in damage else "run.json")
    if damage in ("missing", "no about"):
        path.unlink()
    elif damage == "cut":
        path.write_bytes(expected[:-10])
    elif damage == "bit":
        path.write_bytes(expected[:-1] + bytes([expected[-1] ^ 1]))
    else:
        path.write_text(path.read_text().replace('"weight": 0.1', '"weight": 0.2'))
    assert store.take(run) is None
    told = capsys.readouterr().err
    assert "was moved to .dvc/store/damaged/" in told and path.name in told
    train.train(run)
    assert (entry / "weights.safetensors").read_bytes() == expected
    assert len(list((paths.STORE / "damaged").glob("*/*"))) == 1, "nothing is lost"


def test_an_entry_under_another_name_is_not_taken(run, capsys):
    other = runs.vary(run, {"weight": 0.7})
    shutil.copytree(store.place(store.digest(run)), store.place(store.digest(other)))
    assert (
        store.take(other) is None
        and f"holds run {store.digest(run)}, expected {store.digest(other)}" in capsys.readouterr().err
    )


def test_a_half_copied_entry_in_checkpoints_does_not_fill_the_store(run, capsys):
    store.copy(run)
    copied = paths.checkpoints("tiny") / run.name
    (copied / "weights.safetensors").unlink()
    shutil.rmtree(paths.STORE)
    store.refill()
    assert store.take(run) is None and "weights.safetensors is damaged: SHA-256 missing" in capsys.readouterr().err


def test_a_store_that_was_lost_is_filled_with_copies_of_undeclared_runs_too(run):
    assert run not in runs.declared()
    store.copy(run)
    shutil.rmtree(paths.STORE)
    store.refill()
    assert store.take(run)


def test_networks_come_from_the_copy_and_else_from_the_store(run):
    assert store.folder(run) == store.place(store.digest(run))
    store.copy(run)
    assert store.folder(run) == paths.checkpoints("tiny") / run.name
    model, about = store.load(run)
    assert isinstance(model, models.Classifier) and not model.training and about["classes"] == [*"012345"]
    shutil.rmtree(paths.STORE)
    assert store.load(run)[1]["sha256"] == about["sha256"]


def test_a_run_that_is_not_trained_is_told(inside):
    with pytest.raises(ValueError, match=r"run digits-wideresnet-scratch-ice-0 is not trained with these parameters"):
        store.load(runs.run(*RUN, "ice", 0))


def test_missing_and_damaged_task_files_are_told(inside):
    path = paths.tasks("tiny") / "digits/train.safetensors"
    path.write_bytes(b"not a tensor file")
    with pytest.raises(ValueError, match=r"data/tasks/tiny/digits/train.safetensors cannot be read"):
        store.digest(runs.run(*RUN, "ice", 0))
    path.unlink()
    with pytest.raises(ValueError, match=r"train.safetensors is missing; `dvc repro` makes it"):
        store.digest(runs.run(*RUN, "ice", 0))


def test_equal_content_gives_equal_files(run):
    first = {path.name: path.read_bytes() for path in store.place(store.digest(run)).rglob("*.safetensors")}
    shutil.rmtree(paths.STORE)
    train.train(run)
    assert first == {path.name: path.read_bytes() for path in store.place(store.digest(run)).rglob("*.safetensors")}
    assert json.loads((store.place(store.digest(run)) / "run.json").read_text())["digest"] == store.digest(run)
