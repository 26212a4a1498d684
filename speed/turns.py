"""Timing several ways of the same work fairly: they take turns in one process."""

import time

import torch


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
