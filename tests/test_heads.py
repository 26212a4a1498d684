"""The Gaussian head against its definition, in all its forms."""

import math

import pytest
import sklearn.covariance
import torch

from icelib import heads, models
from icelib.methods.ratio import RatioHead


def head(factor="lower", features=6, classes=4, spread=1.0):
    torch.manual_seed(1)
    gaussian = heads.GaussianHead(features, classes, factor=factor).double()
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
    gaussian = heads.GaussianHead(6, 4, distance=3.0, factor=factor).double()
    expected = (6 * (1 / (2 * math.pi) + 0.25) / 3) ** 0.5 * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(gaussian.L, expected, rtol=1e-6, atol=0)
    torch.manual_seed(3)
    torch.testing.assert_close(gaussian.means, (0.5 * torch.randn(4, 6)).double())


@pytest.mark.parametrize("factor", heads.FACTORS)
def test_the_factor_is_triangular_with_positive_diagonal(factor):
    L = head(factor).L
    torch.testing.assert_close(L, L.tril(), rtol=0, atol=1e-12)
    assert (L.diagonal() > 0).all()


@pytest.mark.parametrize("factor", heads.FACTORS)
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_logits_are_never_positive_even_at_a_mean(factor, offset):
    gaussian = head(factor).float()
    with torch.no_grad():
        gaussian.means.add_(offset)
    z = gaussian.means.detach()
    assert (gaussian(torch.cat([z, z + 1e-4, z - 1e-4])) <= 0).all()


def test_a_common_offset_of_features_and_means_costs_no_digits():
    """In float32 the expanded square of numbers near 100 would be wrong by more than a half."""
    gaussian, z = head(spread=0.3), batch()
    offset = 100 + batch(1)
    with torch.no_grad():
        gaussian.means.copy_(gaussian.means.float())
        expected = definition(gaussian, z.float().double())
        gaussian.means.add_(offset)
        found = gaussian.float()((z.float().double() + offset).float())
    rounding = 100 * torch.finfo(torch.float32).eps * expected.abs().max().sqrt().item() * 20  # of z + offset itself
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=rounding)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factor", heads.FACTORS)
def test_under_autocast_distances_are_those_of_float32(factor, kind):
    gaussian, z = head(factor).float(), batch().to(kind).requires_grad_()
    expected = gaussian(z.float())
    slope = torch.autograd.grad(expected.sum(), z)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = gaussian(z)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(torch.autograd.grad(found.sum(), z)[0], slope)


def test_float64_features_stay_float64():
    gaussian, z = head().float(), batch()
    expected = definition(head().float().double(), z)
    torch.testing.assert_close(gaussian(z), expected, rtol=1e-6, atol=0)
    assert gaussian(z).dtype == torch.float64


def mean_distance(gaussian, z, labels):
    known = labels >= 0
    h = heads.GaussianHead.forward(gaussian, z[known])
    return -h.gather(1, labels[known][:, None]).mean().item()


@pytest.mark.parametrize("distance", [0.5, 8.0])
@pytest.mark.parametrize("kind", [heads.GaussianHead, RatioHead])
@pytest.mark.parametrize("factor", heads.FACTORS)
def test_the_start_has_the_mean_distance_that_is_asked_for(factor, kind, distance):
    z, labels = 3 * batch(200).relu(), torch.arange(200) % 5 - 1
    gaussian = kind(6, 4, distance=distance, factor=factor).double()
    if factor in ("lower", "precision"):
        torch.nn.init.normal_(gaussian.lower)
    before = gaussian.L @ gaussian.L.T
    gaussian.start(z, labels)
    assert mean_distance(gaussian, z, labels) == pytest.approx(distance, rel=1e-12)
    ratio = gaussian.L @ gaussian.L.T / before
    assert ratio[0, 0] != 1
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(gaussian.L @ gaussian.L.T, before * ratio[0, 0], **close)  # a scale, and no more
    gaussian.estimate(z, labels)
    assert mean_distance(gaussian, z, labels) == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("shape", [{"depth": 10, "widen": 1}, {"depth": 16, "widen": 2, "stem": "strided"}])
