"""Values and gradients of the losses against the paper's equations, in float64."""

import math

import pytest
import torch

import icelib
from icelib import heads, losses
from icelib.methods import discriminator, ratio


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
    """Theirs averages both parts over the mixed batch: N/(N + M) of ours, whose λ is their α times M/N."""
    import pytorch_ood.loss

    known, labels, outlier = logits[0], logits[1], logits[2][:outliers]
    n, m = len(known), len(outlier)
    mixed, targets = torch.cat([outlier, known]).float(), torch.cat([torch.full((m,), -1), labels])
    theirs = pytorch_ood.loss.OutlierExposureLoss(alpha=0.5)(mixed, targets)  # it works in float32 only
    ours = icelib.OutlierExposureLoss(weight=0.5 * m / n)(mixed, targets)
    assert theirs.item() == pytest.approx(n / (n + m) * ours.item(), rel=1e-6)


def test_energy_is_pytorch_oods(logits):
    """Theirs averages each hinge over its own samples, as ours does, and cross-entropy over the known ones."""
    from pytorch_ood.loss import EnergyRegularizedLoss

    known, labels, outlier = logits
    targets = torch.cat([labels, torch.full((len(outlier),), -1)])
    mixed = torch.cat([known, outlier]).float()
    theirs = EnergyRegularizedLoss(alpha=0.1, margin_in=-3.0, margin_out=1.0)(mixed, targets)
    ours = icelib.EnergyLoss(0.1, margin_known=-3.0, margin_outlier=1.0)
    assert all(term > 0 for term in ours.terms(mixed, targets).values())
    assert theirs.item() == pytest.approx(ours(mixed, targets).item(), rel=1e-6)


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
    head = heads.GaussianHead(3, 5).double()
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


MODULES = {
    icelib.ICELoss(0.3): (losses.ice, {"weight": 0.3}),
    icelib.ICEMinusLoss(0.3): (losses.ice_minus, {"weight": 0.3}),
    icelib.OutlierExposureLoss(0.3): (losses.outlier_exposure, {"weight": 0.3}),
    icelib.EnergyLoss(0.3, -5.0, 1.0): (losses.energy, {"weight": 0.3, "margin_known": -5.0, "margin_outlier": 1.0}),
    icelib.BCELoss(0.3): (losses.binary_cross_entropy, {"weight": 0.3}),
    icelib.OutlierLoss(ratio.loss, weight=0.3, radius=1.0): (ratio.loss, {"weight": 0.3, "radius": 1.0}),
    icelib.OutlierLoss(discriminator.loss, weight=0.3): (discriminator.loss, {"weight": 0.3}),
}
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: MODULES[module][0].__name__)


@each_module
def test_a_module_is_its_function_bit_for_bit_with_known_samples_first(module):
    function, values = MODULES[module]
    torch.manual_seed(0)
    h, labels = (-3 * torch.rand(384, 10)).requires_grad_(), torch.arange(128) % 10
    terms = function(h[:128], labels, h[128:], **values)
    expected = sum(terms.values())
    mixed = torch.cat([labels, torch.full((256,), -1)])
    found = module(h, mixed)
    assert found.shape == () and torch.equal(found, expected)
    assert torch.equal(gradient(found, h), gradient(expected, h))
    assert {name: x.item() for name, x in module.terms(h, mixed).items()} == {k: x.item() for k, x in terms.items()}


@each_module
@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32, torch.int64])
def test_the_order_of_a_batch_and_the_kind_of_its_labels_do_not_matter(module, kind):
    torch.manual_seed(0)
    h = -3 * torch.rand(12, 5, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, -1, -1, -1, -1] if kind != torch.uint8 else [0, 1, 2, 3] * 3)
    order = torch.randperm(12)
    close(module(h[order], labels[order].to(kind)), module(h, labels))
    if kind != torch.uint8:
        close(module(h, labels.where(labels >= 0, -100).to(kind)), module(h, labels))  # any negative one


@each_module
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_logits_of_16_bits_are_taken_as_float32(module, kind):
    torch.manual_seed(0)
    h, labels = -3 * torch.rand(12, 5).to(kind), torch.arange(12) % 7 - 2
    found = module(h.requires_grad_(), labels)
    assert torch.equal(found, module(h.detach().float(), labels)) and found.dtype == torch.float32
    assert gradient(found, h).dtype == kind


@each_module
def test_terms_without_samples_are_0_and_change_no_other(module):
    torch.manual_seed(0)
    known, outlier = (-torch.rand(n, 4, dtype=torch.float64) - 0.1 for n in (6, 5))
    labels, nothing = torch.arange(6) % 4, torch.full((5,), -1)
    whole = module.terms(torch.cat([known, outlier]), torch.cat([labels, nothing]))
    for logits, targets in ((known, labels), (outlier, nothing), (known[:0], labels[:0])):
        logits = logits.clone().requires_grad_()
        terms = module.terms(logits, targets)
        assert list(terms) == list(whole)
        for name, term in terms.items():
            of_outliers = name.endswith(("ood", "outlier", "uniform"))
            there = len(targets) and of_outliers == (targets[0] < 0)
            close(term, whole[name] if there else torch.zeros_like(term))
        assert gradient(sum(terms.values()), logits).isfinite().all()


