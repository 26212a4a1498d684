"""Losses of ours that vary ICE; the paper has none of them. 09_beyond_ice compares them with ICE.

Signature, shapes and returns are those of `icelib.losses`; d_i = −h_i is the squared distance of a feature
to the mean of class i in the metric of L (eq. 0.11), never negative. On `variant_heads.RatioHead` it is minus
a log-ratio instead, of either sign.
"""

import torch.nn.functional as F

from icelib.losses import ice, ice_id, ice_ood


def two_weights(known_logits, labels, outlier_logits, *, weight_known, weight_outlier):
    """ICE (eq. 0.15) with a weight for each of its terms.

    L_ice-id grows with every squared distance, L_ice-ood falls to 0 once an outlier is a few units away:
    which λ balances them depends on how far apart the means are, and need not be one for both.

    Parameters
    ----------
    known_logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)
    outlier_logits : Tensor, shape (M, K)
    weight_known, weight_outlier : float
        λ_id and λ_ood.

    Returns
    -------
    dict of str to Tensor, shape ()
        ``cross_entropy``, ``ice_id`` and ``ice_ood``.
    """
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "ice_id": weight_known * ice_id(known_logits, labels).mean(),
        "ice_ood": weight_outlier * ice_ood(outlier_logits).mean(),
    }


def gradual(known_logits, labels, outlier_logits, *, weight):
    """ICE whose λ grows as classes are learned: λ exp(−L_sce), with no gradient of its own.

    exp(−L_sce) is the geometric mean, over the batch, of the true class's probability: about 1/K where
    nothing is known yet, and towards 1 as the training images are learned, so that ICE's terms wait for
    cross-entropy without a schedule to be set.

    Parameters
    ----------
    known_logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)
    outlier_logits : Tensor, shape (M, K)
    weight : float
        λ, reached where L_sce is 0.

    Returns
    -------
    dict of str to Tensor, shape ()
        ``cross_entropy``, ``ice_id`` and ``ice_ood``.
    """
    certainty = F.cross_entropy(known_logits.detach(), labels).neg().exp()
    return ice(known_logits, labels, outlier_logits, weight=weight * certainty)


def margins(known_logits, labels, outlier_logits, *, weight, inner, outer):
    """Squared hinges on squared distances in place of ICE's two terms.

    λ (max(0, d_y − `inner`)² + max(0, `outer` − min_i d_i)²), as Energy has it for energies: known
    samples need not come nearer than `inner`, nor outliers go farther than `outer`.

    Parameters
    ----------
    known_logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)
    outlier_logits : Tensor, shape (M, K)
    weight : float
        λ.
    inner, outer : float
        Squared distances, `inner` < `outer`.

    Returns
    -------
    dict of str to Tensor, shape ()
        ``cross_entropy``, ``inner`` and ``outer``.
    """
    nearest = -outlier_logits.max(1).values  # (M,)
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "inner": weight * F.relu(ice_id(known_logits, labels) - inner).square().mean(),
        "outer": weight * F.relu(outer - nearest).square().mean(),
    }


def logistic(known_logits, labels, outlier_logits, *, weight, radius):
    """Logistic losses on squared distances: λ (−log σ(r − d_y) − log σ(min_i d_i − r)).

    ICE's likelihood exp(h) has its bend at distance 0, where only samples on a mean count as known and
    the outlier term diverges; σ(r − d) has it at d = r, and derivatives with respect to d within ±λ.

    Parameters
    ----------
    known_logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)
    outlier_logits : Tensor, shape (M, K)
    weight : float
        λ.
    radius : float
        r, a squared distance; 0 where logits are likelihood ratios (`variant_heads.RatioHead`).

    Returns
    -------
    dict of str to Tensor, shape ()
        ``cross_entropy``, ``logistic_known`` and ``logistic_outlier``.
    """
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "logistic_known": weight * F.softplus(ice_id(known_logits, labels) - radius).mean(),
        "logistic_outlier": weight * F.softplus(outlier_logits.max(1).values + radius).mean(),
    }


def with_oe(known_logits, labels, outlier_logits, *, weight, weight_uniform):
    """ICE (eq. 0.15) and outlier exposure (eq. 0.3) together.

    Parameters
    ----------
    known_logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)
    outlier_logits : Tensor, shape (M, K)
    weight, weight_uniform : float
        λ of ICE, and of the cross-entropy of outliers to the uniform distribution.

    Returns
    -------
    dict of str to Tensor, shape ()
        ``cross_entropy``, ``ice_id``, ``ice_ood`` and ``uniform``.
    """
    uniform = -outlier_logits.log_softmax(1).mean()
    return ice(known_logits, labels, outlier_logits, weight=weight) | {"uniform": weight_uniform * uniform}
