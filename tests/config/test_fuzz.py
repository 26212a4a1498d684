"""Parameters changed at random: what is accepted is right, and what is refused is named."""

import copy
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icelib.config import runs
from icelib.util import paths
from tests.conftest import tiny_params

RIGHT = tiny_params(Path("own"))


def places(tree, place=()):
    """All keys and list items of a tree, as tuples."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))


def whole(x):
    return isinstance(x, int) and not isinstance(x, bool)


def number(x):
    return (whole(x) or isinstance(x, float)) and math.isfinite(x)


# what each kind of value may be, told here a second time and apart from the schema
COUNT = lambda most: lambda x: whole(x) and 0 < x <= most
POSITIVE = lambda x: number(x) and 0 < x <= 1e9
NOT_NEGATIVE = lambda x: number(x) and 0 <= x <= 1e9
SHARE = lambda x: number(x) and 0 <= x < 1
ALLOWED = {
    **dict.fromkeys(("known_batch", "outlier_batch", "bootstrap"), COUNT(10**6)),
    **{"epochs": COUNT(10**5), "widen": COUNT(100), "growth": COUNT(1000)},
    "outlier_images": lambda x: x == "all" or COUNT(10**9)(x),
    "jobs": lambda x: x == "auto" or COUNT(10**9)(x),
    **dict.fromkeys(("learning_rate", "clip", "odin_temperature", "mean_scale", "distance"), POSITIVE),
    **dict.fromkeys(("weight_decay", "odin_noise", "weight"), NOT_NEGATIVE),
    **dict.fromkeys(("momentum", "dropout"), SHARE),
    "validation_share": lambda x: number(x) and 0 < x <= 0.5,
    "shape": lambda x: x in ("steps", "cosine", "onecycle"),
    "precision": lambda x: x in ("auto", "float32", "bfloat16"),
    "stem": lambda x: x in ("basic", "strided"),
    "start": lambda x: x in ("random", "plain"),
    "gaussian_head": lambda x: x in ("random", "estimate"),
    "factor": lambda x: x in ("lower", "precision", "diagonal", "spherical"),
    "title": lambda x: isinstance(x, str),
}

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(WORDS, SCALARS, max_size=3)


def checked(text):
    """Read `text` as params.yaml; return the message of the error, if there is one."""
    paths.PARAMS.write_text(text)
    try:
        runs.load()
    except ValueError as error:
        return str(error)
    return None


def change(place, value):
    tree = copy.deepcopy(RIGHT)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return tree


def a_wrong_value_is_named(place, value):
    """An accepted value is allowed; a refused one is told with its file, its key and, if it is short, itself."""
    message = checked(yaml.safe_dump(change(place, value), allow_unicode=True))
    names = [key for key in place if isinstance(key, str)]
    allowed = ALLOWED.get(names[-1])
    if message is None:
        assert allowed is None or allowed(value), f"{place} = {value!r} was accepted"
        return
    assert allowed is None or not allowed(value), f"{place} = {value!r}: {message}"
    assert message.startswith("params.yaml"), message
    assert names[-1] in message or (len(names) > 1 and names[-2] in message), f"{place} = {value!r}: {message}"
    if allowed is not None and not isinstance(value, dict | list) and len(repr(value)) < 60:
        assert f"{names[-1]} = {value!r}" in message, f"{place} = {value!r}: {message}"
        assert any(word in message for word in ("expected", "should be")), message


def a_missing_key_is_named(place):
    """A key without a default is missed by its name."""
    tree = copy.deepcopy(RIGHT)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    message = checked(yaml.safe_dump(tree))
    if message is not None:
        assert message.startswith("params.yaml") and str(place[-1]) in message, f"{place}: {message}"


def an_unknown_key_is_named(place, key, value):
    """A key that nobody reads is refused by its name, wherever the schema and not the user gives names."""
    inner = RIGHT
    for part in place:
        inner = inner[part]
    if not isinstance(inner, dict) or key in inner:
        return
    message = checked(yaml.safe_dump(change((*place, key), value), allow_unicode=True))
    if place[-1:] in (
        ("scratch",),
        ("wideresnet",),
        ("densenet",),
        ("digits",),
        ("detectors",),
        ("networks",),
        ("ice",),
    ):
        assert message is not None, f"{(*place, key)} was accepted"
    if message is not None:
        assert message.startswith("params.yaml") and (key in message or repr(key)[1:-1] in message), message


def any_text_is_refused_by_name(content):
    """Whatever the file holds, the error is a ValueError that names it."""
    paths.PARAMS.write_bytes(content)
    try:
        runs.load()
    except ValueError as error:
        assert str(error).startswith("params.yaml"), error


KEYS = st.sampled_from(sorted(places(RIGHT), key=str))
MAPPINGS = KEYS.filter(lambda place: place != ("own_datasets",))
NEW = st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8})?", fullmatch=True)
FRAGMENTS = st.sampled_from(["scale: ", "[", "{", "a: 1\n", "- ", "!!python/name:os.system ", "&a ", "*a", "2001-99-99", "\t", "9" * 5000])  # fmt: skip
PROPERTIES = {
    "wrong values": (a_wrong_value_is_named, (KEYS, VALUES)),
    "missing keys": (a_missing_key_is_named, (KEYS.filter(lambda place: isinstance(place[-1], str)),)),
    "unknown keys": (an_unknown_key_is_named, (MAPPINGS, NEW, VALUES)),
    "any text": (any_text_is_refused_by_name, (st.binary(max_size=60) | st.lists(FRAGMENTS, max_size=8).map(lambda x: "".join(x).encode()),)),
}  # fmt: skip


def fuzz(name, examples, **options):
    """Try a property with so many examples."""
    check, strategies = PROPERTIES[name]
    options |= {"max_examples": examples, "deadline": None, "database": None}
    options["suppress_health_check"] = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    settings(**options)(given(*strategies)(check))()


@pytest.mark.parametrize("name", PROPERTIES)
def test_changed_parameters(name, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    fuzz(name, 50, derandomize=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale: 5", "params.yaml: scale = 5: .*string"),
        ("seeds: [[0]]", r"seeds.0 = \[0\]: .*integer"),
        ("blocks: {}", "params.yaml: scale is missing"),
        ("seeds: ['0']\nseeds: ['1']", "not valid YAML: the key 'seeds' is given twice"),
        ("? {a: 1}\n: 2", "not valid YAML: a key is a mapping or a list; expected a word"),
        ("1: {}", "params.yaml: 1: no such key"),
        (f"threads: 0x{'f' * 5000}", "threads = a number of more than 4300 digits: .*less than or equal to 1024"),
        ("a: 2001-99-99", "not valid YAML: month must be in 1..12"),
        ("[" * 5000, "not valid YAML"),
        ("a: !!python/object/apply:os.system ['false']", "not valid YAML: could not determine a constructor"),
    ],
)
def test_text_that_once_ended_in_a_traceback_or_passed(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    paths.PARAMS.write_text(text)
    with pytest.raises(ValueError, match=message):
        runs.load()


@pytest.mark.parametrize("name", ["a/b", "../a", "known", "labels", "near", "far", ".a"])
def test_outliers_whose_name_would_hide_another_are_refused(name, tmp_path, monkeypatch):
    """A score file has DETECTOR/SET: `a/b` and `a/c` would be taken for one set, `known` for the known images."""
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    message = checked(yaml.safe_dump(change(("tasks", "digits", "outliers", name), {"set": "gaussian"})))
    assert message and name in message
