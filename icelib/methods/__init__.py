"""The training methods, a file each: what it trains on, through which head, and its score.

A file ``NAME.py`` beside this one is a method once params.yaml names it under ``train`` and ``runs``. It defines

- ``loss(known_logits, labels, outlier_logits, *, ...)``, a tensor or a dict of terms, as in `icelib.losses`;
- ``score(logits)``, one value per sample, higher for known ones, as in `icelib.scores`;
- ``TITLE`` (in tables and figures), ``HEAD`` ("linear", "gaussian" or a class, ``Head(features, classes, ...)``)
  and ``OUTLIERS`` (whether it trains on auxiliary outliers);
- if it likes, ``prepare(known, labels, outliers, *, model, generator)``, which returns the outlier images of a step in
  place of those that were drawn, all normalised, and ``POOL``, how many it is given for each that it returns (1).

A class may have ``start(z, labels)`` and ``estimate(z, labels)``, as `icelib.heads.GaussianHead`, and
``start_from(plain)``, by which a fine-tuned one takes over the plain network's head.

The keyword parameters of loss and head are set in params.yaml under ``train.NAME``, but for those of a loss that the
engine fills: ``known_features`` (N, d), ``outlier_features`` (M, d) and ``progress``, the share of all steps done.
"""

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from icelib.heads import HEADS


class Method(NamedTuple):
    """A training method; the attributes are those that its file defines."""

    loss: Callable
    head: str | type
    score: Callable
    outliers: bool
    title: str
    name: str = ""  # of its file; none of what a notebook tries out
    prepare: Callable | None = None
    pool: int = 1

    @property
    def files(self):
        """Files of this folder that define the method: its own, and those that it imports, directly or not."""
        folder, found, waiting = Path(__file__).parent, set(), [self.name]
        while waiting:
            path = folder / f"{waiting.pop()}.py"
            if path.is_file() and path not in found:
                found.add(path)
                imports = re.findall(r"icelib\.methods(?:\.(\w+)| import (.+))", path.read_text())
                waiting += [name for pair in imports for part in pair for name in re.findall(r"\w+", part)]
        return sorted(found)


def _load(name):
    module = importlib.import_module(f"{__name__}.{name}")
    missing = [key for key in ("loss", "HEAD", "score", "OUTLIERS", "TITLE") if not hasattr(module, key)]
    if missing:
        raise ValueError(f"it does not define {', '.join(missing)}; see icelib/methods/__init__.py")
    titles = [method.title for method in METHODS.values()]
    given = inspect.signature(module.loss).parameters.values() if callable(module.loss) else ()
    places = sum({"POSITIONAL_OR_KEYWORD": 1, "VAR_POSITIONAL": 3}.get(x.kind.name, 0) for x in given)
    for key, right, expected in (
        ("HEAD", isinstance(module.HEAD, type) or module.HEAD in HEADS, f"one of {list(HEADS)} or a class"),
        ("TITLE", isinstance(module.TITLE, str) and module.TITLE not in titles, "a text that no other method has"),
        ("OUTLIERS", isinstance(module.OUTLIERS, bool), "True or False"),
        ("loss", places >= 3, "a function of known logits, labels and outlier logits"),
        ("score", callable(module.score), "a function of logits"),
    ):
        if not right:
            raise ValueError(f"{key} = {getattr(module, key)!r}; expected {expected}")
    extra = getattr(module, "prepare", None), getattr(module, "POOL", 1)
    return Method(module.loss, module.HEAD, module.score, module.OUTLIERS, module.TITLE, name, *extra)


PAPER = ("plain", "oe", "energy", "ice", "bce", "energy_gaussian", "ice_minus")  # what the paper compares
_FOUND = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
METHODS = {}
for _name in (*PAPER, *(name for name in _FOUND if name not in PAPER)):
    try:
        METHODS[_name] = _load(_name)
    except (Exception, SystemExit) as error:  # whatever a draft may raise: it must not stop what does not name it
        _lines = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename.endswith(f"/{_name}.py")]
        _place = f"icelib/methods/{_name}.py{f', line {_lines[-1]},' if _lines else ''}"
        print(f"{_place} is left out: {type(error).__name__}: {error}", file=sys.stderr)


def own_detector(method):
    """Name of a method's own score in score and result files: that of the method, MSP on the plain network."""
    return method if METHODS[method].outliers else "msp"
