"""Errors that are not the code's fault, told in one line."""

import contextlib
import sys

from icelib.util import processes


class SourceError(RuntimeError):
    """No source of a data set could be reached, or what came was not what was published."""


class DivergedError(RuntimeError):
    """A loss was not finite."""


class StoppedError(RuntimeError):
    """A training ended before its last epoch, because its time was over, and can go on later."""


@contextlib.contextmanager
def readable_errors():
    """Let a command end with one message and status 1 where input or the machine is at fault, and with its pipeline."""
    processes.end_with_pipeline()
    try:
        yield
    except (ValueError, OSError, SourceError, DivergedError, StoppedError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it; the terminal shows that it was Ctrl-C
