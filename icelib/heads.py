"""Top layers: features (N, d) to logits (N, K), linear (eq. 0.1) or Gaussian (eq. 0.11)."""

import copy
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
    """Logits h_i(z) = −‖L⁻¹(z − m_i)‖² (eq. 0.11): (N, d) → (N, K), each ≤ 0, also under autocast in float32.

    L is lower triangular with positive diagonal, shared by all classes; exp(h_i) plays the part
    of class i's likelihood.

    Parameters
    ----------
    features, classes : int
        d and K.
    distance : float
        Mean squared distance −h_y of known samples to their class's mean at the start, for any d. Until `start` or
        `estimate` has seen features it is an estimate, for those of `icelib.models`, and L a multiple of the identity.
    mean_scale : float
        Standard deviation of the entries of m at the start.
    factor : {"lower", "precision", "diagonal", "spherical"}
        What is learned: L, as in the paper; L⁻¹, also lower triangular, which needs matrix
        products only; L diagonal; or L a multiple of the identity.

    Raises
    ------
    ValueError
        If `distance` is not above 0 or `factor` none of the head's `factors`.
    """

    factors = FACTORS  # those a head can have; of one's own it may have fewer

    def __init__(self, features, classes, *, distance=2.0, mean_scale=0.5, factor="lower"):
        if factor not in self.factors:
            raise ValueError(f"factor = {factor!r}: {type(self).__name__} expects one of {list(self.factors)}")
        if not distance > 0:
            raise ValueError(f"distance = {distance!r}: expected a number > 0")
        super().__init__()
        self.factor, self.distance = factor, distance
        self.means = nn.Parameter(mean_scale * torch.randn(classes, features))  # (K, d)
        # A normalised, rectified and averaged feature is about 1/√(2π), so that E(z_j − m_j)² ≈ 1/(2π) + mean_scale².
        # Of each factor the diagonal is held as its logarithm, so that it stays positive.
        start = 0.5 * math.log(features * (1 / (2 * math.pi) + mean_scale**2) / distance)
        if factor == "spherical":
            self.log_diagonal = nn.Parameter(torch.tensor([start]))
        else:
            self.log_diagonal = nn.Parameter(torch.full((features,), -start if factor == "precision" else start))
        if factor in ("lower", "precision"):
            self.lower = nn.Parameter(torch.zeros(features, features))  # used below the diagonal

    def _triangle(self):
        return self.lower.tril(-1) + torch.diag(self.log_diagonal.exp())

    def whiten(self, z):
        """Return L⁻¹z for each row of z, in z's precision: (N, d) → (N, d)."""
        if self.factor == "lower":
            return torch.linalg.solve_triangular(self._triangle().to(z.dtype), z.T, upper=False).T
        if self.factor == "precision":
            return z @ self._triangle().to(z.dtype).T
        return z * torch.exp(-self.log_diagonal).to(z.dtype)

    @property
    def L(self):
        """Cholesky factor of the shared covariance: (d, d)."""
        return torch.linalg.inv(self.whiten(torch.eye(self.means.shape[1]).to(self.means)).T)

    def forward(self, z):
        with torch.autocast(z.device.type, enabled=False):  # in 16 bits a small distance of large z is rounded to 0
            dtype = torch.promote_types(torch.promote_types(z.dtype, self.means.dtype), torch.float32)
            z, m = z.to(dtype), self.means.to(dtype)
            # No distance depends on a common shift, but the digits of its squares do.
            both = self.whiten(torch.cat([z, m]) - m.detach().mean(0))  # (N + K, d)
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
    def start(self, z, labels):
        """Scale L so that the mean of −h_y over known samples is `distance`.

        Parameters
        ----------
        z : Tensor, shape (N, d)
            Features, of an untrained network those in training mode.
        labels : Tensor of int64, shape (N,)
            Samples with labels < 0 are left out.

        Raises
        ------
        ValueError
            If the mean squared distance is 0 or not finite.
        """
        exact, known = copy.deepcopy(self).cpu().double(), labels >= 0  # float64, which not every device has
        z, labels = z[known].cpu().double(), labels[known].cpu().long()
        found = exact.whiten(z - exact.means[labels]).square().sum(1).mean().item()
        if not 0 < found < math.inf:
            raise ValueError(
                f"mean squared distance of {len(z)} known samples to their class's mean is {found}; "
                "expected a finite number > 0"
            )
        self._scale(self.distance / found)

    def _scale(self, ratio):
        """Multiply all squared distances by a number."""
        power = 0.5 if self.factor == "precision" else -0.5
        self.log_diagonal.add_(power * math.log(ratio))
        if self.factor in ("lower", "precision"):
            self.lower.mul_(ratio**power)

    @torch.no_grad()
    def estimate(self, z, labels):
        """Start m and L from features of known samples: class means and LLᵀ = 2Σ/τ, with τ by `start`.

        Σ is the covariance within classes, tied over them, see `ledoit_wolf`: after a ReLU some features hardly vary,
        and the plain estimate can be singular. With τ = 1 the softmax of h is the posterior of eq. 0.9, whose exponent
        −½(z − μ)ᵀΣ⁻¹(z − μ) has a factor that eq. 0.11 leaves to L; but then −h_y is about d/2, and exp(h) is 0 for
        known samples and outliers alike.

        Parameters
        ----------
        z : Tensor, shape (N, d)
        labels : Tensor of int64, shape (N,)
            Samples with labels < 0 are left out.

        Raises
        ------
        ValueError
            If a class has no sample, or features do not vary within classes or are not finite.
        """
        self._fit(z, labels)
        self.start(z, labels)

    def _fit(self, z, labels):
        """Set m to the class means and LLᵀ to 2Σ."""
        z, labels = z[labels >= 0].cpu().double(), labels[labels >= 0].cpu().long()
        for i in range(len(self.means)):
            if not (labels == i).any():
                raise ValueError(f"class {i} has no sample; expected some of each, with labels 0…{len(self.means) - 1}")
        means = torch.stack([z[labels == i].mean(0) for i in range(len(self.means))])  # (K, d)
        covariance = 2 * ledoit_wolf(z - means[labels])  # LLᵀ (d, d), float64
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise ValueError(f"features {tuple(z.shape)} do not vary within classes, or are not finite")
        if self.factor == "precision":
            factor = torch.linalg.inv(factor)
        diagonal = factor.diagonal()
        if self.factor in ("diagonal", "spherical"):  # the variances, not what L has left of them
            diagonal = covariance.diagonal().sqrt()
        if self.factor == "spherical":
            diagonal = diagonal.square().mean().sqrt()[None]
        self.means.copy_(means)
        self.log_diagonal.copy_(diagonal.log())
        if self.factor in ("lower", "precision"):
            self.lower.copy_(factor.tril(-1))


def ledoit_wolf(x):
    """Covariance of centred samples, shrunk towards a multiple of the identity: (N, d) → (d, d).

    Notes
    -----
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
    """
    covariance, d = x.T @ x / len(x), x.shape[1]
    scale, norm = covariance.diagonal().mean(), covariance.square().sum()
    distance = norm - d * scale**2  # of the covariance from that multiple, squared
    error = (x.square().sum(1).square().mean() - norm) / len(x)  # of the covariance, squared
    share = torch.where(distance > 0, error.clamp(max=distance) / distance, 0.0)
    return (1 - share) * covariance + share * scale * torch.eye(d).to(x)


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
