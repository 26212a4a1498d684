"""What a network owes to low-level traces of the auxiliary images' source: validation outliers without one of them.

No test image is looked at, and no network trains on these images; the matched methods train on others that are made as
the ``matched`` ones are.
"""

import numpy as np
import torch

from icelib import metrics, models, scores
from icelib.data import tasks
from icelib.methods import METHODS, matched
from icelib.training import store
from icelib.util import machine, paths, tensors

KINDS = {"outliers": "held-out classes", "matched": "held-out classes, spectra matched", "jigsaw": "shuffled tiles"}
MOST = 1000  # images of each kind


def measure(run):
    """Measure how a trained run's own score tells validation outliers of each of the `KINDS` from known images.

    Returned are ``auroc`` and ``fpr95`` (outlier-positive) by kind, as shares; ValueError if the run is not trained.
    """
    values = own_scores(run)
    known = values.pop("known")
    found = {name: metrics.detection_metrics(known, x) for name, x in values.items()}
    return {name: {"auroc": x["auroc"], "fpr95": x["fpr95_outlier_positive"]} for name, x in found.items()}


@machine.one_thread()
def own_scores(run):
    """Score `outliers` by a run's own score: ``known`` and each of the `KINDS` to float64 (N,).

    Of a recorded scale those that were kept, see `tools.record`.
    """
    if paths.SHOWN:
        kept, _ = tensors.load(run.file("validation", "safetensors"))
        return {name: x.double().numpy() for name, x in kept.items()}
    return scored(store.load(run, machine.device())[0], run.method, outliers(run.task))


def scored(model, method, images):
    """Score images, uint8 (N, 3, 32, 32) by name, by a method's own score: float64 (N,) by name."""
    z = {name: models.predict(model, x, models.PRECISION, features=True) for name, x in images.items()}
    own = {name: scores.apply(METHODS[method].score, models.logits(model, x), x) for name, x in z.items()}
    return {name: x.double().cpu().numpy() for name, x in own.items()}


def missed(run, kind="matched"):
    """Tell of each outlier of a kind (N,) whether the own score accepts it where it accepts 95 % of known images."""
    values = own_scores(run)
    return values[kind] >= np.quantile(values["known"], 0.05)


def outliers(task):
    """Take `MOST` validation images of each of the `KINDS`, and as many ``known`` ones, as uint8 (N, 3, 32, 32)."""
    validation, _ = tasks.load(task, "validation")
    found = {name: validation[name][:MOST] for name in ("known", "outliers", "jigsaw")}
    # jigsaw images are of the first known ones: spectra are of the last
    partner = len(validation["known"]) - 1 - torch.arange(len(found["outliers"])) % len(validation["known"])
    x = matched.match(*(models.normalize(x) for x in (found["outliers"], validation["known"][partner])))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (models.MEAN, models.STD))
    return found | {"matched": ((x * std + mean) * 255).round().byte()}
