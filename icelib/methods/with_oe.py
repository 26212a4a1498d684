"""ICE (eq. 0.15) and outlier exposure (eq. 0.3) together. A variant of ours."""

from icelib.losses import ice
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "ICE and OE", "gaussian", True


def loss(known_logits, labels, outlier_logits, *, weight, weight_uniform):
    """ICE (eq. 0.15) and outlier exposure (eq. 0.3) together."""
    uniform = -outlier_logits.log_softmax(1).mean()
    return ice(known_logits, labels, outlier_logits, weight=weight) | {"uniform": weight_uniform * uniform}
