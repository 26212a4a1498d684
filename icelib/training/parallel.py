"""Many trainings or evaluations side by side, by joblib, with a line of progress for each and for all.

Each runs in a process of its own with a fixed number of threads, which is as fast as can be on an idle machine, does
not collapse on a busy one, and gives the same bits on any number of cores.
"""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import joblib
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from icelib.config import runs
from icelib.util import machine, paths, processes
from icelib.util.errors import StoppedError

EVERY = 20  # seconds between lines where progress goes to a file
_CURRENT = []  # what the work of this process tells its progress to


class Progress:
    """A bar in the terminal or notebook, for work in this process; a report would keep it."""

    def __init__(self, label):
        hidden = True if "ICELIB_REPORT" in os.environ else None
        self.bar, self.next = tqdm(desc=label, leave=False, disable=hidden), 0.0

    def tell(self, done, total, text=""):
        """Show how much is done, and a few words."""
        if done >= total:
            self.bar.close()
        elif time.monotonic() >= self.next:
            self.next = time.monotonic() + 0.5
            self.bar.total, self.bar.n = total, done
            self.bar.set_postfix_str(text)


class _Told:
    """Progress of a worker, in a file that the process that waits for it reads."""

    def __init__(self, folder, label):
        self.path, self.label, self.next = Path(folder) / f"{os.getpid()}-{time.monotonic_ns()}", label, 0.0
        self.tell(0, 1)

    def tell(self, done, total, text=""):
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 0.5
            with contextlib.suppress(OSError):  # the one who waits may have ended
                temporary = self.path.with_suffix(".new")
                temporary.write_text(json.dumps([self.label, done / total, text]))
                temporary.rename(self.path)


def current(label):
    """Return what work in this process tells its progress to."""
    return _CURRENT[-1] if _CURRENT else Progress(label)


def parallel(function, items, *, jobs=None, label=str, what="runs"):
    """Call a function on each item, several at a time, each in a process of ``threads`` threads (params.yaml).

    `function` is one of a module; `jobs` are at work at a time, by default ``parallel.jobs`` of params.yaml. In lines
    of progress `label`, a function, names an item, and `what` all of them. Returned is what the function returned, in
    the order of the items. StoppedError if a worker was killed.
    """
    if not items:
        return []
    params = runs.load()
    jobs, local = min(jobs or _jobs(params), len(items)), params.parallel.backend == "loky"
    if not local:
        paths.SCRATCH.mkdir(exist_ok=True)
    # with Dask workers may be on other machines, and tell their progress in the project's folder
    with tempfile.TemporaryDirectory(prefix="icelib-", dir=None if local else paths.SCRATCH) as folder:
        with _shown(folder, len(items), what), _backend(params.parallel, jobs):
            work, starter = joblib.delayed(_work), os.getpid() if local else None
            tasks = (work(function, item, label(item), folder, params.threads, starter) for item in items)
            try:
                return joblib.Parallel(jobs, max_nbytes=None, pre_dispatch="all", batch_size=1)(tasks)
            except TerminatedWorkerError:
                raise StoppedError(
                    f"a process that worked on {what} was killed, likely because memory was full: try fewer at a time "
                    "(parallel.jobs); what was finished is kept, and the same command goes on"
                ) from None


def _jobs(params):
    if params.parallel.jobs != "auto":
        return params.parallel.jobs
    if machine.device().type == "cuda":
        return 1
    return max(1, joblib.cpu_count() // params.threads)  # a container's limit and this process's cores count


@contextlib.contextmanager
def _backend(settings, jobs):
    if settings.backend == "loky":
        threads = runs.load().threads if jobs > 1 else None
        with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=threads):
            yield
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise ValueError("parallel.backend = 'dask': dask is not installed; pip install 'icelib[dask]'") from None
    options = {} if settings.address else {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
    with Client(settings.address, **options), joblib.parallel_config("dask", n_jobs=jobs):
        yield


def _work(function, item, label, folder, threads, starter):
    if os.getpid() != starter:
        processes.end_with(starter or os.getppid())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    _CURRENT.append(_Told(folder, label))
    try:
        return function(item)
    finally:
        told = _CURRENT.pop()
        with contextlib.suppress(OSError):
            told.path.rename(told.path.with_suffix(".done"))
        torch.set_num_threads(before)


@contextlib.contextmanager
def _shown(folder, count, what):
    """Show, while a block runs, a line for each item at work and for all of them."""
    end, started = threading.Event(), time.monotonic()
    # a notebook's kernel has no terminal: the process that executes it names a pipe to its own
    pipe = os.environ.get("ICELIB_PROGRESS")
    stream = open(pipe, "w") if pipe else sys.stderr
    bars, wait = {}, EVERY
    terminal = os.environ.get("ICELIB_TERMINAL") == "1" if pipe else stream.isatty()

    def read():
        done = len(list(Path(folder).glob("*.done")))
        working = []
        for path in sorted(Path(folder).glob("*[0-9]")):
            with contextlib.suppress(OSError, ValueError):
                working.append(json.loads(path.read_text()))
        share = done + sum(part for _, part, _ in working)
        left = (time.monotonic() - started) * (count - share) / share if share > 0.05 else None
        about = f"{done} of {count} {what}" + (f", {_clock(left)} left" if left is not None else "")
        return [[about, share / count, f"{_clock(time.monotonic() - started)} so far"], *working]

    def lines():
        told = (f"  {name}: {100 * part:.0f} % {text}".rstrip() for name, part, text in read())
        print(*told, sep="\n", file=stream, flush=True)

    def draw():
        rows = read()
        for position in range(max(len(rows), len(bars))):
            name, part, text = rows[position] if position < len(rows) else ("", 0, "")
            if position not in bars:
                form = "{desc} {percentage:3.0f}%|{bar:20}| {postfix}"
                bars[position] = tqdm(total=1, position=position, leave=False, file=stream, bar_format=form, ncols=100)
            bars[position].n = part
            bars[position].set_description_str(name, refresh=False)
            bars[position].set_postfix_str(text)

    def show():
        with contextlib.suppress(OSError, ValueError):  # a terminal that was closed must not end a training
            while not end.wait(1 if terminal else wait):
                draw() if terminal else lines()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        for bar in reversed(bars.values()):
            bar.close()
        with contextlib.suppress(OSError, ValueError):
            if not terminal:
                lines()
            if pipe:
                stream.close()


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
