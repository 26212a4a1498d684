"""The code of a user's function or class as text, by whose hash `icelib.own_runs` tells what was tried before.

Functions are followed as they live in this process, not as files have them, with all that their result may
depend on: helpers, constants, attributes, defaults, bases. What cannot be told is refused, since a try that is
taken for another would be shown as its result.
"""

import contextlib
import enum
import functools
import hashlib
import inspect
import sys
import sysconfig
import textwrap
import types
from pathlib import Path

import numpy as np
import torch

INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), range, slice, np.generic, enum.Enum)
OF_TORCH = (torch.dtype, torch.device, torch.Size)
APART = ("icelib.variants", "icelib.variant_heads")  # modules that `training.code_digest` leaves out


def text(thing):
    """Return the source of a user's function or class, with that of what it uses and its constants.

    Parameters
    ----------
    thing : function or type
        Defined in a notebook's cell or in a file.

    Returns
    -------
    str
        What comes from an installed package is left out.

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
        """Add a function or class, and what it uses."""
        if id(thing) in self.seen:
            return
        self.seen[id(thing)] = thing
        key = f"{thing.__module__}.{thing.__qualname__}"
        functions = [thing] if inspect.isfunction(thing) else list(_methods(thing))
        try:
            # of a class by its methods: of one that a cell defines, Python does not find the whole
            sources = [textwrap.dedent(inspect.getsource(x)) for x in functions]
            sources += [inspect.getsource(x.__code__) for x in functions if _is_wrapper(x)]
        except (OSError, TypeError) as error:
            raise ValueError(f"{key} has no source: {error}; define it in a notebook's cell or a file") from None
        self.pieces.append("\n".join(sources) if inspect.isfunction(thing) else f"# class {key}\n" + "\n".join(sources))
        for function in functions:
            _check_loaded(key, function)
            if function.__name__ == "<lambda>":  # its source is the line, which may hold several
                self.pieces.append(_bytecode(function.__code__))
            self.add(key, {name: x for name, x in vars(function).items() if name != "__wrapped__"})
            if not _is_ours(function):
                defaults = {"defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
                self.add(f"{key} {function.__name__}", {name: x for name, x in defaults.items() if x})
            self.add(key, _used(function))
        if inspect.isclass(thing) and not _is_ours(thing):
            self.add(key, dict(_attributes(thing)))
            for base in thing.__mro__[1:]:
                if not is_installed(base):
                    self.gather(base)

    def add(self, key, values):
        """Add named values that a function or class uses."""
        for name, value in sorted(values.items()):
            if isinstance(value, types.ModuleType) or is_installed(value):
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                self.gather(value)
            else:
                self.pieces.append(f"{name} = {self.told(f'{key} uses {name}', value)}")

    def told(self, place, value):
        """Return text that differs where a value does; `place` tells whose it is, if it cannot be told."""
        if isinstance(value, (*PLAIN, *OF_TORCH)):
            return repr(value)
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous()
            return f"tensor {value.dtype} {tuple(value.shape)} {_hash(value.flatten().view(torch.uint8).numpy())}"
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return f"array {value.dtype} {value.shape} {_hash(np.ascontiguousarray(value))}"
        if isinstance(value, types.ModuleType) or inspect.isroutine(value) or inspect.isclass(value):
            return self._told_code(place, value)
        if id(value) in self.seen:
            return f"object {list(self.seen).index(id(value))}"
        self.seen[id(value)] = value
        if isinstance(value, functools.partial):
            return f"partial {self.told(place, [value.func, value.args, value.keywords])}"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.told(place, k)}: {self.told(place, x)}" for k, x in value.items()) + "}"
        if isinstance(value, list | tuple):
            return f"{type(value).__name__}({', '.join(self.told(place, x) for x in value)})"
        if isinstance(value, set | frozenset):
            return f"{type(value).__name__}({', '.join(sorted(self.told(place, x) for x in value))})"
        return self._told_object(place, value)

    def _told_code(self, place, value):
        if inspect.ismethod(value):
            return f"method of {self.told(place, value.__self__)} {self.told(place, value.__func__)}"
        if (inspect.isfunction(value) or inspect.isclass(value)) and not is_installed(value):
            self.gather(value)
        return f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value)}"

    def _told_object(self, place, value):
        if not hasattr(value, "__dict__"):
            if " at 0x" not in repr(value):
                return repr(value)
            raise ValueError(
                f"{place} = {value!r}, of which a change would not be noticed; expected numbers, words, tensors, "
                "arrays, functions, and lists or objects of these"
            )
        if not is_installed(type(value)):
            self.gather(type(value))
        return f"{type(value).__qualname__} {self.told(place, vars(value))}"


def is_installed(value):
    """Whether a module, function or class comes with Python or an installed package; objects made by one do not."""
    if isinstance(value, types.ModuleType):
        file = getattr(value, "__file__", None)
        return (file is None and not hasattr(value, "__path__")) or (file is not None and _lies_in_package(file))
    if not (inspect.isroutine(value) or inspect.isclass(value)) or inspect.ismethod(value):
        return False
    if value.__module__ == "__main__":  # a notebook's cell, of which a kernel has no file
        return False
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return file is None or _lies_in_package(file)


def _lies_in_package(file):
    return any(Path(file).is_relative_to(folder) for folder in INSTALLED)


def _is_ours(thing):
    """Whether the project defines a function or class, so that all of it stands in a file."""
    return thing.__module__.startswith("icelib.")


def _is_wrapper(function):
    """Whether a user's decorator made it, whose source is another than that of what it wraps."""
    return hasattr(function, "__wrapped__") and not _lies_in_package(function.__code__.co_filename)


