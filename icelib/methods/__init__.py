"""The training methods, a file each: what it trains on, through which head, and its score.

A file ``NAME.py`` beside this one is a method once params.yaml names it under ``train`` and ``runs``. It defines

- ``loss(known_logits, labels, outlier_logits, *, ...)``, a tensor or a dict of terms, as in `icelib.losses`;
- ``score(logits)``, one value per sample, higher for known ones, as in `icelib.scores`;
- ``TITLE`` (in tables and figures), ``HEAD`` ("linear", "gaussian" or a class, ``Head(features, classes, ...)``)
  and ``OUTLIERS`` (whether it trains on auxiliary outliers).

The keyword parameters of loss and head are set in params.yaml under ``train.NAME``.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Method(NamedTuple):
    """A training method; the attributes are those that its file defines."""

    loss: Callable
    head: str | type
    score: Callable
    outliers: bool
    title: str
    name: str = ""  # of its file; none of what a notebook tries out

    @property
    def files(self):
        """Files of this folder that define the method: its own, and those from which it takes loss, head or score."""
        parts = (getattr(part, "__module__", "") for part in (self.loss, self.head, self.score))
        modules = {f"{__name__}.{self.name}", *parts} if self.name else set()
        return sorted(Path(sys.modules[name].__file__) for name in modules if name.startswith(f"{__name__}."))


def _load(name):
    module = importlib.import_module(f"{__name__}.{name}")
    missing = [key for key in ("loss", "HEAD", "score", "OUTLIERS", "TITLE") if not hasattr(module, key)]
    if missing:
        raise ValueError(
            f"icelib/methods/{name}.py does not define {', '.join(missing)}; see icelib/methods/__init__.py"
        )
    return Method(module.loss, module.HEAD, module.score, module.OUTLIERS, module.TITLE, name)


PAPER = ("plain", "oe", "energy", "ice", "bce", "energy_gaussian", "ice_minus")  # what the paper compares
_FOUND = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
METHODS = {name: _load(name) for name in (*PAPER, *(name for name in _FOUND if name not in PAPER))}


def own_detector(method):
    """Name of a method's own score in score and result files: that of the method, MSP on the plain network."""
    return method if METHODS[method].outliers else "msp"
