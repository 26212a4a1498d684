"""What a Gaussian head has learned to hold against an image, direction by direction of the features."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from icelib import batches, checkpoints, posthoc, tasks
from icelib.captions import NAMES


def weights(head, z, labels):
    """Weight of each direction in the learned distance, in units of what known samples vary there.

    Directions v_k are the eigenvectors of the covariance within classes of known features, with
    variances s_k. In eq. 0.11 a known sample's squared distance has on average s_k ‖L⁻¹v_k‖² along
    v_k. Were LLᵀ a multiple of that covariance, as it is when fitted, all would be equal.

    Parameters
    ----------
    head : GaussianHead
    z : Tensor, shape (N, d)
        Features of known samples.
    labels : Tensor of int64, shape (N,)

    Returns
    -------
    Tensor of float64, shape (d,)
        With mean 1, from the direction in which known samples vary least to that of most.
    """
    means = torch.stack([z[labels == i].mean(0) for i in range(len(head.means))])  # (K, d)
    variances, directions = torch.linalg.eigh(torch.cov((z - means[labels]).T.double()))
    with torch.no_grad():
        whitened = head.whiten(directions.T.to(head.means)).double()  # L⁻¹v_k in rows (d, d)
    found = variances.clamp(min=0) * whitened.square().sum(1)
    return found / found.mean()


def learned(run):
    """`weights` of a trained run's head, on the features of its known training images."""
    model, _ = checkpoints.load(run)
    data, _ = tasks.load(run.scale, run.known, "train")
    z = batches.predict(model, data["known"], posthoc.PRECISION, features=True)
    return weights(model.head, z, data["labels"])


def figure(found):
    """Draw the weights of several runs against the rank of the direction.

    Parameters
    ----------
    found : list of (params.Run, Tensor)
        Runs with what `learned` returns.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn, ax = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    for (run, values), line in zip(found, ["-", "--", "-.", ":"] * len(found)):
        share = np.linspace(0, 100, len(values))
        label = f"{run.known}, {NAMES[run.network]}, {NAMES[run.protocol]}, seed {run.seed}"
        ax.semilogy(share, values.clamp(min=1e-6), line, label=label)
    ax.axhline(1, color="0.5", lw=0.8)
    ax.annotate("fitted covariance: 1 for each", (2, 1.25), fontsize=7, color="0.3")
    ax.set_xlabel("directions, from least to most variance of known images (%)")
    ax.set_ylabel("weight in the learned distance")
    drawn.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return drawn
