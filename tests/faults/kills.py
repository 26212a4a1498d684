"""Trainings and whole pipelines killed or interrupted at random moments, each time followed by the same command."""

import contextlib
import os
import signal
import time
from subprocess import TimeoutExpired

import psutil

from tests.faults.lab import MAKE, TRAIN, again, said

# what gets which signal, and how often
WAYS = {
    "kill -9 of the process group": 0.3,
    "kill -9 of all processes": 0.1,
    "kill -9 of the first alone": 0.2,
    "Ctrl-C": 0.2,
    "kill -15 of one": 0.1,
    "kill -9 of one": 0.1,
}
# whose end is to end all others, within 10 s; a worker that has nothing left to do may leave DVC to go on
ONES = ("dvc", "icelib.tools.notebooks", "ipykernel_launcher", "popen_loky")
PER_PASS = 12  # kills of one pass through the pipeline, which then may finish


def trainings(lab, report, random, rounds=12):
    """Kill `python -m icelib.training.train` once or twice before it is at its end."""
    report.begin("killed training", "`python -m icelib.training.train` killed or interrupted at a random moment")
    for _ in range(rounds):
        hits, problems = _killed(lab.untrained(), TRAIN, random, random.randint(1, 2), 12, lab.folder / "kills.log")
        report.case("killed training", f"killed {len(hits)} times", problems, lab.compare_store(), kills=hits)


def pipelines(lab, report, random):
    """Kill the pipeline many times; whenever it comes to its end, compare its outputs and start anew."""
    report.begin("kill", "the pipeline killed or interrupted at a random moment")
    done = 0
    while done < lab.kills:
        project, count = lab.copy(lab.template), min(PER_PASS, lab.kills - done)
        hits, problems = _killed(project, MAKE, random, count, 40, lab.folder / "kills.log")
        what = f"one pass, killed {len(hits)} times"
        report.case("kill", what, problems, [] if problems else lab.compare(), count=len(hits), kills=hits)
        done += max(len(hits), 1)


def _killed(project, command, random, kills, seconds, log):
    """Give a command until it ends well, killing it so often after up to so many seconds; return how, and problems."""
    hits, problems = [], []
    for _ in range(kills):
        process = project.start("sh", "-c", f'exec "$@" > "{log}" 2>&1', "-", *command)  # a pipe might fill
        moment = random.uniform(0.2, seconds)
        try:
            if process.wait(moment) == 0:
                break
            problems.append(f"the same command failed: {said(log.read_text())}")
            continue
        except TimeoutExpired:
            first = psutil.Process(process.pid)
            every = [first, *first.children(recursive=True)]
        way = random.choices(list(WAYS), WAYS.values())[0]
        if way.endswith("of one"):
            way = f"{way}, {_one(every, random, signal.SIGTERM if '15' in way else signal.SIGKILL)}"
        elif way == "Ctrl-C" or way.endswith("group"):
            os.killpg(process.pid, signal.SIGINT if way == "Ctrl-C" else signal.SIGKILL)
        else:
            _end(every if "all" in way else [first])
        with contextlib.suppress(TimeoutExpired):
            process.wait(10)
        left = psutil.wait_procs(every, 10)[1]
        if left and not (way.endswith("popen_loky") and left == [first]):
            problems.append(f"left 10 s after {way}: {', '.join(map(_named, left))}")
        _end(left)
        hits.append(f"{way} after {moment:.1f} s")
        time.sleep(1)
    return hits, problems + again(project, command)


def _one(every, random, number):
    """Send a signal to one of the processes that matter; return which."""
    named = [(process, " ".join(process.cmdline())) for process in every if process.is_running()]
    found = [(process, one) for process, line in named for one in ONES if one in line] or [(every[0], "the first")]
    process, which = random.choice(found)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
    return which


def _named(process):
    try:
        return " ".join(process.cmdline()[1:5])
    except psutil.Error:  # it has just ended
        return str(process.pid)


def _end(processes):
    for process in processes:
        if process.is_running():
            process.kill()
