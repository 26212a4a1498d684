"""Values and gradients of the losses against the paper's equations, in float64."""

import math

import pytest
import torch

from icelib import losses


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    outlier = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    return known.requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0, 1]), outlier.requires_grad_()


def gradient(value, logits):
    return torch.autograd.grad(value, logits)[0]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_cross_entropy_raises_only_the_true_logit(logits):
    known, labels, outlier = logits
    found = gradient(losses.cross_entropy(known, labels, outlier)["cross_entropy"], known) * len(known)
    expected = known.softmax(1) - torch.nn.functional.one_hot(labels, 5)
    close(found, expected.detach())
    assert ((found < 0) == torch.nn.functional.one_hot(labels, 5).bool()).all()


def test_outlier_exposure_gradient_is_eq_0_6_without_its_factor(logits):
    known, labels, outlier = logits
    terms = losses.outlier_exposure(known, labels, outlier, weight=0.5)
    found = gradient(terms["uniform"], outlier) * len(outlier)
    close(found, 0.5 * (outlier.softmax(1) - 1 / 5).detach())
    assert (found < 0).any(), "logits of unlikely classes are raised: the contradictory gradient"


def test_outlier_exposure_value_is_cross_entropy_to_uniform(logits):
    known, labels, outlier = logits
    uniform = torch.full_like(outlier, 1 / 5)
    expected = -(uniform * outlier.softmax(1).log()).sum(1).mean()
    close(losses.outlier_exposure(known, labels, outlier, weight=1.0)["uniform"], expected)


def test_energy_signs_are_those_of_eqs_0_7_and_0_8(logits):
    known, labels, outlier = logits
    terms = losses.energy(known, labels, outlier, weight=1.0, margin_known=-50.0, margin_outlier=50.0)
    # the square of the hinge multiplies the plain gradient by twice the distance to the margin
    distance = 2 * (-known.logsumexp(1) + 50)[:, None] / len(known)
    close(gradient(terms["energy_known"], known), (-known.softmax(1) * distance).detach())
    distance = 2 * (50 + outlier.logsumexp(1))[:, None] / len(outlier)
    close(gradient(terms["energy_outlier"], outlier), (outlier.softmax(1) * distance).detach())


def test_energy_is_zero_beyond_its_margins(logits):
    known, labels, outlier = logits
    terms = losses.energy(known, labels, outlier, weight=1.0, margin_known=50.0, margin_outlier=-50.0)
    assert terms["energy_known"] == 0 and terms["energy_outlier"] == 0


def test_ice_id_is_eq_0_14(logits):
    known, labels, _ = logits
    h = -known.abs()
    close(losses.ice_id(h, labels), -h[torch.arange(7), labels])
    h = h.detach().requires_grad_()
    close(gradient(losses.ice_id(h, labels).sum(), h), -torch.nn.functional.one_hot(labels, 5).double())


def test_ice_ood_is_eq_0_13(logits):
    h = (-logits[2].detach().abs() - 0.1).requires_grad_()
    largest = h.max(1).values
    close(losses.ice_ood(h), -torch.log(1 - largest.exp()))
    found = gradient(losses.ice_ood(h).sum(), h)
    expected = torch.zeros_like(h).scatter(1, h.argmax(1, keepdim=True), (largest.exp() / (1 - largest.exp()))[:, None])
    close(found, expected.detach())
    assert (found >= 0).all(), "no logit of an outlier is ever raised"


@pytest.mark.parametrize("value", [-1e-5, -1e-3, -0.5, -math.log(2), -0.7, -1.0, -30.0, -700.0, -1e4])
def test_ice_ood_is_accurate_and_finite_for_every_h(value):
    from mpmath import exp, log, mp, mpf

    mp.dps = 60
    h = torch.tensor([[value, value - 1]], dtype=torch.float64, requires_grad=True)
    found = losses.ice_ood(h)
    assert found.item() == pytest.approx(float(-log(1 - exp(mpf(value)))), rel=1e-12, abs=1e-300)
    slope = gradient(found.sum(), h)[0, 0]
    assert slope.item() == pytest.approx(float(exp(mpf(value)) / (1 - exp(mpf(value)))), rel=1e-10, abs=1e-300)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ice_ood_at_zero_is_finite_with_no_gradient(dtype):
    h = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    found = losses.ice_ood(h)
    assert found.item() == pytest.approx(-math.log(losses.CLOSEST), rel=1e-3)
    assert gradient(found.sum(), h).abs().sum() == 0


def test_ice_is_the_weighted_sum_of_eq_0_15(logits):
    known, labels, outlier = logits
    h, g = -known.abs(), -outlier.abs() - 0.01
    terms = losses.ice(h, labels, g, weight=0.3)
    expected = torch.nn.functional.cross_entropy(h, labels) + 0.3 * (
        losses.ice_id(h, labels).mean() + losses.ice_ood(g).mean()
    )
    close(sum(terms.values()), expected)


def test_losses_agree_with_pytorch_ood_on_equal_halves(logits):
    """pytorch-ood averages over the mixed batch: with N known and N outliers its terms are half of ours."""
    from pytorch_ood.loss import OutlierExposureLoss

    known, labels, outlier = logits[0], logits[1], logits[2][:7]
    mixed = torch.cat([known, outlier])
    targets = torch.cat([labels, torch.full((7,), -1)])
    theirs = OutlierExposureLoss(alpha=0.5)(mixed.float(), targets)  # it works in float32 only
    ours = losses.outlier_exposure(known, labels, outlier, weight=0.5)
    assert theirs.item() == pytest.approx(sum(ours.values()).item() / 2, rel=1e-6)


def test_scores_are_pytorch_oods_with_the_sign_turned(logits):
    from pytorch_ood.detector import EnergyBased, MaxSoftmax

    from icelib import scores

    close(scores.max_softmax(logits[0]), -MaxSoftmax.score(logits[0]))
    close(scores.energy(logits[0]), -EnergyBased.score(logits[0]))


def test_scores_of_sure_float32_networks_do_not_tie():
    from icelib import scores

    sure = torch.tensor([[20.0, 0.0], [21.0, 0.0]])
    assert scores.max_softmax(sure).unique().numel() == 2
    assert scores.max_likelihood(torch.tensor([[-800.0, -900.0], [-801.0, -900.0]])).unique().numel() == 2
