"""Notebooks in the pipeline: run through papermill, make reports deterministic, export code.

``python -m icelib.notebooks code NOTEBOOK OUT.py`` writes the code cells alone, so that stages can
depend on them and not on prose. ``python -m icelib.notebooks run NOTEBOOK REPORT [-p NAME VALUE]…``
executes a notebook into a report.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import nbformat

from icelib import paths
from icelib.errors import STOPPED, StoppedError, at_sigterm, readable_errors
from icelib.files import replacing, write_bytes


def code(notebook, out):
    """Write the code cells of the file `notebook`, and nothing else of it, as the Python file `out`."""
    write_bytes(out, code_of(nbformat.read(notebook, as_version=4)))


def code_of(notebook):
    """Return the code cells of a notebook as the bytes of a Python file."""
    text = "\n\n".join(f"# %%\n{cell.source}" for cell in notebook.cells if cell.cell_type == "code")
    return (text + "\n").encode()


def run(notebook, report, parameters):
    """Execute a notebook with papermill and write it, scrubbed, to `report` if no cell failed.

    Parameters
    ----------
    notebook, report : path-like
    parameters : dict of str to str
        In place of the values in the notebook's cell tagged ``parameters``.

    Raises
    ------
    SystemExit
        If a cell raised, its kernel ended or a cell was left out, with the reason in one line and
        status 1, or 75 if a training was told to stop; the notebook up to there goes to ``scratch/``.
    """
    import papermill  # slow to import, and `code` needs none of it
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    # the kernel has no terminal of its own: tell it where a person may be watching
    os.environ["ICELIB_TERMINAL"] = os.ttyname(2) if os.isatty(2) else ""
    # nor does it start in the project's folder: let it import the code that is running, not what is installed
    code_of_this = [str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, code_of_this))
    options = {"kernel_name": "python3", "progress_bar": False, "cwd": paths.NOTEBOOKS}
    # the kernel is spoken to through sockets in a folder that other users of the machine cannot open
    with tempfile.TemporaryDirectory(prefix="icelib-") as folder:
        config = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
        out = Path(folder) / f"{Path(report).stem}.failed.ipynb"
        try:
            with at_sigterm(_terminate_kernel):
                papermill.execute_notebook(notebook, out, parameters, config=config, **options)
        except papermill.PapermillExecutionError as error:
            _fail(out, f"{error.ename}: {error.evalue}", STOPPED if error.ename == StoppedError.__name__ else 1)
        except DeadKernelError:
            _fail(out, f"the kernel that executed {notebook} died: it was killed, or memory ran out")
        executed = nbformat.read(out, as_version=4)
        if any(_left_out(cell) for cell in executed.cells):
            _fail(out, f"{notebook} ended before its last cell")
    with replacing(report) as temporary:
        nbformat.write(scrub(executed), temporary)


def _left_out(cell):
    """Whether a cell was not executed, or ended the kernel: papermill takes ``sys.exit(0)`` for success."""
    if cell.cell_type != "code" or not cell.source.strip():
        return False
    return cell.execution_count is None or any(output.output_type == "error" for output in cell.outputs)


def _fail(executed, reason, status=1):
    """Tell why a notebook failed, keep what was executed of it, and end the process."""
    kept = paths.ROOT / "scratch" / executed.name
    print(f"error: {reason}\n(see {paths.relative(kept)})", file=sys.stderr)
    write_bytes(kept, executed.read_bytes())
    sys.exit(status)


def _terminate_kernel():
    """Pass SIGTERM on to the kernel, which runs in a session of its own and ends the training in order."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()


def scrub(notebook):
    """Remove from an executed notebook all that differs between two executions.

    Timestamps and papermill's records go, cell ids become numbers, and neighbouring pieces of
    one output stream are joined.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    nbformat.NotebookNode
    """
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs):
    joined = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def main(arguments=None):
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Export or execute a notebook.")
    parser.add_argument("action", choices=["code", "run"])
    parser.add_argument("notebook")
    parser.add_argument("out")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    options = parser.parse_args(arguments)
    with readable_errors():
        if options.action == "code":
            code(options.notebook, options.out)
        else:
            run(options.notebook, options.out, dict(options.parameters))


if __name__ == "__main__":
    main()
