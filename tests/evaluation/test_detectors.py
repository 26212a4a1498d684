"""Post-hoc detectors on both heads, against their definitions."""

import numpy as np
import pytest
import torch

from icelib import batches, checkpoints, params, paths, posthoc, scoring, tasks, tensors, training
from tests.conftest import RUN

DETECTORS = {"msp", "odin", "mahalanobis", "energy", "max_logit", "vim", "knn", "react", "gen", "ash", "kl_matching"}


@pytest.fixture(params=["plain", "ice"])
def scored(request, inside):
    run = params.run(*RUN, request.param, 0)
    training.train(run)
    scoring.score(run)
    return run


def test_every_detector_scores_every_image_higher_for_known(scored):
    found, _ = tensors.load(paths.scores(scored))
    own = {"ice"} if scored.method == "ice" else set()
    assert {name.split("/")[0] for name in found} == DETECTORS | own | {"labels", "predicted"}
    for detector in DETECTORS | own:
        known, noise = found[f"{detector}/known"], found[f"{detector}/gaussian"]
        assert known.dtype == torch.float64 and known.isfinite().all() and noise.isfinite().all()
    # on a tiny network not every detector is good, but most must not be turned around
    better = [d for d in DETECTORS if found[f"{d}/known"].median() > found[f"{d}/digits-89"].median()]
    assert len(better) >= 7, better


def test_scores_are_those_of_their_definitions(scored):
    found, _ = tensors.load(paths.scores(scored))
    model, _ = checkpoints.load(scored)
    test, _ = tasks.load("tiny", "few", "test")
    train, _ = tasks.load("tiny", "few", "train")
    logits = batches.predict(model, test["known"], torch.float32).double()
    close = lambda name, expected: torch.testing.assert_close(
        found[f"{name}/known"], expected.double(), rtol=1e-4, atol=1e-6
    )
    close("msp", logits.softmax(1).max(1).values)
    close("energy", logits.logsumexp(1))
    close("max_logit", logits.max(1).values)
    z, trained = (batches.predict(model, x, torch.float32, features=True) for x in (test["known"], train["known"]))
    unit = lambda x: x / x.norm(dim=1, keepdim=True)
    close("knn", -torch.cdist(unit(z).double(), unit(trained).double()).kthvalue(50, 1).values)
    clipped = z.clamp(max=float(np.percentile(trained.numpy(), 90)))
    with torch.no_grad():
        close("react", model.head(clipped).double().logsumexp(1))
    p = logits.softmax(1).clamp(1e-7, 1 - 1e-7)
    close("gen", -(p * (1 - p)).pow(0.1).mean(1))


def test_vim_sees_the_gaussian_head_as_its_linear_softmax(inside):
    """ViM's energy part is log Σ exp(Wz + b) with W, b of `linear`, which differs from h by zᵀΣ⁻¹z alone."""
    run = params.run(*RUN, "ice", 0)
    training.train(run)
    model, _ = checkpoints.load(run)
    z = torch.randn(5, 64)
    with torch.no_grad():
        weights, biases = model.head.linear()
        difference = z @ weights.T + biases - model.head(z)
    torch.testing.assert_close(
        difference, model.head.whiten(z).square().sum(1, keepdim=True).expand(5, 6), rtol=1e-3, atol=1e-2
    )


def test_methods_that_are_not_read_posthoc_have_their_own_score_alone(inside):
    run = params.run(*RUN, "oe", 0)
    training.train(run)
    scoring.score(run)
    found, _ = tensors.load(paths.scores(run))
    assert {name.split("/")[0] for name in found} == {"oe", "labels", "predicted"}
    assert posthoc.PRECISION == torch.float32
