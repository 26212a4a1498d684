"""Scores of a trained network that need no training of their own (post-hoc), mostly as pytorch-ood has them.

ODIN's parameters are in params.yaml and ViM's subspace has half the dimensions of the features; all others are
pytorch-ood's, which follow the detectors' papers. A network with the Gaussian head enters with its logits h; where a
detector needs weights of a linear layer (ViM), with those of `heads.GaussianHead.linear`.

A score of your own is a line of `DETECTORS`: a name and a function of `Seen` that returns a function of `Images`, whose
values (M,) are higher for known images; one of logits goes to `icelib.scores` and is ``of_logits(scores.NAME)``.
"""

import sys
from typing import NamedTuple

import torch

from icelib import models, scores
from icelib.config.schema import Detectors

BATCH = 250  # images at a time in odin, as in `models.predict`


class Seen(NamedTuple):
    """What a detector may be fitted to: known images only, and no test images."""

    model: models.Classifier
    features: torch.Tensor  # of training images (N, d) float32
    labels: torch.Tensor  # (N,) int64
    validation: torch.Tensor  # logits of validation images (V, K) float64
    settings: Detectors


class Images(NamedTuple):
    """What a detector scores."""

    pixels: torch.Tensor  # (M, 3, 32, 32) uint8
    features: torch.Tensor  # (M, d) float32
    logits: torch.Tensor  # (M, K) float64


def of_logits(score):
    """Detector of a score of logits, as in `icelib.scores`."""
    return lambda seen: lambda x: scores.apply(score, x.logits, x.features)


def undefined(x):
    """Values of a detector that is not defined here; `score` leaves it out."""
    return torch.full((len(x.pixels),), torch.nan)


def mahalanobis(seen):
    """pytorch-ood's, −½ min_i (z − μ_i)ᵀS⁻¹(z − μ_i) with scatter S within classes, but in float64.

    In float32 the inverse of S is wrong wherever features are nearly as many as images, or hardly vary within classes.
    """
    z = seen.features.double()
    means = torch.stack([z[seen.labels == i].mean(0) for i in range(seen.labels.max() + 1)])  # (K, d)
    centred = z - means[seen.labels]
    factor, failed = torch.linalg.cholesky_ex(centred.T @ centred + 1e-6 * torch.eye(z.shape[1]).double())
    whiten = lambda z: torch.linalg.solve_triangular(factor, z.T, upper=False).T
    exactly = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    squared = lambda z: torch.cdist(whiten(z), whiten(means), **exactly).amin(1).square()
    return undefined if failed else lambda x: -0.5 * squared(x.features.double())


def knn(seen):
    theirs = _theirs("KNN", None)
    if len(seen.features) < theirs.k:
        return undefined
    theirs.fit_features(seen.features, seen.labels)
    return lambda x: -theirs.predict_features(x.features)


def odin(seen):
    settings, device = seen.settings, next(seen.model.parameters()).device
    names = {"eps": settings.odin_noise, "temperature": settings.odin_temperature, "norm_std": list(models.STD)}
    theirs = _theirs("ODIN", seen.model, **names)
    prepared = lambda pixels: models.normalize(pixels.to(device)).to(memory_format=torch.channels_last)
    return lambda x: -torch.cat([theirs.predict(prepared(pixels)) for pixels in x.pixels.split(BATCH)])


def vim(seen):
    if not hasattr(seen.model.head, "linear"):  # a head of one's own may have no weights like a linear one's
        return undefined
    weights, biases = (x.cpu() for x in seen.model.head.linear())
    theirs = _theirs("ViM", None, seen.features.shape[1] // 2, weights, biases)  # its paper's rule for d < 768
    theirs.fit_features(seen.features, seen.labels)
    return lambda x: -theirs.predict_features(x.features)


def react(seen):
    theirs = _theirs("ReAct", None, _head(seen.model)).fit_feature_maps(seen.features, seen.labels)
    return lambda x: -theirs.predict_feature_maps(x.features)


def ash(seen):
    theirs = _theirs("ASH", None, _head(seen.model))
    return lambda x: -theirs.predict_feature_maps(x.features[:, :, None, None])


def kl_matching(seen):
    theirs = _theirs("KLMatching", None).fit_logits(seen.validation)
    return lambda x: -theirs.predict_logits(x.logits)


DETECTORS = {
    "msp": of_logits(scores.max_softmax),  # largest softmax probability (Hendrycks and Gimpel, 2017)
    "odin": odin,  # the same at a high temperature, of images moved against the gradient (Liang et al., 2018)
    "mahalanobis": mahalanobis,  # distance to the nearest class mean (Lee et al., 2018)
    "energy": of_logits(scores.energy),  # Liu et al., 2020
    "max_logit": of_logits(scores.max_logit),  # Hendrycks et al., 2022
    "vim": vim,  # energy less the norm of features off the principal subspace (Wang et al., 2022)
    "knn": knn,  # distance to the 50th nearest training image, at length 1 (Sun et al., 2022)
    "react": react,  # energy of features cut off at a quantile (Sun et al., 2021)
    "gen": of_logits(lambda logits: -_theirs("GEN", None).predict_logits(logits)),  # entropy (Liu et al., 2023)
    "ash": ash,  # energy of features of which all but the largest are removed (Djurisic et al., 2023)
    "kl_matching": kl_matching,  # divergence from the mean softmax of the nearest class (Hendrycks et al., 2022)
}


def score(model, train, validation, test, settings):
    """Score all test images by every detector: ``DETECTOR/SET`` to float64 (M,), higher for known images.

    Of `train` and `validation`, parts of a task, known images and their labels are used; `test` has the pixels and
    `features` of known test images and of each set of outliers. A detector that is not defined on the network (ASH
    where all features are 0, say) is told on standard error and left out.
    """
    held_out = _logits(model, features(model, validation["known"]))
    seen = Seen(model, features(model, train["known"]), train["labels"], held_out, settings)
    sets = {name: Images(pixels, z, _logits(model, z)) for name, (pixels, z) in test.items()}
    found = {}
    for detector, fit in DETECTORS.items():
        fitted = fit(seen)
        values = {f"{detector}/{name}": checked(fitted(x), detector, len(x.pixels)) for name, x in sets.items()}
        if undefined := [name for name, value in values.items() if not value.isfinite().all()]:
            print(f"{', '.join(undefined)}: values are not finite; {detector} is left out", file=sys.stderr)
        else:
            found |= values
    return found


def checked(values, name, count):
    """Return the scores of `count` images in float64 on the CPU; raise ValueError if there are not as many."""
    shape = tuple(getattr(values, "shape", ()))
    if shape != (count,):
        raise ValueError(f"score {name!r} has shape {shape} for {count} images, expected ({count},): a value for each")
    return torch.as_tensor(values).detach().double().cpu()  # one of your own may learn, or be of NumPy


def features(model, images):
    """Features (M, d) float32 of images, on the CPU."""
    return models.predict(model, images, models.PRECISION, features=True).cpu()


@torch.no_grad()
def _logits(model, z):
    return model.head(z.to(next(model.parameters()).device)).double().cpu()


def _head(model):
    return lambda z: _logits(model, z.flatten(1))


def _theirs(name, *arguments, **named):
    from pytorch_ood import detector  # slow to import

    return getattr(detector, name)(*arguments, **named)
