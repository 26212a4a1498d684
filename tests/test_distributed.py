"""Several processes that train one network together, with gloo on a CPU: what they compute and how they end."""

import json
import os
import signal
import sys
import time

import pytest
import torch
from torch import nn

from icelib import distributed, engine, errors, params, paths, team, tensors, training
from tests.conftest import RUN

CPU = torch.device("cpu")


def a_run(**schedule):
    run = params.run(*RUN, "ice", 0)
    run = run.model_copy(update={"schedule": run.schedule.model_copy(update=schedule)})
    return run.model_copy(update={"shape": run.shape.model_copy(update={"dropout": 0.0})})


def small_data():
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(0, 256, (200, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return {"known": known, "labels": torch.arange(200) % 6, "outliers": known.flip(0)[:90]}


def normalised(norm, part=slice(None)):
    """Forward and backward through a batch norm, on a part of a batch: output, gradients and statistics."""
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(8, 5, 4, 4, generator=generator)
    x, weights = x[part].requires_grad_(), torch.randn(8, 5, 4, 4, generator=generator)[part]
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 5))
    y = norm(x)
    (y * weights).sum().backward()
    gradients = {"x gradient": x.grad, "weight gradient": norm.weight.grad, "bias gradient": norm.bias.grad}
    return {"y": y.detach(), **gradients, **norm.state_dict()}


def one_step(run, of=team.ALONE):
    trained = engine.Engine(run, small_data(), 6, CPU, team=of)
    index = torch.arange(run.schedule.known_batch)
    trained.step(index, index[: run.schedule.outlier_batch], 0.1, torch.Generator().manual_seed(0))
    return dict(trained.model.state_dict())


def two_epochs(run, of=team.ALONE):
    """Weights and statistics after two epochs in float64, in which rounding cannot grow into a difference."""
    single = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    try:
        trained = engine.Engine(run, small_data(), 6, CPU, team=of)
        terms = [trained.epoch(number) for number in range(2)]
        return dict(trained.model.state_dict()), terms
    finally:
        torch.Tensor.float = single
        torch.set_default_dtype(torch.float32)


def member(rank, folder, run):
    """What each of two processes does."""
    os.environ["ICELIB_TERMINAL"] = ""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    of = team.Team(rank, 2)
    network = nn.Sequential(nn.BatchNorm2d(5))
    team.replace_batch_norm(network)
    found = [normalised(network[0], slice(4 * rank, 4 * rank + 4)), one_step(run, of), *two_epochs(run, of)]
    torch.save(found, folder / f"{rank}.pt")


def test_two_processes_compute_what_one_does(inside, tmp_path):
    run = a_run()
    folder = tmp_path / "meeting"
    folder.mkdir()
    torch.multiprocessing.spawn(member, (folder, run), 2)
    (norm, *first), (other_norm, *second) = (torch.load(folder / f"{rank}.pt") for rank in (0, 1))
    for a, b in ((first[0], second[0]), (first[1], second[1])):
        assert all(torch.equal(a[name], b[name]) for name in a), "both hold the same network to the bit"
    assert first[2] == second[2]

    whole = normalised(nn.BatchNorm2d(5))
    joined = {name: torch.cat([norm[name], other_norm[name]]) for name in ("y", "x gradient")}
    joined |= {name: norm[name] + other_norm[name] for name in ("weight gradient", "bias gradient")}
    assert set(norm) == set(whole), "names in a checkpoint are the same"
    for name in whole:
        torch.testing.assert_close((norm | joined)[name], whole[name], rtol=1e-5, atol=1e-5)

    def distance(x, y):
        return max(float((x[n] - y[n]).double().norm() / y[n].double().norm().clamp(min=1e-9)) for n in y)

    assert distance(first[0], one_step(run)) < 1e-3, "float32, one step: sums in another order"
    weights, terms = two_epochs(run)
    assert distance(first[1], weights) < 1e-10, "float64, two epochs"
    assert first[2] == [pytest.approx(epoch, rel=1e-10) for epoch in terms]


