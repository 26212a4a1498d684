"""A variant of ours: a logistic loss on ratios of class likelihoods to that of a background Gaussian."""

import torch
from torch import nn

from icelib.heads import GaussianHead
from icelib.methods.logistic import loss
from icelib.scores import max_likelihood as score


class RatioHead(GaussianHead):
    """Logarithm of the ratio of a class's likelihood to that of a background Gaussian.

    r_i(z) = h_i(z) − h_0(z) + b, where h_0 has a mean and an L of its own, and b stands for both
    log-determinants and the prior. Softmax over r is that over h, so that classification is unchanged.

    The background starts as a further class of `heads.GaussianHead`.

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
        """Start as log p(z|i) − log p(z): class i and the background are Gaussians fitted to features."""
        super().estimate(z, labels)
        self.background.estimate(z, torch.zeros_like(labels))  # one class, so that its covariance is the total one
        self.offset.copy_(self.background.L.diagonal().log().sum() - self.L.diagonal().log().sum())


TITLE, HEAD, OUTLIERS = "likelihood ratio (ours)", RatioHead, True
