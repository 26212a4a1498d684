"""Post-hoc detectors on both heads, against their definitions and pytorch-ood's."""

import numpy as np
import pytest
import torch

from icelib import models
from icelib.config.schema import Detectors
from icelib.evaluation import detectors

SETTINGS = Detectors(odin_temperature=1000.0, odin_noise=0.0014)
ICE = {"distance": 2.0, "mean_scale": 0.5, "factor": "lower"}
SHAPE = {"depth": 10, "widen": 1, "stem": "strided"}


def images(count, seed):
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[("linear", {}), ("gaussian", ICE)], ids=["linear", "gaussian"])
def model(request):
    torch.manual_seed(0)
    return models.build("wideresnet", SHAPE, request.param[0], 6, request.param[1]).eval()


@pytest.fixture
def data(model):
    train = {"known": images(120, 0), "labels": torch.arange(120) % 6}
    test = {name: (x, detectors.features(model, x)) for name, x in (("known", images(50, 2)), ("far", images(30, 3)))}
    return train, {"known": images(40, 1)}, test


@pytest.fixture
def found(model, data):
    return detectors.score(model, *data, SETTINGS)


def test_every_detector_gives_a_value_for_each_image(found):
    assert {key.split("/")[0] for key in found} == set(detectors.DETECTORS)
    for key, values in found.items():
        assert values.dtype == torch.float64 and values.isfinite().all(), key
        assert len(values) == {"known": 50, "far": 30}[key.split("/")[1]]


def test_scores_are_those_of_their_definitions(model, data, found):
    train, _, test = data
    z, trained = test["known"][1], detectors.features(model, train["known"])
    with torch.no_grad():
        logits = model.head(z).double()
        clipped = model.head(z.clamp(max=float(np.percentile(trained.numpy(), 90)))).double()
    p = logits.softmax(1).clamp(1e-7, 1 - 1e-7)
    unit = lambda x: x / x.norm(dim=1, keepdim=True)
    expected = {
        "msp": logits.softmax(1).max(1).values,
        "energy": logits.logsumexp(1),
        "max_logit": logits.max(1).values,
        "knn": -torch.cdist(unit(z).double(), unit(trained).double()).kthvalue(50, 1).values,
        "react": clipped.logsumexp(1),
        "gen": -(p * (1 - p)).pow(0.1).mean(1),
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[f"{name}/known"], values.double(), rtol=1e-4, atol=1e-6, msg=name)


