"""A variant of ours: outlier exposure of the class and of a binary logit beside it, whose probabilities multiply."""

import torch.nn.functional as F

from icelib.losses import mean, outlier_exposure
from icelib.methods.discriminator import DiscriminatorHead

TITLE, HEAD, OUTLIERS = "OE × discriminator (ours)", DiscriminatorHead, True


def score(logits):
    """Logarithm of σ(b) max_i softmax(f)_i: that the image is known, and of the likeliest class."""
    binary = logits.logsumexp(1)
    return F.logsigmoid(binary) + logits.max(1).values - binary


def loss(known_logits, labels, outlier_logits, *, weight, weight_binary):
    """L of OE (eq. 0.3) on the classes, and μ (−log σ(b) − log σ(−b̃)) of known against outlier."""
    return outlier_exposure(known_logits, labels, outlier_logits, weight=weight) | {
        "binary_known": weight_binary * mean(F.softplus(-known_logits.logsumexp(1))),
        "binary_outlier": weight_binary * mean(F.softplus(outlier_logits.logsumexp(1))),
    }
