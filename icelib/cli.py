"""What the commands of the pipeline share: the name of a run as arguments, errors in one line."""

import argparse
import contextlib
import sys

from icelib import params
from icelib.sources import SourceError


def run_from_arguments(description, arguments=None):
    """Read the parts of a run's name from the command line and look the run up in params.yaml."""
    parser = argparse.ArgumentParser(description=description)
    for part in ("scale", "known", "network", "protocol", "method", "seed"):
        parser.add_argument(part)
    return params.run(**vars(parser.parse_args(arguments)))


@contextlib.contextmanager
def readable_errors():
    """End the process with one message and status 1 where input or the machine is at fault."""
    try:
        yield
    except (ValueError, OSError, SourceError) as error:
        sys.exit(f"error: {error}")
