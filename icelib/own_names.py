"""What a user's function or class names: functions, values, attributes, and whether its file still holds it."""

import contextlib
import dis
import functools
import importlib
import inspect
import sys
import sysconfig
import textwrap
import types
from pathlib import Path

INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
APART = ("icelib.variants", "icelib.variant_heads")  # modules that `training.code_digest` leaves out


def is_installed(value):
    """Whether a module, function or class comes with Python or an installed package; objects made by one do not."""
    if isinstance(value, types.ModuleType):
        file = getattr(value, "__file__", None)
        return (file is None and not hasattr(value, "__path__")) or (file is not None and _lies_in_package(file))
    if not (is_routine(value) or inspect.isclass(value)) or inspect.ismethod(value):
        return False
    if value.__module__ == "__main__":  # a notebook's cell, of which a kernel has no file
        return False
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return file is None or _lies_in_package(file)


def is_routine(value):
    """Whether a value is a function or method of any kind, and no other object that a class may bind."""
    return inspect.isroutine(value) and hasattr(value, "__qualname__")


def _lies_in_package(file):
    return any(Path(file).is_relative_to(folder) for folder in INSTALLED)


def is_ours(thing):
    """Whether the project defines a function or class, so that all of it stands in a file."""
    return thing.__module__.startswith("icelib.")


def is_wrapper(function):
    """Whether a user's decorator made it, whose source is another than that of what it wraps."""
    return hasattr(function, "__wrapped__") and not _lies_in_package(function.__code__.co_filename)


def methods(kind):
    """Functions that a class has of its own, but for those that were made of its fields."""
    for value in vars(kind).values():
        parts = [value]
        if not is_ours(kind):
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


def attributes(kind):
    """Values that a class holds beside its methods, by name."""
    made = (property, functools.cached_property, types.MemberDescriptorType, types.GetSetDescriptorType)
    for name, value in vars(kind).items():
        value = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if not (name.startswith("__") or name == "_abc_impl" or isinstance(value, made) or inspect.isfunction(value)):
            yield name, value


def fields(kind):
    """Defaults of the fields of a data class or of a pydantic model, by name."""
    for made in ("__dataclass_fields__", "__pydantic_fields__"):
        for name, field in vars(kind).get(made, {}).items():
            yield f"{name} by default", [field.default, field.default_factory]


def used(function):
    """Values that a function's code may name, by name: globals, what it closes over, and attributes of modules."""
    if _lies_in_package(function.__code__.co_filename):  # a package's decorator made it
        return {"wrapped": inspect.unwrap(function)}
    names, space = set(_names(function.__code__)), function.__globals__
    # of a user's code without the names of attributes, which globals may have too; of the project's, more than is needed
    wanted = names if is_ours(function) else _loaded(function.__code__, "LOAD_GLOBAL", "LOAD_NAME")
    found = {name: space[name] for name in wanted if name in space}
    for name in _loaded(function.__code__, "IMPORT_NAME"):
        with contextlib.suppress(ImportError):  # which its caller shall see
            found[f"import {name}"] = importlib.import_module(name)
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


def _loaded(code, *how):
    """Names that instructions of some kinds have, also in functions within a function."""
    yield from (x.argval for x in dis.get_instructions(code) if x.opname in how)
    for inner in _inner(code):
        yield from _loaded(inner, *how)


def _names(code):
    yield from code.co_names
    for inner in _inner(code):
        yield from _names(inner)


def _inner(code):
    """Code of comprehensions and of functions within a function."""
    return [x for x in code.co_consts if isinstance(x, types.CodeType)]


def lambda_code(function):
    """What tells a lambda from the others on its line, as text."""
    return _bytecode(function.__code__)


def _bytecode(code):
    constants = [x for x in code.co_consts if not isinstance(x, types.CodeType)]
    # the order of a set is another in each process
    constants = [sorted(map(repr, x)) if isinstance(x, frozenset) else x for x in constants]
    return " ".join([code.co_code.hex(), *map(repr, (code.co_names, constants)), *map(_bytecode, _inner(code))])


def check_loaded(key, function):
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
        with contextlib.suppress(OSError, SyntaxError):  # as IPython's autoreload compiles it, alone
            there += map(_bytecode, _inner(compile(textwrap.dedent(inspect.getsource(code)), file, "exec")))
        if _bytecode(code) not in there:
            raise ValueError(f"{key} is no longer what {file} holds; restart, or import it anew (importlib.reload)")
