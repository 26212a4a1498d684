"""Variants of ours: values and gradients of their losses, what their heads hold fixed, and the outliers they make."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from icelib import heads, losses, models, scores
from icelib.config.schema import loss_parameters
from icelib.methods import (
    METHODS,
    PAPER,
    discriminator,
    gradual,
    logistic,
    matched,
    mined,
    mixed,
    mixed_bce,
    oe_binary,
    ratio,
    subspace,
)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    known, outlier = (-4 * torch.rand(n, 5, generator=generator, dtype=torch.float64) - 0.1 for n in (7, 11))
    return known.requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0, 1]), outlier.requires_grad_()


def gradient(value, logits):
    return torch.autograd.grad(value, logits)[0]


def close(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=1e-10)


def at_nearest(outlier, values):
    """Values (M,) in the column of each outlier's nearest class: (M, K)."""
    return torch.zeros_like(outlier).scatter(1, outlier.argmax(1, keepdim=True), values[:, None]).detach()


OURS = [name for name in METHODS if name not in PAPER]
AIMING = ("matched", "mined", "mixed", "mixed_bce", "oe_binary", "oe_ratio")  # at targets, so they may raise a logit


@pytest.mark.parametrize("name", OURS)
def test_every_variant_keeps_cross_entropy_and_moves_outliers(logits, name):
    known, labels, outlier = logits
    values = dict.fromkeys({*loss_parameters(name)} | {"progress"}, 0.5)
    wanted = inspect.signature(METHODS[name].loss).parameters
    terms = METHODS[name].loss(known, labels, outlier, **{key: x for key, x in values.items() if key in wanted})
    close(terms["cross_entropy"], F.cross_entropy(known, labels))
    pushed = gradient(sum(terms.values()), outlier)
    assert (pushed != 0).any()
    assert (pushed >= 0).all() or name in AIMING


def test_logistic_losses_are_those_of_distances_to_a_radius(logits):
    known, labels, outlier = logits
    terms = logistic.loss(known, labels, outlier, weight=0.5, radius=2.0)
    distance, nearest = -known[torch.arange(7), labels], -outlier.max(1).values
    close(terms["logistic_known"], -0.5 * torch.sigmoid(2 - distance).log().mean())
    close(terms["logistic_outlier"], -0.5 * torch.sigmoid(nearest - 2).log().mean())
    close(gradient(terms["logistic_outlier"], outlier), 0.5 * at_nearest(outlier, torch.sigmoid(2 - nearest)) / 11)


