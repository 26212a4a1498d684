"""Errors that are not the code's fault, told in one line."""

import contextlib
import signal
import sys
import threading


class SourceError(RuntimeError):
    """No source of a data set could be reached, or what came was not what was published."""


class DivergedError(RuntimeError):
    """A loss was not finite."""


class BusyError(RuntimeError):
    """Another process is at work on the same run."""


class StoppedError(RuntimeError):
    """A training was told to stop, by SIGTERM, and can go on later."""


STOPPED = 75  # exit status of a stopped training: EX_TEMPFAIL, "try again"


@contextlib.contextmanager
def readable_errors():
    """End the process with one message and status 1 where input or the machine is at fault; 75 if told to stop."""
    try:
        yield
    except (ValueError, OSError, SourceError, DivergedError, BusyError) as error:
        sys.exit(f"error: {error}")
    except StoppedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(STOPPED)


@contextlib.contextmanager
def at_sigterm(action):
    """Call `action` at SIGTERM, which schedulers send before they kill, in place of ending the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