@pytest.mark.parametrize("exponent", [-5, -3, -1, 0, 1, 2, 6])
def test_ice_gradients_at_extremes_are_the_closed_form(exponent):
    """softmax(h) − [i = y] − λ[i = y] over N, and λ/(exp(−h) − 1) at the nearest class over M: to 1e-10."""
    torch.manual_seed(0)
    h = (-(10.0**exponent) * (0.5 + torch.rand(9, 4, dtype=torch.float64))).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, -1, -1, -1, -1])
    found = gradient(icelib.ICELoss(0.7)(h, labels), h)
    own = torch.nn.functional.one_hot(labels[:5], 4).double()
    close(found[:5], ((h[:5].softmax(1) - 1.7 * own) / 5).detach())
    largest, nearest = h[5:].detach().max(1)
    slope = torch.zeros(4, 4, dtype=torch.float64).scatter(
        1, nearest[:, None], 0.7 / 4 / torch.expm1(-largest)[:, None]
    )
    torch.testing.assert_close(found[5:], slope, rtol=1e-10, atol=0)


def test_any_batch_is_finite_or_refused_with_a_reason():
    """Sizes 0 to 5, known or not, logits from 1e-30 to 1e15 in four precisions, labels out of range."""
    generator = torch.Generator().manual_seed(0)
    pick = lambda *values: values[torch.randint(len(values), (), generator=generator)]
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    outcomes = {"finite": 0, "refused": 0}
    for _ in range(1500):
        module, count, classes, kind = pick(*MODULES), pick(0, 1, 2, 3, 4, 5), pick(1, 2, 5), pick(*kinds)
        size = pick(1e-30, 1e-6, 1.0, 30.0, 1e4, 1e15 if kind != torch.float16 else 6e4)
        logits = torch.randn(count, classes, generator=generator, dtype=torch.float64).clamp(-1, 1) * size
        logits = pick(-logits.abs(), -logits.abs(), logits, torch.zeros_like(logits)).to(kind).requires_grad_()
        labels = torch.randint(-2, pick(0, classes, classes, classes + 1), (count,), generator=generator)
        labels = pick(labels, labels, labels.clamp(min=0))
        positive = bool((logits > 0).any()) and module.function in (losses.ice, losses.ice_minus)
        if positive or bool((labels >= classes).any()):
            with pytest.raises(ValueError, match=r"expected (those of the Gaussian head|0…)"):
                module(logits, labels)
            outcomes["refused"] += 1
            continue
        found = module(logits, labels)
        assert found.shape == () and found.isfinite(), (module, logits, labels)
        assert gradient(found, logits).isfinite().all(), (module, logits, labels)
        outcomes["finite"] += 1
    assert outcomes["finite"] > 900 and outcomes["refused"] > 100


@pytest.mark.parametrize("module", [icelib.ICELoss(), icelib.ICEMinusLoss()])
def test_positive_logits_are_refused_where_only_distances_have_a_meaning(module):
    h, labels = -torch.rand(4, 3), torch.tensor([0, 1, -1, -1])
    h[3, 1] = 0.25
    for refusing in (module, lambda *_: module.function(h[:2], labels[:2], h[2:], weight=1.0)):
        with pytest.raises(
            ValueError, match=r"found a logit of 0.25; expected those of the Gaussian head, which are ≤ 0"
        ):
            refusing(h, labels)
    h[3, 1] = math.nan
    assert module(h, labels).isnan(), "no squared distance, but not a wrong head either"
    h[3, 1] = 0.0
    assert module(h, labels).isfinite()


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        ((4, 3), torch.zeros(4), r"labels of shape \(4,\) and torch.float32; expected integers of shape \(4,\)"),
        ((4, 3), torch.zeros(4, dtype=torch.bool), r"and torch.bool; expected integers"),
        ((4, 3), torch.zeros(3, dtype=torch.int64), r"labels of shape \(3,\) and torch.int64; .* of shape \(4,\)"),
        ((4, 3), torch.zeros(4, 1, dtype=torch.int64), r"labels of shape \(4, 1\)"),
        ((4, 3), torch.tensor([0, 3, 1, -1]), r"label 3; expected 0…2, or < 0 for an outlier"),
        ((4,), torch.zeros(4, dtype=torch.int64), r"logits of shape \(4,\) and torch.float32; expected \(N, K\)"),
    ],
)
def test_labels_and_logits_of_another_kind_are_told(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        icelib.ICELoss()(torch.zeros(logits), labels)
    if len(logits) == 2:
        with pytest.raises(ValueError, match="torch.int64; expected .N, K., floating"):
            icelib.BCELoss()(torch.zeros(logits, dtype=torch.int64), labels)


def test_a_step_under_autocast_is_that_of_float32_within_the_rounding_of_features():
    """And it is, bit for bit, that of a head and a loss outside of autocast."""
    torch.manual_seed(0)
    backbone, head = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU()), icelib.GaussianHead(128, 10)
    x, labels = torch.rand(96, 64), torch.cat([torch.arange(32) % 10, torch.full((64,), -1)])
    head.start(backbone(x), labels)

    def step(of_backbone, of_head):
        with torch.autocast("cpu", torch.bfloat16, enabled=of_backbone):
            z = backbone(x)
        with torch.autocast("cpu", torch.bfloat16, enabled=of_head):
            loss = icelib.ICELoss()(head(z), labels)
        slopes = torch.autograd.grad(loss, [*backbone.parameters(), *head.parameters()])
        return loss, torch.cat([x.flatten() for x in slopes])

    (exact, slope), (rounded, other), (outside, third) = step(False, False), step(True, True), step(True, False)
    assert rounded.item() == pytest.approx(exact.item(), rel=2**-8)
    assert (slope - other).norm() < 2**-4 * slope.norm()
    assert torch.equal(rounded, outside) and torch.equal(other, third)
