"""ICE whose λ grows as classes are learned. A variant of ours."""

import torch.nn.functional as F

from icelib.losses import ice
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "gradual λ", "gaussian", True


def loss(known_logits, labels, outlier_logits, *, weight):
    """ICE whose λ grows as classes are learned: λ exp(−L_sce), with no gradient of its own.

    exp(−L_sce) is the geometric mean, over the batch, of the true class's probability: about 1/K where
    nothing is known yet, and towards 1 as the training images are learned, so that ICE's terms wait for
    cross-entropy without a schedule to be set.
    """
    certainty = F.cross_entropy(known_logits.detach(), labels).neg().exp()
    return ice(known_logits, labels, outlier_logits, weight=weight * certainty)
