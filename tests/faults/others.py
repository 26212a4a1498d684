"""Two at once, and notebooks that fail."""

import contextlib
import shutil
import signal
import time

import nbformat
import psutil

from tests.faults.disks import RUN
from tests.faults.lab import REPRO, again, drop, said, stages


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
        problems += again(project)
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
        problems += again(project)
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
