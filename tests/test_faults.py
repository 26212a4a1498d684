"""Damaged, foreign and hostile files: each is refused in words that name it, or changes nothing."""

import io
import os
import shutil
import zipfile

import nbformat
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from icelib import catalog, data, files, images, notebooks, paths, photographs, results, sweeps, tensors, training
from icelib.errors import SourceError
from tests.conftest import SOURCE
from tests.test_data_archives import WEB, Harmful, encoded
from tests.test_training import a_run


def test_every_bit_of_a_tensor_file_is_covered(tmp_path):
    """What describes the tensors too: the state of an unfinished run has its history there."""
    path = tmp_path / "x.safetensors"
    tensors.save(path, {"x": torch.arange(3)}, {"history": [{"accuracy": 0.71}]})
    whole = path.read_bytes()
    right, about = tensors.load(path)
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                found, told = tensors.load(path)
            except ValueError as error:
                assert "x.safetensors" in str(error)
            else:
                assert told == about and torch.equal(found["x"], right["x"]), f"bit {bit} of byte {place}"


def test_a_pickle_named_like_a_tensor_file_is_refused_uncalled(tmp_path):
    mark = tmp_path / "called"
    torch.save({"x": Harmful(os.system, f"touch '{mark}'")}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x.safetensors cannot be read"):
        tensors.load(tmp_path / "x.safetensors")
    absurd = (1 << 60).to_bytes(8, "little") + b"{}"
    (tmp_path / "y.safetensors").write_bytes(absurd)
    with pytest.raises(ValueError, match=r"y.safetensors cannot be read"):
        tensors.load(tmp_path / "y.safetensors")
    assert not mark.exists()


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/").replace("_npy", ".npy"), content)


def array(shape, content=b""):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue() + content


def test_hostile_npz_files_are_refused(tmp_path, monkeypatch):
    path, mark = tmp_path / "mine.npz", tmp_path / "called"
    np.savez(path, images=np.array([Harmful(os.system, f"touch '{mark}'")], dtype=object))
    with pytest.raises(ValueError, match=r"mine.npz is not a readable .npz file: .*allow_pickle"):
        images.read_npz(path)
    assert not mark.exists()
    npz(path, images_npy=array((10**13, 32, 32, 3), bytes(100)))
    with pytest.raises(ValueError, match=r"mine.npz is not a readable .npz file"):
        images.read_npz(path)
    npz(path, images=b"no array")
    with pytest.raises(ValueError, match=r"mine.npz is not a readable .npz file: its member 'images' is no array"):
        images.read_npz(path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 1_000_000}))
    for name in ("images_npy", "images"):  # numpy takes both
        npz(path, **{name: array((1000, 32, 32, 3), bytes(3_072_000))})
        assert path.stat().st_size < 10_000
        with pytest.raises(ValueError, match=r"its arrays take 3,072,\d+ bytes of memory, and 1,000,000 are free"):
            images.read_npz(path)


def test_hostile_images_in_a_folder_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "long.png"
    for size in ((100_000, 1), (1, 100_000)):
        Image.new("RGB", size).save(file)
        shown = "×".join(f"{side:,}" for side in size)
        with pytest.raises(ValueError, match=rf"long.png is not a readable image: it has {shown} pixels, expected a"):
            images.read_own(tmp_path)
    Image.new("RGB", (500, 1)).save(file)
    assert images.read_own(tmp_path)[0].shape == (1, 32, 32, 3)

    def decode(path, fit):
        raise MemoryError

    monkeypatch.setattr(images, "decode", decode)
    with pytest.raises(ValueError, match="long.png is not a readable image: MemoryError"):
        images.read_own(tmp_path)


