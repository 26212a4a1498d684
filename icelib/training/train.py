"""Training of one run, from the configuration to a checkpoint and a history."""

import contextlib
import hashlib
import shutil
import sys
import time

import numpy as np
from filelock import FileLock, Timeout

from icelib import batches, checkpoints, distributed, hardware, metrics, params, paths, tasks, tensors
from icelib.engine import Engine
from icelib.errors import BusyError, at_sigterm
from icelib.files import write_json
from icelib.methods import METHODS
from icelib.team import ALONE

LOCK_PATIENCE = 20  # seconds: a killed process may leave its notebook kernel alive for a moment
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def train(run, keep=True, watch=lambda history: None):
    """Train one run to its end, going on from its last finished epoch if it was interrupted.

    The final weights and those after ``run.schedule.kept_epochs`` go to ``checkpoints/``, the
    history to ``results/history/``, both below `paths.home`. On a CPU the weights are the same, bit
    for bit, whether or not the run was interrupted. If params.yaml has several ``devices``, as many processes
    train and this one waits; an `own_runs.OwnRun` is trained here alone, where a notebook's functions live.

    Parameters
    ----------
    run : params.Run
    keep : bool
        Write checkpoints and history. A trial of other parameters than params.yaml has is not
        kept, since the files of the declared run have the same names; its history stays in
        ``.resume/``, so that the same trial takes no time again.
    watch : callable
        Called with the history after each epoch, if the run is trained in this process.

    Returns
    -------
    list of dict
        One entry for each epoch: learning rate at its end, mean of each loss term, accuracy on
        the known validation images, detection metrics on each kind of validation outliers, quantiles
        of the score on these and on known images, seconds and images per second of the training.

    Raises
    ------
    DivergedError
        At a loss that is not finite; names epoch, step and terms.
    StoppedError
        After the step at hand, if the process gets SIGTERM; at most one epoch is lost.
    ValueError
        If data or weights to start from are missing or damaged, params.yaml or the network's depth is wrong,
        ``devices`` are not as when the run was begun or fit no batches or GPUs, or a score is not finite.
    BusyError
        If another process is at work on the same run.
    OSError, RuntimeError
        If a file cannot be written; if one of several processes fails otherwise.
    """
    devices = 1 if run.own else params.load().devices
    return lead(run, keep, ALONE, watch) if devices == 1 else distributed.launch(run, keep, devices)


def lead(run, keep, team, watch=lambda history: None):
    """Train a run as the process that holds its lock, validates and writes; return and raise as `train` does."""
    with _alone(run):
        validation, held_out = tasks.load(run.scale, run.known, "validation")
        engine, task, parent = _engine(run, team)
        validation = {name: tensor.to(engine.device) for name, tensor in validation.items()}
        environment = {
            **hardware.describe(engine.device, engine.precision),
            "acceleration": engine.acceleration,
            "devices": team.size,
        }
        origin = {
            "environment": environment,
            "data": {"train": task["sha256"], "validation": held_out["sha256"]},
            "parent": parent,
            "code": code_digest(),
        }
        about = {"run": run.model_dump(), "classes": task["classes"], **origin}
        history = _resume(engine, run, origin, keep)
        team.told(len(history))
        if keep and not history:
            _snapshot(engine, run, 0, about)
        with at_sigterm(engine.stop):
            while len(history) < run.schedule.epochs:
                started = time.perf_counter()
                terms = engine.epoch(len(history))
                seconds = time.perf_counter() - started
                history.append(
                    {
                        "epoch": len(history) + 1,
                        "learning_rate": engine.optimizer.param_groups[0]["lr"],
                        "loss": terms,
                        **validate(engine.model, run, validation, engine.precision),
                        "seconds": seconds,
                        "images_per_second": engine.images_per_epoch / seconds,
                    }
                )
                if keep and len(history) in run.schedule.kept_epochs:
                    _snapshot(engine, run, len(history), about)
                tensors.save(_state(run), engine.state(), {"history": history, "origin": origin})
                watch(history)
        if keep:
            tensors.save(paths.checkpoint(run), engine.model.state_dict(), about)
            write_json(paths.history(run), {"run": run.name, **origin, "epochs": history})
            if paths.snapshots(run).exists():
                shutil.rmtree(paths.snapshots(run))  # a move into a folder that is left would nest them
            for left in _waiting(run).glob(".writing-*"):
                left.unlink()  # by a process that was killed
            # last, so that a run whose history cannot be written finds its snapshots again
            shutil.move(_waiting(run), paths.snapshots(run))
            _state(run).unlink()
        else:
            tensors.save(_state(run), {}, {"history": history, "origin": origin})
    return history


