"""Finished trainings, each under the digest of all that determines its weights.

An entry is the folder ``runs/DIGEST`` of `paths.STORE`:

==========================  =================================================================
``run.json``                the run, what it was trained on and with, SHA-256 of the other files
``history.json``            one entry for each epoch; of a run that diverged the message instead
``weights.safetensors``     the trained network
``epochs/0000.safetensors`` its state at the start and after ``run.schedule.kept_epochs``
==========================  =================================================================

A digest has nothing of the hardware, of a folder or of the versions of libraries, which ``run.json`` records, so
entries can be copied from one machine's store into another's. An entry is moved to its place whole, and verified
whenever it is taken. ``checkpoints/SCALE/RUN`` of the pipeline are copies of entries, from which a store that was
lost is filled again.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from icelib import models
from icelib.config import runs
from icelib.methods import METHODS
from icelib.util import machine, paths, tensors
from icelib.util.files import read_json, replacing_folder, write_json

# beside the method's own files: what computes weights and histories
CODE = ("heads.py", "losses.py", "metrics.py", "models.py", "scores.py", "training/batches.py", "training/engine.py")


def digest(run):
    """Return what a run's weights and history follow from, as a hash.

    Configuration with the number type that this hardware resolves ``auto`` to, images to train and validate on, the
    digest of the parent, and the bytes of the code that trains; not the names of task and protocol, nor test images.

    It has 32 hexadecimal digits; ValueError if the task's files are missing or damaged.
    """
    task = paths.tasks(run.scale) / run.task
    images = [tensors.read_about(task / f"{part}.safetensors")["sha256"] for part in ("train", "validation")]
    content = run.model_dump(exclude={"scale", "task", "protocol", "parent"})
    content["schedule"]["precision"] = str(machine.choose_precision(run.schedule.precision, machine.device()))
    content |= {"images": images, "parent": digest(run.parent) if run.parent else None, "code": _code(run.method)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _code(method):
    files = [*(paths.PACKAGE / name for name in CODE), *METHODS[method].files]
    return [hashlib.sha256(content).hexdigest() for content in map(LOADED.get, files)]


# as this process has loaded it, whatever a file says later
LOADED = {path: path.read_bytes() for path in paths.PACKAGE.rglob("*.py")}


def place(found):
    """Return where an entry of a digest lies, or is to lie."""
    return paths.STORE / "runs" / found


def unfinished(found):
    """Return the folder of a training that has not ended: its state and snapshots; its lock lies beside it."""
    return paths.STORE / "unfinished" / found


def take(run):
    """Return a run's entry, verified; None if there is none.

    One that is damaged is moved to ``damaged/`` beside the others, told on standard error, and counts as missing.
    """
    found = digest(run)
    folder = place(found)
    if not folder.exists():
        return None
    try:
        verify(folder, found)
    except (ValueError, NotADirectoryError) as error:  # no other OSError: what cannot be read now may be later
        aside = Path(tempfile.mkdtemp(dir=_made(paths.STORE / "damaged"))) / found
        shutil.move(folder, aside)
        print(f"{error}\nIt was moved to {paths.relative(aside)}; run {run.name} is trained anew.", file=sys.stderr)
        return None
    return folder


def verify(folder, found):
    """Check that a folder is the entry of a digest with every file as it was written.

    A ValueError names the file, what was found and what was expected.
    """
    about = read_json(folder / "run.json")
    if not isinstance(about.get("files"), dict):
        raise ValueError(f"{paths.relative(folder)}/run.json does not tell the entry's files; expected their SHA-256")
    if about.get("digest") != found:
        raise ValueError(f"{paths.relative(folder)} holds run {about.get('digest')}, expected {found}")
    text = json.dumps({key: value for key, value in about.items() if key != "sha256"}, sort_keys=True)
    files = {"run.json": (hashlib.sha256(text.encode()).hexdigest(), about.get("sha256"))}
    for name, expected in about["files"].items():
        path = folder / name
        files[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing", expected
    for name, (here, expected) in files.items():
        if here != expected:
            raise ValueError(f"{paths.relative(folder / name)} is damaged: SHA-256 {here}, expected {expected}")


def put(found, run, origin):
    """Make the folder of a finished training the entry of its digest.

    The `unfinished` folder of the digest holds what the entry is to hold; `origin` are environment, images and parent.
    """
    folder = unfinished(found)
    candidates = [folder / "history.json", folder / "weights.safetensors", *folder.glob("epochs/[0-9]*.safetensors")]
    names = sorted(str(path.relative_to(folder)) for path in candidates if path.exists())
    about = {"digest": found, "run": run.model_dump(), **origin}
    about["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    about["sha256"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    with replacing_folder(place(found)) as entry:  # one that is there is damaged, or it would have been taken
        for name in names:
            _made((entry / name).parent)
            shutil.copyfile(folder / name, entry / name)
        write_json(entry / "run.json", about)


def copy(run):
    """Copy a run's entry to ``checkpoints/SCALE/RUN``, unless it lies there."""
    source, target = place(digest(run)), paths.checkpoints(run.scale) / run.name
    if not _is_copy(target, source.name):
        with replacing_folder(target) as entry:
            shutil.copytree(source, entry)


