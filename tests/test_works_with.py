"""ICE's head and loss in the loop of docs/own_code.md, with what people use beside them."""

import re
import sys
import types

import pytest
import torch
from torch import nn

from icelib import GaussianHead, ICELoss
from icelib.metrics import detection_metrics
from icelib.scores import max_likelihood, max_softmax
from tests.conftest import SOURCE

LOOP, AUTOCAST, DETECTOR, OPENOOD = re.findall(
    r"^```python\n(.*?)^```", (SOURCE / "docs/own_code.md").read_text(), re.M | re.S
)


def trained(seed=0, code=LOOP):
    torch.manual_seed(seed)
    space = {}
    exec(code, space)
    return space


@pytest.fixture(scope="module")
def space():
    return trained()


def test_the_loop_is_short_and_reaches_what_it_should(space):
    program = LOOP[: LOOP.index("\nknown =")]
    assert len([line for line in program.splitlines() if line]) <= 20
    for found in (space, trained(1)):
        assert found["accuracy"] >= 0.98 and found["auroc"] >= 0.95


def test_a_loss_of_pytorch_ood_changes_one_line():
    ours, theirs = "loss = ICELoss(weight=0.5)\n", "loss = OutlierExposureLoss(alpha=0.5)\n"
    assert LOOP.count(ours) == 1
    found = trained(code="from pytorch_ood.loss import OutlierExposureLoss\n" + LOOP.replace(ours, theirs))
    score, unseen = max_softmax(found["network"](found["x"])).detach(), found["digit"] > 7
    auroc = detection_metrics(score[found["known"]], score[unseen])["auroc"]
    assert found["accuracy"] >= 0.98 and auroc >= 0.95
    assert auroc > found["auroc"] + 0.02, "that of max h, which is not its score"


def batch():
    """A network whose features bfloat16 rounds, and a batch with outliers."""
    torch.manual_seed(0)
    x, y = torch.randn(96, 16), torch.arange(96) % 4 - 1
    backbone, head = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()), GaussianHead(32, 3)
    head.start(backbone(x), y)
    return nn.Sequential(backbone, head), x, y


def gradients(network, loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])


def test_autocast_agrees_within_rounding(space):
    network, x, y = batch()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
        low = ICELoss()(logits, y)  # also inside
    high = ICELoss()(network(x), y)
    assert logits.dtype == low.dtype == torch.float32 and (logits < 0).all()
    assert low.item() == pytest.approx(high.item(), rel=2**-7) and low != high  # bfloat16 has 8 bits
    rounded, exact = gradients(network, low), gradients(network, high)
    assert (rounded - exact).norm() < 2**-5 * exact.norm()
    exec(AUTOCAST, space)
    assert space["value"].isfinite()


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_head_and_loss_give_the_same(backend):
    network, x, y = batch()
    step = torch.compile(lambda x, y: ICELoss()(network(x), y), backend=backend)
    eager, compiled = ICELoss()(network(x), y), step(x, y)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(gradients(network, compiled), gradients(network, eager), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step(x, -torch.ones_like(y)), ICELoss()(network(x), -torch.ones_like(y)))
    torch.compiler.reset()


def test_metrics_of_pytorch_ood(space):
    exec(DETECTOR, space)
    found = space["found"].compute()
    assert found["AUROC"] == pytest.approx(space["auroc"], abs=1e-5)
    x, network = space["x"], space["network"]
    assert torch.equal(-space["detector"].predict(x), max_likelihood(network(x)).float())


def test_detectors_of_pytorch_ood_take_the_network(space):
    from pytorch_ood import detector

    network, backbone, x, y = (space[name] for name in ("network", "backbone", "x", "y"))
    weights, biases = (w.detach() for w in network[1].linear())
    z, logits = backbone(x).detach(), network(x).detach()
    torch.testing.assert_close((z @ weights.T + biases).softmax(1), logits.softmax(1), rtol=1e-3, atol=1e-5)
    train, unseen = space["train"][y[space["train"]] >= 0], space["digit"] > 7
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[train], y[train]), 128)
    for found in (
        detector.MaxSoftmax(network),
        detector.EnergyBased(network),
        detector.ODIN(network, eps=0.01),
        detector.Mahalanobis(backbone).fit(data),
        detector.KNN(backbone).fit(data),
        detector.ViM(backbone, d=16, w=weights, b=biases).fit(data),
    ):
        scores = [found.predict(x[rows].clone()).detach() for rows in (space["known"], unseen)]
        assert all(len(values) == int(rows.sum()) for values, rows in zip(scores, (space["known"], unseen)))
        assert scores[0].mean() < scores[1].mean(), type(found).__name__  # theirs are higher for outliers


def test_the_postprocessor_of_the_page(space, monkeypatch):
    """OpenOOD is no package of an index: its base class is stood in for, with the constructor that it has."""

    class BasePostprocessor:
        def __init__(self, config):
            self.config = config

    module = types.SimpleNamespace(BasePostprocessor=BasePostprocessor)
    monkeypatch.setitem(sys.modules, "openood", types.SimpleNamespace(postprocessors=module))
    monkeypatch.setitem(sys.modules, "openood.postprocessors", module)
    exec(OPENOOD, space)
    predicted, score = space["ICEPostprocessor"]().postprocess(space["network"], space["x"])
    assert torch.equal(predicted, space["predicted"]) and torch.equal(score, space["score"])
    assert not score.requires_grad