def follow(run, team):
    """Take the same steps as the process that leads, and write nothing; raise as `train` does."""
    engine, _, _ = _engine(run, team)
    done = team.told(None)
    if 0 < done < run.schedule.epochs:
        engine.load_state(tensors.load(_state(run))[0])
    with at_sigterm(engine.stop):
        for number in range(done, run.schedule.epochs):
            engine.epoch(number)


def validate(model, run, data, precision):
    """Measure accuracy and detection on validation images.

    Parameters
    ----------
    model : Classifier
    run : params.Run
    data : dict of str to Tensor
        The validation part of a task.
    precision : torch.dtype

    Returns
    -------
    dict
        ``accuracy``; ``validation``: for each kind of outlier the `metrics.NAMES`; ``score_quantiles``: for these
        and known images the `QUANTILES` of the method's score (for ICE, exp of them is the confidence).

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    score = METHODS[run.method].score
    logits = {name: batches.predict(model, images, precision) for name, images in data.items() if name != "labels"}
    values = {name: score(x).cpu().numpy() for name, x in logits.items()}
    predicted = logits["known"].argmax(1).cpu()
    return {
        "accuracy": metrics.accuracy_score(data["labels"].cpu(), predicted),
        "validation": {
            name: metrics.detection_metrics(values["known"], x) for name, x in values.items() if name != "known"
        },
        "score_quantiles": {name: np.quantile(x, QUANTILES).tolist() for name, x in values.items()},
    }


def code_digest():
    """SHA-256 of the modules at whose change an unfinished training starts anew; a variant's own are in its run."""
    modules = ("acceleration", "batches", "engine", "heads", "losses", "methods", "models", "scores", "team")
    return hashlib.sha256(b"".join((paths.PACKAGE / f"{name}.py").read_bytes() for name in modules)).hexdigest()


def _engine(run, team):
    """Return a run's engine, what describes the task, and the digest of the weights it starts from."""
    device = hardware.device()
    train_data, task = tasks.load(run.scale, run.known, "train")
    parent, grown = checkpoints.load(run.parent, device) if run.parent else (None, {"sha256": None})
    acceleration = params.load().acceleration
    engine = Engine(run, train_data, len(task["classes"]), device, parent, acceleration, team)
    return engine, task, grown["sha256"]


def _state(run):
    """File from which an unfinished run goes on."""
    return paths.RESUME / run.digest / "state.safetensors"


def _waiting(run):
    """Folder of a run's snapshots until it is complete."""
    return paths.RESUME / run.digest / "epochs"


def _snapshot(engine, run, epoch, about):
    tensors.save(_waiting(run) / checkpoints.snapshot_name(epoch), engine.model.state_dict(), about)


def _resume(engine, run, origin, keep):
    """Load the state of an interrupted run or a finished trial, if there is one; return its history.

    Raises
    ------
    ValueError
        If data, parent and code are as they were, but the number of devices is not.
    """
    state = _state(run)
    if not state.exists():
        return []
    try:
        saved, about = tensors.load(state)
    except ValueError as error:
        aside = state.with_suffix(".damaged")
        state.replace(aside)
        print(f"{error}\nIt was moved to {paths.relative(aside)}; training starts anew.", file=sys.stderr)
        return []
    changed = [name for name in origin if about.get("origin", {}).get(name) != origin[name]]
    if saved and changed == ["environment"]:
        begun, now = (x["environment"]["devices"] for x in (about["origin"], origin))
        if begun != now:
            raise ValueError(
                f"run {run.name} was begun with devices = {begun} and cannot go on with devices = {now}, which changes its "
                f"digits; set devices to {begun} in params.yaml, or delete {paths.relative(state.parent)} to start anew"
            )
    if changed:
        print(f"{' and '.join(changed)} changed since the run was interrupted; training starts anew", file=sys.stderr)
        return []
    if not saved:  # a finished trial has no weights left to keep
        return [] if keep else about["history"]
    kept = [epoch for epoch in run.schedule.kept_epochs if keep and epoch <= len(about["history"])]
    if not all((_waiting(run) / checkpoints.snapshot_name(epoch)).exists() for epoch in kept):
        print("snapshots of the interrupted run are missing; training starts anew", file=sys.stderr)
        return []
    engine.load_state(saved)
    return about["history"]


@contextlib.contextmanager
def _alone(run):
    """Hold the lock of a run, so that two processes never train it at the same time."""
    folder = paths.RESUME / run.digest
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=LOCK_PATIENCE)
    except Timeout:
        raise BusyError(
            f"another process is training run {run.name}; wait for it or stop it (lock: {paths.relative(folder / 'lock')})"
        ) from None
    try:
        yield
    finally:
        lock.release()
