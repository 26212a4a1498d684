"""What a run's networks say and do on the way: contradiction, mixing and logits, epoch by epoch.

``python -m icelib.traces RUN…`` (the parts of a run's name) writes for the epochs that were kept

- ``results/traces/SCALE/RUN.json``: at each of them `mixing.overlap` and `mixing.centrality` of known
  test images with the nearest outliers and with the auxiliary ones of validation, and of methods that
  train on outliers `contradiction.measure` on training batches; at the last epoch alone
  `mixing.opposite_order` of the largest logit and a fitted likelihood, for each test set of outliers;
- ``results/logits/SCALE/RUN.safetensors``: ``EPOCH/SET`` (M, K) float32, of the known test images
  and the nearest outliers at each of them; of all test sets, and as ``validation/SET`` of all
  validation sets, at the last. ``labels`` and ``validation/labels``: those of the known images.
"""

import numpy as np
import torch

from icelib import batches, checkpoints, contradiction, hardware, heads, mixing, params, paths, posthoc, tasks, tensors
from icelib.errors import readable_errors
from icelib.files import write_json
from icelib.methods import METHODS

BATCHES = 16  # on which gradients are compared, at each epoch


def nearest_set(task):
    """Name of the outlier set that is taken as the nearest to a task's known set; nothing is measured.

    Parameters
    ----------
    task : schema.Task

    Returns
    -------
    str
        The set that plays CIFAR-100, as in the paper's Figures 4 and 5; else the first one over
        which Table 2 does not average, or the first of all.
    """
    return min(task.outliers, key=lambda name: (task.outliers[name].plays != "CIFAR100", name in task.mean_over))


def trace(run):
    """Measure a run's networks at every epoch that was kept, and write both files.

    Parameters
    ----------
    run : params.Run

    Raises
    ------
    ValueError
        If images or weights are missing or damaged, or the weights were made with other parameters.
    """
    device = hardware.device()
    parts = {part: tasks.load(run.scale, run.known, part)[0] for part in ("train", "validation", "test")}
    labels = parts["test"].pop("labels"), parts["validation"].pop("labels")
    near, epochs, kept = nearest_set(params.task(run.scale, run.known)), [], {}
    for epoch in run.schedule.kept_epochs:
        model, about = checkpoints.load(run, device, epoch)
        last = epoch == run.schedule.epochs
        z = _features(model, parts["test"], None if last else ("known", near))
        held_out = _features(model, parts["validation"], None if last else ("outliers",))
        logits = _logits(model, z)
        kept |= {f"{epoch}/{name}": x for name, x in logits.items()}
        outliers = {near: z[near], "auxiliary": held_out["outliers"]}
        entry = {
            "epoch": epoch,
            "overlap": {name: mixing.overlap(z["known"], x) for name, x in outliers.items()},
            "centrality": {name: mixing.centrality(z["known"], labels[0], x) for name, x in outliers.items()},
        }
        if last:
            likelihood = _likelihood(model, parts["train"], logits, z)
            kept |= {f"validation/{name}": x for name, x in _logits(model, held_out).items()}
        # last, since it changes the network's batch statistics
        epochs.append(entry | {"contradiction": _contradiction(run, model, parts["train"])})
    origin = {"run": run.name, "digest": run.digest, "near": near, "environment": about["environment"]}
    kept |= {"labels": labels[0], "validation/labels": labels[1]}
    tensors.save(paths.logits(run), kept, about | {"near": near})
    write_json(paths.trace(run), origin | {"likelihood": likelihood, "epochs": epochs})


def _features(model, images, names):
    """Features (M, d) of these sets of images, or of all."""
    return {
        name: batches.predict(model, images[name], posthoc.PRECISION, features=True).cpu() for name in names or images
    }


@torch.no_grad()
def _logits(model, features):
    device = next(model.parameters()).device
    return {name: model.head(z.to(device)).cpu() for name, z in features.items()}


def _contradiction(run, model, train):
    """Means and deviations over the batches in which a measure is defined, and their share; None if there is none."""
    method = METHODS[run.method]
    if not method.outliers:
        return None
    batch = (run.schedule.known_batch, run.schedule.outlier_batch)
    found = contradiction.measure(model, method, run.loss, train, batch, BATCHES, run.seed)
    values = {name: np.array([step[name] for step in found]) for name in found[0]}
    values = {name: x[~np.isnan(x)] for name, x in values.items()}
    return {
        name: {"mean": float(x.mean()), "std": float(x.std()), "defined": len(x) / BATCHES} if len(x) else None
        for name, x in values.items()
    }


@torch.no_grad()
def _likelihood(model, train, logits, test):
    """For every outlier set: how the largest logit and the fitted likelihood order it and known samples."""
    z = batches.predict(model, train["known"], posthoc.PRECISION, features=True).cpu()
    fitted = heads.GaussianHead(z.shape[1], logits["known"].shape[1], "lower", 1.0, 1.0)
    fitted.estimate(z, train["labels"])  # its logits are log p(z|i), but for a constant
    values = {name: (x.max(1).values, fitted(test[name]).max(1).values) for name, x in logits.items()}
    return {
        name: mixing.opposite_order(values["known"][0], own, values["known"][1], likelihood)
        for name, (own, likelihood) in values.items()
        if name != "known"
    }


if __name__ == "__main__":
    with readable_errors():
        trace(params.run_from_arguments("Measure a run's networks at every epoch that was kept."))
