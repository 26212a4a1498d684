"""Training: of one run into the store, and of many side by side.

``python -m icelib.training.train [--jobs N] [--minutes M] [RUN …]`` trains the named runs of params.yaml, or all, into
the store (`icelib.training.store`), with nothing of DVC, papermill or a network. With ``--minutes`` no epoch is
begun after that time; the same command goes on from the last finished ones.
"""

import argparse
import math
import shutil
import sys
import time
import traceback
from pathlib import Path

import threadpoolctl
import torch
from filelock import FileLock, Timeout

from icelib.config import runs
from icelib.data import tasks
from icelib.methods import METHODS
from icelib.training import store
from icelib.training.engine import Engine, validate
from icelib.training.parallel import current, parallel
from icelib.util import machine, paths, tensors
from icelib.util.errors import DivergedError, StoppedError, readable_errors
from icelib.util.files import read_json, write_json


def train(run, watch=lambda epochs: None, deadline=None):
    """Train one run to its end in this process, and first its parent, or take them from the store.

    It waits where another process trains the same run, and goes on from its last finished epoch if it was
    interrupted. On a CPU the weights are the same, bit for bit, whether or not it was, on any number of cores and
    beside any other work.

    Parameters
    ----------
    run : runs.Run
    watch : callable
        Called with the epochs so far after each of them, and with all of a run that was in the store.
    deadline : float, optional
        Of `time.time`; no epoch is begun after it.

    Returns
    -------
    list of dict
        One entry for each epoch: learning rate at its end, mean of each loss term, what `engine.validate` measures,
        seconds and images per second of the training.

    Raises
    ------
    DivergedError
        At a loss that is not finite; names epoch, step and terms. The store keeps that it diverged.
    StoppedError
        At the deadline.
    ValueError, OSError
        If data are missing or damaged, or a score is not finite; if a file cannot be written.
    """
    if run.parent:
        train(run.parent, deadline=deadline)
    found = store.digest(run)
    entry = store.take(run)
    if entry is None:
        folder = store.unfinished(found)
        folder.mkdir(parents=True, exist_ok=True)
        wait = -1 if deadline is None else max(0, deadline - time.time())
        try:
            with FileLock(folder.with_suffix(".lock"), wait), threadpoolctl.threadpool_limits(run.threads):
                entry = store.take(run) or _train(run, found, watch, deadline)  # another process may have put it there
        except Timeout:
            raise StoppedError(f"run {run.name}: time was over while another process trains it") from None
    history = read_json(entry / "history.json")
    if "diverged" in history:
        raise DivergedError(history["diverged"])
    watch(history["epochs"])
    return history["epochs"]


def _train(run, found, watch, deadline):
    progress = current(run.name)
    torch.set_num_threads(run.threads)
    folder, device = store.unfinished(found), machine.device()
    data, task = tasks.load(run.task, "train")
    validation, held_out = tasks.load(run.task, "validation")
    parent, grown = store.load(run.parent, device) if run.parent else (None, {"sha256": None})
    engine = Engine(run, data, len(task["classes"]), device, parent)
    validation = {name: tensor.to(device) for name, tensor in validation.items()}
    origin = {
        "environment": machine.describe(device, engine.precision) | {"libraries": machine.versions()},
        "images": {"train": task["sha256"], "validation": held_out["sha256"]},
        "parent": grown["sha256"],
    }
    about = {"classes": task["classes"], "digest": found, **origin}
    epochs = _resume(engine, folder)
    if not epochs:
        tensors.save(folder / store.snapshot_name(0), engine.model.state_dict(), about)
    ended = {}
    while len(epochs) < run.schedule.epochs and not ended:
        if deadline is not None and time.time() > deadline:
            done = f"{len(epochs)} of {run.schedule.epochs} epochs are done"
            raise StoppedError(f"run {run.name}: {done}; the same command goes on")
        started = time.perf_counter()
        try:
            terms = engine.epoch(len(epochs), _watched(progress, engine, len(epochs)))
        except DivergedError as error:
            ended = {"diverged": str(error)}
            break
        seconds = time.perf_counter() - started
        rate = engine.optimizer.param_groups[0]["lr"]
        epochs.append({"epoch": len(epochs) + 1, "learning_rate": rate, "loss": terms})
        epochs[-1] |= validate(engine.model, METHODS[run.method].score, validation, engine.precision)
        epochs[-1] |= {"seconds": seconds, "images_per_second": engine.images_per_epoch / seconds}
        if len(epochs) in run.schedule.kept_epochs:
            tensors.save(folder / store.snapshot_name(len(epochs)), engine.model.state_dict(), about)
        tensors.save(folder / "state.safetensors", engine.state(), {"epochs": epochs})
        watch(epochs)
    if not ended:
        tensors.save(folder / "weights.safetensors", engine.model.state_dict(), about)
    write_json(folder / "history.json", {"digest": found, **origin, "epochs": epochs} | ended)
    store.put(found, run, origin)
    shutil.rmtree(folder)
    return store.place(found)


def _watched(progress, engine, epoch):
    done, total = epoch * engine.steps, engine.steps * engine.run.schedule.epochs
    text = f"epoch {epoch + 1}/{engine.run.schedule.epochs}"
    told = lambda loss: text if loss is None else f"{text} loss {loss:.3f}"
    return lambda step, loss: progress.tell(done + step, total, told(loss))


