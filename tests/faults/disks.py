"""Disks that are full or read-only, mounted over the project's folders."""

import contextlib
import os
import shutil
import subprocess
import tempfile

from tests.faults.lab import NAME, again, maker, outputs, said

# what is written, an output of the stage that writes it, the folder it is written to
WRITES = (
    ("prepared data set", "data/sets/digits-train", "data/sets"),
    ("task files", "data/tasks/tiny/digits", "data/tasks"),
    ("training", "checkpoints/tiny", ".dvc/store"),
    ("networks", "checkpoints/tiny", "checkpoints"),
    ("histories", "checkpoints/tiny", "results/tiny/history"),
    ("executed notebook", "checkpoints/tiny", "reports"),
    ("scores", "results/tiny/scores", "results/tiny/scores"),
    ("logits on the way", "results/tiny/logits", "results/tiny/logits"),
    ("sweep", "results/tiny/sweeps", "results/tiny/sweeps"),
    ("tables and figures", "reports/tiny/03_benchmark.ipynb", "figures"),
)
PAGE = 4096


def _mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@contextlib.contextmanager
def small(folder, spare):
    """Put a copy of `folder` on a disk of its own, with so many spare bytes, in its place; yield if there are any."""
    with tempfile.TemporaryDirectory() as aside:
        shutil.copytree(folder, aside, dirs_exist_ok=True, symlinks=True)
        assert _mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", folder)
        try:
            shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
            disk = os.statvfs(folder)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            assert _mount("-o", f"remount,size={max(used + spare, PAGE)}", folder)  # 0 would mean no limit
            yield bool(spare)
        finally:
            subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def read_only(folder):
    """Mount `folder` over itself, read-only; yield that nothing can be written."""
    assert _mount("--bind", folder, folder)
    try:
        assert _mount("-o", "remount,bind,ro", folder)
        yield False
    finally:
        subprocess.run(["umount", folder], check=True)


def full(lab, report, random):
    """A full disk, or one with a few pages left, at each place that the pipeline writes to."""
    _drill(lab, report, "full disk", lambda folder: small(folder, random.choice((0, random.randrange(1, 32) * PAGE))))


def readonly(lab, report, random):
    """A read-only folder at each of these places."""
    _drill(lab, report, "read-only folder", read_only)


def _drill(lab, report, fault, broken):
    """Give a stage's own command while its folder cannot be written to, then again."""
    report.begin(fault, f"{fault}: {', '.join(what for what, *_ in WRITES)}")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        print(f"{fault}: not tried, since this user may not mount file systems")
        return
    for what, out, place in WRITES:
        project = lab.copy()
        command, folder = ("sh", "-c", maker(project, out)[1]["cmd"]), project.root / place
        if place == ".dvc/store":
            shutil.rmtree(folder / "runs")
            shutil.rmtree(project.root / "checkpoints")  # the store would be filled from there
        if place == "checkpoints":
            shutil.rmtree(folder / "tiny" / NAME)  # a copy that is whole is not written again
        with broken(folder) as spare:
            before = outputs(folder, ["."])
            status, output = project.call(*command, check=False)
            fitted = spare and not status and not lab.compare()  # the pages that were left sufficed
            problems = [] if status or fitted else ["no error"]
            if not fitted and (place not in output or not ("No space left" in output or "Read-only" in output)):
                problems.append(f"the error does not name the file: {said(output)}")
            problems += ["a traceback instead of one line"] if "Traceback" in output else []
            if place != ".dvc/store" and outputs(folder, ["."]) != before:
                problems.append("what was there did not stay")
        problems += again(project, command)
        report.case(fault, what, problems, lab.compare(), said=said(output))
