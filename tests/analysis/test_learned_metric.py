"""The learned metric against the variance of known features."""

import pytest
import torch

from icelib import geometry, heads, params, training
from tests.conftest import RUN


def features(*scale):
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor(scale)
    return torch.randn(5000, 4, generator=generator) * scale, torch.arange(5000) % 3


def test_an_estimated_covariance_weighs_every_direction_equally():
    z, labels = features(0.5, 1.0, 3.0, 0.3)  # far enough from zero for the shrinkage not to matter
    head = heads.GaussianHead(4, 3, "lower", 0.5, 0.3)
    head.estimate(z, labels)
    torch.testing.assert_close(geometry.weights(head, z, labels), torch.ones(4).double(), rtol=0, atol=0.02)


def test_a_spherical_one_weighs_directions_by_their_variance():
    z, labels = features(0.1, 1.0, 3.0, 0.01)
    head = heads.GaussianHead(4, 3, "spherical", 0.5, 0.3)
    expected = torch.tensor([0.01, 0.1, 1.0, 3.0]).double().square()
    found = geometry.weights(head, z, labels)
    torch.testing.assert_close(found, expected / expected.mean(), rtol=0.1, atol=0)
    assert found.mean().item() == pytest.approx(1)


def test_weights_of_a_trained_run_are_drawn(inside):
    run = params.run(*RUN, "ice", 0)
    training.train(run)
    found, sphere = geometry.learned(run)
    assert found.shape == sphere.shape == (64,) and found.mean().item() == pytest.approx(1)
    assert (sphere.diff() >= 0).all(), "a sphere weighs directions by their variance"
    ax = geometry.figure([(run, (found, sphere))]).axes[0]
    assert ax.get_title() == "few, WideResNet,\nfrom scratch, seed 0"
    assert next(line.get_label() for line in ax.get_lines()) == "learned L"
