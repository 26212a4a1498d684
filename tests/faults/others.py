"""Two at once, clocks that are wrong, and notebooks that fail."""

import contextlib
import glob
import os
import shutil
import signal
import sys
import time

import nbformat
import psutil

from tests.faults.disks import RUN
from tests.faults.lab import REPRO, drop, said, stages

YEAR = 365 * 86400


def twice(lab, report, random, rounds=4):
    """Two processes at the same work."""
    report.begin(
        "two at once",
        "two `dvc repro` at once; one stage's command given twice at once",
        "one works and the other waits or says that it is busy; the same command then makes the same outputs",
    )
    for _ in range(rounds):
        project, lag = lab.copy(), random.uniform(0, 8)
        drop(project, "train_few|score_few|metrics_few|trace|benchmark")
        first = project.start(*REPRO)
        time.sleep(lag)
        second = project.start(*REPRO)
        ends = [(process.communicate()[0], process.returncode) for process in (first, second)]
        problems = [f"a traceback: {said(output)}" for output, _ in ends if "Traceback" in output]
        if all(status for _, status in ends):
            problems.append(f"both failed: {[said(output) for output, _ in ends]}")
        problems += _again(project)
        refused = [said(output) for output, status in ends if status]
        report.case("two at once", f"dvc repro, the second {lag:.1f} s later", problems, lab.compare(), refused=refused)
    project = lab.copy()
    for stage in ("own_data@digits-train", "task@tiny-few", f"train_few@{RUN}", f"score_few@{RUN}", f"metrics_few@{RUN}",
                  f"trace_few@{RUN}", "sweep@tiny-ice-weight", "benchmark"):  # fmt: skip
        command = ("sh", "-c", stages(project)[stage]["cmd"])
        both = [project.start(*command) for _ in range(2)]
        ends = [(process.communicate()[0], process.returncode) for process in both]
        problems = [f"status {status}: {said(output)}" for output, status in ends if status]
        report.case("two at once", stage, problems, lab.compare())


def clock(lab, report, random):
    """Clocks that go back, also while the pipeline runs, and files from the future."""
    library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
    report.begin(
        "clock",
        "clock set back or forward, before or while the pipeline runs; files dated to the future",
        "the same outputs, and what did change is still noticed",
        "" if library else "without libfaketime, dates of files alone",
    )
    if library:
        for what, offset in (("back a year", -YEAR), ("forward a year", YEAR), ("back an hour", -3600)):
            project = lab.copy()
            drop(project, "train_few|score_few|metrics_few|sweep|benchmark|tsne")
            project.environment |= _fake(library, offset)
            report.case("clock", f"set {what} before `dvc repro`", _again(project), lab.compare())
        _while_running(lab, report, random, library)
        _change(lab, report, library)
    for what, shift in (("the future", YEAR), ("1970", None)):
        project = lab.copy()
        for path in project.root.rglob("*"):
            if path.is_file() and ".git" not in path.parts and ".dvc" not in path.parts:
                os.utime(path, (time.time() + shift,) * 2 if shift else (0, 0))
        drop(project, "metrics_few|benchmark")
        report.case("clock", f"all files dated to {what}", _again(project), lab.compare())


def _fake(library, offset):
    return {"LD_PRELOAD": library, "FAKETIME": f"{offset:+d}", "DONT_FAKE_MONOTONIC": "1"}


def _while_running(lab, report, random, library):
    """Set the clock back by a day in the middle of the pipeline, several times."""
    project, sheet = lab.copy(), lab.folder / "clock"
    sheet.write_text("+0")
    drop(project, "train_few|score_few|metrics_few|sweep|benchmark|tsne")
    fake = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(sheet), "FAKETIME_NO_CACHE": "1"}
    project.environment |= fake | {"DONT_FAKE_MONOTONIC": "1"}
    log, days = lab.folder / "clock.log", 0
    process = project.start("sh", "-c", f'exec "$@" > "{log}" 2>&1', "-", *REPRO)  # a pipe might fill
    while process.poll() is None:
        time.sleep(random.uniform(2, 12))
        days += 1
        sheet.write_text(f"-{days}d")
    problems = [f"status {process.returncode}: {said(log.read_text())}"] if process.returncode else []
    report.case("clock", f"set back by a day {days} times while `dvc repro` runs", problems, lab.compare())


