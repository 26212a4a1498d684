"""Timing several ways of the same work fairly: they take turns in one process; and the runs whose work is timed."""

import time

import torch

from icelib.config import runs
from icelib.util import paths


def fastest(sides, repeats, wait=lambda: None):
    """Call every side once in each of `repeats` rounds; return the fewest seconds of each.

    Other work on the machine only ever adds time, and in turns it meets every side.

    Parameters
    ----------
    sides : dict of str to callable
    repeats : int
    wait : callable
        Returns when the device has finished; a GPU computes behind the caller's back.

    Returns
    -------
    dict of str to float
    """
    seconds = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            wait()
            started = time.perf_counter()
            work()
            wait()
            seconds[name].append(time.perf_counter() - started)
    return {name: min(values) for name, values in seconds.items()}


def waiting(device):
    """Return the call that waits until a device has finished."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def run_of(path, network, method):
    """Look up a run from scratch, on the task that plays CIFAR-10, in a file like params.yaml."""
    before, paths.PARAMS = paths.PARAMS, path
    try:
        return runs.run(runs.task_playing("CIFAR10")[0], network, "scratch", method, 0)
    finally:
        paths.PARAMS = before
