"""Training of runs into the store: resuming, reproducing, side by side, and what it writes."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import time

import numpy as np
import pytest
import threadpoolctl
import torch
from filelock import FileLock

from icelib.config import runs
from icelib.data import tasks
from icelib.methods import METHODS
from icelib.training import engine, parallel, store, train
from icelib.util import paths, tensors
from icelib.util.errors import DivergedError, StoppedError
from tests.conftest import RUN, Project


def a_run(method="ice", **schedule):
    run = runs.run(*RUN, method, 0)
    return run.model_copy(update={"schedule": run.schedule.model_copy(update=schedule)})


def entry(run):
    """Files of a run's entry in the store, but for what tells of the time that it took."""
    folder = store.place(store.digest(run))
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}
    drop = lambda epoch: {k: v for k, v in epoch.items() if k not in ("seconds", "images_per_second")}
    return files | {"epochs": [drop(epoch) for epoch in store.history(run)["epochs"]]}


def interrupt(monkeypatch, at):
    """Let the epoch number `at` (from 0, counted over trainings) end as Ctrl-C would; return the numbers trained."""
    real, calls = engine.Engine.epoch, []

    def epoch(self, number, *arguments):
        calls.append(number)
        if len(calls) == at + 1:
            raise KeyboardInterrupt
        return real(self, number, *arguments)

    monkeypatch.setattr(engine.Engine, "epoch", epoch)
    return calls


def test_training_learns_the_tiny_task(inside):
    history = train.train(a_run("ice", epochs=6))
    assert history[-1]["accuracy"] > 0.9
    assert history[-1]["validation"]["outliers"]["auroc"] > 0.9
    assert history[-1]["loss"]["cross_entropy"] < history[0]["loss"]["cross_entropy"]
    assert all(np.isfinite(epoch["images_per_second"]) for epoch in history)


def test_a_history_tells_of_every_epoch(inside):
    run = a_run("ice", epochs=2)
    train.train(run)
    history = store.history(run)
    assert history["digest"] == store.digest(run) and [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]
    assert set(history["epochs"][0]) == {
        "epoch", "learning_rate", "loss", "accuracy", "validation", "score_quantiles", "seconds", "images_per_second",
    }  # fmt: skip
    assert set(history["epochs"][0]["loss"]) == {"cross_entropy", "ice_id", "ice_ood"}
    assert history["environment"]["precision"] == "float32" and history["environment"]["threads"] == 1
    steps = len(tasks.load("digits", "train")[0]["known"]) // 32
    for epoch, found in enumerate(history["epochs"]):
        last = (epoch + (steps - 1) / steps) / 2
        assert found["learning_rate"] == pytest.approx(0.1 * engine.learning_rate_factor(run.schedule, last))


def test_what_was_trained_is_taken_and_not_trained_again(inside, monkeypatch):
    first = train.train(a_run(epochs=1))
    monkeypatch.setattr(engine.Engine, "epoch", lambda *_: 1 / 0)
    seen = []
    assert train.train(a_run(epochs=1), seen.append) == first and seen == [first]


