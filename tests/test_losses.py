"""Values and gradients of the losses against the paper's equations, in float64."""

import math

import pytest
import torch

from icelib import heads, losses


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


@pytest.mark.parametrize("outliers", [7, 11])
def test_outlier_exposure_is_pytorch_oods_once_its_averaging_is_undone(logits, outliers):
    """Theirs averages both parts over the mixed batch: N/(N + M) of our cross-entropy, M/(N + M) of our λ-term."""
    from pytorch_ood.loss import OutlierExposureLoss

    known, labels, outlier = logits[0], logits[1], logits[2][:outliers]
    n, m = len(known), len(outlier)
    targets = torch.cat([labels, torch.full((m,), -1)])
    theirs = OutlierExposureLoss(alpha=0.5)(torch.cat([known, outlier]).float(), targets)  # it works in float32 only
    ours = losses.outlier_exposure(known, labels, outlier, weight=0.5)
    undone = n / (n + m) * ours["cross_entropy"] + m / (n + m) * ours["uniform"]
    assert theirs.item() == pytest.approx(undone.item(), rel=1e-6)


def test_energy_is_pytorch_oods(logits):
    """Theirs averages each hinge over its own samples, as ours does, and cross-entropy over the known ones."""
    from pytorch_ood.loss import EnergyRegularizedLoss

    known, labels, outlier = logits
    targets = torch.cat([labels, torch.full((len(outlier),), -1)])
    mixed = torch.cat([known, outlier]).float()
    theirs = EnergyRegularizedLoss(alpha=0.1, margin_in=-3.0, margin_out=1.0)(mixed, targets)
    ours = losses.energy(known, labels, outlier, weight=0.1, margin_known=-3.0, margin_outlier=1.0)
    assert all(term > 0 for term in ours.values())
    assert theirs.item() == pytest.approx(sum(ours.values()).item(), rel=1e-6)


def test_bce_gradients_never_contradict_cross_entropy(logits):
    known, labels, outlier = logits
    terms = losses.binary_cross_entropy(known, labels, outlier, weight=0.3)
    target = torch.nn.functional.one_hot(labels, 5)
    found = gradient(terms["bce_known"], known) * len(known)
    close(found, 0.3 * (known.sigmoid() - target).detach())
    assert (found.sign() == gradient(terms["cross_entropy"], known).sign()).all()
    found = gradient(terms["bce_outlier"], outlier) * len(outlier)
    close(found, 0.3 * outlier.sigmoid().detach())
    assert (found > 0).all(), "no logit of an outlier is ever raised"


def test_energy_on_known_samples_contradicts_cross_entropy(logits):
    """Eq. 0.8: every logit of a known sample is raised, also those that cross-entropy lowers."""
    known, labels, outlier = logits
    terms = losses.energy(known, labels, outlier, weight=1.0, margin_known=-50.0, margin_outlier=50.0)
    wrong = ~torch.nn.functional.one_hot(labels, 5).bool()
    assert (gradient(terms["energy_known"], known)[wrong] < 0).all()
    assert (gradient(terms["cross_entropy"], known)[wrong] > 0).all()


def gaussian_features():
    generator = torch.Generator().manual_seed(4)
    torch.manual_seed(4)
    head = heads.GaussianHead(3, 5, "lower", 0.5, 0.6).double()
    with torch.no_grad():
        head.lower.add_(0.3 * torch.randn(3, 3))
    z = torch.randn(2, 11, 3, generator=generator, dtype=torch.float64)
    return head, z[0, :7].requires_grad_(), z[1].requires_grad_()


def test_ice_gradients_with_respect_to_features(logits):
    """Eq. 0.14 drags z to the mean of its class, eq. 0.13 pushes z̃ off the nearest one, both by Σ⁻¹(z − m)."""
    head, z, outlier = gaussian_features()
    labels = logits[1]
    precision = torch.linalg.inv(head.L @ head.L.T)
    terms = losses.ice(head(z), labels, head(outlier), weight=0.3)
    found = gradient(terms["ice_id"], z) * len(z)
    close(found, (0.3 * 2 * (z - head.means[labels]) @ precision).detach())
    h, nearest = head(outlier).max(1)
    found = gradient(terms["ice_ood"], outlier) * len(outlier)
    strength = h.exp() / (1 - h.exp())
    close(found, (-0.3 * 2 * strength[:, None] * (outlier - head.means[nearest]) @ precision).detach())


def test_ice_minus_leaves_known_features_to_cross_entropy(logits):
    head, z, outlier = gaussian_features()
    labels = logits[1]
    terms = losses.ice_minus(head(z), labels, head(outlier), weight=0.3)
    assert list(terms) == ["cross_entropy", "ice_ood"]
    whole = losses.ice(head(z), labels, head(outlier), weight=0.3)
    close(terms["ice_ood"], whole["ice_ood"])
    # Σ_i (softmax(h)_i − [i = y]) ∂h_i/∂z = Σ_i (softmax(h)_i − [i = y]) · 2Σ⁻¹m_i: nothing pulls to m_y
    found = gradient(sum(terms.values()), z) * len(z)
    residual = head(z).softmax(1) - torch.nn.functional.one_hot(labels, 5)
    precision = torch.linalg.inv(head.L @ head.L.T)
    close(found, (residual @ (2 * head.means @ precision)).detach())


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
