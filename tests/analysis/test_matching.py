"""Validation outliers of three kinds."""

import pytest
import torch

from icelib import metrics, models
from icelib.analysis import matching
from icelib.config import runs
from icelib.data import tasks
from icelib.methods import METHODS, matched
from icelib.training import store, train


@pytest.mark.parametrize("method", ["plain", "ice"])
def test_three_kinds_of_outliers_are_told_by_the_runs_own_score(inside, method):
    run = next(run for run in runs.declared() if run.method == method and run.protocol == "scratch")
    train.train(run)
    found, images = matching.measure(run), matching.outliers(run.task)
    assert list(found) == ["outliers", "jigsaw", "matched"] and set(found) == set(matching.KINDS)
    validation, _ = tasks.load(run.task, "validation")
    assert torch.equal(images["outliers"], validation["outliers"][: matching.MOST])
    model, _ = store.load(run)
    own = {
        name: METHODS[method].score(models.predict(model, x, models.PRECISION)).numpy() for name, x in images.items()
    }
    for name, shares in found.items():
        expected = metrics.detection_metrics(own["known"], own[name])
        assert shares["auroc"] == pytest.approx(expected["auroc"], abs=1e-6)
        below = (own["known"] <= own[name][:, None]).mean(1)  # share of known images that each outlier is above
        found, step = matching.missed(run, name), 1.5 / len(own["known"])
        assert found[below > 0.05 + step].all() and not found[below < 0.05 - step].any()
        assert shares["fpr95"] == pytest.approx(expected["fpr95_outlier_positive"], abs=0.01)


def test_matched_outliers_are_the_held_out_ones_with_spectra_of_known_images(inside):
    task = next(iter(runs.load().tasks))
    found, validation = matching.outliers(task), tasks.load(task, "validation")[0]
    count = len(found["outliers"])
    partner = validation["known"].flip(0)[torch.arange(count) % len(validation["known"])]
    expected = matched.match(models.normalize(found["outliers"]), models.normalize(partner))
    torch.testing.assert_close(models.normalize(found["matched"]), expected, atol=1e-5, rtol=0)
