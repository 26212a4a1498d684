"""How many trainings side by side gain, and what load costs: the same runs by the project's own command.

    python -m speed.jobs [--runs 4] [--epochs 1] [--busy 2] [--out OUT.json]

The first runs from scratch of params.yaml, each with so many epochs, are trained into an empty store: with one job,
with two, with two beside as many busy processes as `--busy` says, and with two on one core. All make the same bits
(compared), so that what differs is time alone. The start of Python and of PyTorch is in it.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from icelib.config import runs
from icelib.util import machine, paths
from icelib.util.files import write_json


def project(folder, count, epochs):
    """Copy parameters and tasks; return the names of the runs to train."""
    content = yaml.safe_load(paths.PARAMS.read_text())
    content["protocols"]["scratch"] |= {"epochs": epochs, "snapshots": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(paths.tasks(content["scale"]), folder / "data/tasks" / content["scale"])
    return [run.name for run in runs.declared() if run.parent is None][:count]


def train(folder, names, jobs, cores=None):
    """Train into an empty store; return the seconds that it took, and the bytes of the weights by digest."""
    shutil.rmtree(folder / ".dvc", ignore_errors=True)
    command = [sys.executable, "-m", "icelib.training.train", "--jobs", str(jobs), *names]
    command = [*(["taskset", "-c", cores] if cores else []), *command]
    environment = os.environ | {"ICELIB_ROOT": str(folder), "PYTHONPATH": str(paths.PACKAGE.parent)}
    started = time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    found = (folder / ".dvc/store/runs").glob("*/weights.safetensors")
    return seconds, {path.parent.name: path.read_bytes() for path in found}


def spin():
    """Keep a core busy."""
    while True:
        pass


def measure(count, epochs, busy):
    """Return the seconds of each way, and what they give in relation to each other."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = project(folder, count, epochs)
        seconds, weights = {}, {}
        for name, jobs, load, cores in (
            ("one job", 1, 0, None), ("two jobs", 2, 0, None), ("two jobs, busy", 2, busy, None),
            ("two jobs on one core", 2, 0, "0"),
        ):  # fmt: skip
            processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(load)]
            for process in processes:
                process.start()
            try:
                seconds[name], weights[name] = train(folder, names, jobs, cores)
            finally:
                for process in processes:
                    process.kill()
    first = weights["one job"]
    ratios = {
        "one job / two jobs": seconds["one job"] / seconds["two jobs"],
        "busy / idle": seconds["two jobs, busy"] / seconds["two jobs"],
    }
    about = {"runs": names, "epochs": epochs, "busy": busy, "cores": os.cpu_count()}
    equal = len(first) == len(names) and all(found == first for found in weights.values())
    return about | {"seconds": seconds, "ratios": ratios, "same bits": equal, "libraries": machine.versions()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time trainings one after another and side by side.")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = measure(options.runs, options.epochs, options.busy)
    if options.out:
        write_json(options.out, result)
    print(yaml.safe_dump(result, sort_keys=False))
