"""Training losses, side by side.

Each loss has one signature, ``loss(known_logits, labels, outlier_logits, *, ...)``, and returns
its weighted terms by name; what is minimised is their sum. Keyword parameters are the method's
hyper-parameters, set in params.yaml under ``train.METHOD``.

Common shapes: `known_logits` (N, K), `labels` (N,) int64, `outlier_logits` (M, K); each term is a scalar.
`weight` is λ, `margin_known` and `margin_outlier` are energies m_in and m_out in logit units. Linear logits
are f of eq. 0.1; logits of the Gaussian head are h of eq. 0.11, always ≤ 0.
"""

import math

import torch
import torch.nn.functional as F

# The outlier term of ICE is infinite at h = 0; nearer than this it is held constant.
CLOSEST = 1e-6


def cross_entropy(known_logits, labels, outlier_logits=None):
    """Softmax cross-entropy on known samples only: −log softmax(f)_y (eqs. 0.2 and 0.12)."""
    return {"cross_entropy": F.cross_entropy(known_logits, labels)}


def outlier_exposure(known_logits, labels, outlier_logits, *, weight):
    """Outlier exposure: cross-entropy of outliers to the uniform distribution (eq. 0.3).

    The target u is normalised (1/K per class), so the gradient with respect to an outlier's
    logit i is softmax(f)_i − 1/K: eq. 0.6 without its factor K.

    Notes
    -----
    Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019.
    """
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "uniform": weight * -outlier_logits.log_softmax(1).mean(),
    }


def energy(known_logits, labels, outlier_logits, *, weight, margin_known, margin_outlier):
    """Energy-bounded training: eq. 0.5 with the squared hinges of its source.

    With E = −log Σ_k exp(f_k), known samples above `margin_known` and outliers below
    `margin_outlier` are penalised by the square of the distance to the margin.

    Notes
    -----
    Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", 2020, eq. 8.
    """
    known_energy = -known_logits.logsumexp(1)  # (N,)
    outlier_energy = -outlier_logits.logsumexp(1)  # (M,)
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "energy_known": weight * F.relu(known_energy - margin_known).square().mean(),
        "energy_outlier": weight * F.relu(margin_outlier - outlier_energy).square().mean(),
    }


def binary_cross_entropy(known_logits, labels, outlier_logits, *, weight):
    """Sigmoid binary cross-entropy of every class beside the softmax one: the BCE of Table 3.

    Known samples have target 1 for their class and 0 for the others, outliers 0 for all. No logit
    is pushed against cross-entropy: the gradients are σ(f_i) − [i = y] and σ(f_i). The paper
    names the loss without an equation; this reading has the form of its eqs. 0.3, 0.5 and 0.15.
    """
    targets = torch.zeros_like(known_logits).scatter_(1, labels[:, None], 1)  # one-hot (N, K); F.one_hot reads back
    known = F.binary_cross_entropy_with_logits(known_logits, targets, reduction="none").sum(1)  # (N,)
    outlier = F.softplus(outlier_logits).sum(1)  # (M,)
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "bce_known": weight * known.mean(),
        "bce_outlier": weight * outlier.mean(),
    }


def ice_minus(known_logits, labels, outlier_logits, *, weight):
    """ICE⁻ of Table 3: eq. 0.15 without L_ice-id, so that nothing holds known samples near their mean."""
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "ice_ood": weight * ice_ood(outlier_logits).mean(),
    }


def ice(known_logits, labels, outlier_logits, *, weight):
    """In-distribution compatible outlier exposure (eq. 0.15) on logits of the Gaussian head."""
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "ice_id": weight * ice_id(known_logits, labels).mean(),
        "ice_ood": weight * ice_ood(outlier_logits).mean(),
    }


def ice_id(known_logits, labels):
    """Negative log-likelihood of the true class, −h_y (eq. 0.14), per sample: (N, K), (N,) → (N,)."""
    return -known_logits.gather(1, labels[:, None])[:, 0]


def ice_ood(outlier_logits):
    """−log(1 − exp(max_i h_i)) (eq. 0.13), per sample: (M, K) → (M,).

    It is evaluated without cancellation for every h < 0. It diverges at h = 0, where it is held
    at its value for h = −1e-6 and has no gradient.
    """
    h = outlier_logits.max(1).values.clamp(max=-CLOSEST)
    # 1 − exp(h) loses all digits as exp near 0 and as expm1 far below it; neither where it is used.
    near = h > -math.log(2)
    near_value = torch.log(-torch.expm1(torch.where(near, h, -1.0)))
    far_value = torch.log1p(-torch.exp(torch.where(near, -1.0, h)))
    return -torch.where(near, near_value, far_value)
