"""The project's own files: pins, notebooks without outputs, no traces of a machine."""

import re
import subprocess

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

from icelib import catalog
from icelib.report import tables
from icelib.tools import notebooks
from tests.conftest import SOURCE

NOTEBOOKS = sorted((SOURCE / "notebooks").glob("*.ipynb"))


def lock():
    lines = (SOURCE / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_lock_pins_everything_and_names_no_host():
    assert all(len(r.specifier) == 1 and next(iter(r.specifier)).operator == "==" for r in lock())
    assert "://" not in (SOURCE / "requirements.lock").read_text()


def test_the_lock_satisfies_pyproject():
    import tomllib

    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        wanted = Requirement(text)
        pins = [next(iter(r.specifier)).version for r in lock() if r.name == wanted.name]
        assert pins and all(wanted.specifier.contains(pin) for pin in pins), text


def test_conda_environment_agrees_with_the_lock():
    environment = yaml.safe_load((SOURCE / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pins = {str(Requirement(line)) for line in pip if not line.startswith("-")}
    locked = {
        f"{r.name}{r.specifier}"
        for r in lock()
        if r.marker is None or r.marker.evaluate({"python_full_version": "3.11.9", "python_version": "3.11"})
    }
    assert pins and pins <= locked


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)
        assert cell.cell_type != "code" or len(cell.source.splitlines()) <= 15, "long code belongs in icelib"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_prose_is_no_code(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    notebooks.code(path, tmp_path / "a.py")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source += "\n\nMore prose."
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    notebooks.code(tmp_path / "changed.ipynb", tmp_path / "b.py")
    assert (tmp_path / "a.py").read_bytes() == (tmp_path / "b.py").read_bytes()
    compile((tmp_path / "a.py").read_text(), "a.py", "exec")


def test_scrubbing_makes_two_executions_equal():
    def executed(stamp, pieces):
        cell = nbformat.v4.new_code_cell(
            "print(1)", execution_count=1, metadata={"tags": ["x"], "papermill": {"start_time": stamp}}
        )
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in pieces]
        return nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"duration": stamp}})

    first, second = (notebooks.scrub(executed(*case)) for case in (("12:00", ["a\n", "b\n"]), ("12:01", ["a\nb\n"])))
    assert nbformat.writes(first) == nbformat.writes(second)
    assert first.cells[0].metadata.tags == ["x"]


def test_no_trace_of_the_machine_it_was_built_on():
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=SOURCE, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    folders = "|".join(f"/{name}/" for name in ("work", "root", "tmp/bash"))  # not matched by this file itself
    pattern = re.compile(rf"(^|[^\w.])({folders})|\.\./{'shared'}".encode())
    for name in filter(None, tracked):
        assert not pattern.search((SOURCE / name).read_bytes()), name


def test_the_readme_quotes_the_committed_results():
    """What git holds is compared, so that results made anew on another machine fail no test."""

    def committed(path):
        return subprocess.run(
            ["git", "show", f"HEAD:{path}"], cwd=SOURCE, capture_output=True, text=True, check=True
        ).stdout

    table = [line for line in committed("README.md").splitlines() if line.startswith("| ") and "ours" not in line]
    quoted = [line for line in table if line.split("|")[1].strip().rstrip(" †‡") in tables.ROWS]
    assert len(quoted) == 9
    results = committed("figures/table2.md")
    assert all(line in results for line in quoted)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (SOURCE / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", (SOURCE / page).read_text()):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            found = (SOURCE / page).parent / path if path else SOURCE / page
            assert found.exists(), target
            heads = re.findall(r"^#+ (.+)$", found.read_text(), re.M) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads]


def test_every_data_set_is_named_with_its_terms():
    rows = [line for line in (SOURCE / "docs/data.md").read_text().splitlines() if line.startswith("| ")][1:]
    for name, record in catalog.DATASETS.items():
        (row,) = [row for row in rows if f"`{name}`" in row]
        terms = record.terms.rpartition("; ")[2].split(", ")[-1 if "licence" in record.terms else 0]
        assert terms in row.split("|")[3], name
        assert all(f"{count:,}" in row for count in record.images.values()), name


