"""What a run's networks say and do on the way, epoch by epoch.

``python -m icelib.evaluation.snapshots`` writes in ``results/SCALE``, for the runs that 06 and 08 show and the epochs
that were kept

- ``snapshots/RUN.json``: at each of them `overlap.overlap` and `overlap.centrality` of known test images with the first
  near set and with the auxiliary images of validation, and of methods that train on outliers `gradients.measure` on
  training batches; at the last `overlap.opposite_order` of the largest logit and a fitted likelihood, by test set;
- ``logits/RUN.safetensors``: ``EPOCH/SET`` (M, K) float32, of the known test images and the near set at each; of all
  test sets, and as ``validation/SET`` of all validation sets, at the last. ``labels`` and ``validation/labels``.
"""

import argparse

import numpy as np
import torch

from icelib import heads, models
from icelib.analysis import gradients, overlap
from icelib.config import runs
from icelib.data import tasks
from icelib.evaluation import kept
from icelib.evaluation.detectors import features
from icelib.methods import METHODS
from icelib.training import store
from icelib.training.parallel import parallel
from icelib.util import machine, paths
from icelib.util.errors import readable_errors

FILES = ("logits.safetensors", "snapshots.json")
CODE = ["evaluation/snapshots.py", "evaluation/kept.py", "analysis/gradients.py", "analysis/overlap.py", "models.py"]
BATCHES = 8  # on which gradients are compared, at each epoch


def shown():
    """List the declared runs that 06 and 08 show."""
    found = [run for several in runs.main_runs().values() for run in several]
    there = lambda run: not paths.SHOWN or (paths.results(run.scale) / "snapshots" / f"{run.name}.json").exists()
    return [run for run in found if there(run)]  # of a recorded scale those whose snapshots are


def place(run):
    """Return the folder of the store that holds a run's snapshots, or is to hold them."""
    return kept.place(run, "snapshots", CODE, {"near": _near(run)})


def _near(run):
    task = runs.load().tasks[run.task]
    return (task.near or list(task.outliers))[0]


def measure(run):
    """Measure a run's networks at every epoch that was kept, or take it from the store.

    Returns the content of ``snapshots/RUN.json``; raises ValueError if the run is not trained with these parameters, or
    images or weights are damaged.
    """
    return kept.take(place(run), FILES, lambda: _measure(run))


def _measure(run):
    device, near, epochs, logits = machine.device(), _near(run), [], {}
    train, validation, test = (tasks.load(run.task, part)[0] for part in ("train", "validation", "test"))
    labels, held_labels = test.pop("labels"), validation.pop("labels")
    drawn = _drawn(run, train, device)
    for epoch in run.schedule.kept_epochs:
        model, about = store.load(run, device, epoch)
        last = epoch == run.schedule.epochs
        z = {name: features(model, x) for name, x in test.items() if last or name in ("known", near)}
        held = {name: features(model, x) for name, x in validation.items() if last or name == "outliers"}
        here = {name: models.logits(model, x).cpu() for name, x in z.items()}
        logits |= {f"{epoch}/{name}": x for name, x in here.items()}
        outliers = {near: z[near], "auxiliary": held["outliers"]}
        entry = {
            "epoch": epoch,
            "overlap": {name: overlap.overlap(z["known"], x) for name, x in outliers.items()},
            "centrality": {name: overlap.centrality(z["known"], labels, x) for name, x in outliers.items()},
        }
        if last:
            likelihood = _likelihood(model, train, here, z)
            logits |= {f"validation/{name}": models.logits(model, x).cpu() for name, x in held.items()}
        # last, since it changes the network's batch statistics
        epochs.append(entry | {"contradiction": _contradiction(run, model, drawn)})
    names = {"run": run.name, "configuration": run.configuration}
    about = {"checkpoint": about.pop("sha256"), **names, "near": near, **about}
    values = names | {"digest": about["digest"], "near": near, "environment": about["environment"]}
    values |= {"origin": {"checkpoint": about["checkpoint"]}, "likelihood": likelihood, "epochs": epochs}
    return logits | {"labels": labels, "validation/labels": held_labels}, about, values


def _drawn(run, train, device):
    """The batches on which gradients are compared, the same at every epoch; none of a method without outliers."""
    sizes = (run.schedule.known_batch, run.schedule.outlier_batch)
    return gradients.batches(train, sizes, BATCHES, device, run.seed) if METHODS[run.method].outliers else None


def _contradiction(run, model, drawn):
    """Means and deviations over the batches in which a measure is defined, and their share; None if there is none."""
    method = METHODS[run.method]
    if not method.outliers:
        return None
    found = gradients.measure(model, method, run.loss, drawn, run.seed)
    values = {name: np.array([step[name] for step in found]) for name in found[0]}
    values = {name: x[~np.isnan(x)] for name, x in values.items()}
    return {
        name: {"mean": float(x.mean()), "std": float(x.std()), "defined": len(x) / BATCHES} if len(x) else None
        for name, x in values.items()
    }


@torch.no_grad()
def _likelihood(model, train, logits, test):
    """For every outlier set: how the largest logit and the fitted likelihood order it and known samples."""
    z = features(model, train["known"])
    fitted = heads.GaussianHead(z.shape[1], logits["known"].shape[1])
    fitted.estimate(z, train["labels"])  # its logits are log p(z|i), but for a factor and a constant
    values = {name: (x.max(1).values, fitted(test[name]).max(1).values) for name, x in logits.items()}
    return {
        name: overlap.opposite_order(values["known"][0], own, values["known"][1], likelihood)
        for name, (own, likelihood) in values.items()
        if name != "known"
    }


def declared(jobs=None):
    """Measure the runs that are shown, several at a time, and write their files."""
    wanted = shown()
    parallel(measure, wanted, jobs=jobs, label=lambda run: run.name, what="snapshots")
    kept.publish({run.name: place(run) for run in wanted}, FILES, runs.load().scale)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the networks that 06 and 08 show, epoch by epoch.")
    parser.add_argument("--jobs", type=int, help="runs at a time")
    with readable_errors():
        declared(**vars(parser.parse_args()))
