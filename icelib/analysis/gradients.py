"""Where the auxiliary terms of a loss pull against cross-entropy: on logits, features and weights.

A loss is cross-entropy on known samples plus auxiliary terms on known samples and outliers. A step of descent raises a
logit whose gradient is negative and lowers one whose gradient is positive.
"""

import inspect

import torch
import torch.nn.functional as F

from icelib import models
from icelib.config.schema import GIVEN
from icelib.training.batches import Images


def gradients(loss, known_logits, labels, outlier_logits, **parameters):
    """Gradients of cross-entropy and of the auxiliary terms with respect to all logits.

    `loss` is as in `icelib.losses`, with `parameters`, on logits (N, K) and (M, K). Returned are two lists, each of
    gradients on known samples (N, K) and on outliers (M, K); zero where a term does not see a logit.
    """
    logits = [known_logits.detach().requires_grad_(), outlier_logits.detach().requires_grad_()]
    return tuple(_gradient(term, logits) for term in _divided(loss, logits[0], labels, logits[1], parameters))


def logit_shares(cross_entropy, auxiliary):
    """How often the auxiliary terms move a known sample's logit against cross-entropy, from `gradients` (N, K).

    Shares of all N·K logits: ``raised`` although cross-entropy lowers them, ``lowered`` although it raises them; and
    ``samples``, the share of samples with one of either.
    """
    raised = (auxiliary < 0) & (cross_entropy > 0)
    lowered = (auxiliary > 0) & (cross_entropy < 0)
    return {
        "raised": raised.float().mean().item(),
        "lowered": lowered.float().mean().item(),
        "samples": (raised | lowered).any(1).float().mean().item(),
    }


def outlier_shares(auxiliary):
    """How often the auxiliary terms raise a logit of an outlier, which belongs to no class, from `gradients` (M, K).

    ``outlier_raised`` is the share of all M·K logits, ``outlier_samples`` that of outliers with one.
    """
    raised = auxiliary < 0
    return {"outlier_raised": raised.float().mean().item(), "outlier_samples": raised.any(1).float().mean().item()}


def cosine(a, b):
    """Cosine of the angle between two gradients of any shape; NaN if one of them is zero."""
    a, b = a.flatten().double(), b.flatten().double()
    length = a.norm() * b.norm()
    return (a @ b / length).item() if length > 0 else float("nan")


def batches(data, sizes, steps, device, seed=0):
    """Draw batches of the training part of a task: known images, their labels and outliers, (N, M) `sizes`."""
    generator = torch.Generator(device).manual_seed(seed)
    known, outliers = Images(data["known"], device), Images(data["outliers"], device)
    orders = (known.order(steps, min(sizes[0], len(known)), generator), outliers.order(steps, sizes[1], generator))
    labels = data["labels"].to(device)
    return [
        (known.augmented(index, generator), labels[index], outliers.augmented(outlier_index, generator))
        for index, outlier_index in zip(*orders)
    ]


def measure(model, method, parameters, drawn, seed=0):
    """Compare gradients on training `batches`, in the forward pass of a training step but in float32.

    Known images and outliers go through the network together in training mode. Three cosines between the gradients of
    cross-entropy and of the auxiliary terms, from the head downwards:

    - ``features``: of each known sample's features z, mean over the samples on which the auxiliary terms act: all
      (BCE, ICE), those beyond their margin (Energy), or none, which is NaN (OE, ICE⁻).
    - ``shift``: of one displacement common to the features of all samples: the sum of the gradients over samples.
    - ``backbone``: of all weights of the backbone; and ``ratio``, the auxiliary gradient's norm over cross-entropy's.

    `parameters` are those of the method's loss. The network's batch statistics are changed, its weights are not.
    Returned is a dict for each batch: the above, `logit_shares` and `outlier_shares`.
    """
    found = []
    torch.manual_seed(seed)  # of dropout
    model.train()
    for known, labels, outliers in drawn:
        x = models.normalize(torch.cat([known, outliers])).to(memory_format=torch.channels_last)
        found.append(_batch(model, model.features(x), labels, method.loss, parameters))
    return found


def _batch(model, z, labels, loss, parameters):
    count, weights, logits = len(labels), list(model.backbone.parameters()), model.head(z)
    wanted = inspect.signature(loss).parameters
    parameters = parameters | {k: x for k, x in zip(GIVEN, (z[:count], z[count:], 1.0)) if k in wanted}
    terms = _divided(loss, logits[:count], labels, logits[count:], parameters)
    by_feature = [_gradient(term, [z])[0] for term in terms]  # (N + M, d) each
    by_weight = [torch.cat([g.flatten() for g in _gradient(term, weights)]) for term in terms]
    cross_entropy, auxiliary = gradients(loss, logits[:count], labels, logits[count:], **parameters)
    angles = torch.tensor([cosine(a, b) for a, b in zip(by_feature[0][:count], by_feature[1][:count])])
    return {
        **logit_shares(cross_entropy[0], auxiliary[0]),
        **outlier_shares(auxiliary[1]),
        "features": angles.nanmean().item(),
        "shift": cosine(by_feature[0].sum(0), by_feature[1].sum(0)),
        "backbone": cosine(*by_weight),
        "ratio": (by_weight[1].norm() / by_weight[0].norm()).item(),
    }


def _divided(loss, known_logits, labels, outlier_logits, parameters):
    """Cross-entropy and the sum of all other terms; of a loss that does not name it, the softmax's is split off."""
    terms = loss(known_logits, labels, outlier_logits, **parameters)
    terms = dict(terms) if isinstance(terms, dict) else {"loss": terms}
    if "cross_entropy" in terms:
        return terms.pop("cross_entropy"), sum(terms.values())
    cross_entropy = F.cross_entropy(known_logits, labels)
    return cross_entropy, sum(terms.values()) - cross_entropy


def _gradient(term, inputs):
    """Gradients of a term, zero for inputs that it does not depend on."""
    found = torch.autograd.grad(term, inputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]
