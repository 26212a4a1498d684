"""The code of a user's function or class as text, by whose hash `icelib.own_runs` tells what was tried before.

Functions are followed as they live in this process, not as files have them, with all that their result may
depend on: helpers, constants, attributes, defaults, bases. What cannot be told is refused, since a try that is
taken for another would be shown as its result.
"""

import copyreg
import enum
import functools
import hashlib
import inspect
import logging
import textwrap
import types

import numpy as np
import torch

from icelib.own_names import (
    attributes,
    check_loaded,
    fields,
    is_installed,
    is_ours,
    is_routine,
    is_wrapper,
    lambda_code,
    methods,
    used,
)

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), range, slice, np.generic)
OF_TORCH = (torch.dtype, torch.device, torch.Size)
PARTIAL = (functools.partial, functools.partialmethod)


def text(thing):
    """Return the source of a user's function or class, with that of what it uses and its constants.

    Parameters
    ----------
    thing : function or type
        Defined in a notebook's cell or in a file.

    Returns
    -------
    str
        What comes from an installed package stands there by its name.

    Raises
    ------
    ValueError
        If there is no source to be found, the file has another one than was imported, or a value that is used
        can change without notice.
    """
    found = _Found()
    found.gather(thing)
    return "\n\n".join(found.pieces)


class _Found:
    """What was gathered so far: pieces of text, and the objects they are of, so that none is told twice."""

    def __init__(self):
        self.pieces, self.seen = [], {}

    def gather(self, thing):
        """Add a function or class, and what it uses; raise ValueError as `text`."""
        if id(thing) in self.seen:
            return
        self.seen[id(thing)] = thing
        key = f"{thing.__module__}.{thing.__qualname__}"
        functions = [thing] if inspect.isfunction(thing) else list(methods(thing))
        try:
            # of a class by its methods: of one that a cell defines, Python does not find the whole
            sources = [textwrap.dedent(inspect.getsource(x)) for x in functions]
            sources += [inspect.getsource(x.__code__) for x in functions if is_wrapper(x)]
        except (OSError, TypeError) as error:
            raise ValueError(
                f"{key} has no source: {error}; define it in a notebook's cell that is no magic (%%time, say), or in a file"
            ) from None
        self.pieces.append("\n".join(sources) if inspect.isfunction(thing) else f"# class {key}\n" + "\n".join(sources))
        for function in functions:
            check_loaded(key, function)
            if function.__name__ == "<lambda>":  # its source is the line, which may hold several
                self.pieces.append(lambda_code(function))
            self.add(key, {name: x for name, x in vars(function).items() if name != "__wrapped__"}, thing)
            if not is_ours(function):
                defaults = {"defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
                self.add(f"{key} {function.__name__}", {name: x for name, x in defaults.items() if x}, thing)
            self.add(key, used(function), thing)
        if inspect.isclass(thing) and not is_ours(thing):
            self.add(key, dict(attributes(thing)) | dict(fields(thing)), thing)
            for base in thing.__mro__[1:]:
                if not is_installed(base):
                    self.gather(base)

    def add(self, key, values, user):
        """Add named values that a function or class, `user`, uses."""
        for name, value in sorted(values.items()):
            if isinstance(value, types.ModuleType) or is_installed(value):
                if not is_ours(user):  # of the project's own code the source says which
                    self.pieces.append(f"{name} is {self._told_code(f'{key} uses {name}', value)}")
            elif inspect.isfunction(value) or inspect.isclass(value):
                self.gather(value)
            else:
                self.pieces.append(f"{name} = {self.told(f'{key} uses {name}', value)}")

    def told(self, place, value):
        """Return text that differs where a value does; `place` tells whose it is, if it cannot be told."""
        kind = type(value)
        if kind in (*PLAIN, *OF_TORCH) or isinstance(value, np.generic):
            return repr(value)
        if not is_installed(kind):
            self.gather(kind)
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous()
            return f"tensor {value.dtype} {tuple(value.shape)} {_hash(value.flatten().view(torch.uint8).numpy())}"
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return f"array {value.dtype} {value.shape} {_hash(np.ascontiguousarray(value))}"
        if isinstance(value, PARTIAL):
            return f"partial {self.told(place, [value.func, value.args, value.keywords])}"
        if isinstance(value, types.ModuleType) or is_routine(value) or inspect.isclass(value):
            return self._told_code(place, value)
        if isinstance(value, enum.Enum):
            return f"{value} {self.told(place, value.value)}"
        if isinstance(value, logging.Logger):
            return f"logger {value.name}"  # what it writes is no result
        if id(value) in self.seen:
            return f"object {list(self.seen).index(id(value))}"
        self.seen[id(value)] = value
        if isinstance(value, dict | types.MappingProxyType):
            text = "{" + ", ".join(f"{self.told(place, k)}: {self.told(place, x)}" for k, x in value.items()) + "}"
        elif isinstance(value, list | tuple):
            text = f"{kind.__name__}({', '.join(self.told(place, x) for x in value)})"
        elif isinstance(value, set | frozenset):
            text = f"{kind.__name__}({', '.join(sorted(self.told(place, x) for x in value))})"
        else:
            return self._told_object(place, value)
        more = {name: getattr(value, name) for name in ("__dict__", "default_factory") if hasattr(value, name)}
        return f"{text} {self.told(place, more)}" if more else text

    def _told_code(self, place, value):
        if inspect.ismethod(value):
            return f"method of {self.told(place, value.__self__)} {self.told(place, value.__func__)}"
        if isinstance(value, types.ModuleType):
            return value.__name__
        if (inspect.isfunction(value) or inspect.isclass(value)) and not is_installed(value):
            self.gather(value)
        inner, owner = getattr(value, "__wrapped__", None), getattr(value, "__self__", None)
        if inner is not None and not inspect.isfunction(value) and not inspect.isclass(value):  # functools.lru_cache's
            return f"wrapped {self.told(place, inner)}"
        if inspect.isclass(owner):  # the `apply` of an autograd.Function
            return f"{value.__qualname__} of {self.told(place, owner)}"
        return f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value)}"

    def _told_object(self, place, value):
        kind = type(value)
        plain = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
        if plain and hasattr(value, "__dict__") and not isinstance(value, PLAIN):
            return f"{kind.__qualname__} {self.told(place, vars(value))}"
        try:
            # all that it is made of, where its own text may be shortened
            parts = copyreg.dispatch_table.get(kind, lambda x: x.__reduce_ex__(2))(value)
        except (TypeError, ValueError, RuntimeError):
            parts = ()
        if not isinstance(parts, tuple) or not parts or kind is object:
            raise ValueError(
                f"{place} = {value!r}, of which a change would not be noticed; expected numbers, words, tensors, "
                "arrays, functions, and lists or objects of these"
            )
        return f"{kind.__qualname__} {self.told(place, [list(x) if hasattr(x, '__next__') else x for x in parts])}"


def _hash(array):
    return hashlib.sha256(array.tobytes()).hexdigest()