DEGENERATE = {  # name: training images, features, and what is done to features
    "as many as images": (99, 128, lambda z: z),
    "more than images": (60, 200, lambda z: z),
    "dead": (300, 60, lambda z: z * (torch.arange(60) % 3 > 0)),
    "constant": (300, 60, lambda z: torch.where(torch.arange(60) % 3 > 0, z, 5.0)),
    "dependent": (300, 60, lambda z: torch.cat([z[:, :30], 2 * z[:, :30]], 1)),
    "collapsed": (300, 60, lambda z: z.round() + 1e-4 * z),
    "far from 0": (300, 60, lambda z: 1e3 + z),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_mahalanobis_is_its_formula_where_single_precision_is_not(kind):
    count, width, change = DEGENERATE[kind]
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    labels = torch.arange(count) % 6
    labels[labels == 5] = 4
    labels[7] = 5  # a class of one image
    means, mix = 2 * draw(6, width), draw(width // 2, width) / 5
    known = lambda labels: change((means[labels] + draw(len(labels), width // 2) @ mix).relu())
    train, test = known(labels), torch.cat([known(labels), change(draw(50, width).relu())])
    found = detectors.mahalanobis(detectors.Seen(None, train, labels, None, SETTINGS))(shown(test))

    z = train.double().numpy()
    centres = np.stack([z[labels == i].mean(0) for i in range(6)])
    scatter = sum((row - centres[i])[:, None] * (row - centres[i]) for row, i in zip(z, labels))
    precision = np.linalg.inv(scatter + 1e-6 * np.eye(width))
    differences = test.double().numpy()[:, None] - centres
    expected = -0.5 * np.einsum("nki,ij,nkj->nk", differences, precision, differences).min(1)
    assert (found <= 0).all() and found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def shown(z):
    return detectors.Images(z, z, z)


def test_mahalanobis_is_pytorch_oods_where_features_are_few():
    from pytorch_ood.detector import Mahalanobis

    z, labels = torch.randn(600, 8), torch.arange(600) % 6
    theirs = -Mahalanobis(None).fit_features(z, labels).predict_features(z)
    found = detectors.mahalanobis(detectors.Seen(None, z, labels, None, SETTINGS))(shown(z))
    torch.testing.assert_close(found, theirs.double(), rtol=1e-4, atol=1e-8)


def test_the_50th_neighbour_of_fewer_images_is_left_out():
    z, labels = torch.rand(60, 4), torch.arange(60) % 6
    seen = lambda count: detectors.Seen(None, z[:count], labels[:count], None, SETTINGS)
    assert detectors.knn(seen(50))(shown(z)).isfinite().all()
    assert detectors.knn(seen(49))(shown(z)).isnan().all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.int64])
def test_scores_of_any_kind_of_number_are_taken(kind):
    values = torch.tensor([0.0, 1.0, 2.0]).to(kind)
    learned = [torch.nn.Parameter(values)] if values.is_floating_point() else []
    for given in (values, *learned, *([] if kind == torch.bfloat16 else [values.numpy()])):
        found = detectors.checked(given, "mine", 3)
        assert found.tolist() == [0, 1, 2] and found.dtype == torch.float64 and not found.requires_grad


def test_scores_of_logits_are_those_of_pytorch_ood_to_the_bit(model, data, found):
    from pytorch_ood import detector

    with torch.no_grad():
        logits = model.head(data[2]["far"][1]).double()
    for name, theirs in (("msp", "MaxSoftmax"), ("energy", "EnergyBased"), ("max_logit", "MaxLogit")):
        assert torch.equal(found[f"{name}/far"], -getattr(detector, theirs).score(logits)), name


def test_vim_sees_the_gaussian_head_as_its_linear_softmax():
    """ViM's energy part is log Σ exp(Wz + b) with W, b of `linear`, which differs from h by zᵀΣ⁻¹z alone."""
    model, z = models.build("wideresnet", SHAPE, "gaussian", 6, ICE), torch.randn(5, 64)
    with torch.no_grad():
        weights, biases = model.head.linear()
        difference = z @ weights.T + biases - model.head(z)
    expected = model.head.whiten(z).square().sum(1, keepdim=True).expand(5, 6)
    torch.testing.assert_close(difference, expected, rtol=1e-3, atol=1e-2)


def test_a_score_of_ones_own_is_a_line(model, data, monkeypatch):
    margin = lambda logits: logits.topk(2).values.diff().abs().squeeze(1)
    monkeypatch.setattr(detectors, "DETECTORS", {"margin": detectors.of_logits(margin)})
    found = detectors.score(model, *data, SETTINGS)
    assert set(found) == {"margin/known", "margin/far"} and (found["margin/far"] >= 0).all()


def test_a_score_that_gives_no_value_for_each_image_is_named(model, data, monkeypatch):
    monkeypatch.setattr(detectors, "DETECTORS", {"mine": detectors.of_logits(lambda logits: logits)})
    with pytest.raises(ValueError, match=r"score 'mine' has shape \(50, 6\) for 50 images, expected \(50,\)"):
        detectors.score(model, *data, SETTINGS)


def test_a_detector_that_is_not_defined_on_a_network_is_left_out(model, data, capsys):
    """ASH divides by the sum of the features, which is 0 where a network has collapsed."""
    train, validation, test = data
    test["far"] = (test["far"][0], torch.zeros_like(test["far"][1]))
    found = detectors.score(model, train, validation, test, SETTINGS)
    assert "ash/known" not in found and "ash/far" not in found and "knn/known" in found
    assert "ash/far: values are not finite; ash is left out" in capsys.readouterr().err
