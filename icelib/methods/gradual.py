"""A variant of ours: ICE with a weight for each of its terms, that of outliers growing as training goes on."""

from icelib.losses import cross_entropy, ice_id, ice_ood, mean
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "gradual ICE (ours)", "gaussian", True


def loss(known_logits, labels, outlier_logits, *, weight_known, weight_outlier, progress):
    """Cross-entropy + λ (−h_y) + μ t (−log(1 − exp max_i h̃_i)), t the share of training done (eqs. 0.13, 0.14)."""
    return cross_entropy(known_logits, labels) | {
        "ice_id": weight_known * mean(ice_id(known_logits, labels)),
        "ice_ood": progress * weight_outlier * mean(ice_ood(outlier_logits)),
    }
