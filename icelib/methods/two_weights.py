"""ICE (eq. 0.15) with a weight for each of its terms. A variant of ours."""

import torch.nn.functional as F

from icelib.losses import ice_id, ice_ood
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "two weights", "gaussian", True


def loss(known_logits, labels, outlier_logits, *, weight_known, weight_outlier):
    """ICE (eq. 0.15) with a weight for each of its terms.

    L_ice-id grows with every squared distance, L_ice-ood falls to 0 once an outlier is a few units away:
    which λ balances them depends on how far apart the means are, and need not be one for both.
    """
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "ice_id": weight_known * ice_id(known_logits, labels).mean(),
        "ice_ood": weight_outlier * ice_ood(outlier_logits).mean(),
    }
