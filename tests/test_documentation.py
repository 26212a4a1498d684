"""Docstrings: all that is public has one, examples run, and what they name is there."""

import ast
import doctest
import importlib
import re
import tomllib

import pytest

from icelib.evaluation.detectors import DETECTORS
from tests.conftest import SOURCE

PATHS = sorted(path for folder in ("icelib", "speed") for path in (SOURCE / folder).rglob("*.py"))
NAMES = {path: ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in PATHS}
TREES = {path: ast.parse(path.read_text()) for path in PATHS}
DEFINED = ast.FunctionDef | ast.ClassDef


def documented(path):
    """Yield (name, docstring or None) of a module, and of what is public in it."""
    yield "module", ast.get_docstring(TREES[path])
    for node in TREES[path].body:
        if isinstance(node, DEFINED) and not node.name.startswith("_"):
            # a post-hoc detector has the name of a published one
            if not (NAMES[path] == "icelib.evaluation.detectors" and node.name in DETECTORS):
                yield node.name, ast.get_docstring(node)
            # a record's docstring, and that of a class whose `forward` it is, tell enough
            record = isinstance(node, ast.ClassDef) and "NamedTuple" in map(ast.unparse, node.bases)
            for method in node.body if isinstance(node, ast.ClassDef) and not record else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and method.name != "forward":
                    yield f"{node.name}.{method.name}", ast.get_docstring(method)


# all docstrings of each module, also those of what is private
TEXTS = {
    path: [
        text
        for node in ast.walk(tree)
        if isinstance(node, DEFINED | ast.Module)
        for text in [ast.get_docstring(node)]
        if text
    ]
    for path, tree in TREES.items()
}


def test_what_is_public_has_a_docstring():
    assert not {f"{NAMES[path]}: {name}" for path in PATHS for name, text in documented(path) if not text}


def test_examples_are_found_and_run():
    written = [path for path in PATHS if any(">>> " in text for text in TEXTS[path])]
    assert "icelib.metrics" in {NAMES[path] for path in written}
    options = tomllib.loads((SOURCE / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "--doctest-modules" in options["addopts"].split()
    for path in written:
        assert NAMES[path].split(".")[0] in options["testpaths"]
        result = doctest.testmod(importlib.import_module(NAMES[path]))
        assert result.attempted and not result.failed


def test_one_word_for_one_thing():
    for path in PATHS:
        # the head of the library says which words of the field known and outlier stand for
        texts = TEXTS[path] if NAMES[path] != "icelib" else []
        found = [word for text in texts for word in re.findall(r"\b(?:AUC|ID|OOD|FPR(?!95))\b", text)]
        assert not found, f"{NAMES[path]}: {found}; say AUROC, known, outlier, FPR95"


def test_commands_in_docstrings_exist():
    found = {
        place for path in PATHS for text in TEXTS[path] for place in re.findall(r"python -m ([a-z_]+\.[\w.]*\w)", text)
    }
    found -= {"speed.NAME"}
    assert {"icelib.tools.site", "icelib.training.train", "speed.steps"} <= found
    for place in found:
        path = SOURCE / f"{place.replace('.', '/')}.py"
        assert path.is_file() and 'if __name__ == "__main__":' in path.read_text(), place


def names(tree):
    """Return what a module defines or imports by name."""
    found = {alias.asname or alias.name for x in tree.body if isinstance(x, ast.ImportFrom) for alias in x.names}
    for x in tree.body:
        targets = x.targets if isinstance(x, ast.Assign) else [getattr(x, "target", x)]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            found |= {getattr(part, "name", getattr(part, "id", None)) for part in parts}
    return found


DEFINES = {NAMES[path]: names(tree) for path, tree in TREES.items() if NAMES[path].startswith("icelib")}
for name in list(DEFINES):  # a room holds its modules
    room, _, module = name.rpartition(".")
    DEFINES.get(room, set()).add(module)


def missing(word):
    """Tell what a dotted name of a docstring, ``choice.choose`` say, lacks; None if it is there, or none of ours."""
    parts = word.removeprefix("icelib.").split(".")
    for count in range(len(parts), 0, -1):
        place = ".".join(parts[:count])
        modules = [name for name in DEFINES if f".{name}".endswith(f".{place}")]
        if modules:
            there = set.union(*(DEFINES[name] for name in modules))
            return None if count == len(parts) or parts[count] in there else f"{place} has no {parts[count]}"
    return f"there is no {word}" if word.startswith("icelib.") else None


@pytest.mark.parametrize("path", PATHS, ids=NAMES.get)
def test_names_in_docstrings_exist(path):
    for text in TEXTS[path]:
        for word in re.findall(r"(?<!`)`((?:\w+\.)+\w+)`(?!`)", text):
            assert word.endswith(".yaml") or not missing(word), missing(word)
