"""The store of runs: entries and unfinished trainings that are damaged or half there, and trainings that meet."""

import contextlib
import shutil
import time

from icelib.config import runs
from icelib.training import store
from icelib.training import train as training
from tests.conftest import RUN
from tests.faults.lab import NAME, OTHER, REPRO, TRAIN, again, cut, entry, flip, inside, remove, said

FILES = ("run.json", "history.json", "weights.safetensors", "epochs/0000.safetensors")
CASES = [*((name, how) for name in FILES for how in (flip, cut, None)), (None, None)]


def entries(lab, report, random):
    """Damage an entry and train; lose the store and fill it from the copies in ``checkpoints/``."""
    report.begin("store", "entry of the store damaged, cut, copied by half, or of another run; the store lost")
    for name, how in CASES:
        project = lab.copy()
        folder = entry(project.root, NAME)
        if name is None:
            shutil.rmtree(folder)
            shutil.copytree(entry(project.root, OTHER), folder)
        else:
            (folder / name).write_bytes(how((folder / name).read_bytes(), random)) if how else (folder / name).unlink()
        what = f"{name}: {how.__name__ if how else 'missing'}" if name else "another run's entry under its digest"
        status, output = project.call(*TRAIN, check=False)
        told = folder.name in output and "moved to" in output
        problems = [f"status {status}"] * bool(status) + ["nothing is said of it"] * (not told)
        report.case("store", what, problems, lab.compare_store(), said=said(output))
    for damaged in (False, True):
        project = lab.copy()
        shutil.rmtree(project.root / ".dvc/store")
        copy = project.root / f"checkpoints/tiny/{NAME}"
        seconds, weights = (copy / "history.json").read_bytes(), copy / "weights.safetensors"
        weights.write_bytes(flip(weights.read_bytes(), random) if damaged else weights.read_bytes())
        problems = again(project, TRAIN)
        if not problems and ((entry(project.root, NAME) / "history.json").read_bytes() == seconds) == damaged:
            problems = ["it was not filled from the whole copies"]
        what = f"the store lost{', and a copy damaged' * damaged}"
        report.case("store", what, problems, lab.compare_store())


class Interrupted(Exception):
    """Ends a training in the midst."""


def _interrupt(epochs):
    raise Interrupted


def resume(lab, report, random, count=40):
    """Damage the state of an interrupted training, and go on."""
    report.begin("resume", "damaged state of an unfinished training")
    project, kept = lab.copy(), lab.folder / "resume"
    with inside(project):
        run = runs.run(*RUN, "ice", 0)
        folder, unfinished = store.place(store.digest(run)), store.unfinished(store.digest(run))
        remove(folder)
        with contextlib.suppress(Interrupted):
            training.train(run, _interrupt)
        shutil.copytree(unfinished, kept, dirs_exist_ok=True)
        whole = (kept / "state.safetensors").read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")  # of JSON: shapes, and what describes them
        for number in range(count):
            remove(folder)
            remove(unfinished)
            shutil.copytree(kept, unfinished)
            start = header if number % 2 else len(whole)  # every other bit is in the header, which is small
            what, changed = (
                ("bit", flip(whole[:start], random) + whole[start:]) if number else ("cut", cut(whole, random))
            )
            (unfinished / "state.safetensors").write_bytes(changed)
            try:
                training.train(run)
                problems = []
            except Exception as error:
                problems = [f"{type(error).__name__}: {error}"]
            report.case("resume", what, problems, [] if problems else lab.compare_store())


def together(lab, report, random, rounds=4):
    """Two processes at the same work."""
    report.begin("two at once", "two trainings of all runs, or two `dvc repro`, at once")
    for command in [TRAIN] * rounds + [REPRO] * rounds:
        project, lag = lab.untrained(), random.uniform(0, 6)
        first = project.start(*command)
        time.sleep(lag)
        ends = [(process.communicate()[0], process.returncode) for process in (project.start(*command), first)]
        busy = ("Unable to acquire lock", "is busy")  # as DVC says it
        problems = [str(said(text)) for text, status in ends if status and not any(words in text for words in busy)]
        problems += again(project, command)
        wrong = lab.compare_store() if command == TRAIN else lab.compare()
        report.case("two at once", f"{command[2]}, the second {lag:.1f} s later", problems, wrong)