def refill():
    """Take the copies in ``checkpoints/`` that the store lacks back into it; a damaged one is left out."""
    for path in paths.checkpoints(runs.load().scale).glob("*/run.json"):
        try:
            found = read_json(path).get("digest")
            if isinstance(found, str) and not place(found).exists():
                verify(path.parent, found)
                with replacing_folder(place(found)) as entry:
                    shutil.copytree(path.parent, entry)
        except (ValueError, OSError) as error:
            print(f"{error}; it is left out", file=sys.stderr)


def folder(run):
    """Return the folder that holds a run's networks: its copy in ``checkpoints/``, else its place in the store."""
    found = digest(run)
    copied = paths.checkpoints(run.scale) / run.name
    return copied if _is_copy(copied, found) else place(found)


def _is_copy(path, found):
    try:
        verify(path, found)
    except (ValueError, OSError):
        return False
    return True


def load(run, device="cpu", epoch=None):
    """Load the trained network of a run, or its state after some epoch.

    Parameters
    ----------
    run : runs.Run
    device : torch.device or str
    epoch : int, optional
        One of ``run.schedule.kept_epochs``; 0 is the start. By default the trained network.

    Returns
    -------
    model : Classifier
        In evaluation mode.
    about : dict
        ``classes``, ``environment``, ``images``, ``parent`` and ``digest`` of the training, ``sha256`` of the weights.

    Raises
    ------
    ValueError
        If the run is not trained with these parameters, or its weights are damaged.
    """
    path = folder(run) / ("weights.safetensors" if epoch is None else snapshot_name(epoch))
    if not path.exists():
        wrong = f"is not trained with these parameters: {paths.relative(path)} is missing"
        raise ValueError(f"run {run.name} {wrong}; run `dvc repro`")
    weights, about = tensors.load(path, device)
    head = METHODS[run.method].head
    model = models.build(run.network, run.shape.model_dump(), head, len(about["classes"]), run.head)
    model.load_state_dict(weights)
    return model.to(device, memory_format=torch.channels_last).eval(), about | {"digest": digest(run)}


def history(run):
    """Return what ``history.json`` of a run holds: ``digest``, the origin, and ``epochs`` or ``diverged``.

    ValueError if the run is not trained with these parameters, or the file is damaged.
    """
    return read_json(folder(run) / "history.json")


def snapshot_name(epoch):
    """Name of the file that holds a network's state after an epoch."""
    return f"epochs/{epoch:04}.safetensors"


def _made(path):
    path.mkdir(parents=True, exist_ok=True)
    return path
