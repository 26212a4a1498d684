"""Checks of names and values in params.yaml, whose errors say what was found and what was expected."""

import difflib
import functools
import inspect
import math

from icelib import heads, losses, scores
from icelib.methods import GIVEN, METHODS, Method


def loss_parameters(method):
    """Names of the keyword parameters that the loss of a method (key of `METHODS`) takes."""
    return _names(method)[0]


def _names(method):
    """Names of the parameters of a method's loss and of its head."""
    # a function of one's own may be changed where it is
    look = _looked_up if method in GIVEN else _looked_up.__wrapped__
    return look(METHODS[method].loss, METHODS[method].head)


@functools.lru_cache  # params.yaml has hundreds of places where they are asked for, and is read again and again
def _looked_up(loss, head):
    signature = inspect.signature(loss)
    keywords = tuple(name for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY)
    return keywords, heads.parameters(head)


def check_parameters(method, values, place=None):
    """Raise ValueError unless `values` are the parameters of a method's loss and head; `place` names them."""
    place = place or f"train.{method}"
    head = METHODS[method].head
    expected = sum(_names(method), ())
    factors = getattr(heads.HEADS.get(head, head), "factors", None)
    rules = (factors, method in GIVEN)
    for key in values:
        if key not in expected:
            raise ValueError(f"{place}.{key}: no such parameter{hint(key, expected)}")
    for key in expected:
        if key not in values:
            raise ValueError(f"{place}.{key} is missing; expected {_wanted(key, *rules)[0]}")
        wanted, right = _wanted(key, *rules)
        if not right(values[key]):
            raise ValueError(f"{place}.{key} = {values[key]!r}: expected {wanted}{as_number(values[key])}")
    for smaller, larger in ORDERED if method in GIVEN else ():
        if smaller in values and values[smaller] > values[larger]:
            raise ValueError(
                f"{place}.{smaller} = {values[smaller]!r} with {larger} = {values[larger]!r}: expected {smaller} ≤ {larger}"
            )


LOSS = ("known_logits", "labels", "outlier_logits")  # what a loss takes by position
ORDERED = (("margin_known", "margin_outlier"), ("inner", "outer"))  # of the losses that have them


def _wanted(key, factors, given):
    """What is expected of a parameter: in words, and as a function of its value; names of one's own are free."""
    if key == "factor":
        return (
            (f"one of {list(factors)}", lambda value: value in factors)
            if factors
            else ("a number or a word", lambda value: True)
        )
    if key == "weight" or (given and key.startswith("weight_")):
        return "a number ≥ 0", lambda value: not isinstance(value, str) and value >= 0
    if key in ("mean_scale", "covariance_scale") or (given and key == "separation"):
        return "a number > 0", lambda value: not isinstance(value, str) and value > 0
    return "a number", lambda value: not isinstance(value, str)


def declare(own):
    """Make the methods that params.yaml adds known, by name (`schema.OwnMethod`); return them as they are.

    Raises
    ------
    ValueError
        If a name is one of the project's methods, a title is taken, or there is no such loss or score.
    """
    for name, about in own.items():
        if name in GIVEN:
            raise ValueError(f"{name}: is a method of the project already; choose another name")
        if about.title in [other.title for key, other in METHODS.items() if key != name]:
            raise ValueError(f"{name}.title = {about.title!r}: another method has this title, and tables go by it")
        loss, score = pick_function(losses, name), pick_function(scores, about.score)
        check_signature(f"losses.{name}", loss, LOSS, keywords=True)
        check_signature(f"scores.{about.score}", score, ("logits",))
        METHODS[name] = Method(loss, about.head, score, True, about.title)
    return own


def check_signature(place, function, given, keywords=False):
    """Raise ValueError unless a function takes what is `given` by position, and else keywords alone, if any."""
    found = list(inspect.signature(function).parameters.values())
    first, others = found[: len(given)], found[len(given) :]
    places = all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in first)
    if len(first) < len(given) or not places or not all(keywords and p.kind is p.KEYWORD_ONLY for p in others):
        wanted = ", ".join([*given, *(["*", "..."] if keywords else [])])
        raise ValueError(f"{place}{inspect.signature(function)}: expected ({wanted})")


def as_number(value):
    """End of a message about a word that was meant as a number: YAML takes 1e-3 for a word."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    return f"; without quotes, and with a point: {number:.15f}".rstrip("0") if math.isfinite(number) else ""


def pick_function(module, name):
    """Return a function that a module defines, by name; raise ValueError with those that there are."""
    there = [key for key, x in vars(module).items() if inspect.isfunction(x) and x.__module__ == module.__name__]
    if name not in there:
        raise ValueError(f"icelib/{module.__name__.split('.')[-1]}.py has no function {name!r}{hint(name, there)}")
    return getattr(module, name)


def hint(word, known):
    """End of a message about an unknown word: the one that was meant, or all there are."""
    known = sorted(map(str, known))  # a key of YAML may be a number
    close = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f"; expected one of {known}"


def unique(what, names):
    """Raise ValueError if a name is listed twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} names {name!r} twice")


def comparable(values):
    """Raise ValueError unless all candidates change the same keys, each to other values; return them."""
    for change in values:
        if list(change) != list(values[0]):
            raise ValueError(
                f"values: {list(change)} beside {list(values[0])}; expected the same keys in the same order"
            )
        if values.count(change) > 1:
            raise ValueError(f"values: {change} is listed twice")
    return values
