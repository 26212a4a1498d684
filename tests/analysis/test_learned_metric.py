"""The learned metric against the variance of known features."""

import pytest
import torch

from icelib import heads
from icelib.analysis import learned_metric
from icelib.config import runs
from icelib.training import train


def features(*scale):
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor(scale)
    return torch.randn(5000, 4, generator=generator) * scale, torch.arange(5000) % 3


def test_an_estimated_covariance_weighs_every_direction_equally():
    z, labels = features(0.5, 1.0, 3.0, 0.3)  # far enough from zero for the shrinkage not to matter
    head = heads.GaussianHead(4, 3)
    head.estimate(z, labels)
    torch.testing.assert_close(learned_metric.weights(head, z, labels), torch.ones(4).double(), rtol=0, atol=0.02)


def test_a_spherical_one_weighs_directions_by_their_variance():
    z, labels = features(0.1, 1.0, 3.0, 0.01)
    head = heads.GaussianHead(4, 3, factor="spherical")
    expected = torch.tensor([0.01, 0.1, 1.0, 3.0]).double().square()
    found = learned_metric.weights(head, z, labels)
    torch.testing.assert_close(found, expected / expected.mean(), rtol=0.1, atol=0)
    assert found.mean().item() == pytest.approx(1)


def test_weights_of_a_trained_run(inside):
    run = next(run for run in runs.declared() if run.method == "ice" and run.protocol == "scratch")
    train.train(run)
    found, sphere = learned_metric.learned(run)
    assert found.shape == sphere.shape and found.mean().item() == pytest.approx(1)
    assert (sphere.diff() >= 0).all(), "a sphere weighs directions by their variance"
