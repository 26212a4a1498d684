"""Variants of ICE: values and gradients of their losses, and what their heads hold fixed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from icelib import heads, scores
from icelib.config.schema import loss_parameters
from icelib.methods import METHODS, PAPER, discriminator, logistic, ratio


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


@pytest.mark.parametrize("name", [name for name in METHODS if name not in PAPER])
def test_every_variant_keeps_cross_entropy_and_raises_no_logit_of_an_outlier(logits, name):
    known, labels, outlier = logits
    values = dict.fromkeys(loss_parameters(name), 0.5)
    terms = METHODS[name].loss(known, labels, outlier, **values)
    close(terms["cross_entropy"], F.cross_entropy(known, labels))
    pushed = gradient(sum(terms.values()), outlier)
    assert (pushed != 0).any()
    assert (pushed >= 0).all()


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


def test_a_file_that_is_no_method_is_told(tmp_path, monkeypatch):
    import icelib.methods as package

    (tmp_path / "mine.py").write_text('TITLE, HEAD, OUTLIERS = "mine", "gaussian", True')
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"icelib/methods/mine.py does not define loss, score"):
        package._load("mine")


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
    (folder / "typo.py").write_text((folder / "ice.py").read_text().replace("gaussian", "gausian"))
    code = "from icelib.methods import METHODS; print(*(path.name for path in METHODS['mine'].files), len(METHODS))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["logistic.py", "mine.py", "ratio.py", str(len(METHODS) + 1)]
    assert "icelib/methods/draft.py is left out: ModuleNotFoundError" in done.stderr
    assert "icelib/methods/typo.py is left out: ValueError: HEAD = 'gausian'; expected one of" in done.stderr