def spread_over(project, devices, **schedule):
    values = project.params
    values["devices"] = devices
    values["tiny"]["protocols"]["scratch"].update(schedule)
    project.params = values
    return params.run(*RUN, "ice", 0)


@pytest.mark.slow
def test_sigterm_ends_all_processes_in_order_and_the_same_command_goes_on(inside):
    """From the notebook, as the pipeline does; with dropout, since the number of processes stays."""
    run = spread_over(inside, 2, epochs=3, known_batch=64, outlier_batch=64)
    whole = training.train(run)
    expected = paths.checkpoint(run).read_bytes()
    environment = json.loads(paths.history(run).read_text())["environment"]
    assert environment["devices"] == 2 and [epoch["epoch"] for epoch in whole] == [1, 2, 3]
    assert not list(paths.RESUME.glob("*/state*"))
    paths.checkpoint(run).unlink()

    parts = dict(zip(("scale", "known", "network", "protocol", "method", "seed"), (*RUN, "ice", "0"), strict=True))
    arguments = [x for item in parts.items() for x in ("-p", *item)]
    command = ["-m", "icelib.notebooks", "run", "notebooks/02_training.ipynb", "reports/r.ipynb", *arguments]
    process = inside.start(sys.executable, *command)
    state, deadline = paths.RESUME / run.digest / "state.safetensors", time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == errors.STOPPED, output
    assert f"error: StoppedError: run {run.name} was told to stop" in output and "Traceback" not in output
    assert not paths.checkpoint(run).exists()
    _, about = tensors.load(state)

    alone = spread_over(inside, 1)
    message = rf"begun with devices = 2 and cannot go on with devices = 1.*set devices to 2 .*\.resume/{run.digest}"
    with pytest.raises(ValueError, match=message):
        training.train(alone)

    again = training.train(spread_over(inside, 2))
    assert again[: len(about["history"])] == about["history"], "no finished epoch was taken twice"
    assert paths.checkpoint(run).read_bytes() == expected


def test_divergence_in_several_processes_is_told_as_in_one(inside):
    run = params.vary(spread_over(inside, 2), {"learning_rate": 1e9, "clip": 1e9, "shape": "steps"})
    with pytest.raises(errors.DivergedError, match=r"^run few-\S+: loss is not finite at epoch 1 of 2, step \d+ of"):
        training.train(run, keep=False)


def test_batches_that_cannot_be_divided_are_refused(inside):
    with pytest.raises(
        ValueError, match=r"tiny.protocols.scratch.known_batch = 32: expected a multiple of devices = 3"
    ):
        training.train(spread_over(inside, 3))
    with pytest.raises(
        ValueError, match=r"tiny.protocols.scratch.outlier_batch = 21: expected a multiple of devices = 2"
    ):
        training.train(spread_over(inside, 2, outlier_batch=21))


def test_more_devices_than_gpus_are_refused(inside, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"devices = 2 in params.yaml, but PyTorch finds 1 GPU"):
        training.train(spread_over(inside, 2))


@pytest.mark.parametrize(
    ("outcomes", "kind", "message"),
    [
        (  # the second failed first, and so the first lost its connection
            [("RuntimeError", "connection closed", 2), ("OSError", "cannot write x", 1)],
            OSError,
            "cannot write x",
        ),
        ([("OutOfMemoryError", "tried to allocate", 1)], RuntimeError, "OutOfMemoryError: tried to allocate.*1 ended"),
        ([], RuntimeError, r"without a result; of 2 processes 2 ended without a word.*\(see scratch/few-.*.failed.log"),
    ],
)
def test_the_first_error_of_several_processes_is_told(inside, tmp_path, outcomes, kind, message):
    (tmp_path / "log").write_text("what torchrun printed")
    for rank, (name, text, when) in enumerate(outcomes):
        outcome = {"error": name, "message": text, "time": when}
        (tmp_path / f"{rank}.outcome").write_text(json.dumps(outcome))
    run = a_run()
    with pytest.raises(kind, match=message):
        distributed._outcome(run, tmp_path, 2, stopped=False)
    assert (inside.root / "scratch" / f"{run.name}.failed.log").exists() == (kind is RuntimeError)
