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


USED = """
import collections, dataclasses, enum, functools, logging, random, re, types
import numpy as np, torch
import torch.nn.functional as F

class Settings(dict):
    def double(self):
        return 2 * self["w"]

class Kind(enum.Enum):
    SOFT = 0.5

@dataclasses.dataclass(slots=True)
class Slots:
    w: float = 1.0
    more: list = dataclasses.field(default_factory=lambda: [1.0])

class Square(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * x

class Held:
    act = staticmethod(F.relu)

    @functools.lru_cache
    def cached(self):
        return 1.0

@functools.lru_cache
def table(n):
    return n * 0.5

def one():
    return 1.0

def two():
    return 2.0

value = None
log = logging.getLogger("mine")

def loss(x):
    log.debug("called")
    return value, x.values

def imports(x):
    from helpers import strong

    return strong(x)
"""

PAIRS = {  # of what one name may be
    "an alias of a package's": "F.softplus | torch.sin",
    "two names in one module": "torch.mean | torch.sum",
    "builtins": "max | min",
    "modules": "torch | F",
    "a network's kind": "torch.nn.ReLU | torch.nn.Tanh",
    "numpy's": "np.exp | np.log",
    "a cached helper": "table | functools.lru_cache(two)",
    "a deque": "collections.deque([torch.zeros(3000)]) | collections.deque([torch.arange(3000.0)])",
    "a long array of objects": "np.array([torch.zeros(9)] * 2000, object) | np.array([torch.ones(9)] * 2000, object)",
    "a view of a dict": "types.MappingProxyType({'a': [0.0]}) | types.MappingProxyType({'a': [1.0]})",
    "slots": "Slots(1.0) | Slots(2.0)",
    "a random generator": "random.Random(0) | random.Random(1)",
    "a pattern": "re.compile('a') | re.compile('b')",
    "a default of one's own": "collections.defaultdict(one) | collections.defaultdict(two)",
    "a method of a function's argument": "functools.partialmethod(one) | functools.partialmethod(two)",
}


@pytest.fixture
def using(tmp_path, monkeypatch, user):
    (tmp_path / "using.py").write_text(USED)
    yield importlib.import_module("using")
    del sys.modules["using"]


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_two_values_of_a_name_are_told_apart_and_each_is_known_again(using, pair):
    texts = []
    for source in [*pair.split(" | ")] * 2:
        using.value = eval(source, vars(using))
        texts.append(own_code.text(using.loss))
        assert own_code.text(using.loss) == texts[-1] and " at 0x" not in texts[-1]
    assert texts[:2] == texts[2:] and texts[0] != texts[1]


@pytest.mark.parametrize(
    ("value", "old", "new"),
    [
        ("Settings(w=1.0)", "return 2 * self", "return 3 * self"),
        ("Kind.SOFT", "SOFT = 0.5", "SOFT = 0.25"),
        ("Slots", "w: float = 1.0", "w: float = 3.0"),
        ("Slots", "lambda: [1.0]", "lambda: [3.0]"),
        ("Square.apply", "return x * x", "return x * x * x"),
        ("Held()", "staticmethod(F.relu)", "staticmethod(F.gelu)"),
        ("Held()", "        return 1.0", "        return 3.0"),
        ("table", "n * 0.5", "n * 0.25"),
    ],
)
def test_code_behind_a_value_changes_the_text(tmp_path, using, value, old, new):
    using.value = eval(value, vars(using))
    before = own_code.text(using.loss)
    assert USED.count(old) == 1
    (tmp_path / "using.py").write_text(USED.replace(old, new) + "# another size\n")
    again = importlib.reload(using)
    again.value = eval(value, vars(again))
    assert own_code.text(again.loss) != before


def test_what_is_imported_within_a_function_is_followed(using, user):
    before = own_code.text(using.imports)
    assert "FACTOR * x" in before
    user.helpers.FACTOR = 4.0
    assert own_code.text(using.imports) != before


def test_names_of_attributes_are_no_globals(using):
    before = own_code.text(using.loss)
    using.values = object()  # which the loss does not use: it reads `x.values`
    assert own_code.text(using.loss) == before