def changed(head):
    """The head after something like a training: each parameter elsewhere."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head.double()


FEATURES = torch.randn(300, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64).relu()
LABELS = torch.arange(300) % 4


@pytest.mark.parametrize("factor", ["lower", "precision"])  # with the others the covariances are no full ones
def test_fine_tuning_starts_the_ratio_as_the_one_of_two_densities(factor):
    """But for the scale that brings −h_y, half a squared Mahalanobis distance, to the distance that is asked for."""
    head = ratio.RatioHead(6, 4, distance=0.7, factor=factor).double()
    head.estimate(FEATURES, LABELS)
    means = torch.stack([FEATURES[LABELS == i].mean(0) for i in range(4)])
    within, total = (
        ledoit_wolf((FEATURES - m).numpy(), assume_centered=True)[0] for m in (means[LABELS], FEATURES.mean(0))
    )
    own = FEATURES - means[LABELS]
    scale = 0.7 / (0.5 * (own @ torch.linalg.inv(torch.from_numpy(within)) * own).sum(1).mean())
    log_p = np.stack([multivariate_normal(m, within).logpdf(FEATURES) for m in means], 1)
    background = multivariate_normal(FEATURES.mean(0), total).logpdf(FEATURES)
    close(head(FEATURES), scale * torch.from_numpy(log_p - background[:, None]))


def test_the_ratio_is_to_a_background_and_classifies_as_the_likelihoods_do():
    head = changed(ratio.RatioHead(6, 4))
    z = torch.randn(9, 6, dtype=torch.float64)
    h = heads.GaussianHead.forward(head, z)
    close(head(z).softmax(1), h.softmax(1))
    close(scores.max_likelihood(head(z)), h.max(1).values - head.background(z)[:, 0] + head.offset)


def test_the_discriminator_classifies_by_one_head_and_detects_by_another():
    torch.manual_seed(0)
    head, z = discriminator.DiscriminatorHead(6, 4).double(), torch.randn(9, 6, dtype=torch.float64)
    r = head(z)
    close(r.softmax(1), heads.LinearHead.forward(head, z).softmax(1))
    close(METHODS["discriminator"].score(r), head.binary(z)[:, 0])
    weights, biases = head.linear()
    close(r.softmax(1), (z @ weights.T + biases).softmax(1))


def test_the_discriminators_loss_is_two_independent_ones():
    """Cross-entropy moves f alone, and the binary terms b alone."""
    torch.manual_seed(0)
    head, z = discriminator.DiscriminatorHead(6, 4).double(), torch.randn(20, 6, dtype=torch.float64)
    labels = torch.arange(9) % 4
    f, b = heads.LinearHead.forward(head, z[:9]), head.binary(z)[:, 0]
    terms = discriminator.loss(head(z[:9]), labels, head(z[9:]), weight=0.3)
    close(terms["cross_entropy"], F.cross_entropy(f, labels))
    target = (torch.arange(20) < 9).double()
    binary = F.binary_cross_entropy_with_logits(b, target, reduction="none")
    close(terms["binary_known"], 0.3 * binary[:9].mean())
    close(terms["binary_outlier"], 0.3 * binary[9:].mean())
    moved = torch.autograd.grad(terms["cross_entropy"], head.parameters(), retain_graph=True)
    assert moved[0].abs().max() > 0.01 and max(x.abs().max() for x in moved[2:]) < 1e-15
    moved = torch.autograd.grad(terms["binary_known"] + terms["binary_outlier"], head.parameters())
    assert moved[2].abs().max() > 0.01 and max(x.abs().max() for x in moved[:2]) < 1e-15


def test_fine_tuning_starts_the_discriminator_with_the_plain_classifier():
    plain, head, z = heads.LinearHead(6, 4), discriminator.DiscriminatorHead(6, 4), torch.randn(9, 6)
    assert not torch.allclose(head(z).softmax(1), plain(z).softmax(1))
    head.start_from(plain)
    torch.testing.assert_close(head(z).softmax(1), plain(z).softmax(1))
    assert all(p.requires_grad for p in head.parameters())


IMAGES = torch.randint(0, 256, (24, 3, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def smooth(images):
    """Images without their higher frequencies, as those of another source."""
    return F.avg_pool2d(F.pad(images.float(), (1,) * 4, mode="replicate"), 3, stride=1).round().byte()


def rings(x):
    """Mean power of images (N, 3, 32, 32) over channels at each frequency, rounded: (N, 23)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32) * 32, np.fft.fftfreq(32) * 32)).round().astype(int)
    power = np.abs(np.fft.fft2(x.double().numpy())) ** 2
    return np.stack([power[:, :, frequency == i].mean((1, 2)) for i in range(23)], 1)


def test_a_matched_outlier_has_the_spectrum_of_a_known_image_and_its_own_content():
    own, other = (0.5 * models.normalize(x) for x in (IMAGES[:12], smooth(IMAGES[12:])))  # within 0…255, or it is cut
    found = matched.match(own, other)
    assert rings(own)[:, 12].mean() > 5 * rings(other)[:, 12].mean()
    # a half-plane of frequencies counts those of its border once; 256 levels are noise of 1/12 in each pixel
    np.testing.assert_allclose(rings(found)[:, 1:16], rings(other)[:, 1:16], rtol=0.25)
    torch.testing.assert_close(found.mean((2, 3)), own.mean((2, 3)), atol=0.01, rtol=0)
    phases = [np.fft.fft2(x.double().numpy())[:, :, 1:6, 1:6] for x in (own, found)]
    turned = np.abs(np.angle(phases[0] / phases[1]))
    assert np.quantile(turned, 0.9) < 0.1
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (models.MEAN, models.STD))
    levels = (found * std + mean) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert levels.min() >= -1e-3 and levels.max() <= 255.001


def test_an_image_matched_to_itself_stays_and_one_without_contrast_is_finite():
    x = models.normalize(IMAGES[:4])
    torch.testing.assert_close(matched.match(x, x), x, atol=1e-4, rtol=0)
    assert matched.match(torch.zeros_like(x), x).isfinite().all()


