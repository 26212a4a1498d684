"""A variant of ours: BCE, half of whose outliers are mixtures of a known image and an outlier."""

import torch.nn.functional as F

from icelib.losses import binary_cross_entropy, mean
from icelib.methods.mixed import prepare, shares
from icelib.scores import max_logit as score

TITLE, HEAD, OUTLIERS = "mixed BCE (ours)", "linear", True


def loss(known_logits, labels, outlier_logits, *, weight):
    """BCE; a mixture's target is the share of its known image for that image's class, and 0 for the others."""
    half = len(outlier_logits) // 2
    mixed, share = outlier_logits[:half], shares(half, outlier_logits)
    true = mixed.gather(1, labels[:half, None])[:, 0]
    terms = binary_cross_entropy(known_logits, labels, outlier_logits[half:], weight=weight)
    mixture = mean(F.softplus(mixed).sum(1) - share * true)
    return terms | {"bce_outlier": terms["bce_outlier"] / 2, "bce_mixture": weight / 2 * mixture}
