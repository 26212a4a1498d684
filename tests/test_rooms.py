"""The order of rooms: each imports only from those behind it, and none in a circle."""

import ast

import pytest

from tests.conftest import SOURCE

ROOMS = [
    {"tools"}, {"report"}, {"evaluation"}, {"analysis"}, {"training"}, {"data"}, {"config"}, {"methods"}, {"models"},
    {"losses", "heads", "scores", "metrics", "paper"}, {"util"},
]  # fmt: skip
MODULES = sorted((SOURCE / "icelib").rglob("*.py"))


def room(name):
    return next(number for number, names in enumerate(ROOMS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE / "icelib")))
def test_a_module_imports_from_rooms_behind_its_own(path):
    parts = path.relative_to(SOURCE / "icelib").with_suffix("").parts
    if parts == ("__init__",):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        assert not getattr(node, "level", 0), f"{path} imports by a relative name, which the tests here do not follow"
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "icelib":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("icelib.")]
        for name in names:
            other = name.split(".")[1]
            same = other == parts[0] and len(parts) > 1
            assert same or room(other) > room(parts[0]), f"icelib/{'/'.join(parts)}.py imports {name}"


def test_modules_of_a_room_import_each_other_in_no_circle():
    import graphlib

    names = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES
    }
    del names["icelib"]  # it imports the method for users; who imports from it, imports its modules
    edges = {}
    for name, path in names.items():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        edges[name] = found & set(names) - {name}
    assert sum(map(len, edges.values())) > 100
    list(graphlib.TopologicalSorter(edges).static_order())


def test_the_top_holds_the_method_alone():
    top = {path.stem for path in (SOURCE / "icelib").glob("*.py")} - {"__init__"}
    assert top == {"losses", "heads", "models", "scores", "metrics"}


def test_the_library_is_thin():
    lines = sum(len(path.read_text().splitlines()) for path in MODULES)
    assert lines <= 8500
    long = [
        f"{path}:{n}" for path in MODULES for n, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120
    ]
    for name, limit in (("params.yaml", 200), ("dvc.yaml", 170)):
        rows = (SOURCE / name).read_text().splitlines()
        assert len(rows) <= limit
        long += [f"{name}: {row}" for row in rows if len(row) > 120]
    assert long == []
