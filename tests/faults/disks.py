"""Disks that are full or read-only, as file systems of their own mounted over the project's folders."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.lab import MAKE, REPRO, drop, said, stages

RUN = "tiny-few-wideresnet-scratch-ice-0"
# what is written, the stage that writes it, the folder it is written to
WRITES = (
    ("prepared data set", "own_data@digits-train", "data/sets"),
    ("task files", "task@tiny-few", "data/tasks"),
    ("exported code of a notebook", "code@02_training", "notebooks/code"),
    ("resume state", f"train_few@{RUN}", ".resume"),
    ("checkpoint", f"train_few@{RUN}", "checkpoints"),
    ("history", f"train_few@{RUN}", "results/history"),
    ("executed notebook", f"train_few@{RUN}", "reports"),
    ("scores", f"score_few@{RUN}", "results/scores"),
    ("metrics", f"metrics_few@{RUN}", "results/metrics"),
    ("logits on the way", f"trace_few@{RUN}", "results/logits"),
    ("measures on the way", f"trace_few@{RUN}", "results/traces"),
    ("sweep", "sweep@tiny-ice-weight", "results/sweeps"),
    ("tables and figures", "benchmark", "figures"),
)
PAGE = 4096


def allowed():
    """Whether this process may mount: the drill runs in a mount namespace of its own, see `__main__`."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode == 0
        if made:
            subprocess.run(["umount", folder], check=True)
        return made


@contextlib.contextmanager
def small(folder, spare):
    """Put `folder` on a file system of its own with so many spare bytes; yield a function that changes their number."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        _move(folder, aside)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", folder], check=True)
        try:
            _move(aside, folder)

            def resize(spare):
                disk = os.statvfs(folder)
                used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
                # a size of 0 would mean no limit
                size = max(used + spare, PAGE)
                subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)

            resize(spare)
            yield resize
            _move(folder, aside)
        finally:
            subprocess.run(["umount", folder], check=True)
        _move(aside, folder)


@contextlib.contextmanager
def read_only(folder):
    """Mount `folder` over itself, read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _move(source, target):
    for path in Path(source).iterdir():
        shutil.move(path, target)


def full(lab, report, random):
    """A full disk at each place that the pipeline writes to, and a small one under the whole project."""
    report.begin(
        "full disk",
        "full disk: data, task, resume state, checkpoint, history, scores, metrics, traces, sweep, tables and figures, reports, whole project",
        "an error names the file, what was there stays; with room, the same command makes the same outputs",
    )
    project = lab.copy()
    for what, stage, place in WRITES:
        spares = (0, random.randrange(1, 16) * PAGE, random.randrange(16, 64) * PAGE)
        for spare in spares if place in ("figures", "checkpoints") else (0,):
            _writing(lab, report, project, "full disk", what, stage, place, lambda path, s=spare: small(path, s), f", {spare:,} bytes left")  # fmt: skip
    for spare in (40 * PAGE, random.randrange(50, 400) * PAGE, random.randrange(400, 1500) * PAGE):
        _whole(lab, report, spare)


def readonly(lab, report):
    """A read-only folder at each place that the pipeline writes to."""
    report.begin(
        "read-only",
        "read-only folder, at each of these places",
        "an error names the file, what was there stays; writable again, the same command makes the same outputs",
    )
    project = lab.copy()
    for what, stage, place in WRITES:
        _writing(lab, report, project, "read-only", what, stage, place, read_only, "")
    _foreign(lab, report, lab.copy())


def _writing(lab, report, project, fault, what, stage, place, broken, note):
    """Give a stage's own command while its folder cannot be written to, then again."""
    command = ("sh", "-c", stages(project)[stage]["cmd"])
    folder, problems = project.root / place, []
    for path in project.root.glob(".resume/*/state*"):
        path.unlink()
    with broken(folder):
        before = _content(folder)
        status, output = project.call(*command, check=False)
        if status == 0:
            problems.append("no error")
        if place not in output or not ("No space left" in output or "Read-only" in output):
            problems.append(f"the error does not name the file: {said(output)}")
        if "Traceback" in output:
            problems.append("a traceback instead of one line")
        if _content(folder) != before and place != ".resume":
            problems.append("what was there did not stay")
    again, said_then = project.call(*command, check=False)
    if again:
        problems.append(f"the same command failed: {said(said_then)}")
    report.case(fault, f"{what}{note}", problems, lab.compare(), said=said(output))


def _content(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _whole(lab, report, spare):
    """The pipeline from its trainings on, on a disk too small for it, and again when there is room."""
    project, problems = lab.copy(), []
    drop(project, "train_few|score|metrics|trace|sweep|benchmark|ablations|tsne")
    with small(project.root, spare) as resize:
        status, output = project.call(*REPRO, check=False)
        if status == 0:
            problems.append("no error")
        resize(1 << 30)
        again, said_then = project.call(*MAKE, check=False)
        if again:
            problems.append(f"the same command failed: {said(said_then)}")
        wrong = lab.compare() if not again else []
    report.case(
        "full disk", f"whole project, {spare:,} bytes left", problems, wrong, said=said(output), then=said(said_then) if again else []
    )  # fmt: skip


def _foreign(lab, report, project):
    """The project of another user, who gave no permission to write."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        print("read-only: another user's project needs root and setpriv; not tried")
        return
    drop(project, f"metrics_few@{RUN}")
    for path in (lab.folder, *lab.folder.parents):
        if not path.stat().st_mode & 0o001:
            print(f"read-only: other users cannot reach {path}; not tried")
            return
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")
    command = (sys.executable, "-m", "icelib.results", *RUN.split("-"))
    status, output = project.call(*user, *command, check=False)
    problems = [] if status and "Permission denied" in output and "Traceback" not in output else [str(said(output))]
    again, said_then = project.call(*REPRO, check=False)
    problems += [f"the same command failed: {said(said_then)}"] if again else []
    report.case("read-only", "another user's project", problems, lab.compare(), said=said(output))
