"""The fault drill in small: damaged, foreign and hostile files, kills, and two at once.

Each file is refused in words that name it, or changes nothing.
"""

import contextlib
import os
import random
import shutil
import signal
import sys
import time

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from icelib.config import runs
from icelib.data import datasets, images
from icelib.report import results
from icelib.tools import notebooks
from icelib.training import store, train
from icelib.util import errors, files, paths, tensors
from tests.conftest import RUN
from tests.faults.lab import OTHER, cut, flip, outputs

PLAIN = ("plain", 0)


class Harmful:
    """An object that runs a command when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_every_byte_of_a_tensor_file_is_covered(tmp_path):
    """What describes the tensors too: the state of an unfinished run has its history there."""
    path = tmp_path / "x.safetensors"
    tensors.save(path, {"x": torch.arange(3)}, {"history": [{"accuracy": 0.71}]})
    whole = path.read_bytes()
    right, about = tensors.load(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            found, told = tensors.load(path)
        except ValueError as error:
            assert "x.safetensors" in str(error)
        else:
            assert told == about and torch.equal(found["x"], right["x"]), f"byte {place}"


def test_pickles_are_refused_uncalled(tmp_path):
    mark = tmp_path / "called"
    torch.save({"x": Harmful(os.system, f"touch '{mark}'")}, tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    for name in ("x", "y"):
        with pytest.raises(ValueError, match=f"{name}.safetensors cannot be read"):
            tensors.load(tmp_path / f"{name}.safetensors")
    np.savez(tmp_path / "mine.npz", images=np.array([Harmful(os.system, f"touch '{mark}'")], dtype=object))
    with pytest.raises(ValueError, match=r"mine.npz is not a readable .npz file: it is no archive of plain arrays"):
        images.read_npz(tmp_path / "mine.npz")
    assert not mark.exists()


def test_hostile_images_in_a_folder_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "long.png"
    for size in ((100_000, 1), (1, 100_000)):
        Image.new("RGB", size).save(file)
        shown = "×".join(f"{side:,}" for side in size)
        with pytest.raises(ValueError, match=rf"long.png is not a readable image: it has {shown} pixels, expected a"):
            images.read_own(tmp_path)
    Image.new("RGB", (500, 1)).save(file)
    assert images.read_own(tmp_path)[0].shape == (1, 32, 32, 3)
    monkeypatch.setattr(images, "decode", lambda path, fit: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(ValueError, match="long.png is not a readable image: MemoryError"):
        images.read_own(tmp_path)


@pytest.mark.parametrize("error", [IndexError("index out of range"), RecursionError(), MemoryError(), TypeError("x")])
def test_whatever_a_reader_raises_ends_in_one_line(inside, monkeypatch, error):
    """Damaged archives make zlib, tarfile, scipy and Pillow raise errors of dozens of kinds."""

    def read(folder):
        raise error

    monkeypatch.setitem(datasets.READERS, "svhn", read)
    monkeypatch.setattr(datasets, "archive", lambda sources: (paths.DOWNLOADS / "archive", sources[0]))
    monkeypatch.setattr(datasets, "unpacked", contextlib.nullcontext)
    with pytest.raises(errors.SourceError, match=f"svhn: .* cannot be decoded: {error or type(error).__name__}"):
        datasets.prepare("svhn")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_files_that_are_no_json_objects_are_named(inside, text):
    run = runs.run(*RUN, *PLAIN)
    readers = {
        paths.results("tiny") / f"metrics/{run.name}.json": lambda: results.metrics(run),
        paths.results("tiny") / "sweeps/ice-weight.json": lambda: results.sweep("ice-weight"),
        paths.DATASETS / "digits-train" / "about.json": lambda: datasets.load("digits-train"),
    }
    for path, read in readers.items():
        files.write_bytes(path, text.encode(errors="surrogateescape"))
        with pytest.raises(ValueError, match=f"{paths.relative(path)} (is not readable JSON|holds a list)"):
            read()


TRAINED = {}


@pytest.fixture
def entry(inside):
    """The entry of a trained run in the store of a project, which a test may spoil."""
    run = runs.run(*RUN, *PLAIN)
    folder = store.place(store.digest(run))
    if not TRAINED:
        train.train(run)
        TRAINED.update({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    for name, content in TRAINED.items():
        files.write_bytes(folder / name, content)
    return folder


@pytest.fixture
def untrained(monkeypatch):
    """Let a training that begins raise an error."""
    monkeypatch.setattr(train.Engine, "epoch", lambda *_: (_ for _ in ()).throw(AssertionError("it trains")))


def test_an_entry_is_taken_and_a_lost_store_is_filled_from_the_copies(entry, untrained):
    run = runs.run(*RUN, *PLAIN)
    before = outputs(entry, ["."])
    store.copy(run)
    shutil.rmtree(paths.STORE)
    store.refill()
    assert outputs(entry, ["."]) == before and len(train.train(run)) == run.schedule.epochs


@pytest.mark.parametrize("name", ["run.json", "history.json", "weights.safetensors", "epochs/0000.safetensors"])
@pytest.mark.parametrize("how", [flip, cut, None])
def test_a_damaged_entry_is_named_set_aside_and_missing(entry, capsys, name, how):
    path = entry / name
    path.write_bytes(how(path.read_bytes(), random.Random(name))) if how else path.unlink()
    assert store.take(runs.run(*RUN, *PLAIN)) is None and not entry.exists()
    told = capsys.readouterr().err
    assert f"{paths.relative(path)} is " in told and f"It was moved to {paths.relative(paths.STORE)}/damaged/" in told
    assert [folder.name for folder in (paths.STORE / "damaged").glob("*/*")] == [entry.name]


def test_an_entry_under_another_digest_is_not_taken(entry, capsys):
    """As when a folder is copied under a wrong name: its files are whole, but of another training."""
    run = runs.run(*RUN, "plain", 1)
    entry.rename(store.place(store.digest(run)))
    assert store.take(run) is None
    assert f"holds run {entry.name}, expected {store.digest(run)}" in capsys.readouterr().err


def test_a_damaged_copy_does_not_get_into_the_store(entry, capsys):
    run = runs.run(*RUN, *PLAIN)
    store.copy(run)
    shutil.rmtree(paths.STORE)
    (paths.checkpoints("tiny") / run.name / "weights.safetensors").write_bytes(b"half")
    store.refill()
    assert not entry.exists() and f"{run.name}/weights.safetensors is damaged" in capsys.readouterr().err


def test_what_a_killed_process_left_is_not_published(entry):
    run = runs.run(*RUN, *PLAIN)
    shutil.rmtree(entry)
    files.write_bytes(store.unfinished(entry.name) / "epochs/.writing-abc.safetensors", b"half")
    train.train(run)
    assert {path.relative_to(entry) for path in entry.rglob("*") if path.is_file()} == set(TRAINED)


def test_an_entry_that_cannot_be_written_loses_no_epoch(entry, monkeypatch, capsys):
    run = runs.run(*RUN, *PLAIN)
    shutil.rmtree(entry)
    with monkeypatch.context() as full:
        full.setattr(store, "put", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            train.train(run)
    monkeypatch.setattr(train.Engine, "epoch", lambda *_: (_ for _ in ()).throw(AssertionError("it trains")))
    assert len(train.train(run)) == run.schedule.epochs and "anew" not in capsys.readouterr().err
    assert (entry / "weights.safetensors").read_bytes() == TRAINED[next(x for x in TRAINED if x.stem == "weights")]


def test_a_damaged_state_is_set_aside_and_training_starts_anew(entry, capsys):
    run = runs.run(*RUN, *PLAIN)
    shutil.rmtree(entry)
    files.write_bytes(store.unfinished(entry.name) / "state.safetensors", b"half")
    train.train(run)
    assert "state.safetensors cannot be read" in capsys.readouterr().err
    assert (entry / "weights.safetensors").read_bytes() == TRAINED[next(x for x in TRAINED if x.stem == "weights")]


def test_killed_and_then_given_twice_at_once_the_command_ends_in_the_same_bits(entry, inside):
    undisturbed = outputs(entry, ["."])
    shutil.rmtree(entry)
    command = (sys.executable, "-m", "icelib.training.train", OTHER)
    process, started = inside.start(*command), time.monotonic()
    while not (store.unfinished(entry.name) / "epochs/0000.safetensors").exists() and process.poll() is None:
        assert time.monotonic() < started + 120
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    both = [inside.start(*command) for _ in range(2)]
    told = [(process.communicate()[0], process.returncode) for process in both]
    assert [status for _, status in told] == [0, 0], told
    assert outputs(entry, ["."]) == undisturbed


def test_a_kernel_that_dies_or_ends_early_makes_no_report(inside, tmp_path):
    def execute(*cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbformat.write(notebook, tmp_path / "n.ipynb")
        with pytest.raises(ValueError) as ended:
            notebooks.run(tmp_path / "n.ipynb", tmp_path / "r.ipynb")
        assert not (tmp_path / "r.ipynb").exists()
        assert (paths.SCRATCH / "r.failed.ipynb").exists()
        return str(ended.value)

    told = execute("import os; os.kill(os.getpid(), 9)")
    assert "n.ipynb died: it was killed, or memory ran out" in told and "Traceback" not in told
    assert "n.ipynb ended before its last cell" in execute("import sys; sys.exit(0)", "print('the rest')")
