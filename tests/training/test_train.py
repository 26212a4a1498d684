"""The training engine: resuming, reproducing, stopping, and what it writes."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections import Counter

import numpy as np
import pytest
import torch

from icelib import batches, checkpoints, data, engine, errors, models, params, paths, schema, tasks, tensors, training
from icelib.methods import PAPER
from tests.conftest import RUN

CPU = torch.device("cpu")


def a_run(method="ice", **schedule):
    run = params.run(*RUN, method, 0)
    return run.model_copy(update={"schedule": run.schedule.model_copy(update=schedule)})


def small_data():
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(0, 256, (200, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return {"known": known, "labels": torch.arange(200) % 6, "outliers": known.flip(0)[:90]}


def test_training_learns_the_tiny_task(inside):
    history = training.train(a_run("ice", epochs=6))
    assert history[-1]["accuracy"] > 0.9
    assert history[-1]["validation"]["outliers"]["auroc"] > 0.9
    assert history[-1]["loss"]["cross_entropy"] < history[0]["loss"]["cross_entropy"]
    assert all(np.isfinite(epoch["images_per_second"]) for epoch in history)


@pytest.mark.parametrize("method", sorted(PAPER))
def test_every_method_takes_steps(inside, method):
    values = inside.params
    train, margins = values["tiny"]["train"], {"margin_known": -5.0, "margin_outlier": -1.0}
    train["energy"] = {"weight": 0.1} | margins
    train["energy_gaussian"] = train["ice"] | {"margin_known": 1.0, "margin_outlier": 8.0}
    train["bce"], train["ice_minus"] = train["oe"], train["ice"]
    inside.params = values
    terms = engine.Engine(params.run(*RUN, method, 0), small_data(), 6, CPU).epoch(0)
    assert len(terms) >= 1 and all(np.isfinite(value) for value in terms.values())


def test_fewer_images_than_processes_are_refused(inside):
    class Two:  # a Team of two needs a second process
        size, part = 2, (0, 2)

    data = {name: x[:1] for name, x in small_data().items()}
    with pytest.raises(ValueError, match=r"run few-wideresnet-scratch-ice-0: 1 known images for devices = 2"):
        engine.Engine(a_run(), data, 6, CPU, team=Two())


def test_interrupted_training_ends_in_the_same_weights(inside, monkeypatch):
    run = a_run(epochs=3)
    whole = training.train(run)
    states = lambda: {path.name: path.read_bytes() for path in paths.snapshots(run).iterdir()}
    expected, on_the_way = paths.checkpoint(run).read_bytes(), states()
    paths.checkpoint(run).unlink()
    shutil.rmtree(paths.snapshots(run))

    real, calls = engine.Engine.epoch, []

    def interrupted(self, number):
        calls.append(number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(engine.Engine, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(run)
    assert not paths.checkpoint(run).exists(), "an unfinished run has no checkpoint"
    assert not paths.snapshots(run).exists()
    again = training.train(run)
    assert calls == [0, 1, 2, 2], "it goes on from the last finished epoch"
    assert paths.checkpoint(run).read_bytes() == expected
    assert states() == on_the_way and len(on_the_way) == 4
    drop = lambda history: [
        {k: v for k, v in epoch.items() if k not in ("seconds", "images_per_second")} for epoch in history
    ]
    assert drop(again) == drop(whole)
    assert not list(paths.RESUME.glob("*/state*")), "the state is removed once the run is complete"


def test_states_on_the_way_are_kept_evenly_spaced(inside):
    run = a_run(epochs=4, snapshots=2)
    training.train(run)
    assert run.schedule.kept_epochs == [0, 2, 4]
    assert sorted(path.name for path in paths.snapshots(run).iterdir()) == [f"000{i}.safetensors" for i in (0, 2, 4)]
    weights = lambda epoch: checkpoints.load(run, epoch=epoch)[0].state_dict()
    trained = checkpoints.load(run)[0].state_dict()
    assert all(torch.equal(weights(4)[name], value) for name, value in trained.items())
    data, _ = tasks.load("tiny", "few", "train")
    start = engine.Engine(run, data, 6, CPU).model.state_dict()
    assert all(torch.equal(weights(0)[name], value) for name, value in start.items())
    assert not torch.equal(weights(2)["head.means"], weights(4)["head.means"])
    with pytest.raises(ValueError, match=r"wideresnet-scratch-ice-0.epochs/0003.safetensors is missing; `dvc repro`"):
        checkpoints.load(run, epoch=3)


def test_training_again_replaces_the_states_on_the_way(inside):
    training.train(a_run(epochs=2))
    shorter = a_run(epochs=1)
    training.train(shorter)
    assert [path.name for path in sorted(paths.snapshots(shorter).iterdir())] == [
        "0000.safetensors",
        "0001.safetensors",
    ]


@pytest.mark.parametrize(
    ("epochs", "snapshots", "kept"), [(7, 7, list(range(8))), (100, 10, list(range(0, 101, 10))), (3, 10, [0, 1, 2, 3])]
)
def test_kept_epochs(inside, epochs, snapshots, kept):
    assert a_run(epochs=epochs, snapshots=snapshots).schedule.kept_epochs == kept


def test_an_interrupted_run_without_its_states_on_the_way_starts_anew(inside, monkeypatch, capsys):
    run = a_run(epochs=2)
    real, calls = engine.Engine.epoch, []

    def interrupted(self, number):
        calls.append(number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(engine.Engine, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(run)
    (paths.RESUME / run.digest / "epochs" / "0001.safetensors").unlink()
    training.train(run)
    assert calls == [0, 1, 0, 1] and "snapshots of the interrupted run are missing" in capsys.readouterr().err


def test_state_of_other_parameters_is_not_used(inside, monkeypatch):
    run = a_run(epochs=2)
    real = engine.Engine.epoch
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: real(self, number) if number == 0 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.train(run)
    numbers = []
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: numbers.append(number) or real(self, number))
    training.train(a_run(epochs=2, learning_rate=0.05))
    assert numbers == [0, 1]


@pytest.mark.parametrize("what", ["data", "code", "environment"])
def test_state_of_other_data_code_or_hardware_is_not_used(inside, monkeypatch, capsys, what):
    run = a_run(epochs=2)
    real = engine.Engine.epoch
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: real(self, number) if number == 0 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.train(run)
    if what == "data":
        train, about = tasks.load("tiny", "few", "train")
        tensors.save(
            paths.TASKS / "tiny" / "few" / "train.safetensors", train | {"known": train["known"].flip(0)}, about
        )
    elif what == "code":
        monkeypatch.setattr(training, "code_digest", lambda: "other")
    else:
        monkeypatch.setattr(training.hardware, "describe", lambda *_: {"device": "other"})
    numbers = []
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: numbers.append(number) or real(self, number))
    training.train(run)
    assert numbers == [0, 1] and f"{what} changed since the run was interrupted" in capsys.readouterr().err


def test_a_trial_is_not_kept_but_not_trained_twice(inside, monkeypatch):
    run = a_run(epochs=1)
    first = training.train(run, keep=False)
    assert len(first) == 1 and not paths.checkpoint(run).exists() and not paths.history(run).exists()
    numbers, real = [], engine.Engine.epoch
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: numbers.append(number) or real(self, number))
    assert training.train(run, keep=False) == first and not numbers
    training.train(run)
    assert numbers == [0] and paths.checkpoint(run).exists(), "a trial's record is no checkpoint"


def finetuned(method):
    return params.run("tiny", "few", "wideresnet", "finetune", method, 0)


@pytest.fixture
def plain(inside):
    run = params.run(*RUN, "plain", 0)
    training.train(run)
    return checkpoints.load(run)[0]


def test_fine_tuning_of_a_linear_head_starts_as_the_plain_network(plain):
    run = finetuned("oe")
    started = engine.Engine(run, small_data(), 6, CPU, plain).model
    assert run.parent.name == "few-wideresnet-scratch-plain-0"
    for name, value in plain.state_dict().items():
        assert torch.equal(started.state_dict()[name], value), name


def test_fine_tuning_of_ice_starts_from_means_and_covariance_of_the_plain_features(plain):
    data, _ = tasks.load("tiny", "few", "train")
    started = engine.Engine(finetuned("ice"), data, 6, CPU, plain).model
    z = batches.predict(plain, data["known"], torch.float32, features=True)
    assert torch.equal(batches.predict(started, data["known"], torch.float32, features=True), z)
    means = torch.stack([z[data["labels"] == i].mean(0) for i in range(6)])
    torch.testing.assert_close(started.head.means.detach(), means)
    centred = z - means[data["labels"]]
    found, expected = started.head.L @ started.head.L.T / 2, centred.T @ centred / len(z)
    assert torch.linalg.norm(found - expected) < 0.2 * torch.linalg.norm(expected), "but for the shrinkage"
    # the squared distance of d standard normal coordinates has mean d, and eq. 0.9 halves it
    distance = -started.head(z).detach().gather(1, data["labels"][:, None]).mean().item()
    assert distance == pytest.approx(64 / 2, rel=0.2)


def test_fine_tuning_can_start_from_a_random_head(plain):
    run = params.vary(finetuned("ice"), {"gaussian_head": "random"})
    started = engine.Engine(run, small_data(), 6, CPU, plain).model
    torch.testing.assert_close(started.head.L, 0.1 * 8 * torch.eye(64))


def test_fine_tuning_without_the_plain_network_says_what_is_missing(inside):
    with pytest.raises(ValueError, match=r"checkpoints/tiny/few-wideresnet-scratch-plain-0.safetensors is missing"):
        training.train(finetuned("ice"))


def test_an_interrupted_fine_tuning_does_not_go_on_from_another_plain_network(plain, monkeypatch, capsys):
    run = params.vary(finetuned("ice"), {"epochs": 2})
    real = engine.Engine.epoch
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: real(self, number) if number == 0 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.train(run)
    weights, about = tensors.load(paths.checkpoint(run.parent))
    weights["backbone.stem.weight"] *= 1.01
    tensors.save(paths.checkpoint(run.parent), weights, about)
    numbers = []
    monkeypatch.setattr(engine.Engine, "epoch", lambda self, number: numbers.append(number) or real(self, number))
    training.train(run)
    assert numbers == [0, 1] and "parent changed since the run was interrupted" in capsys.readouterr().err


def test_damaged_state_is_set_aside_and_training_starts_anew(inside, capsys):
    run = a_run(epochs=1)
    state = paths.RESUME / run.digest / "state.safetensors"
    tensors.save(state, {"x": torch.zeros(100)}, {})
    content = bytearray(state.read_bytes())
    content[-5] ^= 1
    state.write_bytes(content)
    assert len(training.train(run)) == 1
    assert "damaged" in capsys.readouterr().err and state.with_suffix(".damaged").read_bytes() == content


def notebook_arguments():
    """Arguments to train ICE through the notebook, as the pipeline does."""
    parts = dict(zip(("scale", "known", "network", "protocol", "method", "seed"), (*RUN, "ice", "0"), strict=True))
    return ["run", "notebooks/02_training.ipynb", "reports/r.ipynb"] + [
        x for item in parts.items() for x in ("-p", *item)
    ]


def wait_for_a_state(project):
    """Wait until the first epoch is done."""
    deadline = time.monotonic() + 120
    while not list(project.root.glob(".resume/*/state.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow  # the function alone is interrupted in a fast test, and the drill kills 50 times
def test_kill_9_in_mid_run_then_the_same_command(ready):
    """Through papermill, as the pipeline runs it; the whole process group is killed."""
    values = ready.params
    values["tiny"]["protocols"]["scratch"]["epochs"] = 8
    ready.params = values
    arguments = notebook_arguments()
    checkpoint = ready.root / "checkpoints" / "tiny" / "few-wideresnet-scratch-ice-0.safetensors"

    ready.python("notebooks", *arguments)
    expected, report = checkpoint.read_bytes(), (ready.root / "reports" / "r.ipynb").read_bytes()
    checkpoint.unlink()

    process = ready.start(sys.executable, "-m", "icelib.notebooks", *arguments)
    wait_for_a_state(ready)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not checkpoint.exists()
    states = list(ready.root.glob(".resume/*/state.safetensors"))
    assert states, "it was killed in mid-run"
    ready.python("notebooks", *arguments)
    assert checkpoint.read_bytes() == expected
    assert (ready.root / "reports" / "r.ipynb").read_bytes() == report


@pytest.mark.slow
def test_sigterm_ends_in_order_and_the_same_command_goes_on(ready):
    """As a scheduler stops a job: the notebook ends with a status of its own, and no epoch but the last is lost."""
    values = ready.params
    values["tiny"]["protocols"]["scratch"]["epochs"] = 8
    ready.params = values
    arguments = notebook_arguments()
    checkpoint = ready.root / "checkpoints" / "tiny" / "few-wideresnet-scratch-ice-0.safetensors"
    process = ready.start(sys.executable, "-m", "icelib.notebooks", *arguments)
    wait_for_a_state(ready)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == errors.STOPPED == 75, output
    assert re.search(
        r"error: StoppedError: run few-\S+ was told to stop: it ended after step \d+ of \d+ of epoch (\d) of 8; "
        r"the same command goes on from the end of epoch \d",
        output,
    ), output
    assert not checkpoint.exists()

    ready.python("notebooks", *arguments)
    resumed = json.loads(
        (ready.root / "results" / "history" / "tiny" / "few-wideresnet-scratch-ice-0.json").read_text()
    )
    assert [epoch["epoch"] for epoch in resumed["epochs"]] == list(range(1, 9))


def test_sigterm_while_validating_ends_after_the_state_is_saved(inside, monkeypatch):
    """An epoch that is done is not lost."""
    run, validate = a_run(epochs=3), training.validate
    expected = training.train(run)[-1]["loss"]
    weights = paths.checkpoint(run).read_bytes()

    def told(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(training, "validate", told)
    with pytest.raises(errors.StoppedError, match="after step 1 of .* of epoch 2 of 3; .* from the end of epoch 1"):
        training.train(run)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(training, "validate", validate)
    assert training.train(run)[-1]["loss"] == expected
    assert paths.checkpoint(run).read_bytes() == weights


def test_loss_that_is_not_finite_stops_with_its_place(inside):
    run = a_run("ice", learning_rate=1e30, clip=1e30, shape="steps")
    with pytest.raises(
        errors.DivergedError, match=r"epoch 1 of 2, step \d+ of \d+: cross_entropy = .*, ice_id = .*, ice_ood = "
    ):
        training.train(run)
    assert not paths.checkpoint(run).exists()


def test_two_processes_do_not_train_the_same_run(inside, monkeypatch):
    run = a_run()
    from filelock import FileLock

    monkeypatch.setattr(training, "LOCK_PATIENCE", 0.1)
    (paths.RESUME / run.digest).mkdir(parents=True)
    with (
        FileLock(paths.RESUME / run.digest / "lock"),
        pytest.raises(errors.BusyError, match=f"another process is training run {run.name}"),
    ):
        training.train(run)


def test_full_disk_leaves_no_half_checkpoint(inside):
    run = a_run(epochs=1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*safetensors: File too large; nothing was changed"):
            training.train(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not [path for path in inside.root.rglob("*") if path.name.startswith(".writing-")]
    assert not paths.checkpoint(run).exists()


def test_missing_and_damaged_task_files(inside):
    path = paths.TASKS / "tiny" / "few" / "train.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data/tasks/tiny/few/train.safetensors is damaged"):
        tasks.load("tiny", "few", "train")
    path.write_bytes(b"not a tensor file")
    with pytest.raises(ValueError, match=r"train.safetensors cannot be read"):
        tasks.load("tiny", "few", "train")
    path.unlink()
    with pytest.raises(ValueError, match=r"train.safetensors is missing; `dvc repro` makes it"):
        tasks.load("tiny", "few", "train")


def test_history_tells_of_every_epoch(inside):
    run = a_run("ice", epochs=2)
    training.train(run)
    history = json.loads(paths.history(run).read_text())
    assert history["run"] == run.name and [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]
    assert set(history["epochs"][0]) == {
        "epoch", "learning_rate", "loss", "accuracy", "validation", "score_quantiles", "seconds", "images_per_second",
    }  # fmt: skip
    assert set(history["epochs"][0]["loss"]) == {"cross_entropy", "ice_id", "ice_ood"}
    assert history["environment"]["precision"] == "float32"
    steps = len(tasks.load("tiny", "few", "train")[0]["known"]) // 32
    for epoch, entry in enumerate(history["epochs"]):
        last = (epoch + (steps - 1) / steps) / 2
        assert entry["learning_rate"] == pytest.approx(0.1 * engine.learning_rate_factor(run.schedule, last))


def test_checkpoint_carries_its_configuration(inside):
    run = a_run(epochs=1)
    training.train(run)
    _, about = tensors.load(paths.checkpoint(run))
    assert about["run"] == run.model_dump() and about["classes"] == ["0", "1", "2", "3", "4", "5"]


def test_the_task_divides_without_overlap(inside):
    task = params.task("tiny", "few")
    parts, _ = tasks.divide(task)
    images, labels = data.load("digits-train")
    for name, classes in (("known", task.known.train.classes), ("outliers", task.auxiliary.classes)):
        divided = Counter(image.tobytes() for part in ("train", "validation") for image in parts[part][name])
        assert divided == Counter(image.tobytes() for image in images[np.isin(labels, classes)])
    assert len(parts["validation"]["known"]) == round(0.1 * np.isin(labels, task.known.train.classes).sum())
    # tile-shuffled images have the same pixels in another order
    jigsaw, known = (parts["validation"][name].reshape(-1, 3072) for name in ("jigsaw", "known"))
    assert np.array_equal(np.sort(jigsaw), np.sort(known)) and not np.array_equal(jigsaw, known)


def test_outliers_to_test_on_are_drawn_at_random(inside):
    found = tasks.divide(params.task("tiny", "few"))[0]["test"]["gaussian"]
    images, _ = data.load("gaussian")
    place = {image.tobytes(): i for i, image in enumerate(images)}
    order = [place[image.tobytes()] for image in found]
    assert len(set(order)) == 100 and max(order) > 1000 and order != sorted(order)


def test_auxiliary_images_that_are_tested_on_are_dropped_and_counted(inside):
    task = params.task("tiny", "few")
    leak = task.model_copy(update={"outliers": {"same": task.auxiliary}, "mean_over": ["same"]})
    parts, about = tasks.divide(leak)
    assert about["auxiliary_dropped"] >= 100
    tested = {image.tobytes() for image in parts["test"]["same"]}
    assert not any(image.tobytes() in tested for part in ("train", "validation") for image in parts[part]["outliers"])


def test_a_new_test_set_changes_no_training_image(inside):
    task = params.task("tiny", "few")
    more = task.model_copy(update={"outliers": {"new": task.outliers["digits-89"], **task.outliers}})
    old, new = tasks.divide(task)[0], tasks.divide(more)[0]
    for part in ("train", "validation"):
        for name in old[part]:
            assert np.array_equal(old[part][name], new[part][name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outlier_images": 10**6}, "outlier_images = 1000000, but outlier set 'digits-89' has only"),
        ({"validation_share": 1e-9}, "leaves none to validate on"),
    ],
)
def test_impossible_tasks(inside, change, message):
    with pytest.raises(ValueError, match=message):
        tasks.divide(params.task("tiny", "few").model_copy(update=change))


def test_unknown_classes_are_named(inside):
    task = params.task("tiny", "few")
    with pytest.raises(ValueError, match="data set 'digits-train' has no class 77"):
        tasks.divide(task.model_copy(update={"auxiliary": task.auxiliary.model_copy(update={"classes": [77]})}))
    with pytest.raises(ValueError, match="'gaussian' has no labels"):
        tasks.divide(
            task.model_copy(update={"auxiliary": task.auxiliary.model_copy(update={"set": "gaussian", "classes": [1]})})
        )


def test_few_images_of_each_class_are_drawn_at_random(inside):
    task = params.task("tiny", "few")
    part = task.known.train.model_copy(update={"per_class": 30})
    limited = task.model_copy(update={"known": task.known.model_copy(update={"train": part})})
    parts, _ = tasks.divide(limited)
    labels = np.concatenate([parts[name]["labels"] for name in ("train", "validation")])
    assert Counter(labels.tolist()) == dict.fromkeys(range(6), 30)
    whole, kept = (
        {image.tobytes() for name in ("train", "validation") for image in tasks.divide(t)[0][name]["known"]}
        for t in (task, limited)
    )
    assert kept < whole
    with pytest.raises(ValueError, match="'gaussian' has no labels, so that per_class = 3 cannot be chosen"):
        tasks.divide(
            task.model_copy(
                update={"auxiliary": part.model_copy(update={"set": "gaussian", "classes": None, "per_class": 3})}
            )
        )


def test_augmented_images_are_crops_and_mirrors():
    image = torch.randint(1, 256, (1, 3, 32, 32), dtype=torch.uint8)
    images, generator = batches.Images(image, CPU), torch.Generator().manual_seed(0)
    found = images.augmented(torch.zeros(400, dtype=torch.int64), generator)
    padded = torch.nn.functional.pad(image[0], (4,) * 4)
    crops = [padded[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
    expected = {crop.flip(dims).numpy().tobytes() for crop in crops for dims in ([], [2])}
    seen = {x.numpy().tobytes() for x in found.contiguous()}
    assert seen <= expected and len(seen) > 120  # of 162 equally likely ones


def test_every_image_is_drawn_equally_often():
    images = batches.Images(torch.zeros(10, 3, 32, 32, dtype=torch.uint8), CPU)
    counts = torch.bincount(images.order(7, 5, torch.Generator().manual_seed(0)).flatten(), minlength=10)
    assert counts.min() >= 3 and counts.max() <= 4


def test_schedules():
    shape = lambda name, **extra: a_schedule.model_copy(update={"shape": name, **extra})
    a_schedule = schema.Schedule(
        epochs=1,
        known_batch=1,
        outlier_batch=1,
        learning_rate=1.0,
        shape="cosine",
        momentum=0.9,
        weight_decay=0.0,
        clip=1.0,
    )
    factor = engine.learning_rate_factor
    steps = shape("steps", milestones=[0.5, 0.75])
    assert [factor(steps, p) for p in (0, 0.49, 0.5, 0.75)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [factor(shape("cosine"), p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [factor(shape("onecycle"), p) for p in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_one_step_is_sgd_with_nesterov_momentum_on_eq_0_15(inside):
    """The gradient is that of the whole objective, taken here by hand; the head is not decayed."""
    run = a_run("ice", shape="steps", milestones=[], clip=1e9)
    run = run.model_copy(update={"shape": run.shape.model_copy(update={"dropout": 0.0})})
    trained = engine.Engine(run, small_data(), 6, CPU)
    before = {name: p.detach().clone() for name, p in trained.model.named_parameters()}
    index, generator = torch.arange(20), torch.Generator().manual_seed(0)
    x = torch.cat([images.augmented(index, generator) for images in (trained.known, trained.outliers)])
    h = trained.model.train()(models.normalize(x).to(memory_format=torch.channels_last))
    labels, known, outlier = trained.labels[index], h[:20], h[20:].max(1).values
    likelihood = -known[torch.arange(20), labels].mean() - torch.log(1 - outlier.exp()).mean()
    objective = torch.nn.functional.cross_entropy(known, labels) + 0.1 * likelihood
    gradients = torch.autograd.grad(objective, list(trained.model.parameters()))
    trained.step(index, index, 0.1, torch.Generator().manual_seed(0))
    for (name, p), gradient in zip(trained.model.named_parameters(), gradients, strict=True):
        decay = 0.0 if name.startswith("head") else run.schedule.weight_decay
        expected = before[name] - 0.1 * 1.9 * (gradient + decay * before[name])
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5)
