"""How a network is computed: the choice, the fall-back, and that results stay what they are."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from icelib import acceleration, batches, engine, models
from icelib.methods import PAPER
from tests.test_training import CPU, a_run, small_data

CUDA = torch.device("cuda")
SHAPES = {
    "wideresnet-34-10": ("wideresnet", {"depth": 34, "widen": 10}),
    "wideresnet-40-2": ("wideresnet", {"depth": 40, "widen": 2}),
    "densenet-40-12": ("densenet", {"depth": 40, "growth": 12}),
}


def backbone(name):
    network, shape = SHAPES[name]
    with torch.device("meta"):  # no memory for 46 million weights
        return models.build(network, shape | {"stem": "basic", "dropout": 0.0}, "linear", 10, {}).backbone


@pytest.mark.parametrize(
    ("name", "expected"), [("wideresnet-34-10", 6.66e9), ("wideresnet-40-2", 0.33e9), ("densenet-40-12", 0.26e9)]
)
def test_multiply_adds_are_the_published_ones(name, expected):
    assert acceleration.multiply_adds(backbone(name)) == pytest.approx(expected, rel=0.02)


def test_multiply_adds_of_a_convolution_by_hand():
    layer = torch.nn.Conv2d(3, 5, 3, padding=1, stride=2)
    assert acceleration.multiply_adds(layer) == 16 * 16 * 5 * 3 * 9
    assert next(layer.parameters()).device == CPU


def test_auto_goes_by_device_and_network():
    assert acceleration.choose("auto", CUDA, backbone("wideresnet-34-10")) == "compile"
    assert acceleration.choose("auto", CUDA, backbone("wideresnet-40-2")) == "graphs"
    assert acceleration.choose("auto", CPU, backbone("wideresnet-34-10")) == "none"
    assert acceleration.choose("compile", CPU, backbone("wideresnet-40-2")) == "compile"


@pytest.fixture
def traced(monkeypatch):
    """Let torch.compile trace, but generate no code, which takes a C compiler and half a minute."""
    compile_ = torch.compile
    modes = []

    def trace(model, mode, dynamic):
        modes.append(mode)
        return compile_(model, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", trace)
    torch._dynamo.reset()
    yield modes
    torch._dynamo.reset()


def test_compiled_training_ends_in_the_same_weights(inside, traced):
    plain, compiled = (engine.Engine(a_run("ice"), small_data(), 6, CPU, wish=wish) for wish in ("none", "graphs"))
    assert (plain.acceleration, compiled.acceleration, traced) == ("none", "graphs", ["reduce-overhead"])
    assert plain.epoch(0) == compiled.epoch(0)
    for name, value in plain.state().items():
        assert torch.equal(value, compiled.state()[name]), name


def test_what_cannot_be_compiled_is_computed_as_it_is(inside, monkeypatch, caplog):
    def fail(model, **options):
        def forward(x):
            model(x)  # the statistics of batch normalisation have moved when it fails
            raise RuntimeError("no C++ compiler found\nand a page of trace")

        return forward

    monkeypatch.setattr(torch, "compile", fail)
    plain = engine.Engine(a_run("ice"), small_data(), 6, CPU, wish="none")
    with caplog.at_level(logging.WARNING):
        fallen = engine.Engine(a_run("ice"), small_data(), 6, CPU, wish="graphs")
    assert fallen.acceleration == "none" and fallen.forward is fallen.model
    assert caplog.messages == ["the network is not compiled, training goes on without (graphs): no C++ compiler found"]
    assert plain.epoch(0) == fallen.epoch(0)


class Operations(TorchDispatchMode):
    """The names of all tensor operations that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*arguments, **(options or {}))


WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "lift_fresh", "unique"}


@pytest.mark.parametrize("method", sorted(PAPER))
def test_no_step_reads_a_value_back_or_sends_one(inside, method):
    """Each would make the host wait for a GPU; `lift_fresh` is a tensor made from Python numbers."""
    values = inside.params
    train = values["tiny"]["train"]
    for name in ("energy", "energy_gaussian"):
        head = train["ice"] if "gaussian" in name else {}
        train[name] = head | {"weight": 0.1, "margin_known": 1.0, "margin_outlier": 8.0}
    train["bce"], train["ice_minus"] = train["oe"], train["ice"]
    inside.params = values
    run = a_run(method)
    made, generator = engine.Engine(run, small_data(), 6, CPU), torch.Generator().manual_seed(0)
    index = torch.arange(8)
    outlier_index = index if made.outliers else None
    made.step(index, outlier_index, 0.1, generator)  # momenta and constants are made here
    with Operations() as seen:
        made.step(index, outlier_index, 0.1, generator)
    assert "convolution" in seen.names and not seen.names & WAITS
    with Operations() as waited:
        made.epoch(0)
    assert "_local_scalar_dense" in waited.names, "the end of an epoch does wait"


def test_streamed_images_are_those_of_a_set_on_the_device():
    images = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8)
    whole, streamed = batches.Images(images, CPU), batches.StreamedImages(images, CPU)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    for steps in (7, 1, 2):  # fewer steps than buffers, too
        orders = [x.order(steps, 20, g) for x, g in zip((whole, streamed), generators, strict=True)]
        assert torch.equal(*orders)
        for index in orders[0]:
            found = [x.augmented(index, g) for x, g in zip((whole, streamed), generators, strict=True)]
            assert torch.equal(*found)
    assert len(streamed) == 50


def test_streamed_images_come_in_their_order_only():
    streamed = batches.StreamedImages(torch.zeros(50, 3, 32, 32, dtype=torch.uint8), CPU)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="in the drawn order only, each step once"):
        streamed.augmented(torch.arange(5), generator)
    order = streamed.order(3, 5, generator)
    streamed.augmented(order[0], generator)
    with pytest.raises(ValueError, match="in the drawn order only"):
        streamed.augmented(order[0], generator)
    order = streamed.order(2, 5, generator)  # an epoch that was broken off leaves nothing behind
    streamed.augmented(order[0], generator)


def test_training_on_streamed_images_ends_in_the_same_weights(inside, monkeypatch):
    def trained():
        made = engine.Engine(a_run("ice"), small_data(), 6, CPU)
        made.epoch(0)
        made.epoch(1)
        return made

    whole = trained()
    monkeypatch.setattr(batches, "hold", batches.StreamedImages)
    streamed = trained()
    assert isinstance(streamed.known, batches.StreamedImages) and isinstance(whole.known, batches.Images)
    for name, value in whole.state().items():
        assert torch.equal(value, streamed.state()[name]), name


def test_what_does_not_fit_on_a_gpu_is_streamed(monkeypatch):
    class Memory:
        total_memory = 1e6

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Memory)
    monkeypatch.setattr(batches, "Images", lambda images, device, part: "held")
    monkeypatch.setattr(batches, "StreamedImages", lambda images, device, part: "streamed")
    hold = lambda count, device: batches.hold(torch.empty(count, 3, 32, 32, dtype=torch.uint8), device)
    assert [hold(n, CUDA) for n in (41, 42)] == ["held", "streamed"]  # 4,800 bytes each with their edges
    assert hold(1000, CPU) == "held"
