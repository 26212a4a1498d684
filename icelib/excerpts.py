"""Code as text, with what it uses of its module: what a method's training depends on.

``python -m icelib.excerpts SCALE`` writes ``notebooks/code/methods/SCALE/METHOD.py`` for each method: its
loss and score with what these use of their modules, without comments and docstrings; also what sweeps
and a user's scores depend on, see `write`. Stages depend on these in place of the modules, so that a new
loss or score makes no other method train again.
"""

import argparse
import ast
import inspect

from icelib import params, paths, scores
from icelib.errors import readable_errors
from icelib.files import write_bytes
from icelib.methods import METHODS


def method(name):
    """Return the code that is particular to a method.

    Parameters
    ----------
    name : str
        Key of `METHODS`.

    Returns
    -------
    str
    """
    about = METHODS[name]
    pieces = [f"head, outliers = {about.head!r}, {about.outliers!r}", *_parts(about.loss), *_parts(about.score)]
    if isinstance(about.head, type):  # the others are in heads.py, on which stages depend
        pieces.append(_part(about.head))
    return "\n\n".join(pieces) + "\n"


def _parts(function):
    """`_part` of a function, and of those that it uses from other modules of the project."""
    used = inspect.getclosurevars(function).globals.values()
    others = [x for x in used if inspect.isfunction(x) and x.__module__ != function.__module__]
    return [_part(function), *(part for x in others if x.__module__.startswith("icelib.") for part in _parts(x))]


def _part(thing):
    """The module of a function or class without the functions and classes that it does not use."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(thing)))
    kinds = ast.FunctionDef | ast.ClassDef
    defined = {node.name: node for node in tree.body if isinstance(node, kinds)}
    needed, waiting = set(), [thing.__name__]
    while waiting:
        name = waiting.pop()
        if name in defined and name not in needed:
            needed.add(name)
            waiting += [node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name)]
    tree.body = [node for node in tree.body if not isinstance(node, kinds) or node.name in needed]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | kinds) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def write(scale):
    """Write the excerpts of all methods, of a scale's sweeps by their methods, and of a user's scores there.

    Raises
    ------
    ValueError
        If params.yaml has no such scale.
    """
    block = params.pick(params.load().blocks, scale, "scale")
    content = {name: method(name) for name in METHODS}
    content |= {f"sweep-{name}": method(sweep.method) for name, sweep in block.sweeps.items()}
    content["own-scores"] = "\n\n".join(_part(getattr(scores, name)) for name in block.detectors.own)
    for name, code in content.items():
        write_bytes(paths.NOTEBOOKS / "code" / "methods" / scale / f"{name}.py", code.encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write what each method's training depends on of the code.")
    parser.add_argument("scale")
    with readable_errors():
        write(**vars(parser.parse_args()))