@pytest.mark.parametrize("name", ["matched", "matched_bce", "matched_energy", "matched_ice"])
def test_half_of_the_outliers_are_matched(name):
    known, outliers = models.normalize(smooth(IMAGES[:6])), models.normalize(IMAGES[6:])
    found = METHODS[name].prepare(known, None, outliers, model=None, generator=None)
    torch.testing.assert_close(found[:9], outliers[:9], rtol=0, atol=0)
    partner = [3, 4, 5, 0, 1, 2, 3, 4, 5]  # 9…17 modulo 6
    torch.testing.assert_close(found[9:], matched.match(outliers[9:], known[partner]))
    theirs = METHODS["oe" if name == "matched" else name.removeprefix("matched_")]
    assert METHODS[name].loss is theirs.loss and METHODS[name].score is theirs.score


def test_mixtures_have_the_shares_of_their_targets():
    known, outliers, labels = torch.ones(8, 3, 2, 2), torch.zeros(8, 3, 2, 2), torch.arange(8) % 5
    found = mixed.prepare(known, labels, outliers, model=None, generator=None)
    close(found[:4].mean((1, 2, 3)), [0.125, 0.375, 0.625, 0.875])
    assert not found[4:].any()
    logits = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    f, g = logits[:8], logits[8:]
    target = torch.full((8, 5), 0.2, dtype=torch.float64)
    for i, share in enumerate([0.125, 0.375, 0.625, 0.875]):
        target[i] = (1 - share) / 5 + share * F.one_hot(labels[i], 5).double()
    expected = F.cross_entropy(f, labels) + 0.7 * F.cross_entropy(g, target)
    close(sum(mixed.loss(f, labels, g, weight=0.7).values()), expected)
    target = torch.stack([share * F.one_hot(y, 5) for share, y in zip([0.125, 0.375, 0.625, 0.875], labels)]).double()
    target = torch.cat([target, torch.zeros(4, 5).double()])
    alone = losses.binary_cross_entropy(f, labels, g[:0], weight=0.7)
    expected = sum(alone.values()) + 0.7 * F.binary_cross_entropy_with_logits(g, target, reduction="none").sum(1).mean()
    close(sum(mixed_bce.loss(f, labels, g, weight=0.7).values()), expected)


def test_mining_takes_the_hardest_for_half_and_leaves_the_network_as_it_was():
    torch.manual_seed(0)
    model = models.build("wideresnet", {"depth": 10, "widen": 1}, "linear", 4, {}).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    outliers = models.normalize(IMAGES[:16])
    found = mined.prepare(None, None, outliers, model=model, generator=None)
    assert len(found) * mined.POOL == len(outliers)
    torch.testing.assert_close(found[:2], outliers[:2], rtol=0, atol=0)
    sure = scores.max_softmax(model.eval()(outliers[2:]))
    torch.testing.assert_close(found[2:], outliers[2:][sure.topk(2).indices], rtol=0, atol=0)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_oe_and_discriminator_multiply_their_probabilities():
    torch.manual_seed(0)
    head, z = discriminator.DiscriminatorHead(6, 4).double(), torch.randn(9, 6, dtype=torch.float64)
    f, b = heads.LinearHead.forward(head, z), head.binary(z)[:, 0]
    close(oe_binary.score(head(z)), (b.sigmoid() * f.softmax(1).max(1).values).log())
    labels = torch.arange(4)
    found = oe_binary.loss(head(z[:4]), labels, head(z[4:]), weight=0.5, weight_binary=0.2)
    expected = losses.outlier_exposure(f[:4], labels, f[4:], weight=0.5)
    assert {name: float(found[name]) for name in expected} == pytest.approx({k: float(x) for k, x in expected.items()})
    close(
        found["binary_known"] + found["binary_outlier"],
        -0.2 * (b[:4].sigmoid().log().mean() + (-b[4:]).sigmoid().log().mean()),
    )


def test_gradual_ice_is_ice_with_two_weights_at_its_end(logits):
    known, labels, outlier = logits
    whole = losses.ice(known, labels, outlier, weight=1.0)
    for progress in (0.0, 0.5, 1.0):
        terms = gradual.loss(known, labels, outlier, weight_known=0.3, weight_outlier=2.0, progress=progress)
        close(terms["ice_id"], 0.3 * whole["ice_id"])
        close(terms["ice_ood"], progress * 2.0 * whole["ice_ood"])


