"""By which text a try of one's own is known again: all that its result may depend on changes it."""

import functools
import importlib
import sys
import types

import numpy as np
import pytest
import torch

from icelib import own_code

MODULE = """
import dataclasses
import helpers

STRENGTH = 0.05

@dataclasses.dataclass
class Settings:
    w: float = 0.02

class Base:
    def double(self, x):
        return 2 * x

class Scaled(Base):
    scale = 10.0

    @staticmethod
    def shift(x):
        return x + 1

    @property
    def half(self):
        return self.scale / 2

cfg = Settings()
values = {"list": [1.0, 2.0]}

def pushed(x, amount=STRENGTH):
    return x * amount

def doubled(function):
    def wrapper(x):
        return 2 * function(x) * STRENGTH
    wrapper.__wrapped__ = function
    return wrapper

@doubled
def decorated(x):
    return x

def loss(x):
    parts = [cfg.w * helpers.strong(y) for y in x]
    return Scaled().double(pushed(sum(parts))) + values["list"][0] + decorated(x) + helpers.table[0]

def second(x):
    return x
"""
HELPERS = """
import torch

FACTOR = 3.0
table = torch.arange(2000.0)
unused = 1

def strong(x):
    return FACTOR * x
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Modules of a user's, imported from files."""
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(tmp_path)
    modules = types.SimpleNamespace(mine=importlib.import_module("mine"), helpers=importlib.import_module("helpers"))
    yield modules
    del sys.modules["mine"], sys.modules["helpers"]


@pytest.mark.parametrize(
    "change",
    [
        lambda mine, helpers: setattr(helpers, "FACTOR", 3.5),
        lambda mine, helpers: setattr(helpers, "table", helpers.table.where(helpers.table != 1000, 1000.25)),
        lambda mine, helpers: setattr(mine.cfg, "w", 3.0),
        lambda mine, helpers: setattr(mine.Scaled, "scale", 1.0),
        lambda mine, helpers: setattr(mine.Scaled, "shift", staticmethod(mine.second)),
        lambda mine, helpers: setattr(mine.Scaled, "half", property(mine.second)),
        lambda mine, helpers: setattr(mine.Base, "double", mine.second),
        lambda mine, helpers: setattr(mine.pushed, "__defaults__", (50.0,)),
        lambda mine, helpers: setattr(mine, "STRENGTH", 50.0),  # in the decorator's wrapper
        lambda mine, helpers: setattr(helpers, "strong", mine.second),
        lambda mine, helpers: mine.values["list"].append(3.0),
        lambda mine, helpers: setattr(mine, "cfg", functools.partial(mine.second, 2)),
        lambda mine, helpers: setattr(mine, "cfg", mine.Scaled().double),
        lambda mine, helpers: setattr(mine, "cfg", torch.nn.Linear(2, 2)),
        lambda mine, helpers: setattr(mine, "cfg", np.zeros(3)),
    ],
)
def test_what_a_result_may_depend_on_changes_the_text(user, change):
    before = own_code.text(user.mine.loss)
    assert own_code.text(user.mine.loss) == before and " at 0x" not in before
    user.helpers.unused = 2
    assert own_code.text(user.mine.loss) == before
    change(user.mine, user.helpers)
    assert own_code.text(user.mine.loss) != before


def test_weights_of_a_network_are_part_of_the_text(user):
    user.mine.cfg = network = torch.nn.Linear(2, 2)
    before = own_code.text(user.mine.loss)
    with torch.no_grad():
        network.bias += 1e-6
    assert own_code.text(user.mine.loss) != before


def test_what_cannot_be_told_is_refused(user):
    user.mine.cfg = object()
    with pytest.raises(ValueError, match=r"mine.loss uses cfg = <object .*of which a change would not be noticed"):
        own_code.text(user.mine.loss)


def test_a_file_edited_since_it_was_imported_is_refused(user):
    path = user.mine.__file__
    with open(path, "w") as file:
        file.write("# moved by a line\n" + MODULE)
    own_code.text(user.mine.second)  # the same code
    with open(path, "w") as file:
        file.write(MODULE.replace("def second(x):\n    return x", "def second(x):\n    return 2 * x"))
    with pytest.raises(ValueError, match=r"mine.second is no longer what .*mine.py holds; restart, or import it anew"):
        own_code.text(user.mine.second)


def test_lambdas_on_one_line_differ():
    first, second = lambda x: x.max(1).values, lambda x: x.min(1).values
    assert own_code.text(first) != own_code.text(second)
