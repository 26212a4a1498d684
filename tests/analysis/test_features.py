"""Figure 4: places in the picture, and measures with known answers."""

import numpy as np
import openTSNE
import pytest
import torch
from threadpoolctl import threadpool_info

from icelib.analysis import features
from icelib.config import runs
from icelib.training import train
from tests.conftest import RUN


def gaussians(count=60, dimensions=5, apart=12.0, seed=0):
    """Three known classes on as many axes, `apart` from the origin, and outliers on a fourth."""
    draw = np.random.default_rng(seed)
    centres = apart * np.eye(dimensions)
    labels = np.repeat([0, 1, 2], count)
    known = centres[labels] + draw.normal(size=(3 * count, dimensions))
    outlier = centres[3] + draw.normal(size=(count, dimensions))
    return features.Features(known, labels, outlier, ["a", "b", "c"], "others")


def test_known_samples_stay_where_they_are_when_outliers_are_placed():
    found = gaussians()
    first, second = features.place(found), features.place(found._replace(outlier=found.known[:7] + 3))
    assert first.known.shape == (180, 2) and first.outlier.shape == (60, 2) and second.outlier.shape == (7, 2)
    np.testing.assert_array_equal(first.known, second.known)
    order = np.random.default_rng(0).permutation(180)
    np.testing.assert_array_equal(first.labels, found.labels[order])
    alone = openTSNE.TSNE(perplexity=30, neighbors="exact", n_jobs=1, random_state=0).fit(found.known[order])
    shift = first.known - alone  # the origin of a picture is free: all may move together
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), rtol=0, atol=1e-9)


def test_the_same_features_are_placed_the_same():
    first, second = features.place(gaussians()), features.place(gaussians())
    np.testing.assert_array_equal(first.known, second.known)
    np.testing.assert_array_equal(first.outlier, second.outlier)
    other = features.place(gaussians(seed=1))
    assert np.abs(first.known - other.known).max() > 1


def test_an_outlier_is_placed_in_the_class_that_it_resembles():
    found = gaussians()
    twins = features.place(found._replace(outlier=found.known[::10] + 1e-3))
    middles = np.stack([twins.known[twins.labels == i].mean(0) for i in range(3)])
    nearest = np.linalg.norm(twins.outlier[:, None] - middles, axis=2).argmin(1)
    draw = np.random.default_rng(0)  # that of `place`
    known, outlier = np.argsort(draw.permutation(180)), draw.permutation(18)  # place of a sample; sample of a place
    np.testing.assert_array_equal(nearest, found.labels[::10][outlier])
    # in the same frame of reference: beside their twins, and not shifted as a whole
    shift = np.mean(twins.outlier - twins.known[known[::10][outlier]], 0)
    assert np.linalg.norm(shift) < 0.3


def test_of_many_samples_some_are_placed(monkeypatch):
    monkeypatch.setattr(features, "PLACED", 120)
    found = features.place(gaussians())
    assert found.known.shape == (120, 2) and found.labels.shape == (120,) and found.outlier.shape == (40, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"known": np.zeros(180)},
        {"known": np.zeros((179, 5))},
        {"labels": np.zeros((180, 1), int)},
        {"outlier": np.zeros((60, 4))},
        {"outlier": np.zeros(5)},
    ],
)
def test_wrong_shapes_are_refused(change):
    found = gaussians()._replace(**change)
    for function in (features.place, features.numbers):
        with pytest.raises(ValueError, match=r"known \(.*\), labels \(.*\), outlier \(.*\); expected \(N, d\)"):
            function(found)


def test_within_to_between_of_a_drawing():
    known = np.array([[1, 0], [-1, 0], [10, 2], [10, -2]], float)  # 1, 1, 2, 2 from means that are 10 apart
    assert features.within_to_between(known, np.array([4, 4, 7, 7])) == pytest.approx(0.15)
    assert features.within_to_between(100 * known, np.array([4, 4, 7, 7])) == pytest.approx(0.15)


def test_slenderness_of_a_line_and_of_a_cross():
    line = np.outer([-2.0, 0, 2], [3, 4, 0])
    assert features.slenderness(line, np.zeros(3, int)) == pytest.approx(1)
    cross = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], float)  # variances in the ratio 9 : 1
    assert features.slenderness(cross, np.zeros(4, int)) == pytest.approx(0.9)
    both = np.concatenate([cross, 100 + line[:, :2]])
    assert features.slenderness(both, np.repeat([0, 1], [4, 3])) == pytest.approx(0.95)
    alone = np.concatenate([both, [[7.0, 8.0]]])
    assert features.slenderness(alone, np.repeat([0, 1, 2], [4, 3, 1])) == pytest.approx(0.95)


def test_spread_compares_extents_wherever_they_lie():
    known = np.array([[2, 0], [-2, 0], [0, 2], [0, -2]], float)
    assert features.spread(known, 50 + known / 4) == pytest.approx(0.25)


def test_neighbours_of_outliers_apart_mixed_and_inside():
    draw = np.random.default_rng(0)
    known, same = draw.normal(size=(3000, 3)), draw.normal(size=(800, 3))
    share = features.known_neighbours(known, same)
    assert share == pytest.approx(0.5, abs=0.03), "as many of each kind, though there are more known samples"
    assert features.known_neighbours(known, 50 + same) == 0
    assert 0.1 < features.known_neighbours(known, 1.5 + same) < 0.4
    with pytest.raises(ValueError, match="15 samples of one kind; expected more than the 15 neighbours"):
        features.known_neighbours(known, same[:15])


def test_numbers_of_classes_far_apart():
    found = features.numbers(gaussians(apart=100))
    assert found["silhouette"] > 0.95 and found["known neighbours"] == 0 and found["within/between"] < 0.03
    # the centre is the mean of three means: outliers are √(4/3) ∙ 100 away, known samples √(2/3) ∙ 100
    assert found["centrality"] == pytest.approx(np.sqrt(2), rel=0.01)
    assert features.numbers(gaussians(apart=0))["silhouette"] == pytest.approx(0, abs=0.05)


def test_features_of_the_declared_runs(inside):
    assert {method: len(group) for method, group in features.declared().items()} == dict(plain=1, oe=0, energy=0, ice=1)
    run = runs.run(*RUN, "ice", 0)
    train.train(run)
    threads = torch.get_num_threads()
    found = features.features(run)
    assert torch.get_num_threads() == threads
    assert found.outliers == "8, 9" and found.outlier.shape == (100, 64)
    assert found.known.shape == (*found.labels.shape, 64) and found.classes == ["0", "1", "2", "3", "4", "5"]
    table = features.table({"oe": [], "ice": [found, found]})
    assert list(table.index) == [("ice", 0), ("ice", 1)] and table.index.names == ["method", "seed"]
    assert table.loc["ice", 0].to_dict() == features.numbers(found)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_sums_are_made_by_one_thread(monkeypatch, two_threads):
    seen = []
    monkeypatch.setattr(features, "silhouette_score", lambda *_: seen.extend(threadpool_info()) or 0.0)
    features.numbers(gaussians())
    assert {pool["num_threads"] for pool in seen} == {1} and torch.get_num_threads() == 2
    with pytest.raises(ValueError):
        features.numbers(gaussians()._replace(labels=None))
    assert torch.get_num_threads() == 2, "also after an error"
