"""Training losses, side by side: functions, and at the end modules for a training loop of one's own.

Each function has one signature, ``loss(known_logits, labels, outlier_logits, *, ...)``, and returns
its weighted terms by name; what is minimised is their sum. Keyword parameters are the method's
hyper-parameters, set in params.yaml under ``train.METHOD``.

Common shapes: `known_logits` (N, K), `labels` (N,) int64, `outlier_logits` (M, K); each term is a scalar.
`weight` is λ, `margin_known` and `margin_outlier` are energies m_in and m_out in logit units. Linear logits
are f of eq. 0.1; logits of the Gaussian head are h of eq. 0.11, always ≤ 0.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

# The outlier term of ICE is infinite at h = 0; nearer than this it is held constant.
CLOSEST = 1e-6


def cross_entropy(known_logits, labels, outlier_logits=None):
    """Softmax cross-entropy on known samples only: −log softmax(f)_y (eqs. 0.2 and 0.12)."""
    reduction = "mean" if len(labels) else "sum"  # as in `mean`
    return {"cross_entropy": F.cross_entropy(known_logits, labels, reduction=reduction)}


def mean(values):
    """Mean of a term over samples; without any it is 0, with a graph."""
    return values.mean() if values.numel() else values.sum()


def outlier_exposure(known_logits, labels, outlier_logits, *, weight):
    """Outlier exposure: cross-entropy of outliers to the uniform distribution (eq. 0.3).

    The target u is normalised (1/K per class), so the gradient with respect to an outlier's
    logit i is softmax(f)_i − 1/K: eq. 0.6 without its factor K.

    Notes
    -----
    Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019.
    """
    return cross_entropy(known_logits, labels) | {
        "uniform": weight * -mean(outlier_logits.log_softmax(1)),
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
    return cross_entropy(known_logits, labels) | {
        "energy_known": weight * mean(F.relu(known_energy - margin_known).square()),
        "energy_outlier": weight * mean(F.relu(margin_outlier - outlier_energy).square()),
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
    return cross_entropy(known_logits, labels) | {
        "bce_known": weight * mean(known),
        "bce_outlier": weight * mean(outlier),
    }


def ice_minus(known_logits, labels, outlier_logits, *, weight):
    """ICE⁻ of Table 3: eq. 0.15 without L_ice-id, so that nothing holds known samples near their mean."""
    if known_logits.is_cpu:  # on a GPU the host would have to wait
        refuse_positive(known_logits, outlier_logits)
    return cross_entropy(known_logits, labels) | {
        "ice_ood": weight * mean(ice_ood(outlier_logits)),
    }


def ice(known_logits, labels, outlier_logits, *, weight):
    """In-distribution compatible outlier exposure (eq. 0.15) on logits of the Gaussian head."""
    if known_logits.is_cpu:  # on a GPU the host would have to wait
        refuse_positive(known_logits, outlier_logits)
    return cross_entropy(known_logits, labels) | {
        "ice_id": weight * mean(ice_id(known_logits, labels)),
        "ice_ood": weight * mean(ice_ood(outlier_logits)),
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


def refuse_positive(*logits):
    """Raise ValueError at a logit > 0, which no squared distance gives; not while it is compiled."""
    for h in logits:
        if not torch.compiler.is_compiling() and (h > 0).any():
            raise ValueError(f"found a logit of {h[h > 0].max():g}; expected those of the Gaussian head, which are ≤ 0")


NONPOSITIVE = (ice, ice_minus)


class OutlierLoss(nn.Module):
    """A loss for a training loop of one's own: logits (N, K) and labels (N,), < 0 for outliers, to a scalar.

    `function` is one of this module, of a method's file or of one's own, with values of its keyword parameters. A batch
    may be without outliers or without known samples: their terms are then 0. Logits of 16 bits are taken as float32.
    """

    def __init__(self, function, **values):
        super().__init__()
        self.function, self.values = function, values

    def forward(self, logits, labels):
        return sum(self.terms(logits, labels).values())

    def terms(self, logits, labels):
        """Weighted terms by name, whose sum is the loss; ValueError if logits or labels cannot be meant."""
        if logits.ndim != 2 or not logits.is_floating_point():
            raise ValueError(f"logits of shape {tuple(logits.shape)} and {logits.dtype}; expected (N, K), floating")
        if labels.shape != logits.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
            found = f"labels of shape {tuple(labels.shape)} and {labels.dtype}"
            raise ValueError(f"{found}; expected integers of shape ({len(logits)},)")
        if not torch.compiler.is_compiling() and (labels >= logits.shape[1]).any():
            raise ValueError(f"label {labels.max()}; expected 0…{logits.shape[1] - 1}, or < 0 for an outlier")
        logits, known = logits.to(torch.promote_types(logits.dtype, torch.float32)), labels >= 0
        if self.function in NONPOSITIVE:
            refuse_positive(logits)
        terms = self.function(logits[known], labels[known].long(), logits[~known], **self.values)
        return terms if isinstance(terms, dict) else {"loss": terms}


class ICELoss(OutlierLoss):
    """`ice` (eq. 0.15) for a loop of one's own, on logits of `heads.GaussianHead`.

    The head has no weight decay, which would pull its means and covariance to zero, and the norm of the gradient is
    clipped, since that of an outlier near a mean is steep. Known samples and outliers share one forward pass.

    Examples
    --------
    >>> import torch
    >>> from icelib import GaussianHead, ICELoss
    >>> _ = torch.manual_seed(0)
    >>> y = torch.arange(300) % 3  # three known classes, and outliers all around
    >>> x = torch.cat([3 * torch.eye(3, 8)[y] + 0.3 * torch.randn(300, 8), 2 * torch.randn(300, 8)])
    >>> labels = torch.cat([y, torch.full((300,), -1)])
    >>> backbone = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU())
    >>> head, loss = GaussianHead(64, 3), ICELoss(weight=0.5)
    >>> head.start(backbone(x), labels)
    >>> groups = [{"params": backbone.parameters()}, {"params": head.parameters(), "weight_decay": 0.0}]
    >>> optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=5e-4)
    >>> for step in range(100):
    ...     optimizer.zero_grad()
    ...     loss(head(backbone(x)), labels).backward()
    ...     _ = torch.nn.utils.clip_grad_norm_([*backbone.parameters(), *head.parameters()], 5.0)
    ...     optimizer.step()
    >>> confidence, predicted = head(backbone(x)).exp().max(1)
    >>> bool((predicted[:300] == y).all()), bool(confidence[:300].mean() > 0.8 > 0.2 > confidence[300:].mean())
    (True, True)
    """

    def __init__(self, weight=0.5):
        super().__init__(ice, weight=weight)


class ICEMinusLoss(OutlierLoss):
    """`ice_minus` for a loop of one's own, on logits of `heads.GaussianHead`."""

    def __init__(self, weight=0.5):
        super().__init__(ice_minus, weight=weight)


class OutlierExposureLoss(OutlierLoss):
    """`outlier_exposure` (eq. 0.3) for a loop of one's own."""

    def __init__(self, weight=0.5):
        super().__init__(outlier_exposure, weight=weight)


class EnergyLoss(OutlierLoss):
    """`energy` (eq. 0.5) for a loop of one's own, with the margins of its source for CIFAR-10."""

    def __init__(self, weight=0.1, margin_known=-23.0, margin_outlier=-5.0):
        super().__init__(energy, weight=weight, margin_known=margin_known, margin_outlier=margin_outlier)


class BCELoss(OutlierLoss):
    """`binary_cross_entropy` for a loop of one's own."""

    def __init__(self, weight=0.5):
        super().__init__(binary_cross_entropy, weight=weight)
