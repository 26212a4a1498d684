"""The three causes as series and tables, of snapshots made by hand."""

import numpy as np
import pytest

from icelib.analysis import incompatibility


def cell(mean):
    return None if mean is None else {"mean": mean, "std": abs(mean) / 10, "defined": 1.0}


def snapshot(backbone, centre=1.0, outliers=True):
    """A run of three kept epochs, whose cosine on the backbone's weights is `backbone`, None where undefined."""
    names = [*incompatibility.SHARES, *incompatibility.COSINES, incompatibility.RATIO]
    epochs = [
        {
            "epoch": 2 * i,
            "overlap": {"near": 0.1 * i, "auxiliary": 0.5 - 0.1 * i},
            "centrality": {"near": centre, "auxiliary": centre + i},
            "contradiction": dict.fromkeys(names, cell(0.0)) | {"backbone": cell(x)} if outliers else None,
        }
        for i, x in enumerate(backbone)
    ]
    shares = {"near": (0.3, 0.2, 0.1), "far": (0.1, 0.2, 0.0), "noise": (0.9, 0.0, 0.0), "other": (0.3, 0.0, 0.1)}
    likelihood = {kind: dict(zip(incompatibility.WRONG, values)) for kind, values in shares.items()}
    return {"near": "near", "epochs": epochs, "likelihood": likelihood}


@pytest.fixture
def found():
    seeds = [snapshot([0.5, -0.2, None]), snapshot([0.5, 0.2, 0.4], centre=3.0)]
    return {"plain": [snapshot([0, 0, 0], outliers=False)] * 2, "oe": seeds}


def test_series_have_a_row_for_each_seed_and_nan_where_nothing_is_defined(found):
    values = incompatibility.contradiction(found["oe"], "backbone")
    np.testing.assert_array_equal(values, [[0.5, -0.2, np.nan], [0.5, 0.2, 0.4]])
    np.testing.assert_allclose(incompatibility.contradiction(found["oe"], "backbone", "std")[1], [0.05, 0.02, 0.04])
    assert np.isnan(incompatibility.contradiction(found["plain"], "raised")).all(), "plain training has no such term"
    np.testing.assert_allclose(incompatibility.over_training(values), [-0.2, 0.3])
    assert np.isnan(incompatibility.over_training(np.array([[0.5, np.nan, np.nan]]))).all(), "the start does not count"
    np.testing.assert_allclose(incompatibility.shift(found["oe"], "centrality", "auxiliary"), [[1, 2, 3], [3, 4, 5]])
    assert incompatibility.epochs(found["oe"]) == [0, 2, 4]


def test_a_band_is_the_deviation_over_seeds_and_with_one_seed_that_over_batches():
    values, deviations = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[0.1, 0.2], [0.3, 0.4]])
    middle, width = incompatibility.band(values, deviations)
    np.testing.assert_allclose([middle, width], [[2, 2], [2**0.5, 0]])
    middle, width = incompatibility.band(values[:1], deviations[:1])
    np.testing.assert_allclose([middle, width], [[1, 2], [0.1, 0.2]])
    assert not incompatibility.band(values[:1])[1].any()


def test_pairs_that_are_ordered_wrongly_are_averaged_over_the_sets_asked_for(found):
    np.testing.assert_allclose(incompatibility.likelihood(found["oe"], ["far", "other"]), [[0.2, 0.1, 0.05]] * 2)
    table = incompatibility.likelihood_table(found, ["far", "other"])
    assert table.loc["OE", incompatibility.MEAN].tolist() == pytest.approx([20, 10, 5]), "noise enters no mean"
    assert table.loc["Plain training", "noise"].tolist() == pytest.approx([90, 0, 0])
    assert incompatibility.MEAN not in incompatibility.likelihood_table(found, []).index.get_level_values("outliers")


def test_contradiction_is_told_of_methods_with_outliers(found):
    table = incompatibility.contradiction_table(found)
    assert table.index.tolist() == ["OE"]
    assert np.isnan(table.loc["OE", ("backbone", "last")]), "one seed of two has none"
    assert table.loc["OE", ("backbone", "mean")] == pytest.approx(0.05)
    assert incompatibility.contradiction_table({"plain": found["plain"]}).empty


def test_shift_is_told_at_the_start_at_its_largest_and_at_the_end(found):
    table = incompatibility.shift_table(found)
    assert table.loc["OE", "overlap"].loc["auxiliary"].tolist() == pytest.approx([0.5, 0.5, 0.3])
    assert table.loc["OE", ("centrality", "near", "last")] == pytest.approx(2.0)
    assert table.index.tolist() == ["Plain training", "OE"]