def test_the_subspace_holds_what_varies_and_one_scale_the_rest():
    head = subspace.SubspaceHead(6, 4, distance=0.7, rank=3).double()
    head.estimate(FEATURES, LABELS)
    h = head(FEATURES)
    close(-h.gather(1, LABELS[:, None]).mean(), 0.7)
    assert (h <= 0).all()
    centred = FEATURES - FEATURES.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    P, rest = vectors[:, 3:], vectors[:, :3]
    residual = (centred @ rest).square().sum(1)
    changed(head)
    P = head.basis[:, :3]  # as above but for signs and order
    close((P @ P.T - vectors[:, 3:] @ vectors[:, 3:].T).abs().max(), 0)
    inside = torch.linalg.solve_triangular(head._triangle(), (centred @ P)[:, :, None] - head.means.T, upper=False)
    close(head(FEATURES), -inside.square().sum(1) - head.log_residual.exp() * residual[:, None])
    weights, biases = head.linear()
    close((FEATURES @ weights.T + biases).softmax(1), head(FEATURES).softmax(1))
    assert "basis" in head.state_dict() and "basis" not in dict(head.named_parameters())


def test_a_file_that_is_no_method_is_told(tmp_path, monkeypatch):
    import icelib.methods as package

    (tmp_path / "mine.py").write_text('TITLE, HEAD, OUTLIERS = "mine", "gaussian", True')
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"it does not define loss, score"):
        package._load("mine")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("titled", "TITLE = 5", "TITLE = 5; expected a text that no other method has"),
        ("copied", "TITLE = 'ICE'", "TITLE = 'ICE'; expected a text that no other method has"),
        ("worded", "OUTLIERS = 'yes'", "OUTLIERS = 'yes'; expected True or False"),
        ("numbered", "loss = 5", "loss = 5; expected a function of known logits, labels and outlier logits"),
        ("short", "loss = lambda known_logits, labels: 0", "loss = <function .*>; expected a function of known logits"),
        ("named", "score = 'max'", "score = 'max'; expected a function of logits"),
    ],
)
def test_what_a_file_defines_is_looked_at(tmp_path, monkeypatch, name, change, message):
    import icelib.methods as package

    whole = "from icelib.methods.ice import *\nfrom icelib.methods.ice import loss, score\nTITLE = 'mine'\n"
    (tmp_path / f"{name}.py").write_text(whole)
    (tmp_path / f"{name}_wrong.py").write_text(f"{whole}{change}\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert package._load(name).title == "mine"
    with pytest.raises(ValueError, match=message):
        package._load(f"{name}_wrong")


def test_a_method_is_what_it_imports_too_and_a_draft_that_fails_stops_no_other(tmp_path):
    import shutil
    import subprocess
    import sys

    from tests.conftest import SOURCE

    shutil.copytree(SOURCE / "icelib", tmp_path / "icelib", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "icelib/methods"
    (folder / "mine.py").write_text(
        "from icelib.methods import logistic\n"
        "from icelib.methods.ratio import RatioHead\n"
        "from icelib.scores import max_likelihood as score\n"
        "class HEAD(RatioHead): ...\n"
        "loss = lambda *given, **values: logistic.loss(*given, **values)\n"
        'TITLE, OUTLIERS = "mine", True\n'
    )
    (folder / "draft.py").write_text("import nothing_of_this_name\n")
    (folder / "end.py").write_text("raise SystemExit(3)\n")
    (folder / "half.py").write_text('TITLE, HEAD, OUTLIERS = "half", "gaussian", True')
    (folder / "typo.py").write_text((folder / "ice.py").read_text().replace("gaussian", "gausian"))
    code = "from icelib.methods import METHODS; print(*(path.name for path in METHODS['mine'].files), len(METHODS))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["logistic.py", "mine.py", "ratio.py", str(len(METHODS) + 1)]
    assert "icelib/methods/draft.py, line 1, is left out: ModuleNotFoundError" in done.stderr
    assert "icelib/methods/half.py is left out: ValueError: it does not define loss, score;" in done.stderr
    assert "icelib/methods/end.py, line 1, is left out: SystemExit: 3" in done.stderr
    assert "icelib/methods/typo.py is left out: ValueError: HEAD = 'gausian'; expected one of" in done.stderr
