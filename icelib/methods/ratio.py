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

    The background starts as a further class of `heads.GaussianHead`. `distance` is that of h; to have it, `start`
    scales r as a whole, so that r > 0 still tells where a class is likelier than the background.

    Notes
    -----
    After Ren et al., "Likelihood Ratios for Out-of-Distribution Detection", 2019.
    """

    def __init__(self, features, classes, *, distance=2.0, mean_scale=0.5, factor="lower"):
        values = {"distance": distance, "mean_scale": mean_scale, "factor": factor}
        super().__init__(features, classes, **values)
        self.background = GaussianHead(features, 1, **values)
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, z):
        return super().forward(z) - self.background(z) + self.offset

    def _fit(self, z, labels):
        """Set r to log p(z|i) − log p(z): class i and the background are Gaussians fitted to features."""
        super()._fit(z, labels)
        known = labels >= 0
        self.background._fit(z[known], torch.zeros_like(labels[known]))  # one class: its covariance is the total one
        self.offset.copy_(self.background.L.diagonal().log().sum() - self.L.diagonal().log().sum())

    def _scale(self, ratio):
        super()._scale(ratio)
        self.background._scale(ratio)
        self.offset.mul_(ratio)


TITLE, HEAD, OUTLIERS = "likelihood ratio (ours)", RatioHead, True
