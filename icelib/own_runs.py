"""Trainings that params.yaml does not declare: each in a folder of its own under ``scratch/own/``."""

import hashlib
from typing import ClassVar

from icelib import heads, own_code, params, paths, results, scoring, sweeps, tensors, training
from icelib.checks import loss_parameters
from icelib.files import read_json, write_bytes, write_json
from icelib.methods import METHODS

PARTS = ("train", "validation", "test")
PROTOCOL = "scratch"  # of the trainings of Table 3
MEASURING = ("batches", "metrics", "posthoc", "results", "scoring", "training")  # modules, beside those of the weights


class OwnRun(params.Run):
    """A run with the code of its loss, head and score, which is a part of its digest."""

    own: ClassVar[str] = "own"
    head_kind: str
    code: str

    @property
    def title(self):
        """Name in tables: the method, the start of the folder's second part, values and budget."""
        values = [f"{name} {x}" if isinstance(x, str) else f"{name} {x:g}" for name, x in self.loss.items()]
        epochs = f"{self.schedule.epochs} epoch{'s' if self.schedule.epochs > 1 else ''}"
        return f"{self.method} {self.digest[:6]} ({', '.join([*values, epochs])})"


class VariantRun(OwnRun):
    """A run of `icelib.beyond`, kept apart from what a user tries out."""

    own: ClassVar[str] = "beyond"


def run(scale, name, seed, values, protocol, epochs=None, kind=OwnRun):
    """Describe a run of Table 3's task and network, with any method and values.

    Parameters
    ----------
    scale : str
    name : str
        Key of `METHODS`.
    seed : int
    values : dict of str to float or str
        Of loss and head.
    protocol : str
        Key of the scale's ``protocols``.
    epochs : int, optional
        In place of the protocol's.
    kind : {OwnRun, VariantRun}

    Returns
    -------
    OwnRun

    Raises
    ------
    ValueError
        If there is no such scale or protocol, or the code has no source.
    """
    block, method = params.pick(params.load().blocks, scale, "scale"), METHODS[name]
    schedule = params.pick(block.protocols, protocol, f"{scale}.protocols")
    changed = schedule.model_dump() | ({} if epochs is None else {"epochs": epochs})
    return kind(
        scale=scale,
        known=sweeps.KNOWN,
        network=sweeps.NETWORK,
        protocol=PROTOCOL,
        method=name,
        seed=seed,
        shape=block.networks.wideresnet,
        schedule=params.checked(type(schedule), changed),
        loss={key: values[key] for key in loss_parameters(name)},
        head={key: values[key] for key in heads.parameters(method.head)},
        head_kind=method.head if isinstance(method.head, str) else method.head.__name__,
        code="\n\n".join(
            own_code.text(x) for x in (method.loss, heads.HEADS.get(method.head, method.head), method.score)
        ),
    )


def finish(run, watch=lambda history: None):
    """Train, score and measure a run, unless it was finished with the same images and code.

    Where test images, measuring code or bootstrap alone are others, it is not trained again.

    Parameters
    ----------
    run : OwnRun
    watch : callable
        Called with the history after each epoch, and with that of a finished run.
    """
    if finished(run):
        watch(read_json(paths.history(run))["epochs"])
        return
    if _trained(run):
        watch(read_json(paths.history(run))["epochs"])
    else:
        write_bytes(paths.home(run) / "code.py", run.code.encode())
        training.train(run, watch=watch)
    scoring.score(run)
    results.measure(run)
    write_json(paths.home(run) / "run.json", {"run": run.model_dump(), "made_of": made_of(run)})


def finished(run):
    """Whether a run was finished with the images and the code that there are now."""
    return _made_of(run) == made_of(run)


def _trained(run):
    """Whether a finished run's weights are those that a training would give now."""
    before, now = _made_of(run), made_of(run)
    images = ("train", "validation")
    return (
        before is not None
        and before["code"]["training"] == now["code"]["training"]
        and all(before["images"][part] == now["images"][part] for part in images)
        and paths.checkpoint(run).exists()
    )


def _made_of(run):
    """What a finished run was made of; None of one that is not finished."""
    path = paths.home(run) / "run.json"
    return read_json(path)["made_of"] if path.exists() else None


def classes(scale):
    """Number of known classes of the task on which runs of one's own are trained."""
    return len(tensors.read_about(paths.TASKS / scale / sweeps.KNOWN / "train.safetensors")["classes"])


def made_of(run):
    """Return what a run's figures depend on beside its own parameters: images, code and bootstrap."""
    images = {
        part: tensors.read_about(paths.TASKS / run.scale / run.known / f"{part}.safetensors")["sha256"]
        for part in PARTS
    }
    measuring = b"".join((paths.PACKAGE / f"{name}.py").read_bytes() for name in MEASURING)
    return {
        "images": images,
        "code": {"training": training.code_digest(), "measuring": hashlib.sha256(measuring).hexdigest()},
        "bootstrap": params.load().blocks[run.scale].bootstrap,
    }
