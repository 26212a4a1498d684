"""Kills at random moments, each followed by the same command."""

import os
import signal
import subprocess
import time

import psutil

from tests.faults.lab import MAKE, RUNNING, end, said

# what is killed at once, and how often: README.md tells users to signal the group
WAYS = {"process group": 0.6, "all processes": 0.25, "dvc alone": 0.15}
GAP = 24  # seconds within which a kill comes; a stage takes up to 15 on two cores
PER_PASS = 12  # kills of one pass through the pipeline, which then may finish
ATTEMPTS = 3  # a notebook that outlives its dvc holds the run's lock: the same command is then given again


def drill(lab, report, random, count):
    """Kill the pipeline `count` times; whenever it comes to its end, compare its outputs and start anew."""
    report.begin(
        "kill",
        "kill -9 at a random moment of the pipeline",
        "the same command goes on and makes the same outputs",
    )
    done = 0
    while done < count:
        kills = min(PER_PASS, count - done)
        done += _one_pass(lab, report, random, kills)


def _one_pass(lab, report, random, kills):
    """Run the pipeline from nothing to its end, through so many kills or fewer; return how many it took."""
    project, hit, failures, orphans = lab.empty(), [], [], []
    log = lab.folder / "kills.log"
    while True:
        with open(log, "w") as file:
            process = subprocess.Popen(
                MAKE,
                cwd=project.root,
                env=project.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        gap = random.uniform(0.2, GAP) if len(hit) < kills else None
        started = time.monotonic()
        try:
            status = process.wait(gap)
        except subprocess.TimeoutExpired:
            way = random.choices(list(WAYS), WAYS.values())[0]
            below = psutil.Process(process.pid).children(recursive=True)
            orphans += below
            if way == "process group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
                end(below if way == "all processes" else [])
            process.wait()
            stage = RUNNING.findall(log.read_text())
            hit.append({"way": way, "after": round(time.monotonic() - started, 1), "stage": stage[-1] if stage else ""})
            continue
        if status == 0 or len(failures) == ATTEMPTS:
            break
        failures.append(said(log.read_text()))
        time.sleep(20)
    end(orphans)
    wrong = lab.compare() if status == 0 else []
    problems = [] if status == 0 else [f"the same command failed {ATTEMPTS + 1} times: {failures[-1]}"]
    what = f"one pass, killed {len(hit)} times"
    if hit:
        report.case("kill", what, problems, wrong, count=len(hit), kills=hit, refusals=failures)
    return len(hit)
