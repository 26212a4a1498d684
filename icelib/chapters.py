"""Which executed notebooks there should be, in reading order, and whether they are there and whole."""

import ast
import base64
import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import nbformat
from PIL import Image

from icelib import lockfile, params, paths

BEYOND = "09_beyond_ice"  # shows the scales of `beyond` in params.yaml alone


class Execution(NamedTuple):
    """An executed notebook: its file, the place of its page in the site, and the run that it trained, if any."""

    report: Path
    place: str
    run: params.Run | None


class Chapter(NamedTuple):
    """One page of the site, or a list of runs with a page for each.

    Attributes
    ----------
    notebook : str
        Its name in ``notebooks/``, without suffix.
    place : str
        Of its page in the site.
    scale : str or None
        None if it shows all of them.
    executions : list of Execution
        One of the same place, or one for each run.
    """

    notebook: str
    place: str
    scale: str | None
    executions: list[Execution]


def declared():
    """List the chapters by params.yaml and by the notebooks' own parameters.

    A notebook that has a method among its parameters is executed for each run, one that has a scale for
    each scale, any other once.

    Returns
    -------
    list of Chapter
    """
    loaded, chapters = params.load(), []
    scales = loaded.scales
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        names, name = _parameters(path), path.stem
        if "method" in names:
            runs = [_execution(f"{scale}/{name}-{run.name}", run) for scale in scales for run in params.declared(scale)]
            chapters += [Chapter(name, f"{name}.html", None, runs)] if runs else []
            continue
        shown = loaded.beyond if name == BEYOND else scales
        for scale in shown if "scale" in names else [None]:
            execution = _execution(f"{scale}/{name}" if scale else name)
            chapters.append(Chapter(name, execution.place, scale, [execution]))
    return chapters


def _execution(name, run=None):
    return Execution(paths.REPORTS / f"{name}.ipynb", f"{name}.html", run)


def _parameters(path):
    return _assigned(read(path), "parameters")


def _assigned(notebook, tag):
    """Return what the cells with a tag assign: a dict of names to expressions as text, without quotation marks."""
    cells = [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
    found = [x for x in ast.parse("\n".join(cells)).body if isinstance(x, ast.Assign | ast.AnnAssign) and x.value]
    names = [(x, name) for x in found for name in ast.walk(x) if isinstance(name, ast.Name)]
    return {name.id: ast.unparse(x.value).strip("'") for x, name in names if isinstance(name.ctx, ast.Store)}


def read(path):
    """Read a notebook; raise ValueError with its name if it is none."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # JSON's, the schema's and nbformat's own have no common class
        raise ValueError(f"{paths.relative(path)} is no notebook: {error}") from None


def executed(execution, chapter):
    """Read the report of an execution, and check that it is what an execution leaves.

    Parameters
    ----------
    execution : Execution
    chapter : Chapter
        That it is of.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    ValueError
        If it is no notebook, another one, or one with other parameters; if a cell was not executed or
        raised, no cell has an output, or a picture in it is damaged. Names the report and what mends it.
    """
    try:
        notebook = read(execution.report)
        _check_identity(notebook, execution, chapter)
        code = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
        for number, cell in code:
            _check_executed(number, cell)
        if not any(cell.outputs for _, cell in code):
            raise ValueError("no cell has an output")
    except (ValueError, SyntaxError) as error:  # the latter of damaged parameters
        name = paths.relative(execution.report)
        told = str(error).removeprefix(f"{name} ")
        raise ValueError(f"{name}: {told}; remove the file and run `make results`") from None
    return notebook


def _check_identity(notebook, execution, chapter):
    # A report may be older than its notebook. One of another notebook has another title and other code.
    own = read(paths.NOTEBOOKS / f"{chapter.notebook}.ipynb")
    title, expected = ((x.cells[0].source.splitlines() or [""])[0] if x.cells else "" for x in (notebook, own))
    if title != expected and _code(notebook) != _code(own):
        raise ValueError(f"it is of another notebook: it begins with {title[:80]!r}, expected {expected!r}")
    found = _assigned(notebook, "parameters") | _assigned(notebook, "injected-parameters")
    wanted = {"scale": chapter.scale} if chapter.scale else {}
    if execution.run:
        wanted = {name: getattr(execution.run, name) for name in found if hasattr(execution.run, name)}
    for name, value in wanted.items():
        if found.get(name) != str(value):
            raise ValueError(f"it was executed with {name} = {found.get(name)!r}, expected {str(value)!r}")


def _code(notebook):
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def _check_executed(number, cell):
    if cell.source and not cell.execution_count:
        raise ValueError(f"cell {number} was not executed")
    for output in cell.outputs:
        if output.output_type == "error":
            raise ValueError(f"cell {number} raised {output.ename}")
        for kind in ("image/png", "image/jpeg"):
            if kind in output.get("data", {}):
                try:
                    Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).load()
                except Exception as error:  # Pillow raises a dozen kinds for damaged files
                    raise ValueError(f"a picture of cell {number} is damaged: {error}") from None


def check_complete(chapters, others):
    """Check that the pipeline has made all that the site shows.

    Parameters
    ----------
    chapters : list of Chapter
    others : list of pathlib.Path
        Files that are needed too.

    Raises
    ------
    ValueError
        Names what is missing, and what makes it.
    """
    wanted = _wanted(chapters, others)
    missing = [f"  {paths.relative(path)}" for path in wanted if not path.is_file()]
    if missing:
        what = f"{len(missing)} of the {len(wanted)} files that the site is made from are missing"
        raise ValueError("\n".join([f"{what}; `make results` (or `dvc repro`) makes them:", *missing]))


def unrecorded(chapters, others):
    """List the files of the site that are not the ones that the pipeline made, as dvc.lock has them.

    A notebook that was executed by hand is one, and a file that was changed since; what was changed need
    not show it.

    Parameters
    ----------
    chapters : list of Chapter
    others : list of pathlib.Path
        Files that are needed too.

    Returns
    -------
    list of pathlib.Path
        All files, if there is no dvc.lock.

    Raises
    ------
    ValueError
        If dvc.lock is damaged.
    """
    there = (paths.ROOT / lockfile.LOCK).exists()
    recorded = {path: md5 for stage in lockfile.read().values() for path, md5 in stage.outs.items()} if there else {}
    return [
        path
        for path in _wanted(chapters, others)
        if recorded.get(paths.relative(path).as_posix()) != hashlib.md5(path.read_bytes()).hexdigest()
    ]


def _wanted(chapters, others):
    """List the files that the site is made from."""
    executions = [execution for chapter in chapters for execution in chapter.executions]
    histories = [paths.history(execution.run) for execution in executions if execution.run]
    return [*(execution.report for execution in executions), *histories, *others]