def test_interrupted_training_ends_in_the_same_bits(inside, monkeypatch):
    run = a_run(epochs=3)
    train.train(run)
    expected = entry(run)
    shutil.rmtree(paths.STORE)
    calls = interrupt(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train.train(run)
    assert store.take(run) is None, "an unfinished run is no entry"
    train.train(run)
    assert calls == [0, 1, 2, 2], "it goes on from the last finished epoch"
    assert entry(run) == expected and len(expected) == 1 + 4 + 1
    assert not list((paths.STORE / "unfinished").glob("*/*")), "nothing is left once the run is complete"


def test_states_on_the_way_are_kept_evenly_spaced(inside):
    run = a_run(epochs=4, snapshots=2)
    train.train(run)
    weights = lambda epoch: store.load(run, epoch=epoch)[0].state_dict()
    trained = store.load(run)[0].state_dict()
    assert all(torch.equal(weights(4)[name], value) for name, value in trained.items())
    start = engine.Engine(run, tasks.load("digits", "train")[0], 6, torch.device("cpu")).model.state_dict()
    assert all(torch.equal(weights(0)[name], value) for name, value in start.items())
    assert not torch.equal(weights(2)["head.means"], weights(4)["head.means"])
    with pytest.raises(ValueError, match=r"epochs/0003.safetensors is missing; run `dvc repro`"):
        store.load(run, epoch=3)


@pytest.mark.parametrize(
    ("epochs", "snapshots", "kept"), [(7, 7, list(range(8))), (100, 10, list(range(0, 101, 10))), (3, 10, [0, 1, 2, 3])]
)
def test_kept_epochs(inside, epochs, snapshots, kept):
    assert a_run(epochs=epochs, snapshots=snapshots).schedule.kept_epochs == kept


@pytest.mark.parametrize("damage", ["snapshot", "state"])
def test_an_interrupted_run_whose_files_are_damaged_starts_anew(inside, monkeypatch, capsys, damage):
    run = a_run(epochs=2)
    calls = interrupt(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train.train(run)
    folder = store.unfinished(store.digest(run))
    if damage == "snapshot":
        (folder / "epochs/0001.safetensors").unlink()
    else:
        content = bytearray((folder / "state.safetensors").read_bytes())
        content[-5] ^= 1
        (folder / "state.safetensors").write_bytes(content)
    train.train(run)
    told = {"snapshot": "snapshots of the interrupted run are missing", "state": "is damaged"}[damage]
    assert calls == [0, 1, 0, 1] and told in capsys.readouterr().err


def test_fine_tuning_trains_the_plain_network_first(inside):
    run = runs.run("digits", "wideresnet", "finetune", "ice", 0)
    train.train(run)
    assert store.take(run.parent) and store.history(run)["parent"] == store.load(run.parent)[1]["sha256"]


def test_a_run_that_diverges_is_kept_as_such_and_stops_no_other(inside, monkeypatch):
    values = inside.params
    values["protocols"]["sweep"]["clip"], values["train"]["ice"]["weight"] = 1e9, 0.0
    inside.params = values
    run = runs.vary(runs.run(*RUN, "ice", 0), {"learning_rate": 1e9, "clip": 1e9})
    other = a_run("plain", epochs=1)
    histories = train.train_all([run, other], jobs=1)
    assert "loss is not finite at epoch 1" in histories[0]["diverged"] and len(histories[1]["epochs"]) == 1
    monkeypatch.setattr(engine.Engine, "epoch", lambda *_: 1 / 0)
    with pytest.raises(DivergedError, match="loss is not finite"):
        train.train(run)


def test_what_starts_from_a_run_that_diverged_is_told_as_such(inside):
    values = inside.params
    values["protocols"]["scratch"] |= {"learning_rate": 1e9, "clip": 1e9, "epochs": 1}
    inside.params = values
    (_, told) = train.train_all([a_run("plain"), runs.run(*RUN[:2], "finetune", "ice", 0)], jobs=1)
    assert "digits-wideresnet-scratch-plain-0" in told["diverged"] and "not finite" in told["diverged"]


def test_a_mistake_in_a_loss_is_told_with_its_file_and_line(inside, monkeypatch):
    path = paths.PACKAGE / "methods/ice.py"
    wrong = {"F": None}
    exec(
        compile(
            "def loss(known_logits, labels, outlier_logits, *, weight):\n    return labels @ known_logits", path, "exec"
        ),
        wrong,
    )
    monkeypatch.setitem(METHODS, "ice", METHODS["ice"]._replace(loss=wrong["loss"]))
    with pytest.raises(ValueError, match=r"run digits-wideresnet-scratch-ice-0: .*icelib/methods/ice.py, line 2\)"):
        train.train_all([a_run("ice", epochs=1)], jobs=1)


@pytest.mark.parametrize("bound", [{"jobs": 0}, {"jobs": -3}, {"minutes": float("nan")}])
def test_bounds_that_mean_nothing_are_refused(inside, bound):
    with pytest.raises(ValueError, match=r"(jobs|minutes) = \S+: expected a number from"):
        train.train_all([a_run("plain", epochs=1)], **bound)


def test_one_error_names_the_runs_that_failed(inside, monkeypatch):
    real = engine.Engine.__init__

    def broken(self, run, *arguments):
        if run.method == "ice":
            raise ValueError("on purpose")
        real(self, run, *arguments)

    monkeypatch.setattr(engine.Engine, "__init__", broken)
    with pytest.raises(
        ValueError, match=r"1 of 2 runs are not trained:\n- run digits-wideresnet-scratch-ice-0: on purpose"
    ):
        train.train_all([a_run("ice", epochs=1), a_run("plain", epochs=1)], jobs=1)
    assert store.take(a_run("plain", epochs=1))


def test_no_epoch_is_begun_after_the_deadline(inside):
    with pytest.raises(StoppedError, match=r"1 of 1 runs are not trained:\n.*0 of 2 epochs are done; the same command"):
        train.train_all([a_run()], jobs=1, minutes=-1)


def test_the_time_bounds_the_wait_for_another_process_too(inside):
    run = a_run()
    path = store.unfinished(store.digest(run)).with_suffix(".lock")
    path.parent.mkdir(parents=True)
    with FileLock(path), pytest.raises(StoppedError, match=r"ice-0: time was over while another process trains it"):
        train.train(run, deadline=time.time() + 0.1)


def test_no_library_computes_with_more_threads_than_the_run_has(inside, monkeypatch):
    seen = []
    note = lambda *_: seen.extend(threadpoolctl.threadpool_info()) or {"accuracy": 0.0}
    monkeypatch.setattr(train, "validate", note)
    with threadpoolctl.threadpool_limits(2):
        train.train(a_run(epochs=1))
        assert {x["num_threads"] for x in threadpoolctl.threadpool_info()} == {2}
    assert {x["user_api"] for x in seen} >= {"blas", "openmp"} and {x["num_threads"] for x in seen} == {1}


def test_a_worker_that_is_killed_is_told_in_one_line(inside):
    kill = lambda number: os.kill(os.getpid(), signal.SIGKILL) if number else None
    with pytest.raises(StoppedError, match=r"a process that worked on runs was killed, .* memory .*parallel.jobs"):
        parallel.parallel(kill, [0, 1], jobs=2)


def test_candidates_have_names_of_their_own_in_lines_of_progress(inside):
    first, second = (runs.vary(a_run(), {"weight": weight}) for weight in (0.1, 0.2))
    name = "digits-wideresnet-scratch-ice-0"
    assert train._labels([first, second, a_run("plain")]) == [
        f"{name} weight=0.1", f"{name} weight=0.2", "digits-wideresnet-scratch-plain-0",
    ]  # fmt: skip


def test_side_by_side_or_one_after_another_with_equal_bits(ready):
    """By the command, in processes of their own, which tell how far each is; a store is copied into another project."""
    values = ready.params
    values["runs"] = [values["runs"][0], values["runs"][2]]
    ready.params = values
    path = ready.root / "icelib/training/parallel.py"
    path.write_text(path.read_text().replace("EVERY = 20", "EVERY = 0.2"))
    _, output = ready.python("training.train", "--jobs", 2)
    assert re.search(r"^  \d of 3 runs(, \d+:\d\d left)?: \d+ % \d+:\d\d so far", output, re.M)
    assert re.search(r"^  digits-wideresnet-scratch-ice-0: \d+ % epoch \d/2 loss \d", output, re.M)
    assert "3 of 3 runs, 0:00 left: 100 %" in output
    pattern = ".dvc/store/runs/**/*.safetensors"
    trained = ready.bytes(pattern)
    shutil.copytree(ready.root, ready.root.parent / "other", ignore=shutil.ignore_patterns(".dvc"))
    other = Project(ready.root.parent / "other")
    other.python("training.train", "--jobs", 1, "digits-wideresnet-scratch-ice-0")
    found = other.bytes(pattern)
    assert found and found.items() <= trained.items()
    shutil.copytree(ready.root / ".dvc", other.root / ".dvc", dirs_exist_ok=True)
    _, output = other.python("training.train")
    assert "runs, " not in output and output.count("trained") == 3, "all were in the store"
    _, output = other.python("training.train", "digits-wideresnet-scratch-icy-0", check=False)
    assert (
        "error: unknown run: 'digits-wideresnet-scratch-icy-0' (did you mean 'digits-wideresnet-scratch-ice-0'?)"
        in output
    )


def test_a_worker_ends_with_the_process_that_waits_for_it(ready):
    """Whoever is killed, nothing goes on in the background."""
    import psutil

    values = ready.params
    values["protocols"]["scratch"]["epochs"] = 200
    ready.params = values
    process = ready.start(sys.executable, "-m", "icelib.training.train", "--jobs", "2")
    deadline = time.monotonic() + 120
    while len(list(ready.root.glob(".dvc/store/unfinished/*/state.safetensors"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_the_train_stage_copies_what_is_declared_and_removes_what_is_not(inside):
    left = paths.checkpoints("tiny") / "digits-wideresnet-scratch-oe-0"
    left.mkdir(parents=True)
    history = paths.results("tiny") / "history/digits-wideresnet-scratch-oe-0.json"
    history.parent.mkdir(parents=True)
    history.write_text("{}")
    values = inside.params
    values["runs"] = values["runs"][:1]
    inside.params = values
    found = train.declared(jobs=1)
    names = {run.name for run in runs.declared()}
    assert set(found) == {path.name for path in paths.checkpoints("tiny").iterdir()} == names
    assert {path.stem for path in history.parent.iterdir()} == names
    shutil.rmtree(paths.STORE)
    store.refill()
    assert all(store.take(run) for run in runs.declared()), "a store that was lost is filled from the copies"


def test_full_disk_leaves_no_half_file(inside):
    run = a_run(epochs=1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*safetensors: File too large; nothing was changed"):
            train.train(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not [path for path in inside.root.rglob("*") if path.name.startswith(".writing-")]
    assert store.take(run) is None


@pytest.mark.parametrize("jobs", ["auto", 3])
def test_jobs_go_by_cores_and_threads(inside, monkeypatch, jobs):
    values = inside.params
    values["threads"], values["parallel"] = 2, {"jobs": jobs}
    inside.params = values
    monkeypatch.setattr(parallel.joblib, "cpu_count", lambda: 8)
    assert parallel._jobs(runs.load()) == {"auto": 4, 3: 3}[jobs]


def test_trainings_run_on_a_dask_cluster(ready):
    pytest.importorskip("distributed", reason="dask is an optional extra")
    values = ready.params
    values["parallel"] = {"jobs": 2, "backend": "dask"}
    values["runs"] = values["runs"][:1]
    ready.params = values
    _, output = ready.python("training.train")
    assert output.count("trained") == 2


def test_a_history_holds_what_was_trained_on(inside):
    run = a_run(epochs=1)
    train.train(run)
    about = json.loads((store.place(store.digest(run)) / "run.json").read_text())
    for part in ("train", "validation"):
        assert about["images"][part] == tensors.read_about(paths.tasks("tiny") / f"digits/{part}.safetensors")["sha256"]
    assert about["run"] == run.model_dump()
    assert about["environment"]["libraries"]["torch"] in about["environment"]["torch"]
