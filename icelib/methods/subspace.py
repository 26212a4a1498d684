"""A variant of ours: ICE whose distance is measured in the subspace that known images fill, the rest apart."""

import math

import torch
from torch import nn

from icelib.heads import GaussianHead
from icelib.losses import ice as loss
from icelib.scores import max_likelihood as score


class SubspaceHead(GaussianHead):
    """Logits h_i(z) = −‖L⁻¹(Pz − m_i)‖² − a ‖z − PᵀPz‖²: P are `rank` directions in which known features vary most.

    All others share one scale a > 0. z is taken from the mean of known features; P stays as `estimate` finds it.

    Notes
    -----
    After Wang, Li, Feng and Zhang, "ViM: Out-of-Distribution with Virtual-logit Matching", 2022: the residual.
    """

    factors = ("lower",)

    def __init__(self, features, classes, *, distance=2.0, mean_scale=0.5, rank=32):
        super().__init__(min(rank, features - 1), classes, distance=distance, mean_scale=mean_scale)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("basis", torch.eye(features))  # its columns, those of P first
        self.log_residual = nn.Parameter(torch.zeros(()))  # log a

    def _parts(self, z):
        """Coordinates of z, those in the subspace (N, rank) and the others."""
        return ((z - self.centre.to(z)) @ self.basis.to(z)).tensor_split([self.means.shape[1]], 1)

    def forward(self, z):
        inside, outside = self._parts(z)
        return super().forward(inside) - self.log_residual.exp() * outside.square().sum(1, keepdim=True)

    def linear(self):
        """Weights (K, d) and biases (K,) whose softmax is the head's; the residual is common to all classes."""
        weights, biases = super().linear()
        weights = weights @ self.basis[:, : weights.shape[1]].T
        return weights, biases - weights @ self.centre

    @torch.no_grad()
    def start(self, z, labels):
        """Scale both parts so that the mean of −h_y over known samples is `distance`."""
        known = labels >= 0
        self._scale(self.distance / -self(z[known].to(self.means)).gather(1, labels[known, None]).mean().item())

    def _scale(self, ratio):
        super()._scale(ratio)
        with torch.no_grad():
            self.log_residual.add_(math.log(ratio))

    def _fit(self, z, labels):
        x = z[labels >= 0].cpu().double()
        self.centre.copy_(x.mean(0))
        self.basis.copy_(torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))[1].flip(1))
        inside, outside = self._parts(x.to(self.means))
        super()._fit(inside, labels[labels >= 0])
        self.log_residual.copy_(-(2 * outside.square().mean()).log())


TITLE, HEAD, OUTLIERS = "subspace ICE (ours)", SubspaceHead, True
