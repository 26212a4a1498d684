"""The training methods that are compared: what each trains on, through which head, and its score."""

from collections.abc import Callable
from typing import NamedTuple

from icelib import losses, scores, variants
from icelib.variant_heads import RatioHead, SimplexHead, VolumeHead


class Method(NamedTuple):
    """A training method.

    Attributes
    ----------
    loss : callable
        ``loss(known_logits, labels, outlier_logits, **parameters)``, of `icelib.losses`,
        `icelib.variants` or a notebook.
    head : str or type
        Top layer: a key of `heads.HEADS`, or a class, see `heads.parameters`.
    score : callable
        Logits to one value per sample, higher for known samples, of `icelib.scores` or a notebook.
    outliers : bool
        Whether the method trains on auxiliary outliers.
    title : str
        Name in tables and figures.
    """

    loss: Callable
    head: str | type
    score: Callable
    outliers: bool
    title: str


METHODS = {
    "plain": Method(losses.cross_entropy, "linear", scores.max_softmax, False, "Plain training"),
    "oe": Method(losses.outlier_exposure, "linear", scores.max_softmax, True, "OE"),
    "energy": Method(losses.energy, "linear", scores.energy, True, "Energy"),
    "ice": Method(losses.ice, "gaussian", scores.max_likelihood, True, "ICE"),
    # the further rows of Table 3
    "bce": Method(losses.binary_cross_entropy, "linear", scores.max_logit, True, "BCE"),
    "energy_gaussian": Method(losses.energy, "gaussian", scores.energy, True, "Energy, Gaussian head"),
    "ice_minus": Method(losses.ice_minus, "gaussian", scores.max_likelihood, True, "ICE⁻"),
}
PAPER = frozenset(METHODS)  # what the paper compares
METHODS |= {  # ours, see 09_beyond_ice
    "two_weights": Method(variants.two_weights, "gaussian", scores.max_likelihood, True, "two weights"),
    "gradual": Method(variants.gradual, "gaussian", scores.max_likelihood, True, "gradual λ"),
    "margins": Method(variants.margins, "gaussian", scores.max_likelihood, True, "margins"),
    "logistic": Method(variants.logistic, "gaussian", scores.max_likelihood, True, "logistic"),
    "with_oe": Method(variants.with_oe, "gaussian", scores.max_likelihood, True, "ICE and OE"),
    "volume": Method(losses.ice, VolumeHead, scores.max_likelihood, True, "fixed volume"),
    "simplex": Method(losses.ice, SimplexHead, scores.max_likelihood, True, "means on a simplex"),
    "ratio": Method(variants.logistic, RatioHead, scores.max_likelihood, True, "likelihood ratio"),
}
GIVEN = frozenset(METHODS)  # names that params.yaml and notebooks cannot take for methods of their own


def own_detector(method):
    """Name of a method's own score in score and result files: that of the method, MSP on the plain network."""
    return method if METHODS[method].outliers else "msp"
