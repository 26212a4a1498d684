"""A variant of ours: OE, half of whose outliers are mixtures of a known image and an outlier."""

import torch

from icelib.losses import mean, outlier_exposure
from icelib.scores import max_softmax as score

TITLE, HEAD, OUTLIERS = "mixed OE (ours)", "linear", True


def shares(count, like):
    """Share of the known image in each of `count` mixtures: spread evenly over 0…1, as images come in random order."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def prepare(known, labels, outliers, *, model, generator):
    """Mix each of the first half with a known image, that of its place; `labels` of the first known ones are theirs."""
    half = len(outliers) // 2
    share = shares(half, known)[:, None, None, None]
    return torch.cat([share * known[:half] + (1 - share) * outliers[:half], outliers[half:]])


def loss(known_logits, labels, outlier_logits, *, weight):
    """L of OE (eq. 0.3); a mixture's target has the share of its known image on that image's class.

    Notes
    -----
    After Zhang et al., "Mixture Outlier Exposure", 2023.
    """
    half = len(outlier_logits) // 2
    log_p, share = outlier_logits.log_softmax(1), shares(half, outlier_logits)
    true = log_p[:half].gather(1, labels[:half, None])[:, 0]
    mixture = share * true + (1 - share) * log_p[:half].mean(1)
    terms = outlier_exposure(known_logits, labels, outlier_logits[half:], weight=weight / 2)
    return terms | {"mixture": -weight / 2 * mean(mixture)}
