"""What a Gaussian head has learned to hold against an image, direction by direction of the features."""

import torch

from icelib import heads, models
from icelib.data import tasks
from icelib.training import store

MOST = 5000  # training images, of which variances are estimated


def weights(head, z, labels):
    """Weight of each direction of feature space in the learned distance (eq. 0.11), relative to a fitted covariance.

    Directions v_k are the eigenvectors of the covariance within classes of known features, with variances s_k. A known
    sample's squared distance has on average s_k ‖L⁻¹v_k‖² along v_k. Were LLᵀ a multiple of that covariance, as it is
    when fitted, all would be equal.

    `head` is a `heads.GaussianHead`, z (N, d) are features of known samples with labels (N,). Returned are float64
    (d,) of mean 1, from the direction in which known samples vary least to that of most.
    """
    means = torch.stack([z[labels == i].mean(0) for i in range(len(head.means))])  # (K, d)
    variances, directions = torch.linalg.eigh(torch.cov((z - means[labels]).T.double()))
    with torch.no_grad():
        whitened = head.whiten(directions.T.to(head.means)).double()  # L⁻¹v_k in rows (d, d)
    found = variances.clamp(min=0) * whitened.square().sum(1)
    return found / found.mean()


def learned(run):
    """Return `weights` of a trained run's head, and of a multiple of the identity, on known training images."""
    model, _ = store.load(run)
    data, _ = tasks.load(run.task, "train")
    chosen = torch.linspace(0, len(data["known"]) - 1, min(MOST, len(data["known"]))).long()
    z = models.predict(model, data["known"][chosen], models.PRECISION, features=True).cpu()
    sphere = heads.GaussianHead(z.shape[1], len(model.head.means), factor="spherical")
    labels = data["labels"][chosen]
    return weights(model.head, z, labels), weights(sphere, z, labels)
