"""How many trainings side by side gain, and what load costs: the same runs by the project's own command.

    python -m speed.jobs [--runs 4] [--epochs 2] [--busy N] [--one-core] [--out OUT.json]

One run from scratch of params.yaml, OE's, with so many epochs and as many seeds as `--runs` says, so that all are
equally long, is trained into an empty store: with one job, with two and, where asked for, with two beside busy
processes and with two on one core. All make the same bits (compared), so that what differs is time alone. The start of
Python and of PyTorch is in it.
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
    (run,) = [run for run in runs.declared() if run.parent is None and run.method == "oe"][:1]
    content["seeds"] = list(range(count))
    content["runs"] = [{"task": run.task, "network": run.network, "protocol": "scratch", "methods": ["oe"]}]
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(paths.tasks(content["scale"]), folder / "data/tasks" / content["scale"])
    return [f"{run.name.rpartition('-')[0]}-{seed}" for seed in content["seeds"]]


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


def measure(count, epochs, busy, one_core):
    """Return the seconds of each way, and what they give in relation to each other."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = project(folder, count, epochs)
        seconds, weights = {}, {}
        ways = [("one job", 1, 0, None), ("two jobs", 2, 0, None)]
        ways += [("two jobs, busy", 2, busy, None)] * (busy > 0) + [("two jobs on one core", 2, 0, "0")] * one_core
        for name, jobs, load, cores in ways:
            processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(load)]
            for process in processes:
                process.start()
            try:
                seconds[name], weights[name] = train(folder, names, jobs, cores)
            finally:
                for process in processes:
                    process.kill()
    first = weights["one job"]
    ratios = {"one job / two jobs": seconds["one job"] / seconds["two jobs"]}
    if busy:
        ratios["busy / idle"] = seconds["two jobs, busy"] / seconds["two jobs"]
    about = {"runs": names, "epochs": epochs, "busy": busy, "cores": os.cpu_count()}
    equal = len(first) == len(names) and all(found == first for found in weights.values())
    return about | {"seconds": seconds, "ratios": ratios, "same bits": equal, "libraries": machine.versions()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time trainings one after another and side by side.")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--busy", type=int, default=0, help="processes that keep cores busy in a further measurement")
    parser.add_argument("--one-core", action="store_true", help="measure on one core, too")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = measure(options.runs, options.epochs, options.busy, options.one_core)
    if options.out:
        write_json(options.out, result)
    print(yaml.safe_dump(result, sort_keys=False))
