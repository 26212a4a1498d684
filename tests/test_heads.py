"""The Gaussian head against its definition, in all its forms."""

import pytest
import torch

from icelib import heads


def head(factor="lower", features=6, classes=4, spread=1.0):
    torch.manual_seed(1)
    gaussian = heads.GaussianHead(features, classes, factor, 0.5, 0.3).double()
    with torch.no_grad():
        gaussian.log_diagonal.add_(spread * torch.randn_like(gaussian.log_diagonal))
        if factor in ("lower", "precision"):
            gaussian.lower.add_(spread * torch.randn_like(gaussian.lower))
    return gaussian


def batch(count=9, features=6):
    return torch.randn(count, features, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def definition(gaussian, z):
    """Eq. 0.11 with an explicit inverse."""
    precision = torch.linalg.inv(gaussian.L @ gaussian.L.T)
    difference = z[:, None] - gaussian.means  # (N, K, d)
    return -torch.einsum("nki,ij,nkj->nk", difference, precision, difference)


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_logits_are_eq_0_11(factor):
    gaussian, z = head(factor), batch()
    torch.testing.assert_close(gaussian(z), definition(gaussian, z), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("features", [8, 64])
@pytest.mark.parametrize("condition", [1e0, 1e4, 1e8])
def test_the_solve_agrees_with_an_explicit_inverse(features, condition):
    """For random L whose diagonal spans `condition`, to 1e-10 of the largest squared distance."""
    gaussian, z = head(features=features, spread=0.0), batch(5, features)
    with torch.no_grad():
        gaussian.log_diagonal.copy_(
            torch.linspace(0, -1, features, dtype=torch.float64) * torch.tensor(condition).log()
        )
        gaussian.lower.copy_(torch.randn(features, features, dtype=torch.float64).tril(-1) * 0.1)
        gaussian.lower.mul_(gaussian.log_diagonal.exp()[None, :])  # columns on the diagonal's scale
    inverse = torch.linalg.inv(gaussian.L)
    whitened = (z[:, None] - gaussian.means) @ inverse.T  # (N, K, d)
    expected = -whitened.square().sum(2)
    torch.testing.assert_close(gaussian(z), expected, rtol=0, atol=1e-10 * expected.abs().max().item())


def test_softmax_is_a_linear_softmax():
    """zᵀΣ⁻¹z is common to all classes and cancels: w_i = 2Σ⁻¹m_i, b_i = −m_iᵀΣ⁻¹m_i."""
    gaussian, z = head(), batch()
    precision = torch.linalg.inv(gaussian.L @ gaussian.L.T)
    weights = 2 * gaussian.means @ precision
    biases = -torch.einsum("ki,ij,kj->k", gaussian.means, precision, gaussian.means)
    torch.testing.assert_close(gaussian(z).softmax(1), (z @ weights.T + biases).softmax(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_linear_gives_these_weights(factor):
    gaussian, z = head(factor), batch()
    weights, biases = gaussian.linear()
    torch.testing.assert_close(gaussian(z).softmax(1), (z @ weights.T + biases).softmax(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_gradients(factor):
    gaussian, z = head(factor), batch(3).requires_grad_()
    names = [name for name, _ in gaussian.named_parameters()]

    def function(z, *values):
        return torch.func.functional_call(gaussian, dict(zip(names, values)), z)

    assert torch.autograd.gradcheck(function, (z, *gaussian.parameters()))


def test_gradient_with_respect_to_features_pulls_along_the_metric():
    """∂h_i/∂z = −2Σ⁻¹(z − m_i)."""
    gaussian, z = head(), batch().requires_grad_()
    (found,) = torch.autograd.grad(gaussian(z)[:, 2].sum(), z)
    expected = -2 * (z - gaussian.means[2]) @ torch.linalg.inv(gaussian.L @ gaussian.L.T)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_every_form_starts_as_the_same_head(factor):
    torch.manual_seed(3)
    gaussian = heads.GaussianHead(6, 4, factor, 0.5, 0.3).double()
    torch.testing.assert_close(gaussian.L, 0.3 * 6**0.5 * torch.eye(6, dtype=torch.float64))
    torch.manual_seed(3)
    torch.testing.assert_close(gaussian.means, (0.5 * torch.randn(4, 6)).double())


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_the_factor_is_triangular_with_positive_diagonal(factor):
    L = head(factor).L
    torch.testing.assert_close(L, L.tril(), rtol=0, atol=1e-12)
    assert (L.diagonal() > 0).all()


def test_logits_are_never_positive_even_at_a_mean():
    gaussian = head().float()
    assert (gaussian(gaussian.means.detach()) <= 0).all()


def test_the_estimate_is_the_posterior_of_eq_0_9():
    """With many samples of a Gaussian mixture, softmax(h) is Bayes' rule with the tied covariance."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)
    factor = torch.tensor([[1.0, 0, 0], [0.5, 0.7, 0], [-0.3, 0.2, 0.4]], dtype=torch.float64)
    means, labels = draw(4, 3), torch.arange(40_000) % 4
    z = means[labels] + draw(len(labels), 3) @ factor.T
    gaussian = heads.GaussianHead(3, 4, "lower", 0.5, 0.3).double()
    gaussian.estimate(z, labels)
    normal = torch.distributions.MultivariateNormal(means, scale_tril=factor)
    bayes = normal.log_prob(z[:200, None]).softmax(1)
    torch.testing.assert_close(gaussian(z[:200]).softmax(1), bayes, rtol=0, atol=0.02)
    torch.testing.assert_close(gaussian.L @ gaussian.L.T, 2 * factor @ factor.T, rtol=0, atol=0.05)


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_the_estimate_holds_for_every_form(factor):
    z, labels = batch(500), torch.arange(500) % 4
    full, gaussian = head(), head(factor)
    full.estimate(z, labels)
    gaussian.estimate(z, labels)
    covariance, expected = gaussian.L @ gaussian.L.T, full.L @ full.L.T
    if factor == "diagonal":
        expected = torch.diag(expected.diagonal())
    if factor == "spherical":
        expected = expected.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(covariance, expected, rtol=1e-8, atol=1e-8)


def test_the_estimate_survives_features_that_never_vary():
    z, labels = batch(100), torch.arange(100) % 4
    z[:, 0] = 0
    gaussian = head()
    gaussian.estimate(z, labels)
    assert gaussian(z).isfinite().all()
