"""Figure 4: features before the last layer, their places by t-SNE, and measures of what a picture cannot tell.

z are float64, of known images (N, d) with labels (N,) and of outliers (M, d). All is computed in one thread, so that no
digit depends on the number of cores.
"""

from typing import NamedTuple

import numpy as np
import openTSNE
import pandas as pd
from scipy.spatial.distance import pdist
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from icelib import models
from icelib.analysis import overlap
from icelib.config import runs
from icelib.data import tasks
from icelib.training import store
from icelib.util import machine, paths, tensors

SHOWN = ("plain", "oe", "energy", "ice")  # methods of Figure 4
NEIGHBOURS, PERPLEXITY = 15, 30  # of an outlier, that are counted; of a known sample, that count in t-SNE
PLACED = 900  # known samples in the picture, and a third as many outliers


class Features(NamedTuple):
    """Features of a network, or their places in a picture."""

    known: np.ndarray  # (N, d)
    labels: np.ndarray  # (N,)
    outlier: np.ndarray  # (M, d)
    classes: list  # names of the known classes, in the order of the labels
    outliers: str  # what the outliers are: their classes, or their data set

    def check(self):
        """Raise ValueError unless the shapes agree; return self."""
        known, labels, outlier = (np.shape(x) for x in self[:3])
        if len(known) != 2 or labels != known[:1] or len(outlier) != 2 or outlier[1] != known[1]:
            raise ValueError(f"known {known}, labels {labels}, outlier {outlier}; expected (N, d), (N,) and (M, d)")
        return self


def declared():
    """List the runs of each method of Figure 4, one for each seed: dict of str to list of runs.Run."""
    found = runs.main_runs()
    # of a recorded scale those whose features are
    there = lambda run: not paths.SHOWN or run.file("features", "safetensors").exists()
    return {method: [run for run in found.get(method, []) if there(run)] for method in SHOWN}


@machine.one_thread()
def features(run):
    """Compute z = Z(x) of a trained run (runs.Run) for all known test images and one near outlier set: Features.

    Of a recorded scale those that were kept, see `tools.record`.
    """
    if paths.SHOWN:
        kept, about = tensors.load(run.file("features", "safetensors"))
        known, outlier = (kept[name].double().numpy() for name in ("known", "outlier"))
        return Features(known, kept["labels"].numpy(), outlier, about["classes"], about["outliers"])
    task = runs.load().tasks[run.task]
    near = (task.near or list(task.outliers))[0]  # that of `evaluation.snapshots`
    model, _ = store.load(run, machine.device())
    data, about = tasks.load(run.task, "test")
    z = [models.predict(model, data[name], models.PRECISION, features=True) for name in ("known", near)]
    known, outlier = (part.double().cpu().numpy() for part in z)
    shown = ", ".join(map(str, task.outliers[near].labels or [task.outliers[near].set]))
    return Features(known, data["labels"].numpy(), outlier, about["classes"], shown)


@machine.one_thread()
def place(found):
    """Place Features in the plane, as the paper does: fit t-SNE to known samples, then transform outliers.

    Of many, `PLACED` known samples and a third as many outliers are taken, always the same: Features with coordinates
    (N, 2) and (M, 2), without unit. ValueError if shapes do not agree. Poličar, Stražar and Zupan, "openTSNE", 2024.
    """
    found.check()
    draw = np.random.default_rng(0)
    chosen, others = (draw.permutation(len(x))[:n] for x, n in ((found.known, PLACED), (found.outlier, PLACED // 3)))
    method = openTSNE.TSNE(perplexity=PERPLEXITY, neighbors="exact", n_jobs=1, random_state=0)
    known = method.fit(found.known[chosen])
    outlier = known.transform(found.outlier[others])  # it shifts all of `known` to be centred: read these afterwards
    return found._replace(known=np.array(known), labels=found.labels[chosen], outlier=np.array(outlier))


def within_to_between(known, labels):
    """Mean of ‖z − μ_y‖ over known samples, over that of ‖μ_i − μ_j‖ over pairs of classes."""
    names, index = np.unique(labels, return_inverse=True)
    means = np.stack([known[labels == i].mean(0) for i in names])  # (K, d)
    return float(np.linalg.norm(known - means[index], axis=1).mean() / pdist(means).mean())


def slenderness(known, labels):
    """Share λ₁/Σ_k λ_k of a class's variance (λ of its covariance) along its longest direction, mean over classes.

    A class of one sample has no variance, and takes no part.
    """
    several = [i for i, count in zip(*np.unique(labels, return_counts=True)) if count > 1]
    spectra = [np.linalg.eigvalsh(np.cov(known[labels == i].T)) for i in several]  # each (d,), ascending
    return float(np.mean([values[-1] / values.sum() for values in spectra]))


def spread(known, outlier):
    """Mean distance of outliers to their mean, over that of known samples to theirs."""
    outlier, known = (np.linalg.norm(x - x.mean(0), axis=1).mean() for x in (outlier, known))
    return float(outlier / known)


def known_neighbours(known, outlier):
    """Share of an outlier's `NEIGHBOURS` nearest neighbours that are known, from 0 (apart) to about ½ (mixed).

    Of the larger one, as many are drawn as there are of the other, always the same. ValueError if there are not more
    samples of each kind than `NEIGHBOURS`.
    """
    count, draw = min(len(known), len(outlier)), np.random.default_rng(0)
    if count <= NEIGHBOURS:
        raise ValueError(f"{count} samples of one kind; expected more than the {NEIGHBOURS} neighbours that count")
    points = np.concatenate([x[draw.permutation(len(x))[:count]] for x in (known, outlier)])  # known first (2n, d)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)  # (2n, k)
    return float((nearest[count:] < count).mean())


@machine.one_thread()
def numbers(found):
    """Measure Features: dict of str to float. Silhouette: Rousseeuw, 1987; the other measures are ours."""
    known, labels, outlier, *_ = found.check()
    return {
        "silhouette": float(silhouette_score(known, labels)),
        "within/between": within_to_between(known, labels),
        "known neighbours": known_neighbours(known, outlier),
        "centrality": overlap.centrality(known, labels, outlier),
        "slenderness": slenderness(known, labels),
        "spread": spread(known, outlier),
    }


def table(found):
    """Measure the Features of every method (a dict of lists, one for each seed): a DataFrame by method and seed."""
    rows = {(method, i): numbers(each) for method, group in found.items() for i, each in enumerate(group)}
    return pd.DataFrame(rows).T.rename_axis(["method", "seed"])
