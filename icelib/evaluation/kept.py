"""What was computed from a trained network, kept in the store under a hash of all that it follows from.

An entry is a folder ``KIND/KEY`` of `paths.STORE`: a file of tensors and one of values (JSON) with the SHA-256 of both.
The latter is written last, so that what a killed process left counts as missing. Entries are verified when taken.
"""

import hashlib
import json
import sys
from pathlib import Path

from icelib.training import store
from icelib.util import machine, paths, tensors
from icelib.util.files import read_json, write_bytes, write_json


def place(run, kind, code, settings):
    """Return the folder of a run's entry; raise ValueError if its task's files are missing or damaged.

    Its key is of the run, all images of its task, the bytes of `code` (files of the package), versions and `settings`.
    """
    task = paths.tasks(run.scale) / run.task
    images = [tensors.read_about(task / f"{part}.safetensors")["sha256"] for part in ("train", "validation", "test")]
    code = [hashlib.sha256(store.LOADED[paths.PACKAGE / name]).hexdigest() for name in code]
    named = [run.scale, run.name, run.tried, run.configuration, store.digest(run), machine.versions()]
    key = _digest([named, images, code, settings])
    return paths.STORE / kind / key[:32]


def take(folder, names, make):
    """Return the values of an entry, from the store or else made now, with one thread.

    Parameters
    ----------
    folder : pathlib.Path
        From `place`.
    names : (str, str)
        Of the files of tensors and of values.
    make : callable
        Returns tensors by name, what describes them and the values, of which ``origin`` is a dict: the SHA-256 of the
        tensors goes there.
    """
    try:
        return _read(folder, *names)
    except ValueError as error:
        if (folder / names[1]).exists():
            print(f"{error}; it is computed anew", file=sys.stderr)
    with machine.one_thread():
        found, about, values = make()
    tensors.save(folder / names[0], found, about)
    values["origin"][Path(names[0]).stem] = tensors.read_about(folder / names[0])["sha256"]
    write_json(folder / names[1], values | {"sha256": _digest(values)})
    return _read(folder, *names)


def publish(entries, names, scale):
    """Copy the files of entries (folders, by the names of runs) to ``results/SCALE`` and remove those of others."""
    for name in names:
        folder, suffix = paths.results(scale) / Path(name).stem, Path(name).suffix
        folder.mkdir(parents=True, exist_ok=True)  # DVC expects it, also of no run
        for run, entry in entries.items():
            write_bytes(folder / f"{run}{suffix}", (entry / name).read_bytes())
        for path in folder.glob(f"[!.]*{suffix}"):
            if path.name.removesuffix(suffix) not in entries:
                path.unlink()


def _read(folder, tensor_name, value_name):
    values = read_json(folder / value_name)
    if _digest({key: value for key, value in values.items() if key != "sha256"}) != values.get("sha256"):
        raise ValueError(f"{paths.relative(folder / value_name)} is damaged: it does not match its SHA-256")
    _, about = tensors.load(folder / tensor_name)
    if about["sha256"] != values["origin"][Path(tensor_name).stem]:
        raise ValueError(f"{paths.relative(folder / tensor_name)} is another than {value_name} beside it was made with")
    return values


def _digest(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
