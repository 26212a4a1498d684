"""Which executed notebooks there should be, in reading order, and whether they are there."""

import ast
from pathlib import Path
from typing import NamedTuple

import nbformat

from icelib import params, paths

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
    cells = [cell for cell in read(path).cells if "parameters" in cell.metadata.get("tags", [])]
    code = ast.parse("\n".join(cell.source for cell in cells))
    return {node.id for node in ast.walk(code) if isinstance(node, ast.Name)}


def read(path):
    """Read a notebook; raise ValueError with its name if it is none."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # JSON's, the schema's and nbformat's own have no common class
        raise ValueError(f"{paths.relative(path)} is no notebook: {error}") from None


def executed(report):
    """Read an executed notebook; raise ValueError if a cell of it was not executed."""
    notebook = read(report)
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and cell.source and not cell.execution_count:
            raise ValueError(
                f"{paths.relative(report)}: cell {number} was not executed; remove the file and run `dvc repro`"
            )
    return notebook


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
    executions = [execution for chapter in chapters for execution in chapter.executions]
    wanted = [execution.report for execution in executions]
    wanted += [paths.history(execution.run) for execution in executions if execution.run]
    wanted += others
    missing = [f"  {paths.relative(path)}" for path in wanted if not path.is_file()]
    if missing:
        what = f"{len(missing)} of the {len(wanted)} files that the site is made from are missing"
        raise ValueError("\n".join([f"{what}; `make results` (or `dvc repro`) makes them:", *missing]))
