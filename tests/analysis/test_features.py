"""Figure 4: places in the picture, measures with known answers, and what is said of them."""

import matplotlib.pyplot as plt
import numpy as np
import openTSNE
import pandas as pd
import pytest

from icelib import embedding, params, training
from tests.conftest import RUN


def gaussians(count=60, dimensions=5, apart=12.0, seed=0):
    """Three known classes on as many axes, `apart` from the origin, and outliers on a fourth."""
    draw = np.random.default_rng(seed)
    centres = apart * np.eye(dimensions)
    labels = np.repeat([0, 1, 2], count)
    known = centres[labels] + draw.normal(size=(3 * count, dimensions))
    outlier = centres[3] + draw.normal(size=(count, dimensions))
    return embedding.Features(known, labels, outlier, ["a", "b", "c"], "others")


def test_known_samples_stay_where_they_are_when_outliers_are_placed():
    found = gaussians()
    first, second = embedding.place(found), embedding.place(found._replace(outlier=found.known[:7] + 3))
    assert first.known.shape == (180, 2) and first.outlier.shape == (60, 2) and second.outlier.shape == (7, 2)
    np.testing.assert_array_equal(first.known, second.known)
    alone = openTSNE.TSNE(perplexity=30, neighbors="exact", random_state=0).fit(found.known)
    shift = first.known - alone  # the origin of a picture is free: all may move together
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), rtol=0, atol=1e-9)


def test_the_same_features_are_placed_the_same():
    first, second = embedding.place(gaussians()), embedding.place(gaussians())
    np.testing.assert_array_equal(first.known, second.known)
    np.testing.assert_array_equal(first.outlier, second.outlier)
    other = embedding.place(gaussians(seed=1))
    assert np.abs(first.known - other.known).max() > 1


def test_an_outlier_is_placed_in_the_class_that_it_resembles():
    found = gaussians()
    twins = embedding.place(found._replace(outlier=found.known[::10] + 1e-3))
    middles = np.stack([twins.known[found.labels == i].mean(0) for i in range(3)])
    nearest = np.linalg.norm(twins.outlier[:, None] - middles, axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, found.labels[::10])
    # in the same frame of reference: beside their twins, and not shifted as a whole
    shift = np.mean(twins.outlier - twins.known[::10], 0)
    assert np.linalg.norm(shift) < 0.3


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
    for function in (embedding.place, embedding.numbers):
        with pytest.raises(ValueError, match=r"known \(.*\), labels \(.*\), outlier \(.*\); expected \(N, d\)"):
            function(found)


def test_within_to_between_of_a_drawing():
    known = np.array([[1, 0], [-1, 0], [10, 2], [10, -2]], float)  # 1, 1, 2, 2 from means that are 10 apart
    assert embedding.within_to_between(known, np.array([4, 4, 7, 7])) == pytest.approx(0.15)
    assert embedding.within_to_between(100 * known, np.array([4, 4, 7, 7])) == pytest.approx(0.15)


def test_slenderness_of_a_line_and_of_a_cross():
    line = np.outer([-2.0, 0, 2], [3, 4, 0])
    assert embedding.slenderness(line, np.zeros(3, int)) == pytest.approx(1)
    cross = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], float)  # variances in the ratio 9 : 1
    assert embedding.slenderness(cross, np.zeros(4, int)) == pytest.approx(0.9)
    both = np.concatenate([cross, 100 + line[:, :2]])
    assert embedding.slenderness(both, np.repeat([0, 1], [4, 3])) == pytest.approx(0.95)


def test_spread_compares_extents_wherever_they_lie():
    known = np.array([[2, 0], [-2, 0], [0, 2], [0, -2]], float)
    assert embedding.spread(known, 50 + known / 4) == pytest.approx(0.25)


def test_neighbours_of_outliers_apart_mixed_and_inside():
    draw = np.random.default_rng(0)
    known, same = draw.normal(size=(3000, 3)), draw.normal(size=(800, 3))
    share, error = embedding.known_neighbours(known, same)
    assert share == pytest.approx(0.5, abs=0.03), "as many of each kind, though there are more known samples"
    assert 0.001 < error < 0.02
    assert embedding.known_neighbours(known, 50 + same) == (0, 0)
    assert 0.1 < embedding.known_neighbours(known, 1.5 + same)[0] < 0.4
    with pytest.raises(ValueError, match="15 samples of one kind; expected more than the 15 neighbours"):
        embedding.known_neighbours(known, same[:15])