def test_the_citation_is_of_this_version_and_of_the_paper():
    import tomllib

    cited = yaml.safe_load((SOURCE / "CITATION.cff").read_text())
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    (author,) = cited["authors"]
    assert author["name"] in (SOURCE / "LICENSE").read_text()
    paper = cited["preferred-citation"]
    assert paper["title"] in (SOURCE / "README.md").read_text() and paper["title"] in project["description"]
    assert paper["authors"][0] == {"family-names": "Wu", "given-names": "Boxi"} and len(paper["authors"]) == 10
    assert paper["doi"].endswith(paper["url"].rpartition("/")[2])


def stages():
    return yaml.safe_load((SOURCE / "dvc.yaml").read_text())["stages"]


def test_stages_of_one_kind_differ_in_their_runs_alone():
    """YAML shares their bodies; what fine-tuning spells out anew must not fall behind."""
    for kind in ("train", "score", "metrics"):
        few = stages()[f"{kind}_few"]
        for group in ("densenet", "many", "finetune"):
            other = stages()[f"{kind}_{group}"]
            same = {key: value for key, value in few.items() if key != "matrix"}
            if (kind, group) == ("train", "finetune"):
                plain, *rest = other["deps"]
                assert "scratch-plain-${item.seed}" in plain and rest == few["deps"]
                assert set(few["params"]) < set(other["params"])
                del same["deps"], same["params"]
            assert {key: other[key] for key in same} == same


def test_stages_depend_on_the_modules_that_they_import():
    """A module that a stage's code imports, directly or not, and that holds mathematics is a dependency."""
    plumbing = {
        "errors",
        "files",
        "params",
        "paths",
        "schema",
        "checks",
        "tasks",
        "tensors",
        "data",
        "images",
        "sources",
    }
    plumbing |= {
        "catalog",
        "photographs",
        "pickles",
        "readers",
        "synthetic",
        "notebooks",
        "declaration",
        "divisions",
        "kinds",
        "versions",
        "yamls",
    }

    def imported(module, seen=()):
        text = (SOURCE / "icelib" / f"{module}.py").read_text()
        names = set(re.findall(r"^\s*from icelib\.(\w+) import", text, re.M))
        for line in re.findall(r"^\s*from icelib import (.+)$", text, re.M):
            names |= {name.split(" as ")[0].strip() for name in line.split(",")}
        found = set(seen) | {module}
        for name in names - found - plumbing:
            found |= imported(name, found)
        return found

    # scores on any device are the same to rounding
    exempt = {"score_few": {"hardware"}}

    def listed(stage):
        deps = stages()[stage]["deps"]
        found = {d[7:-3] for d in deps if d.startswith("icelib/") and d.endswith(".py")}
        # an excerpt holds what a method uses of these
        excerpt = any(d.startswith("notebooks/code/methods/") for d in deps)
        return found | ({"losses", "methods", "scores", "variant_heads", "variants"} if excerpt else set())

    for stage, module in (
        ("train_few", "training"),
        ("score_few", "scoring"),
        ("metrics_few", "results"),
        ("sweep", "sweeps"),
        ("search", "beyond"),
        ("trace_few", "traces"),
    ):
        missing = imported(module) - plumbing - listed(stage) - exempt.get(stage, set())
        assert not missing, f"{stage}: {missing}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stages_depend_on_what_their_notebook_imports(path):
    """Training depends on an export of 02's code, every other notebook's stage on its modules."""
    (stage,) = [s for name, s in stages().items() if path.name in str(s.get("cmd", "")) and name != "code"][:1]
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names = set()
    for line in re.findall(r"^from icelib import (.+)$", "\n".join(cells), re.M):
        names |= {name.split(" as ")[0].strip() for name in line.split(",")}
    # 02 shows what training returns; its pictures are no reason to train anew
    plumbing = {"params", "paths", "tasks"} | ({"plots", "results"} if path.stem.startswith("02") else set())
    missing = {f"icelib/{name}.py" for name in names - plumbing} - set(stage["deps"])
    assert names and not missing
