"""What a Gaussian head has learned to hold against an image, direction by direction of the features."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from icelib import batches, checkpoints, heads, posthoc, tasks
from icelib.captions import NAMES

CAPTION = (
    "What each direction of feature space counts in the learned distance of ICE's head, relative to what known images "
    "vary along it. Directions run from least to most variance of known images. A covariance fitted to known images "
    "gives 1 everywhere (grey line); the closer the learned curve (solid) is to the dashed one, the less of a "
    "covariance the head has learned."
)


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
    """Return `weights` of a trained run's head, and those that a multiple of the identity would have.

    Parameters
    ----------
    run : params.Run
        Of a method with the Gaussian head.

    Returns
    -------
    learned, sphere : Tensor of float64, shapes (d,)
        Both on the features of the run's known training images.
    """
    model, _ = checkpoints.load(run)
    data, _ = tasks.load(run.scale, run.known, "train")
    z = batches.predict(model, data["known"], posthoc.PRECISION, features=True)
    sphere = heads.GaussianHead(z.shape[1], len(model.head.means), "spherical", 1.0, 1.0)
    return weights(model.head, z, data["labels"]), weights(sphere, z, data["labels"])


def figure(found):
    """Draw the weights of several runs against the rank of the direction.

    Parameters
    ----------
    found : list of (params.Run, (Tensor, Tensor))
        Runs with what `learned` returns.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn, axes = plt.subplots(
        1, len(found), figsize=(2.3 * len(found) + 0.6, 2.6), sharey=True, layout="constrained", squeeze=False
    )
    for ax, (run, (values, sphere)) in zip(axes[0], found):
        share = np.linspace(0, 100, len(values))
        ax.semilogy(share, values, "C0-", label="learned L")
        ax.semilogy(share, sphere, "C1--", label="L a multiple of the identity")
        ax.axhline(1, color="0.4", lw=1, label="L fitted to known images")
        ax.set_title(f"{run.known}, {NAMES[run.network]},\n{NAMES[run.protocol]}, seed {run.seed}", fontsize=8)
        ax.set_xlabel("directions (%)")
        ax.set_ylim(1e-5, 100)
    axes[0][0].set_ylabel("weight in the distance")
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    drawn.suptitle("directions in feature space, from least to most variance of known images", fontsize=9)
    return drawn
