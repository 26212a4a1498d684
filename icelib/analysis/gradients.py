"""Where the auxiliary terms of a loss pull against cross-entropy: on logits, features and weights.

A loss is cross-entropy on known samples plus auxiliary terms on known samples and outliers. A step
of descent raises a logit whose gradient is negative and lowers one whose gradient is positive.
"""

import torch

from icelib import batches, models


def gradients(loss, known_logits, labels, outlier_logits, **parameters):
    """Gradients of cross-entropy and of the auxiliary terms with respect to all logits.

    Parameters
    ----------
    loss : callable
        As in `icelib.losses`, with auxiliary terms.
    known_logits : Tensor, shape (N, K)
    labels : Tensor of int64, shape (N,)
    outlier_logits : Tensor, shape (M, K)
    **parameters
        Of the loss.

    Returns
    -------
    cross_entropy, auxiliary : list of Tensor, shapes (N, K) and (M, K)
        On known samples and on outliers; zero where a term does not see a logit.
    """
    logits = [known_logits.detach().requires_grad_(), outlier_logits.detach().requires_grad_()]
    terms = loss(logits[0], labels, logits[1], **parameters)
    return tuple(_gradient(term, logits) for term in _divide(terms))


def logit_shares(cross_entropy, auxiliary):
    """How often the auxiliary terms move a known sample's logit against cross-entropy.

    Parameters
    ----------
    cross_entropy, auxiliary : Tensor, shapes (N, K)
        Gradients on known samples, from `gradients`.

    Returns
    -------
    dict of str to float
        Shares of all N·K logits: ``raised`` although cross-entropy lowers them, ``lowered``
        although it raises them; and ``samples``, the share of samples with one of either.
    """
    raised = (auxiliary < 0) & (cross_entropy > 0)
    lowered = (auxiliary > 0) & (cross_entropy < 0)
    return {
        "raised": raised.float().mean().item(),
        "lowered": lowered.float().mean().item(),
        "samples": (raised | lowered).any(1).float().mean().item(),
    }


def outlier_shares(auxiliary):
    """How often the auxiliary terms raise a logit of an outlier, which belongs to no class.

    Parameters
    ----------
    auxiliary : Tensor, shape (M, K)
        Gradients on outliers, from `gradients`.

    Returns
    -------
    dict of str to float
        ``outlier_raised``: share of all M·K logits; ``outlier_samples``: share of outliers with one.
    """
    raised = auxiliary < 0
    return {"outlier_raised": raised.float().mean().item(), "outlier_samples": raised.any(1).float().mean().item()}


def cosine(a, b):
    """Cosine of the angle between two gradients of any shape; NaN if one of them is zero."""
    a, b = a.flatten().double(), b.flatten().double()
    length = a.norm() * b.norm()
    return (a @ b / length).item() if length > 0 else float("nan")


def measure(model, method, parameters, data, batch, steps, seed=0):
    """Measure contradiction on training batches, in the forward pass of a training step but in float32.

    Known images and outliers go through the network together in training mode. Three cosines
    between the gradients of cross-entropy and of the auxiliary terms, from the head downwards:

    - ``features``: of each known sample's features z, mean over the samples on which the auxiliary
      terms act: all (BCE, ICE), those beyond their margin (Energy), or none, which is NaN (OE, ICE⁻).
    - ``shift``: of one displacement common to the features of all samples, known and outliers: the
      sum of the gradients over samples.
    - ``backbone``: of all weights of the backbone; and ``ratio``, the auxiliary gradient's norm over
      cross-entropy's there.

    Parameters
    ----------
    model : Classifier
        Its batch statistics are changed, its weights are not.
    method : methods.Method
        One that trains on outliers.
    parameters : dict of str to float
        Of the method's loss.
    data : dict of str to Tensor
        The training part of a task.
    batch : (int, int)
        Known images, or as many as there are, and outliers in a batch.
    steps : int
        Number of batches.
    seed : int
        Of the order of the images and of their augmentation.

    Returns
    -------
    list of dict of str to float
        One for each batch: the above, `logit_shares` and `outlier_shares`.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    known, outliers = (batches.Images(data[part], device) for part in ("known", "outliers"))
    size = min(batch[0], len(known))
    orders = known.order(steps, size, generator), outliers.order(steps, batch[1], generator)
    labels, found = data["labels"].to(device), []
    torch.manual_seed(seed)  # of dropout
    model.train()
    for index, outlier_index in zip(*orders):
        x = torch.cat([known.augmented(index, generator), outliers.augmented(outlier_index, generator)])
        z = model.features(models.normalize(x).to(memory_format=torch.channels_last))  # (N + M, d)
        logits = model.head(z)  # (N + M, K)
        found.append(_batch(model, z, logits, labels[index], method, parameters))
    return found


def _batch(model, z, logits, labels, method, parameters):
    count, weights = len(labels), list(model.backbone.parameters())
    terms = _divide(method.loss(logits[:count], labels, logits[count:], **parameters))
    by_feature = [_gradient(term, [z])[0] for term in terms]  # (N + M, d) each
    by_weight = [torch.cat([g.flatten() for g in _gradient(term, weights)]) for term in terms]
    cross_entropy, auxiliary = gradients(method.loss, logits[:count], labels, logits[count:], **parameters)
    angles = torch.tensor([cosine(a, b) for a, b in zip(by_feature[0][:count], by_feature[1][:count])])
    return {
        **logit_shares(cross_entropy[0], auxiliary[0]),
        **outlier_shares(auxiliary[1]),
        "features": angles.nanmean().item(),
        "shift": cosine(by_feature[0].sum(0), by_feature[1].sum(0)),
        "backbone": cosine(*by_weight),
        "ratio": (by_weight[1].norm() / by_weight[0].norm()).item(),
    }


def _divide(terms):
    """Cross-entropy and the sum of all other terms of a loss."""
    return terms["cross_entropy"], sum(value for name, value in terms.items() if name != "cross_entropy")


def _gradient(term, inputs):
    """Gradients of a term, zero for inputs that it does not depend on."""
    found = torch.autograd.grad(term, inputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]
