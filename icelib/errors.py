"""Errors that are not the code's fault, told in one line."""

import contextlib
import sys


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
    """End the process with one message and status 1 where input or the machine is at fault."""
    try:
        yield
    except (ValueError, OSError, SourceError) as error:
        sys.exit(f"error: {error}")