def _methods(kind):
    """Functions that a class has of its own, but for those that were made of its fields."""
    for value in vars(kind).values():
        parts = [value]
        if not _is_ours(kind):
            if isinstance(value, property):
                parts = [value.fget, value.fset, value.fdel]
            elif isinstance(value, (classmethod, staticmethod)):
                parts = [value.__func__]
            elif isinstance(value, functools.cached_property):
                parts = [value.func]
        for part in parts:
            if inspect.isfunction(part) and not _is_generated(inspect.unwrap(part)):
                yield part


def _is_generated(function):
    """Whether a data class or a named tuple made it."""
    file = function.__code__.co_filename
    return file == "<string>" or _lies_in_package(file)


def _attributes(kind):
    """Values that a class holds beside its methods."""
    made = (property, classmethod, staticmethod, functools.cached_property, types.MemberDescriptorType)
    for name, value in vars(kind).items():
        if not (name.startswith("__") or name == "_abc_impl" or isinstance(value, (*made, types.GetSetDescriptorType))):
            if not inspect.isroutine(value):
                yield name, value


def _used(function):
    """Values that a function's code may name, by name: globals, what it closes over, and attributes of modules."""
    if _lies_in_package(function.__code__.co_filename):  # a package's decorator made it
        return {"wrapped": inspect.unwrap(function)}
    names = set(_names(function.__code__))
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not bound yet
            found[name] = cell.cell_contents
    waiting, seen = [x for x in found.items() if isinstance(x[1], types.ModuleType)], set()
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen or is_installed(module) or _is_covered(module):
            continue
        seen.add(id(module))
        for name in names & vars(module).keys():
            found[f"{prefix}.{name}"] = value = vars(module)[name]
            if isinstance(value, types.ModuleType):
                waiting.append((f"{prefix}.{name}", value))
    return found


def _is_covered(module):
    """Whether a module of the project changes `training.code_digest`, or no figures; those of our variants do not."""
    return module.__name__.startswith("icelib") and module.__name__ not in APART


def _names(code):
    yield from code.co_names
    for inner in _inner(code):
        yield from _names(inner)


def _inner(code):
    """Code of comprehensions and of functions within a function."""
    return [x for x in code.co_consts if isinstance(x, types.CodeType)]


def _bytecode(code):
    constants = [x for x in code.co_consts if not isinstance(x, types.CodeType)]
    return " ".join([code.co_code.hex(), *map(repr, (code.co_names, constants)), *map(_bytecode, _inner(code))])


def _check_loaded(key, function):
    """Raise ValueError unless a function's file still holds what was imported: its text would be another's."""
    for code in {function.__code__, inspect.unwrap(function).__code__}:
        file = Path(code.co_filename)
        if not file.is_file() or _lies_in_package(file):  # a notebook's cell; one of torch's decorators
            continue
        waiting = [compile(file.read_bytes(), file, "exec", dont_inherit=True)]
        there = []
        while waiting:
            waiting += (inner := _inner(waiting.pop()))
            there += [_bytecode(x) for x in inner if x.co_qualname == code.co_qualname]
        if _bytecode(code) not in there:
            raise ValueError(f"{key} is no longer what {file} holds; restart, or import it anew (importlib.reload)")


def _hash(array):
    return hashlib.sha256(array.tobytes()).hexdigest()
