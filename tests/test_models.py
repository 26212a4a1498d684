"""Networks and heads against their definitions."""

import pytest
import torch

from icelib import models


def test_wide_resnet_34_10_is_the_published_network():
    backbone = models.WideResNet(34, 10)
    network = models.Classifier(backbone, models.LinearHead(backbone.features, 10))
    assert backbone.features == 640
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(46.2e6, rel=2e-3)
    assert (
        sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size != (1, 1) for m in network.modules()) == 31
    )  # 6n + 1, n = 5


def test_wide_resnet_40_2_has_the_published_size():
    backbone = models.WideResNet(40, 2)
    network = models.Classifier(backbone, models.LinearHead(backbone.features, 10))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(
        2.2e6, rel=2e-2
    )  # Zagoruyko & Komodakis, table 4


@pytest.mark.parametrize("depth", [0, 4, 9, 35])
def test_impossible_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"is {depth}; expected 6n \+ 4"):
        models.WideResNet(depth, 2)


@pytest.mark.parametrize("stem", ["basic", "strided"])
def test_shapes(stem):
    network = models.Classifier(models.WideResNet(10, 2, stem), models.GaussianHead(128, 6, 0.5, 0.1))
    x = torch.randn(3, 3, 32, 32)
    assert network.features(x).shape == (3, 128) and network(x).shape == (3, 6)


def head(features=6, classes=4):
    torch.manual_seed(1)
    gaussian = models.GaussianHead(features, classes, 0.5, 0.3).double()
    with torch.no_grad():
        gaussian.lower.add_(torch.randn(features, features, dtype=torch.float64))
    return gaussian


def test_gaussian_head_is_eq_0_11():
    gaussian = head()
    z = torch.randn(9, 6, dtype=torch.float64)
    precision = torch.linalg.inv(gaussian.L @ gaussian.L.T)
    difference = z[:, None] - gaussian.means  # (N, K, d)
    expected = -torch.einsum("nki,ij,nkj->nk", difference, precision, difference)
    torch.testing.assert_close(gaussian(z), expected, rtol=1e-10, atol=1e-10)


def test_gaussian_head_softmax_is_a_linear_softmax():
    """zᵀΣ⁻¹z is common to all classes and cancels: w_i = 2Σ⁻¹m_i, b_i = −m_iᵀΣ⁻¹m_i."""
    gaussian = head()
    z = torch.randn(9, 6, dtype=torch.float64)
    precision = torch.linalg.inv(gaussian.L @ gaussian.L.T)
    linear = 2 * z @ precision @ gaussian.means.T - torch.einsum(
        "ki,ij,kj->k", gaussian.means, precision, gaussian.means
    )
    torch.testing.assert_close(gaussian(z).softmax(1), linear.softmax(1), rtol=0, atol=1e-10)


def test_gaussian_head_gradients():
    gaussian = head()
    z = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)

    def function(z, means, lower):
        return torch.func.functional_call(gaussian, {"means": means, "lower": lower}, z)

    assert torch.autograd.gradcheck(function, (z, gaussian.means, gaussian.lower))


def test_gaussian_head_has_a_triangular_factor_with_positive_diagonal():
    gaussian = head()
    assert torch.equal(gaussian.L, gaussian.L.tril()) and (gaussian.L.diagonal() > 0).all()


def test_gaussian_head_is_never_positive_even_at_a_mean():
    gaussian = head().float()
    assert (gaussian(gaussian.means.detach()) <= 0).all()


def test_head_stays_in_float32_under_autocast():
    network = models.Classifier(models.WideResNet(10, 1, "strided"), models.GaussianHead(64, 6, 0.5, 0.1))
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(2, 3, 32, 32)).dtype == torch.float32


def test_normalised_images_have_known_values():
    images = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    images[0, 0] = 255
    found = models.normalize(images).flatten()
    expected = torch.tensor([(255 - 125.3) / 63.0, -123.0 / 62.1, -113.9 / 66.7])
    torch.testing.assert_close(found, expected)