def _change(lab, report, library):
    """A value that is changed while the clock is a year back must be noticed, and so must its return."""
    project = lab.copy()
    project.environment |= _fake(library, -YEAR)
    values = project.params
    values["tiny"]["bootstrap"] = 21
    project.params = values
    stage = f"metrics_few@{RUN}"
    past = time.time() - YEAR
    os.utime(project.root / "params.yaml", (past, past))
    problems = _again(project, stage)
    if not lab.compare():
        problems.append("the change was not noticed")
    values["tiny"]["bootstrap"] = 20
    project.params = values
    os.utime(project.root / "params.yaml", (past - 10, past - 10))
    report.case("clock", "a parameter changed and changed back, a year ago", problems + _again(project), lab.compare())


def notebooks(lab, report):
    """Notebooks that raise, end, are killed or are no notebooks."""
    report.begin(
        "notebook",
        "notebook that raises, ends its kernel, is killed or cut in half",
        "the error in one line, no report; with the notebook as it was, the same command makes the same outputs",
    )
    train = f"train_few@{RUN}"
    for stage, name, cell in (
        ("toy", "01_toy_analysis", "raise ValueError('on purpose')"),
        (train, "02_training", "raise ValueError('on purpose')"),
        ("benchmark", "03_benchmark", "1 / 0"),
        ("ablations", "04_ablations", "raise KeyError('nothing')"),
        ("tsne@tiny", "05_tsne", "raise MemoryError"),
        ("benchmark", "03_benchmark", "import sys; sys.exit(0)"),
        ("benchmark", "03_benchmark", "import os; os._exit(0)"),
        ("benchmark", "03_benchmark", "import os; os.kill(os.getpid(), 9)  # as when memory runs out"),
        (train, "02_training", "import os; os.kill(os.getpid(), 9)"),
        ("benchmark", "03_benchmark", None),
    ):
        project = lab.copy()
        path = project.root / f"notebooks/{name}.ipynb"
        before = path.read_bytes()
        if cell is None:
            path.write_bytes(before[: len(before) // 2])
        else:
            notebook = nbformat.read(path, as_version=4)
            notebook.cells.append(nbformat.v4.new_code_cell(cell))
            nbformat.write(notebook, path)
        entry = stages(project)[stage]
        status, output = project.call(*REPRO, "--single-item", "--force", stage, check=False)
        problems = [] if status else ["no error"]
        if "Traceback" in output:
            problems.append("a traceback instead of one line")
        if stages(project)[stage] != entry:
            problems.append("DVC recorded the stage as done")
        made = [out["path"] for out in entry["outs"] if out["path"].startswith("reports")]
        if any((project.root / name).exists() for name in made):
            problems.append("there is a report")
        path.write_bytes(before)
        problems += _again(project)
        what = f"{name}: {cell or 'the file cut in half'}"
        report.case("notebook", what, problems, lab.compare(), said=said(output))
    _kernel_killed(lab, report)


def _kernel_killed(lab, report):
    """Kill the kernel while it trains."""
    project = lab.copy()
    for path in project.root.glob(".resume/*"):
        shutil.rmtree(path)
    process = project.start("sh", "-c", stages(project)[f"train_few@{RUN}"]["cmd"])
    deadline = time.monotonic() + 120
    while not list(project.root.glob(".resume/*/state.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ipykernel" in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    problems = [] if process.returncode and "Traceback" not in output else [f"{process.returncode}: {said(output)}"]
    status, said_then = project.call("sh", "-c", stages(project)[f"train_few@{RUN}"]["cmd"], check=False)
    problems += [f"the same command failed: {said(said_then)}"] if status else []
    report.case(
        "notebook", "02_training: its kernel killed while it trains", problems, lab.compare(), said=said(output)
    )


def _again(project, *stages):
    """Give `dvc repro`; list what went wrong."""
    status, output = project.call(sys.executable, "-m", "dvc", "repro", *stages, check=False)
    return [f"`dvc repro` failed: {said(output)}"] if status else []
