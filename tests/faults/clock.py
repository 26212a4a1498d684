"""Clocks that are wrong, before or while the pipeline runs."""

import os
import subprocess
import sys
import time
from pathlib import Path

from icelib.files import write_bytes
from tests.faults.disks import RUN
from tests.faults.lab import REPRO, again, drop, said

YEAR, DAY, HOUR = 365 * 86400, 86400, 3600
STAGES = "train_few|score_few|metrics_few|sweep|benchmark|tsne"


def clock(lab, report, random):
    """Clocks that go back, also while the pipeline runs, and files from the future."""
    shifted = _shifted_clock(lab.folder)
    report.begin(
        "clock",
        "clock that programs read set back or forward, before or while they run; files dated to the future or to 1970",
        "the same outputs, and what did change is still noticed",
        "" if shifted else "dates of files alone: the clock could not be set",
    )
    if shifted:
        for what, offset in (("back a year", -YEAR), ("forward a year", YEAR), ("back an hour", -HOUR)):
            project = lab.copy()
            drop(project, STAGES)
            project.environment |= shifted(offset)
            report.case("clock", f"set {what} before `dvc repro`", again(project), lab.compare())
        _while_running(lab, report, random, shifted)
        _change(lab, report, shifted)
    for what, shift in (("the future", YEAR), ("1970", None)):
        project = lab.copy()
        for path in project.root.rglob("*"):
            if path.is_file() and ".git" not in path.parts and ".dvc" not in path.parts:
                os.utime(path, (time.time() + shift,) * 2 if shift else (0, 0))
        drop(project, "metrics_few|benchmark")
        report.case("clock", f"all files dated to {what}", again(project), lab.compare())


def _shifted_clock(folder):
    """Compile clock.c; return what sets an offset in seconds and returns the environment; None where that fails."""
    library, sheet = folder.resolve() / "clock.so", folder.resolve() / "clock"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).with_name("clock.c"))]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None

    def shifted(offset):
        write_bytes(sheet, str(offset).encode())  # whole: a clock that reads half of it would jump
        return {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(sheet)}

    command = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(command, env=os.environ | shifted(-YEAR), capture_output=True, text=True, check=True).stdout
    return shifted if abs(time.time() - YEAR - float(told)) < DAY else None


def _while_running(lab, report, random, shifted):
    """Set the clock back by a day in the middle of the pipeline, several times."""
    project = lab.copy()
    drop(project, STAGES)
    project.environment |= shifted(0)
    log, days = lab.folder / "clock.log", 0
    process = project.start("sh", "-c", f'exec "$@" > "{log}" 2>&1', "-", *REPRO)  # a pipe might fill
    while process.poll() is None:
        time.sleep(random.uniform(2, 12))
        if process.poll() is not None:
            break
        days += 1
        shifted(-days * DAY)
    problems = [f"status {process.returncode}: {said(log.read_text())}"] if process.returncode else []
    report.case("clock", f"set back by a day {days} times while `dvc repro` runs", problems, lab.compare())


def _change(lab, report, shifted):
    """A value that is changed while the clock is a year back must be noticed, and so must its return."""
    project = lab.copy()
    project.environment |= shifted(-YEAR)
    values = project.params
    values["tiny"]["bootstrap"] = 21
    project.params = values
    stage = f"metrics_few@{RUN}"
    past = time.time() - YEAR
    os.utime(project.root / "params.yaml", (past, past))
    problems = again(project, stage)
    if not lab.compare():
        problems.append("the change was not noticed")
    values["tiny"]["bootstrap"] = 20
    project.params = values
    os.utime(project.root / "params.yaml", (past - 10, past - 10))
    report.case("clock", "a parameter changed and changed back, a year ago", problems + again(project), lab.compare())