def test_numbers_of_classes_far_apart():
    found = embedding.numbers(gaussians(apart=100))
    assert found["silhouette"] > 0.95 and found["known neighbours"] == 0 and found["within/between"] < 0.03
    # the centre is the mean of three means: outliers are √(4/3) ∙ 100 away, known samples √(2/3) ∙ 100
    assert found["centrality"] == pytest.approx(np.sqrt(2), rel=0.01)
    assert embedding.numbers(gaussians(apart=0))["silhouette"] == pytest.approx(0, abs=0.05)


def test_methods_that_are_not_declared_get_an_empty_panel(inside):
    run = params.run(*RUN, "ice", 0)
    training.train(run)
    runs = embedding.runs("tiny")
    assert runs["ice"] == run and runs["oe"] is None and runs["energy"] is None
    found = embedding.features(run)
    assert found.outliers == "digits-89" and found.outlier.shape == (100, 64), "the first, where none plays CIFAR-100"
    assert found.known.shape == (*found.labels.shape, 64) and found.classes == ["0", "1", "2", "3", "4", "5"]
    table = pd.DataFrame({"ice": embedding.numbers(found)}).T
    drawn = embedding.figure(dict.fromkeys(embedding.SHOWN) | {"ice": embedding.place(found)}, table)
    texts = [[text.get_text() for text in ax.texts] for ax in drawn.axes]
    assert texts == [["not run"], ["not run"], ["not run"], ["1", "2", "3", "4", "5", "6"]]
    assert len({ax.get_xlim() + ax.get_ylim() for ax in drawn.axes}) == 1, "the same limits"
    assert f"silhouette {table.silhouette.iloc[0]:.2f}" in drawn.axes[3].get_xlabel()
    assert [text.get_text() for text in drawn.legends[0].texts][-1] == "outliers: digits-89"
    plt.close(drawn)
    assert embedding.verdict(table, "tiny").endswith("Plain training, OE, Energy not run.")

    changed = inside.params
    changed["tiny"]["known"]["few"]["mean_over"] = ["digits-89"]
    inside.params = changed
    assert embedding.features(run).outliers == "gaussian", "the one that is in no mean"
    changed["tiny"]["known"]["few"]["outliers"]["digits-89"]["plays"] = "CIFAR100"
    inside.params = changed
    assert embedding.features(run).outliers == "digits-89"


def as_the_paper_says():
    """Numbers under which all statements agree; a row for each method."""
    columns = {
        "silhouette": [0.3, 0.2, 0.3, 0.6],
        "within/between": [0.5, 0.6, 0.5, 0.2],
        "known neighbours": [0.5, 0.2, 0.3, 0.1],
        "known neighbours ±": [0.01, 0.01, 0.01, 0.01],
        "centrality": [0.9, 0.5, 0.8, 1.2],
        "slenderness": [0.30, 0.50, 0.32, 0.28],
        "spread": [0.9, 0.7, 0.8, 0.3],
    }
    return pd.DataFrame(columns, index=list(embedding.SHOWN))


def lines(table):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in embedding.verdict(table, "x").splitlines()[4:]]


def test_verdicts_follow_the_numbers():
    table = as_the_paper_says()
    assert [line[-1] for line in lines(table)] == ["agrees"] * 9
    assert "agree with the numbers: 9 of 9" in embedding.verdict(table, "x")
    for place, change in enumerate(
        [
            ("oe", "known neighbours", 0.7),  # more than plain training's
            ("oe", "centrality", 0.85),
            ("oe", "slenderness", 0.32),
            ("energy", "slenderness", 0.34),
            ("energy", "known neighbours", 0.05),
            ("ice", "slenderness", 0.26),
            ("plain", "within/between", 0.1),
            ("energy", "silhouette", 0.7),
            ("oe", "spread", 0.2),
        ]
    ):
        other = table.copy()
        other.loc[change[:2]] = change[2]
        assert [line[-1] for line in lines(other)] == ["agrees"] * place + ["**does not agree**"] + ["agrees"] * (
            8 - place
        ), change


def test_a_share_within_two_standard_errors_is_open():
    table = as_the_paper_says()
    table.loc["oe", "known neighbours"] = 0.48  # by 1.4 standard errors of the difference
    assert lines(table)[0][-1] == "open"
    assert "could turn them: 1." in embedding.verdict(table, "x")
    table["known neighbours ±"] = 0.001
    assert lines(table)[0][-1] == "agrees"


def test_the_centre_is_inside():
    table = as_the_paper_says()
    table["centrality"] = [1.5, 1.1, 1.4, 1.3]
    assert lines(table)[1][-1] == "**does not agree**", "the smallest, but outside of known samples"
