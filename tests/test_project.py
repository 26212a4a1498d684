"""The project's own files: pins, notebooks without outputs, no traces of a machine."""

import re
import subprocess

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

from icelib.data.datasets import DATASETS
from icelib.tools import notebooks
from tests.conftest import SOURCE

NOTEBOOKS = sorted((SOURCE / "notebooks").glob("*.ipynb"))
REPORTS = sorted((SOURCE / "reports").glob("*/*.ipynb"))


def lock():
    lines = (SOURCE / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_lock_pins_everything_and_names_no_host():
    assert all(len(r.specifier) == 1 and next(iter(r.specifier)).operator == "==" for r in lock())
    assert "://" not in (SOURCE / "requirements.lock").read_text()


def test_the_lock_satisfies_pyproject():
    import tomllib

    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["pipeline"] + extras["dev"]:
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
        assert cell.cell_type != "code" or len(cell.source.splitlines()) <= 60, "long code belongs in icelib"


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_reports_hold_no_warning(path):
    """Which would name a temporary file, another one each time."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and not [output.text for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_reports_are_of_todays_notebooks(path):
    recorded = (SOURCE / "recorded" / path.parent.name).is_dir()
    cells = nbformat.read(SOURCE / "notebooks" / path.name, as_version=4).cells
    cells = [cell for cell in cells if not (recorded and "local" in cell.metadata.get("tags", []))]
    found = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert found == [cell.source for cell in cells], "run `make results`"


def test_the_lock_file_has_no_stage_that_is_gone():
    locked = yaml.safe_load((SOURCE / "dvc.lock").read_text())["stages"]
    for name in locked:
        name, _, item = name.partition("@")
        assert name in stages() and bool({"foreach", "matrix"} & set(stages()[name])) == bool(item), name


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


PAGES = sorted(str(path.relative_to(SOURCE)) for folder in (SOURCE, SOURCE / "docs") for path in folder.glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
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
    for name, record in DATASETS.items():
        (row,) = [row for row in rows if f"`{name}`" in row]
        terms = record.terms.rpartition("; ")[2].split(", ")[-1 if "licence" in record.terms else 0]
        assert terms in row.split("|")[3], name
        assert all(f"{count:,}" in row for count in record.images.values()), name


def test_the_citation_is_of_this_version_and_of_the_paper():
    import tomllib

    cited = yaml.safe_load((SOURCE / "CITATION.cff").read_text())
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert re.search(r"^## (.+)$", (SOURCE / "CHANGELOG.md").read_text(), re.M)[1] == project["version"]
    (author,) = cited["authors"]
    assert author["name"] in (SOURCE / "LICENSE").read_text()
    paper = cited["preferred-citation"]
    readme = (SOURCE / "README.md").read_text()
    entry = dict(re.findall(r"(\w+)\s*= \{(.+?)\}", readme[readme.index("@inproceedings") :], re.S))
    assert entry["title"] == paper["title"] and paper["title"] in project["description"]
    assert [entry[key] for key in ("doi", "volume", "year")] == [str(paper[key]) for key in ("doi", "volume", "year")]
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert " ".join(entry["author"].split()) == " and ".join(names) and paper["url"] in readme
    assert paper["authors"][0] == {"family-names": "Wu", "given-names": "Boxi"} and len(paper["authors"]) == 10
    assert paper["doi"].endswith(paper["url"].rpartition("/")[2])


def stages():
    return yaml.safe_load((SOURCE / "dvc.yaml").read_text())["stages"]


def inside(path, deps):
    """Whether a file, or a folder that holds it, is among dependencies."""
    return any(path == dep or path.startswith(f"{dep}/") for dep in deps)


# what computes no number that a stage writes: where things lie, checks, progress
PLUMBING = ("icelib/util/", "icelib/config/", "icelib/data/", "icelib/training/parallel.py", "icelib/training/store.py")


def imported(path, seen):
    """Add all modules of the project that one imports, directly or not."""
    seen.add(path)
    text = (SOURCE / path).read_text()
    for place, names in re.findall(r"^\s*from (icelib[\w.]*) import (\([^)]*\)|.+)$", text, re.M):
        for name in re.findall(r"\w+", names):
            for candidate in (f"{place}.{name}", place):
                other = f"{candidate.replace('.', '/')}.py"
                if (SOURCE / other).is_file() and other not in seen:
                    imported(other, seen)
    return seen


@pytest.mark.parametrize(
    ("stage", "module"),
    [
        ("train", "icelib/training/train.py"),
        ("evaluate", "icelib/evaluation/evaluate.py"),
        ("snapshots", "icelib/evaluation/snapshots.py"),
        ("sweeps", "icelib/analysis/choice.py"),
    ],
)
def test_stages_depend_on_the_modules_that_compute_what_they_write(stage, module):
    found = stages()[stage]
    needed = {path for path in imported(module, set()) if not path.startswith(PLUMBING)}
    # networks come from checkpoints, which change with the code that trains
    trained = {"icelib/training/train.py", "icelib/training/engine.py", "icelib/training/batches.py"}
    trained |= {"icelib/heads.py", "icelib/losses.py", "icelib/models.py", "icelib/metrics.py", "icelib/scores.py"}
    if "checkpoints/${scale}" in found["deps"]:
        needed -= trained
    assert not [path for path in sorted(needed) if not inside(path, found["deps"])], stage


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_its_stage(path):
    if path.stem == "09_ours":  # variants of ours are searched at recorded scales alone
        assert path.stem in notebooks.RECORDED
        return
    found = [
        stage.get("do", stage)
        for stage in stages().values()
        if path.stem in str(stage.get("foreach", "")) or path.stem in str(stage.get("cmd", ""))
    ]
    assert len(found) == 1 and "icelib.tools.notebooks" in found[0]["cmd"]