def _resume(engine, folder):
    """Load the state of an interrupted run, if there is one; return its epochs."""
    state = folder / "state.safetensors"
    if not state.exists():
        return []
    try:
        saved, about = tensors.load(state)
    except ValueError as error:
        aside = state.with_suffix(".damaged")
        state.replace(aside)
        print(f"{error}\nIt was moved to {paths.relative(aside)}; training starts anew.", file=sys.stderr)
        return []
    kept = [epoch for epoch in engine.run.schedule.kept_epochs if epoch <= len(about["epochs"])]
    if not all((folder / store.snapshot_name(epoch)).exists() for epoch in kept):
        print("snapshots of the interrupted run are missing; training starts anew", file=sys.stderr)
        return []
    engine.load_state(saved)
    return about["epochs"]


def train_all(wanted, jobs=None, minutes=None):
    """Train runs side by side, each in a process of ``threads`` threads, into the store.

    One that fails does not stop the others. Equal runs, and parents, are trained once.

    `jobs` is how many at a time, by default as params.yaml says; after `minutes` no epoch is begun. Returned is what
    ``history.json`` of each run holds, in their order: ``epochs``, and ``diverged`` where it, or its parent, did.
    ValueError names the runs that failed with their reasons, but for those that diverged; StoppedError those for which
    time was over.
    """
    for name, value, least in (("jobs", jobs, 1), ("minutes", minutes, -math.inf)):
        if value is not None and not value >= least:
            raise ValueError(f"{name} = {value}: expected a number from {least}")
    store.refill()
    deadline = None if minutes is None else time.time() + 60 * minutes
    every = {store.digest(run): run for run in [*(run.parent for run in wanted if run.parent), *wanted]}
    missing = [run for run in every.values() if store.take(run) is None]
    missing.sort(key=lambda run: run.parent is not None)  # those that wait for a parent come last
    items = [(run, deadline, label) for run, label in zip(missing, _labels(missing))]
    errors = parallel(_attempt, items, jobs=jobs, label=lambda item: item[2])
    failed = [error for error in errors if error is not None]
    if failed:
        lines = "\n".join(f"- {message}" for _, message in failed)
        kind = StoppedError if all(kind == "StoppedError" for kind, _ in failed) else ValueError
        raise kind(f"{len(failed)} of {len(every)} runs are not trained:\n{lines}")
    lost = lambda run: run is not None and "diverged" in store.history(run)  # what starts from it has no entry
    return [store.history(run.parent if lost(run.parent) else run) for run in wanted]


def _labels(wanted):
    """Name runs in lines of progress: those of equal names by what they differ in, too."""
    values = [run.loss | run.head | run.schedule.model_dump() for run in wanted]
    labels = []
    for run, own in zip(wanted, values):
        alike = [other for one, other in zip(wanted, values) if one.name == run.name]
        varied = [f"{key}={value}" for key, value in own.items() if any(other.get(key) != value for other in alike)]
        labels.append(" ".join([run.name, *varied]))
    return labels


def _attempt(item):
    """Train a run in a worker; return None, or kind and message of what went wrong."""
    run, deadline, _ = item
    try:
        train(run, deadline=deadline)
    except DivergedError:
        pass  # the store says so
    except Exception as error:
        kind, message = type(error).__name__, str(error)
        here = [x for x in traceback.extract_tb(error.__traceback__) if Path(x.filename) in METHODS[run.method].files]
        message += "".join(f" ({paths.relative(Path(x.filename))}, line {x.lineno})" for x in here[-1:])
        return kind, message if run.name in message else f"run {run.name}: {message or kind}"


def declared(jobs=None):
    """Train all declared runs; copy them to ``checkpoints/`` and their histories to ``results/``: the train stage.

    Returned are the epochs of each run, by name; ValueError as `train_all`, and of runs that diverged.
    """
    wanted = runs.declared()
    histories = train_all(wanted, jobs)
    if diverged := [history["diverged"] for history in histories if "diverged" in history]:
        raise ValueError("\n- ".join([f"{len(diverged)} of {len(wanted)} runs diverged:", *diverged]))
    results = paths.results(runs.load().scale) / "history"
    for run, history in zip(wanted, histories):
        store.copy(run)
        write_json(results / f"{run.name}.json", {"run": run.name, "configuration": run.configuration, **history})
    names = {run.name for run in wanted}
    for path in [*paths.checkpoints(runs.load().scale).glob("[!.]*"), *results.glob("[!.]*.json")]:
        if (path.stem if path.suffix == ".json" else path.name) not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {run.name: history["epochs"] for run, history in zip(wanted, histories)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train runs of params.yaml into the store.")
    parser.add_argument("run", nargs="*", help="names; by default all that are declared")
    parser.add_argument("--jobs", type=int, help="trainings at a time")
    parser.add_argument("--minutes", type=float, help="after which no epoch is begun")
    options = parser.parse_args()
    with readable_errors():
        by_name = {run.name: run for run in runs.declared()}
        chosen = [runs.pick(by_name, name, "run") for name in options.run] or list(by_name.values())
        trained = train_all(chosen, options.jobs, options.minutes)
        for run, history in zip(chosen, trained):
            print(run.name, store.place(store.digest(run)).name, history.get("diverged", "trained"), sep="\t")
