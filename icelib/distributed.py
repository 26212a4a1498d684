"""One training on several devices: torchrun starts a process for each, and this one waits for them.

``python -m icelib.distributed FOLDER`` is one of these processes. It finds the run in FOLDER and
leaves there what came of it; if its standard input ends, so that the process that waits was told to
stop or is dead, it stops in order.
"""

import codecs
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from icelib import params, paths
from icelib.errors import BusyError, DivergedError, StoppedError, at_sigterm

TOLD = {kind.__name__: kind for kind in (DivergedError, StoppedError, BusyError, ValueError, OSError)}


def launch(run, keep, devices):
    """Train a run in several processes, each on its own GPU, or on its share of the processor's cores.

    Parameters
    ----------
    run : params.Run
    keep : bool
        As in `training.train`.
    devices : int

    Returns
    -------
    list of dict
        The history.

    Raises
    ------
    ValueError
        If batches cannot be divided or there are too few GPUs.
    DivergedError, StoppedError, BusyError, ValueError, OSError
        If the first error of a process was one of these; StoppedError also if this one gets SIGTERM before.
    RuntimeError
        If a process failed otherwise; names the log.
    """
    _check(run, devices)
    threads = max(1, torch.get_num_threads() // devices)
    environment = os.environ | {
        "ICELIB_ROOT": str(paths.ROOT),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH")])),
    }
    torchrun = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={devices}"]
    with tempfile.TemporaryDirectory(prefix="icelib-") as folder:
        folder = Path(folder)
        (folder / "run.json").write_text(json.dumps({"run": run.model_dump(), "keep": keep}))
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *torchrun, "-m", "icelib.distributed", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C comes to this process alone
            )
        with process.stdout, at_sigterm(process.stdin.close):
            try:
                _relay(process.stdout)
            except KeyboardInterrupt:
                process.stdin.close()
                _relay(process.stdout)
                raise
            process.wait()
        stopped = process.stdin.closed
        process.stdin.close()
        return _outcome(run, folder, devices, stopped)


def _check(run, devices):
    if torch.cuda.is_available() and torch.cuda.device_count() < devices:
        raise ValueError(f"devices = {devices} in params.yaml, but PyTorch finds {torch.cuda.device_count()} GPUs")
    for key in ("known_batch", "outlier_batch"):
        batch = getattr(run.schedule, key)
        if batch % devices:
            raise ValueError(
                f"{run.scale}.protocols.{run.protocol}.{key} = {batch}: expected a multiple of devices = {devices}, "
                f"each of which takes an equal share"
            )


def _relay(pipe):
    """Show what the first process shows, until all have ended."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while piece := pipe.read1():
        sys.stderr.write(decoder.decode(piece))
        sys.stderr.flush()


def _outcome(run, folder, devices, stopped):
    """Return the history, or raise the error that came first: others are its consequences."""
    found = [json.loads(path.read_text()) for path in folder.glob("*.outcome")]
    errors = sorted((x for x in found if "error" in x), key=lambda x: x["time"])
    if not errors and len(found) == devices:
        return next(x["history"] for x in found if x["history"] is not None)
    if errors and errors[0]["error"] in TOLD:
        raise TOLD[errors[0]["error"]](errors[0]["message"])
    if stopped:
        raise _stopped(run)
    log = paths.ROOT / "scratch" / f"{run.name}.failed.log"
    log.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "log", log)
    what = f"{errors[0]['error']}: {errors[0]['message']}" if errors else "training ended without a result"
    if len(found) < devices:
        what += f"; of {devices} processes {devices - len(found)} ended without a word, as when memory runs out"
    raise RuntimeError(f"{what} (see {paths.relative(log)})")


def _stopped(run):
    return StoppedError(f"run {run.name} was told to stop; the same command goes on from its last finished epoch")


def work(folder):
    """Be one of the processes, and write what came of it to `folder` (pathlib.Path); errors are raised again."""
    from icelib import training
    from icelib.team import Team

    given = json.loads((folder / "run.json").read_text())
    run = params.Run(**given["run"])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

    def stop(*_):
        raise _stopped(run)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    outcome = {"history": None}
    try:
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(rank)
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
        team = Team(rank, size)
        if team.leads:
            outcome["history"] = training.lead(run, given["keep"], team)
        else:
            training.follow(run, team)
        torch.distributed.destroy_process_group()
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of one makes torchrun end the others
        kind = next((name for name, kind in TOLD.items() if isinstance(error, kind)), type(error).__name__)
        outcome = {"error": kind, "message": str(error), "time": time.time()}
        raise
    finally:
        temporary = folder / f"{rank}.writing"
        temporary.write_text(json.dumps(outcome))
        temporary.rename(folder / f"{rank}.outcome")


def _stop_at_end_of_input():
    os.read(0, 1)  # of the pipe's other end nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)


def _divide_outputs(rank):
    """Send what Python shows to the first process's reader, and what libraries print to the log."""
    shown = os.dup(1)  # open in every process: the reader waits for the end of all
    os.dup2(2, 1)
    if rank == 0:
        sys.stderr = open(shown, "w", buffering=1, encoding="utf-8")


if __name__ == "__main__":
    _divide_outputs(int(os.environ["RANK"]))
    work(Path(sys.argv[1]))
