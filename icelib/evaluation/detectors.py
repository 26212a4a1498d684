"""Post-hoc detectors on a trained network, as pytorch-ood has them.

They read logits, features or gradients of a network whose weights stay as they are. ODIN's
parameters are in params.yaml and ViM's subspace has half the dimensions of the features; all
others are pytorch-ood's, which follow the detectors' papers.
A network with the Gaussian head enters with its logits h; where a detector needs weights of a
linear layer (ViM), with those of `heads.GaussianHead.linear`.
"""

import torch

from icelib import batches, models

# All scores come from a float32 network, also where it was trained in bfloat16.
PRECISION = torch.float32


def scores(model, train, validation, test, settings):
    """Score all test images by every detector.

    Parameters
    ----------
    model : Classifier
        In evaluation mode.
    train, validation : dict of str to Tensor
        Parts of a task. Detectors that are fitted see known training images and labels only, KL
        matching known validation images.
    test : dict of str to Tensor of uint8, shapes (M, 3, 32, 32)
        Known test images and sets of outliers.
    settings : schema.Detectors

    Returns
    -------
    dict of str to Tensor of float64, shapes (M,)
        ``DETECTOR/SET``, higher for known images.
    """
    features = {name: _features(model, images) for name, images in test.items()}
    logits = {name: _logits(model, z) for name, z in features.items()}
    fitted = _fit(model, _features(model, train["known"]), train["labels"], _features(model, validation["known"]))
    found = {}
    for name, images in test.items():
        values = {"odin": _odin(model, images, settings)}
        values |= {detector: score(features[name], logits[name]) for detector, score in fitted.items()}
        # theirs are higher for outliers
        found |= {f"{detector}/{name}": -value.double().cpu() for detector, value in values.items()}
    return found


def _fit(model, z, labels, validation_z):
    """Detectors as functions of features (M, d) float32 and logits (M, K) float64, higher for outliers."""
    from pytorch_ood import detector as theirs  # slow to import

    gen, matching = theirs.GEN(None), theirs.KLMatching(None)
    matching.fit_logits(_logits(model, validation_z))
    mahalanobis = theirs.Mahalanobis(None).fit_features(z, labels)
    neighbours = theirs.KNN(None).fit_features(z, labels)
    vim = theirs.ViM(None, z.shape[1] // 2, *(x.cpu() for x in model.head.linear()))  # its paper's rule for d < 768
    vim.fit_features(z, labels)
    maps = {"backbone": None, "head": lambda z: _logits(model, z.flatten(1))}
    react = theirs.ReAct(**maps).fit_feature_maps(z, labels)
    ash = theirs.ASH(**maps)
    return {
        "msp": lambda z, logits: theirs.MaxSoftmax.score(logits),
        "mahalanobis": lambda z, logits: mahalanobis.predict_features(z),
        "energy": lambda z, logits: theirs.EnergyBased.score(logits),
        "max_logit": lambda z, logits: theirs.MaxLogit.score(logits),
        "vim": lambda z, logits: vim.predict_features(z),
        "knn": lambda z, logits: neighbours.predict_features(z),
        "react": lambda z, logits: react.predict_feature_maps(z),
        "gen": lambda z, logits: gen.predict_logits(logits),
        "ash": lambda z, logits: ash.predict_feature_maps(z[:, :, None, None]),
        "kl_matching": lambda z, logits: matching.predict_logits(logits),
    }


def _features(model, images):
    return batches.predict(model, images, PRECISION, features=True).cpu()


@torch.no_grad()
def _logits(model, z):
    return model.head(z.to(next(model.parameters()).device)).double().cpu()


def _odin(model, images, settings):
    from pytorch_ood.detector import ODIN

    odin = ODIN(model, eps=settings.odin_noise, temperature=settings.odin_temperature, norm_std=list(models.STD))
    device = next(model.parameters()).device
    return torch.cat([odin.predict(models.normalize(part.to(device))) for part in images.split(500)])
