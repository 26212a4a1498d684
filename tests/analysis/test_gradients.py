"""Gradients against each other, on cases whose answers are known."""

import numpy as np
import pytest
import torch

from icelib import heads, losses, models
from icelib.analysis import gradients
from icelib.methods import METHODS


def test_a_hand_made_contradictory_gradient():
    cross_entropy = torch.tensor([[-1.0, 0.5, 0.5], [0.2, -0.4, 0.2], [0.1, 0.1, -0.2], [0.3, 0.3, -0.6]])
    auxiliary = torch.tensor([[-1.0, -0.1, 0.5], [0.2, 0.4, 0.2], [0.0, 0.0, 0.0], [0.3, 0.1, -0.6]])
    # one logit is raised against cross-entropy, one is lowered, of 12; in two samples of four
    found = gradients.logit_shares(cross_entropy, auxiliary)
    assert found == pytest.approx({"raised": 1 / 12, "lowered": 1 / 12, "samples": 0.5})
    assert gradients.outlier_shares(auxiliary) == pytest.approx({"outlier_raised": 3 / 12, "outlier_samples": 0.5})


def test_cosine_of_opposite_orthogonal_and_vanishing_gradients():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert gradients.cosine(a, -3 * a) == pytest.approx(-1)
    assert gradients.cosine(a, torch.tensor([[0.0, 1.0], [1.0, 0.0]])) == 0
    assert np.isnan(gradients.cosine(a, torch.zeros(2, 2)))


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    known, outlier = (torch.randn(200, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    return known, torch.arange(200) % 6, outlier


def test_energy_raises_every_wrong_logit_of_a_known_sample(logits):
    """Eq. 0.8 with the margin out of reach, and outliers below theirs."""
    margins = {"weight": 0.1, "margin_known": -100.0, "margin_outlier": -100.0}
    cross_entropy, auxiliary = gradients.gradients(losses.energy, *logits, **margins)
    found = gradients.logit_shares(cross_entropy[0], auxiliary[0])
    assert found == pytest.approx({"raised": 5 / 6, "lowered": 0.0, "samples": 1.0})
    assert gradients.outlier_shares(auxiliary[1]) == {"outlier_raised": 0.0, "outlier_samples": 0.0}


def test_energy_within_its_margins_contradicts_nothing(logits):
    margins = {"weight": 0.1, "margin_known": 100.0, "margin_outlier": -100.0}
    cross_entropy, auxiliary = gradients.gradients(losses.energy, *logits, **margins)
    assert gradients.logit_shares(cross_entropy[0], auxiliary[0])["samples"] == 0


def test_outlier_exposure_raises_the_logits_below_average_and_sees_no_known_sample(logits):
    """Eq. 0.6: the sign of softmax(f)_i − 1/K."""
    cross_entropy, auxiliary = gradients.gradients(losses.outlier_exposure, *logits, weight=0.5)
    assert not auxiliary[0].any() and not cross_entropy[1].any()
    below = (logits[2].softmax(1) < 1 / 6).double().mean().item()
    assert gradients.outlier_shares(auxiliary[1])["outlier_raised"] == pytest.approx(below)


@pytest.mark.parametrize("loss", [losses.ice, losses.ice_minus, losses.binary_cross_entropy])
def test_ice_and_bce_contradict_on_no_logit(loss, logits):
    known, labels, outlier = logits
    if loss is not losses.binary_cross_entropy:
        known, outlier = -known.exp(), -outlier.exp()  # of the Gaussian head: all below 0
    cross_entropy, auxiliary = gradients.gradients(loss, known, labels, outlier, weight=0.2)
    assert gradients.logit_shares(cross_entropy[0], auxiliary[0])["samples"] == 0
    assert gradients.outlier_shares(auxiliary[1])["outlier_samples"] == 0


class Linear(torch.nn.Module):
    """A backbone whose gradients can be written down: features are three pixels times a weight each."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -0.5, 2.0]))

    def forward(self, x):
        return x.mean((2, 3)) * self.weight


def test_measure_compares_the_gradients_of_a_training_step():
    """All images of a kind are alike, so that the order and the crops' place do not matter."""
    data = {
        "known": torch.full((64, 3, 32, 32), 200, dtype=torch.uint8),
        "labels": torch.zeros(64, dtype=torch.int64),
        "outliers": torch.full((64, 3, 32, 32), 200, dtype=torch.uint8),
    }
    torch.manual_seed(0)
    model = models.Classifier(Linear(), heads.LinearHead(3, 4))
    drawn = gradients.batches(data, (16, 16), 1, torch.device("cpu"))
    (found,) = gradients.measure(model, METHODS["oe"], {"weight": 0.5}, drawn)
    assert np.isnan(found["features"]), "OE does not see known samples"
    assert found["raised"] == found["lowered"] == found["samples"] == 0
    assert -1 <= found["backbone"] <= 1 and found["ratio"] > 0

    (bce,) = gradients.measure(model, METHODS["bce"], {"weight": 0.5}, drawn)
    assert bce["features"] > 0.5, "pulls a known sample's features where cross-entropy pulls them"
    (minus,) = gradients.measure(model, METHODS["bce"], {"weight": -0.5}, drawn)
    assert minus["features"] == pytest.approx(-bce["features"], abs=1e-5)
    assert minus["backbone"] == pytest.approx(-bce["backbone"], abs=1e-5)
    assert minus["ratio"] == pytest.approx(bce["ratio"], rel=1e-5)
    assert minus["samples"] == 1 and minus["outlier_samples"] == 1


def test_a_loss_that_names_no_cross_entropy_is_divided_all_the_same(logits):
    """A tensor, or terms of other names: the softmax's cross-entropy, and the rest."""
    total = lambda *arguments, **named: sum(losses.outlier_exposure(*arguments, **named).values())
    expected = gradients.gradients(losses.outlier_exposure, *logits, weight=0.5)
    for loss in (total, lambda *arguments, **named: {"all": total(*arguments, **named)}):
        for found, wanted in zip(gradients.gradients(loss, *logits, weight=0.5), expected):
            for x, y in zip(found, wanted):
                torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


def test_a_loss_that_asks_for_features_gets_them():
    def loss(known_logits, labels, outlier_logits, *, known_features, outlier_features):
        terms = losses.cross_entropy(known_logits, labels)
        return terms | {"size": outlier_features.square().mean() + 0 * known_features.sum()}

    torch.manual_seed(0)
    model = models.Classifier(Linear(), heads.LinearHead(3, 4))
    images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8)
    data = {"known": images, "labels": torch.arange(32) % 4, "outliers": images}
    drawn = gradients.batches(data, (8, 8), 1, torch.device("cpu"))
    (found,) = gradients.measure(model, METHODS["oe"]._replace(loss=loss), {}, drawn)
    assert found["ratio"] > 0 and found["samples"] == 0 and np.isnan(found["features"])
