"""Kills at random moments, each followed by the same command."""

import os
import shutil
import signal
import subprocess
import time

import psutil

from tests.faults.lab import MAKE, RUNNING, end, said

# what is killed at once, and how often: README.md tells users to signal the group
WAYS = {"process group": 0.6, "all processes": 0.25, "dvc alone": 0.15}
STAGES, SECONDS = 4, 12  # a kill comes up to so many stages and then up to so many seconds after the start
PER_PASS = 12  # kills of one pass through the pipeline, which then may finish
ATTEMPTS = 3  # a notebook that outlives its dvc holds the run's lock: the same command is then given again


def drill(lab, report, random, count):
    """Kill the pipeline `count` times; whenever it comes to its end, compare its outputs and start anew.

    A drill that was cut off goes on from the passes in its record.
    """
    done = report.tried("kill")
    if not 0 < done < count:
        done = 0
        report.begin(
            "kill",
            "kill -9 at a random moment of the pipeline",
            "the same command goes on and makes the same outputs",
        )
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
        started = time.monotonic()
        if len(hit) < kills:
            passed, still = random.randint(0, STAGES), random.uniform(0.2, SECONDS)
            while process.poll() is None and len(RUNNING.findall(log.read_text())) < passed:
                time.sleep(0.1)
        else:
            still = None
        try:
            status = process.wait(still)
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
        failures.append(told(status, log.read_text()))
        time.sleep(20)
    end(orphans)
    if status:
        shutil.copytree(lab.root, lab.folder / f"failed-{time.strftime('%H%M%S')}", symlinks=True)
    wrong = lab.compare() if status == 0 else []
    problems = [] if status == 0 else [f"the same command failed {ATTEMPTS + 1} times: {told(status, log.read_text())}"]
    what = f"one pass, killed {len(hit)} times"
    if hit:
        report.case("kill", what, problems, wrong, count=len(hit), kills=hit, refusals=failures)
    return len(hit)


def told(status, output):
    """What is known of a failure: errors, or where none is told, the status and the end of the output."""
    return said(output) or [f"status {status}", *output.splitlines()[-3:]]
