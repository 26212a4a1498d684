"""Processes that end with those that started them, also where these are killed.

A notebook's kernel, a worker of joblib and a command of DVC live in processes (some in sessions) of their own: a
signal to one of them does not reach the others. Each therefore looks for its starter once a second.
"""

import os
import threading
import time

import psutil

WATCHED = set()  # processes that this one ends with


def end_with(*pids):
    """End this process at once when one of some others has ended.

    What is written is written to temporary files first, so that nothing is lost but an epoch.
    """
    try:
        found = [psutil.Process(pid) for pid in pids if pid not in WATCHED]
    except psutil.NoSuchProcess:
        os._exit(1)
    WATCHED.update(pids)

    def watch():
        while all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found):
            time.sleep(1)
        os._exit(1)

    if found:
        threading.Thread(target=watch, daemon=True).start()


def end_with_pipeline():
    """End a command that DVC runs when DVC does; DVC's shell stands between the two."""
    if "DVC_STAGE" in os.environ:
        shell = psutil.Process().parent()
        # a shell may have given its process to the command, whose parent then is DVC itself
        end_with(shell.pid, *([shell.ppid()] if shell.name() in ("sh", "dash", "bash", "zsh") else []))
