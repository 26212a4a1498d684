"""Squared hinges on squared distances in place of ICE's two terms. A variant of ours."""

import torch.nn.functional as F

from icelib.losses import ice_id
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "margins", "gaussian", True


def loss(known_logits, labels, outlier_logits, *, weight, inner, outer):
    """Squared hinges on squared distances in place of ICE's two terms.

    λ (max(0, d_y − `inner`)² + max(0, `outer` − min_i d_i)²), as Energy has it for energies: known
    samples need not come nearer than `inner`, nor outliers go farther than `outer`.
    """
    nearest = -outlier_logits.max(1).values  # (M,)
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "inner": weight * F.relu(ice_id(known_logits, labels) - inner).square().mean(),
        "outer": weight * F.relu(outer - nearest).square().mean(),
    }
