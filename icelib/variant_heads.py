"""Gaussian heads of ours, variants of eq. 0.11; the paper has none of them. 09_beyond_ice compares them."""

import torch
from torch import nn

from icelib.heads import GaussianHead


class VolumeHead(GaussianHead):
    """Gaussian head whose det L stays what it was at the start.

    A likelihood has −log det L, which eq. 0.11 leaves out: known samples come nearer in the metric of
    a growing L without moving. Where the volume is fixed, L can only change its shape.

    Parameters
    ----------
    features, classes, mean_scale, covariance_scale
        As of `heads.GaussianHead`.
    factor : {"lower", "precision"}
        Without what is below the diagonal there is little shape to change.
    """

    factors = ("lower", "precision")

    def __init__(self, features, classes, factor, mean_scale, covariance_scale):
        super().__init__(features, classes, factor, mean_scale, covariance_scale)
        self.register_buffer("volume", self.log_diagonal.detach().mean().clone())  # log det L / d, or of L⁻¹

    def _triangle(self):
        return self.lower.tril(-1) + torch.diag((self.log_diagonal - self.log_diagonal.mean() + self.volume).exp())

    @torch.no_grad()
    def estimate(self, z, labels):
        """Start as `heads.GaussianHead.estimate`, and hold the volume of that L."""
        super().estimate(z, labels)
        self.volume.copy_(self.log_diagonal.mean())


class SimplexHead(GaussianHead):
    """Gaussian head whose class means are held at equal distances; only L is learned.

    Features come out of a ReLU, so the means are vertices of a simplex that it can reach: class i has
    the same value in a block of coordinates of its own, and 0 elsewhere.

    Parameters
    ----------
    features, classes : int
        d and K ≤ d.
    factor, covariance_scale
        As of `heads.GaussianHead`.
    separation : float
        Euclidean distance between two means.

    Raises
    ------
    ValueError
        If there are more classes than features.

    Notes
    -----
    After Pang et al., "Rethinking Softmax Cross-Entropy Loss for Adversarial Robustness", 2020.
    """

    def __init__(self, features, classes, factor, separation, covariance_scale):
        super().__init__(features, classes, factor, 0.0, covariance_scale)
        if classes > features:
            raise ValueError(f"{classes} classes in {features} features; expected no more classes than features")
        means = torch.zeros(classes, features)
        for mean, block in zip(means, torch.arange(features).tensor_split(classes), strict=True):
            mean[block] = separation / (2 * len(block)) ** 0.5
        del self.means
        self.register_buffer("means", means)  # (K, d)

    def estimate(self, z, labels):
        """Refuse: the means of features are no simplex.

        Raises
        ------
        ValueError
        """
        raise ValueError("means on a simplex cannot be estimated from features; set gaussian_head to random")


class RatioHead(GaussianHead):
    """Logarithm of the ratio of a class's likelihood to that of a background Gaussian.

    r_i(z) = h_i(z) − h_0(z) + b, where h_0 has a mean and an L of its own, and b stands for both
    log-determinants and the prior. Softmax over r is that over h, so that classification is unchanged.

    Parameters
    ----------
    features, classes, factor, mean_scale, covariance_scale
        As of `heads.GaussianHead`; the background starts as a further class.

    Notes
    -----
    After Ren et al., "Likelihood Ratios for Out-of-Distribution Detection", 2019.
    """

    def __init__(self, features, classes, factor, mean_scale, covariance_scale):
        super().__init__(features, classes, factor, mean_scale, covariance_scale)
        self.background = GaussianHead(features, 1, factor, mean_scale, covariance_scale)
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, z):
        return super().forward(z) - self.background(z) + self.offset

    @torch.no_grad()
    def estimate(self, z, labels):
        """Start as log p(z|i) − log p(z): class i and the background are Gaussians fitted to features.

        Parameters
        ----------
        z : Tensor, shape (N, d)
        labels : Tensor of int64, shape (N,)
        """
        super().estimate(z, labels)
        self.background.estimate(z, torch.zeros_like(labels))  # one class, so that its covariance is the total one
        self.offset.copy_(self.background.L.diagonal().log().sum() - self.L.diagonal().log().sum())
