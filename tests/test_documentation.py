"""Docstrings: all that is public has one, examples run, and what they name is there."""

import ast
import doctest
import importlib
import re
import tomllib

from tests.conftest import SOURCE

PATHS = sorted([*(SOURCE / "icelib").glob("*.py"), *(SOURCE / "benchmarks").glob("*.py")])
TREES = {path: ast.parse(path.read_text()) for path in PATHS}
DEFINED = ast.FunctionDef | ast.ClassDef


def documented(path):
    """Yield (name, docstring or None) of a module, and of what is public in it."""
    yield path.stem, ast.get_docstring(TREES[path])
    for node in TREES[path].body:
        if isinstance(node, DEFINED) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node)
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                # `forward` does what the docstring of its class says
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
    without = {f"{path.stem}: {name}" for path in PATHS for name, text in documented(path) if not text}
    assert not without


def test_examples_are_found_and_run():
    written = [path for path in PATHS if any(">>> " in text for text in TEXTS[path])]
    assert {"lookup", "metrics"} <= {path.stem for path in written if path.parent.name == "icelib"}
    options = tomllib.loads((SOURCE / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "--doctest-modules" in options["addopts"].split()
    for path in written:
        assert path.parent.name in options["testpaths"]
        result = doctest.testmod(importlib.import_module(f"{path.parent.name}.{path.stem}"))
        assert result.attempted and not result.failed


def test_one_word_for_one_thing():
    for path in PATHS:
        found = [word for text in TEXTS[path] for word in re.findall(r"\b(?:AUC|ID|OOD|FPR(?!95))\b", text)]
        assert not found, f"{path.name}: {found}; say AUROC, known, outlier, FPR95"


def test_commands_in_docstrings_exist():
    found = {
        place for path in PATHS for text in TEXTS[path] for place in re.findall(r"python -m ([a-z]+\.[a-z_]+)", text)
    }
    assert {"icelib.site", "icelib.results", "benchmarks.steps"} <= found
    for place in found:
        path = SOURCE / f"{place.replace('.', '/')}.py"
        assert path.is_file() and 'if __name__ == "__main__":' in path.read_text(), place


def names(tree):
    """Return what a module defines or imports by name."""
    found = {alias.asname or alias.name for x in tree.body if isinstance(x, ast.ImportFrom) for alias in x.names}
    for x in tree.body:
        targets = x.targets if isinstance(x, ast.Assign) else [getattr(x, "target", x)]
        found |= {getattr(target, "name", getattr(target, "id", None)) for target in targets}
    return found


def test_names_in_docstrings_exist():
    there = {path.stem: names(tree) for path, tree in TREES.items() if path.parent.name == "icelib"}
    for path in PATHS:
        for text in TEXTS[path]:
            for module, name in re.findall(r"(?<!`)`(?:icelib\.)?([a-z_]+)\.(\w+)[\w.]*`(?!`)", text):
                assert name in there.get(module, {name}), f"{path.name}: {module} has no {name}"
            for module in re.findall(r"(?<!`)`icelib\.(\w+)`(?!`)", text):
                assert module in there, f"{path.name}: there is no icelib.{module}"
