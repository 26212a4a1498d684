"""Measures on features and scores, on cases whose answers are known."""

import numpy as np
import pytest
from scipy.stats import norm

from icelib.analysis import overlap


def gaussian(count, shift=0.0, dimensions=2, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, dimensions))
    x[:, 0] += shift
    return x


def test_overlap_of_separated_and_of_equal_gaussians():
    assert overlap.overlap(gaussian(500), gaussian(500, shift=20, seed=1)) == 0
    assert overlap.overlap(gaussian(2000), gaussian(2000, seed=1)) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_overlap_of_shifted_gaussians_is_the_integral_of_the_smaller_density(distance):
    expected = 2 * norm.cdf(-distance / 2)  # ∫ min(p, q) of unit Gaussians
    found = overlap.overlap(gaussian(4000), gaussian(4000, shift=distance, seed=1))
    assert expected - 0.02 < found < expected + 0.1, "a vote of few is never better than the best classifier"


def test_overlap_is_symmetric_free_of_scale_and_rather_too_large_in_many_dimensions():
    known, outlier = gaussian(800), gaussian(800, shift=2, seed=1)
    assert overlap.overlap(known, outlier) == overlap.overlap(1000 * known, 1000 * outlier)
    assert overlap.overlap(known, outlier) == pytest.approx(overlap.overlap(outlier, known), abs=0.03)
    many = overlap.overlap(gaussian(800, dimensions=64), gaussian(800, shift=2, dimensions=64, seed=1))
    assert many > 2 * norm.cdf(-1) - 0.02


def test_overlap_counts_both_kinds_alike():
    """Ten times as many known samples would outvote the outliers if all of them voted."""
    assert overlap.overlap(gaussian(5000), gaussian(500, seed=1)) == pytest.approx(1, abs=0.1)


def test_overlap_of_too_few_samples():
    with pytest.raises(ValueError, match="10 samples of one kind; expected more than the 15 neighbours"):
        overlap.overlap(gaussian(100), gaussian(10))


def test_centrality_of_outliers_in_the_middle_and_beyond():
    known = np.array([[-2.0, 0], [-2, 0], [2, 0], [2, 0], [2, 0], [2, 0]])  # uneven classes: the centre is 0
    labels = np.array([0, 0, 1, 1, 1, 1])
    assert overlap.centrality(known, labels, np.zeros((3, 2))) == 0
    assert overlap.centrality(known, labels, np.array([[0.0, 4], [0, -8]])) == pytest.approx(3)


def test_opposite_order_counts_pairs_by_hand():
    known_score, outlier_score = [3.0, 1.0], [2.0, 0.0]
    known_likelihood, outlier_likelihood = [1.0, 4.0], [3.0, 0.0]
    # pairs (known, outlier): (0,0) score right, likelihood wrong; (0,1) both right;
    # (1,0) score wrong, likelihood right; (1,1) both right
    found = overlap.opposite_order(known_score, outlier_score, known_likelihood, outlier_likelihood)
    assert found == {"score_wrong": 0.25, "likelihood_wrong": 0.25, "both_wrong": 0.0}
    reverse = overlap.opposite_order([0.0], [1.0], [-2.0], [-1.0])
    assert reverse == {"score_wrong": 0.0, "likelihood_wrong": 0.0, "both_wrong": 1.0}
    assert set(overlap.opposite_order([1.0], [1.0], [0.0], [1.0]).values()) == {0.0}, "a tie is no order"
