"""Top layers: features (N, d) to logits (N, K), linear (eq. 0.1) or Gaussian (eq. 0.11)."""

import inspect
import math

import torch
from torch import nn

# How the Gaussian head holds L; "lower" is the paper's, the others are compared in 04_ablations.
FACTORS = ("lower", "precision", "diagonal", "spherical")


class LinearHead(nn.Linear):
    """Logits f_i(z) = w_iᵀz + b_i (eq. 0.1): (N, d) → (N, K)."""

    def __init__(self, features, classes):
        super().__init__(features, classes)
        nn.init.zeros_(self.bias)

    def linear(self):
        """Weights (K, d) and biases (K,) of the logits."""
        return self.weight, self.bias


class GaussianHead(nn.Module):
    """Logits h_i(z) = −‖L⁻¹(z − m_i)‖² (eq. 0.11): (N, d) → (N, K), each ≤ 0.

    L is lower triangular with positive diagonal, shared by all classes; exp(h_i) plays the part
    of class i's likelihood.

    Parameters
    ----------
    features, classes : int
        d and K.
    factor : {"lower", "precision", "diagonal", "spherical"}
        What is learned: L, as in the paper; L⁻¹, also lower triangular, which needs matrix
        products only; L diagonal; or L a multiple of the identity.
    mean_scale : float
        Standard deviation of the entries of m at the start.
    covariance_scale : float
        L starts as ``covariance_scale * sqrt(d)`` times the identity. As squared distances add up
        over d coordinates, this keeps them independent of the network's width.

    Raises
    ------
    ValueError
        If `factor` is none of the head's `factors`.
    """

    factors = FACTORS  # those a head can have; of one's own it may have fewer

    def __init__(self, features, classes, factor, mean_scale, covariance_scale):
        if factor not in self.factors:
            raise ValueError(f"factor = {factor!r}: {type(self).__name__} expects one of {list(self.factors)}")
        super().__init__()
        self.factor = factor
        self.means = nn.Parameter(mean_scale * torch.randn(classes, features))  # (K, d)
        # Of each factor the diagonal is held as its logarithm, so that it stays positive.
        start = math.log(covariance_scale * math.sqrt(features))
        if factor == "spherical":
            self.log_diagonal = nn.Parameter(torch.tensor([start]))
        else:
            self.log_diagonal = nn.Parameter(torch.full((features,), -start if factor == "precision" else start))
        if factor in ("lower", "precision"):
            self.lower = nn.Parameter(torch.zeros(features, features))  # used below the diagonal

    def _triangle(self):
        return self.lower.tril(-1) + torch.diag(self.log_diagonal.exp())

    def whiten(self, z):
        """Return L⁻¹z for each row of z: (N, d) → (N, d)."""
        if self.factor == "lower":
            return torch.linalg.solve_triangular(self._triangle(), z.T, upper=False).T
        if self.factor == "precision":
            return z @ self._triangle().T
        return z * torch.exp(-self.log_diagonal)

    @property
    def L(self):
        """Cholesky factor of the shared covariance: (d, d)."""
        return torch.linalg.inv(self.whiten(torch.eye(self.means.shape[1]).to(self.means)).T)

    def forward(self, z):
        both = self.whiten(torch.cat([z, self.means]))  # (N + K, d)
        z, m = both[: len(z)], both[len(z) :]  # L⁻¹z (N, d), L⁻¹m (K, d)
        squared = z.square().sum(1, keepdim=True) + m.square().sum(1) - 2 * z @ m.T  # (N, K)
        return -squared.clamp(min=0)  # rounding may leave −1e-7 where z = m

    def linear(self):
        """Weights and biases whose softmax is the head's: w_i = 2Σ⁻¹m_i, b_i = −m_iᵀΣ⁻¹m_i.

        The term zᵀΣ⁻¹z is common to all classes and cancels in the softmax, with Σ = LLᵀ.

        Returns
        -------
        weights : Tensor, shape (K, d)
        biases : Tensor, shape (K,)
        """
        m = self.whiten(self.means)  # L⁻¹m (K, d)
        inverse = self.whiten(torch.eye(m.shape[1]).to(m)).T  # L⁻¹ (d, d)
        return 2 * m @ inverse, -m.square().sum(1)

    @torch.no_grad()
    def estimate(self, z, labels):
        """Start m and L from features of known samples: class means and LLᵀ = 2Σ.

        Σ is the covariance within classes, tied over them. With it the softmax of h is the
        posterior of eq. 0.9, whose exponent −½(z − μ)ᵀΣ⁻¹(z − μ) has a factor that eq. 0.11
        leaves to L. Σ is shrunk as Ledoit and Wolf (2004) propose: after a ReLU some features
        hardly vary, and the plain estimate can be singular.

        Parameters
        ----------
        z : Tensor, shape (N, d)
        labels : Tensor of int64, shape (N,)
        """
        from sklearn.covariance import ledoit_wolf

        means = torch.stack([z[labels == i].mean(0) for i in range(len(self.means))])  # (K, d)
        covariance, _ = ledoit_wolf((z - means[labels]).double().cpu().numpy(), assume_centered=True)
        factor = torch.linalg.cholesky(2 * torch.from_numpy(covariance))  # L (d, d), float64
        if self.factor == "precision":
            factor = torch.linalg.inv(factor)
        diagonal = factor.diagonal()
        if self.factor in ("diagonal", "spherical"):  # the variances, not what L has left of them
            diagonal = (2 * torch.from_numpy(covariance).diagonal()).sqrt()
        if self.factor == "spherical":
            diagonal = diagonal.square().mean().sqrt()[None]
        self.means.copy_(means)
        self.log_diagonal.copy_(diagonal.log())
        if self.factor in ("lower", "precision"):
            self.lower.copy_(factor.tril(-1))


HEADS = {"linear": LinearHead, "gaussian": GaussianHead}


def parameters(head):
    """Names of the parameters of a head, set in params.yaml beside those of the loss.

    Parameters
    ----------
    head : str or type
        Key of `HEADS`, or a class of one's own: ``Head(features, classes, **parameters)``.

    Returns
    -------
    tuple of str
    """
    return tuple(inspect.signature(HEADS.get(head, head)).parameters)[2:]