def test_names_in_a_zip_never_become_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = encoded(np.zeros((32, 32, 3), np.uint8))
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as file:
        for name in ("../out.png", "/tmp/x/out.png"):
            file.writestr(name, image)
    np.savez(tmp_path / "mine.npz", images=np.zeros((1, 32, 32, 3), np.uint8), **{"../../out": np.zeros(1)})
    before = sorted(tmp_path.parent.rglob("*"))
    assert len(photographs.read_odin((tmp_path / "slip.zip", WEB))["test"][0]) == 2
    images.read_npz(tmp_path / "mine.npz")
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("error", [IndexError("index out of range"), RecursionError(), MemoryError(), TypeError("x")])
def test_whatever_a_reader_raises_ends_in_one_line(inside, monkeypatch, error):
    """Damaged archives make zlib, tarfile, scipy and Pillow raise errors of dozens of kinds."""

    def read():
        raise error

    monkeypatch.setitem(catalog.DATASETS, "bad", catalog.DataSet("t", "terms", "as it is", read))
    with pytest.raises(SourceError, match=f"bad: .* cannot be decoded: {error or type(error).__name__}"):
        data.prepare("bad")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_files_that_are_no_json_objects_are_named(inside, text):
    content = text.encode(errors="surrogateescape")
    readers = {
        paths.metrics(a_run()): lambda: results.load(a_run()),
        paths.sweep("tiny", "ice-weight"): lambda: sweeps.load("tiny", "ice-weight"),
        paths.DATASETS / "digits-train" / "about.json": lambda: data.load("digits-train"),
    }
    for path, read in readers.items():
        files.write_bytes(path, content)
        with pytest.raises(ValueError, match=f"{paths.relative(path)} (is not readable JSON|holds a list)"):
            read()


def test_a_sweep_of_another_kind_is_refused(inside):
    files.write_json(paths.sweep("tiny", "ice-weight"), {"run": "x"})
    with pytest.raises(ValueError, match="was made with other values than params.yaml has"):
        sweeps.load("tiny", "ice-weight")


def test_scores_of_another_run_or_of_other_parameters_are_not_measured(inside):
    """They would be reported under the name and the parameters of this one."""
    ice, plain = a_run("ice"), a_run("plain")
    tensors.save(paths.scores(plain), {"x": torch.zeros(1)}, {"run": plain.model_dump()})
    shutil.copy(paths.scores(plain), paths.scores(ice))
    with pytest.raises(ValueError, match=r"scores/tiny/few-\S*-ice-0.safetensors is of a network trained with other"):
        results.measure(ice)
    assert not paths.metrics(ice).exists()


def test_what_a_killed_process_left_is_not_published(inside, monkeypatch):
    run = a_run(epochs=1)
    left = paths.RESUME / run.digest / "epochs" / ".writing-abc.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    training.train(run)
    assert {path.name for path in paths.snapshots(run).iterdir()} == {"0000.safetensors", "0001.safetensors"}


def test_a_history_that_cannot_be_written_loses_no_snapshot(inside, monkeypatch, capsys):
    run, steps = a_run(epochs=1), []
    with monkeypatch.context() as full:
        full.setattr(training, "write_json", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            training.train(run)
    monkeypatch.setattr(training.Engine, "epoch", lambda self, number: steps.append(number))
    training.train(run)
    assert not steps and "anew" not in capsys.readouterr().err and paths.history(run).exists()
    assert {path.name for path in paths.snapshots(run).iterdir()} == {"0000.safetensors", "0001.safetensors"}


def execute(folder, *cells):
    """Execute cells as a notebook of the pipeline; return the exit's message, or None."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / "n.ipynb")
    with pytest.raises(SystemExit) as ended:
        notebooks.run(folder / "n.ipynb", folder / "r.ipynb", {})
    assert ended.value.code == 1 and not (folder / "r.ipynb").exists()
    assert (paths.ROOT / "scratch/r.failed.ipynb").exists()


def test_a_kernel_that_dies_or_ends_early_makes_no_report(inside, tmp_path, capfd):
    execute(tmp_path, "import os; os.kill(os.getpid(), 9)")
    output = capfd.readouterr().err
    assert "n.ipynb died: it was killed, or memory ran out" in output and "Traceback" not in output
    execute(tmp_path, "import sys; sys.exit(0)", "print('the rest')")
    assert "n.ipynb ended before its last cell" in capfd.readouterr().err


def test_the_readme_quotes_the_drill():
    table = (SOURCE / "results/faults.md").read_text()
    assert table in (SOURCE / "README.md").read_text()
    assert all(line.split("|")[4].strip(" *") in ("0", "wrong results", "--:") for line in table.splitlines())
