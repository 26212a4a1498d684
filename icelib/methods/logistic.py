"""Logistic losses on squared distances. A variant of ours."""

import torch.nn.functional as F

from icelib.losses import cross_entropy, ice_id, mean
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "logistic", "gaussian", True


def loss(known_logits, labels, outlier_logits, *, weight, radius):
    """Logistic losses on squared distances: λ (−log σ(r − d_y) − log σ(min_i d_i − r)).

    ICE's likelihood exp(h) has its bend at distance 0, where only samples on a mean count as known and
    the outlier term diverges; σ(r − d) has it at d = r, and derivatives with respect to d within ±λ.
    """
    return cross_entropy(known_logits, labels) | {
        "logistic_known": weight * mean(F.softplus(ice_id(known_logits, labels) - radius)),
        "logistic_outlier": weight * mean(F.softplus(outlier_logits.max(1).values + radius)),
    }