def test_without_features_the_start_is_a_fair_guess(shape):
    torch.manual_seed(0)
    network = models.build("wideresnet", shape, "gaussian", 10, {"distance": 2.0}).train()
    assert -network(torch.randn(64, 3, 32, 32)).mean().item() == pytest.approx(2.0, rel=0.25)


def test_the_estimate_is_the_posterior_of_eq_0_9():
    """With many samples of a Gaussian mixture, softmax(h) is Bayes' rule with the tied covariance.

    Its exponent is −½(z − μ)ᵀΣ⁻¹(z − μ), of mean d/2 for a sample's own class.
    """
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)
    factor = torch.tensor([[1.0, 0, 0], [0.5, 0.7, 0], [-0.3, 0.2, 0.4]], dtype=torch.float64)
    means, labels = draw(4, 3), torch.arange(40_000) % 4
    z = means[labels] + draw(len(labels), 3) @ factor.T
    gaussian = heads.GaussianHead(3, 4, distance=3 / 2).double()
    gaussian.estimate(z, labels)
    normal = torch.distributions.MultivariateNormal(means, scale_tril=factor)
    bayes = normal.log_prob(z[:200, None]).softmax(1)
    torch.testing.assert_close(gaussian(z[:200]).softmax(1), bayes, rtol=0, atol=0.02)
    torch.testing.assert_close(gaussian.L @ gaussian.L.T, 2 * factor @ factor.T, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", [heads.GaussianHead, RatioHead])
def test_outliers_take_no_part_in_the_estimate(kind):
    z, labels = batch(90), torch.arange(90) % 4
    outliers = 50 + batch(30)
    torch.manual_seed(0)
    alone, mixed = kind(6, 4).double(), kind(6, 4).double()
    alone.estimate(z, labels)
    mixed.estimate(torch.cat([outliers, z]), torch.cat([torch.full((30,), -1), labels]))
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(mixed.state_dict()[name], value, rtol=1e-12, atol=1e-12)


def test_a_class_without_samples_is_named_and_one_sample_is_enough():
    z, labels = batch(40), torch.arange(40) % 3
    gaussian = head()
    with pytest.raises(ValueError, match=r"class 3 has no sample; expected some of each, with labels 0…3"):
        gaussian.estimate(z, labels)
    labels[7] = 3
    gaussian.estimate(z, labels)
    torch.testing.assert_close(gaussian.means[3], z[7])


def test_what_no_head_can_start_from_is_told():
    z, labels = batch(40), torch.arange(40) % 4
    for distance in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"distance = {distance}: expected a number > 0"):
            heads.GaussianHead(6, 4, distance=distance)
    with pytest.raises(ValueError, match=r"of 0 known samples to their class's mean is nan; expected a finite"):
        head().start(z, torch.full_like(labels, -1))
    for bad in (torch.zeros_like(z), torch.full_like(z, math.nan)):
        with pytest.raises(ValueError, match=r"features \(40, 6\) do not vary within classes, or are not finite"):
            head().estimate(bad, labels)


@pytest.mark.parametrize("count, features", [(3, 1), (4, 30), (30, 4), (500, 30), (2, 2)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_shrunk_covariance_is_scikit_learns(count, features, scale):
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64)
    x = scale * x @ torch.randn(features, features, generator=generator, dtype=torch.float64)
    expected = sklearn.covariance.ledoit_wolf(x.numpy(), assume_centered=True)[0]
    torch.testing.assert_close(heads.ledoit_wolf(x), torch.from_numpy(expected), rtol=1e-10, atol=1e-10 * scale**2)


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
        expected = torch.eye(6, dtype=torch.float64)
    covariance, expected = covariance / covariance.trace(), expected / expected.trace()  # the scale is that of `start`
    torch.testing.assert_close(covariance, expected, rtol=1e-8, atol=1e-8)


def test_the_estimate_survives_features_that_never_vary():
    z, labels = batch(100), torch.arange(100) % 4
    z[:, 0] = 0
    gaussian = head()
    gaussian.estimate(z, labels)
    assert gaussian(z).isfinite().all()
