"""Notebooks in the pipeline: executed through papermill into reports that are equal where their content is.

``python -m icelib.tools.notebooks NAME …`` executes ``notebooks/NAME.ipynb`` into ``reports/SCALE/NAME.ipynb``, several
side by side; with ``--recorded SCALE`` those notebooks that can be made of ``recorded/SCALE`` alone, without their
cells that are tagged ``local``: these need images or networks.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import nbformat

from icelib.config import runs
from icelib.training.parallel import parallel
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import replacing, write_bytes

# notebooks that can be made of recorded scales that have such files
RECORDED = {"03_benchmark": "metrics", "04_ablations": "metrics", "05_tsne": "features", "06_calibration": "logits"}
RECORDED |= {"08_three_causes": "snapshots", "09_ours": "validation"}


def run(notebook, report):
    """Execute a notebook with papermill and write it, scrubbed, to `report` if no cell failed.

    If a cell raised, its kernel ended or a cell was left out, the process ends with the reason in one line and
    status 1; the notebook up to there goes to ``scratch/``.
    """
    import papermill  # slow to import
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    # the kernel is spoken to through sockets in a folder that other users of the machine cannot open; the path of a
    # socket may have about a hundred letters, whatever TMPDIR says
    with tempfile.TemporaryDirectory(prefix="icelib-", dir="/tmp" if os.path.isdir("/tmp") else None) as folder:
        out = Path(folder) / f"{Path(report).stem}.failed.ipynb"
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, at which papermill ends the kernel
        try:
            with _environment(folder), _relayed(folder):
                config = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
                options = {"kernel_name": "icelib", "cwd": paths.NOTEBOOKS, "config": config}
                source = _without_local_cells(notebook, folder) if paths.SHOWN else notebook
                papermill.execute_notebook(source, out, progress_bar=_bar(notebook), **options)
        except papermill.PapermillExecutionError as error:
            _fail(out, f"{error.ename}: {error.evalue}")
        except DeadKernelError:
            _fail(out, f"the kernel that executed {notebook} died: it was killed, or memory ran out")
        executed = nbformat.read(out, as_version=4)
        if any(_left_out(cell) for cell in executed.cells):
            _fail(out, f"{notebook} ended before its last cell")
    with replacing(report) as temporary:
        nbformat.write(scrub(executed), temporary)


def _without_local_cells(notebook, folder):
    content = nbformat.read(notebook, as_version=4)
    content.cells = [cell for cell in content.cells if "local" not in cell.metadata.get("tags", [])]
    nbformat.write(content, f"{folder}/{Path(notebook).name}")
    return f"{folder}/{Path(notebook).name}"


def _bar(notebook):
    """Form of papermill's bar: in a file a line now and then, as a sign of life."""
    form = "  {desc}: {n_fmt} of {total_fmt} cells" + ("" if sys.stderr.isatty() else "\n")
    return {"desc": Path(notebook).stem, "bar_format": form, "mininterval": 10, "leave": False}


@contextlib.contextmanager
def _environment(folder):
    """Let the kernel run this interpreter and this code, with none of the user's settings of Jupyter or matplotlib."""
    kernel = Path(folder) / "jupyter" / "kernels" / "icelib"
    kernel.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernel / "kernel.json").write_text(f'{{"argv": {command}, "display_name": "icelib", "language": "python"}}')
    (Path(folder) / "matplotlibrc").touch()
    startup = Path(folder) / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    # on a slow disk, or without a home that can be written to, it tells of its cache of fonts
    (startup / "0.py").write_text("__import__('logging').getLogger('matplotlib').setLevel('ERROR')")
    path = os.pathsep.join(filter(None, [str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    changes = {
        "PYTHONPATH": path,  # it does not start in the project's folder
        "JUPYTER_PATH": str(kernel.parent.parent),
        "JUPYTER_RUNTIME_DIR": f"{folder}/jupyter/runtime",
        "IPYTHONDIR": f"{folder}/ipython",
        "PYTHONWARNINGS": "",
        "MATPLOTLIBRC": f"{folder}/matplotlibrc",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_NUM_THREADS": "1",  # a sum of several threads depends on how many they are
        "ICELIB_REPORT": "1",  # pictures in place of sliders, and no try that takes minutes
        "ICELIB_PROGRESS": f"{folder}/progress",
        "ICELIB_TERMINAL": str(int(sys.stderr.isatty())),
    }
    with mock.patch.dict(os.environ, changes):
        yield


@contextlib.contextmanager
def _relayed(folder):
    """Show on standard error what a notebook's kernel, which has no terminal, writes of its progress to a pipe."""
    pipe = f"{folder}/progress"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)  # held open, so that reading goes on after the kernel has closed its end

    def relay():
        with open(end, "rb", buffering=0) as stream:
            while (piece := stream.read(65536)) != b"\0":
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(piece.removesuffix(b"\0"))
                    sys.stderr.flush()
                if piece.endswith(b"\0"):
                    break

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(end, b"\0")
        thread.join(5)


def _left_out(cell):
    """Whether a cell was not executed, or ended the kernel: papermill takes ``sys.exit(0)`` for success."""
    if cell.cell_type != "code" or not cell.source.strip():
        return False
    return cell.execution_count is None or any(output.output_type == "error" for output in cell.outputs)


def _fail(executed, reason):
    """Raise ValueError with why a notebook failed, and keep what was executed of it."""
    kept = paths.SCRATCH / executed.name
    write_bytes(kept, executed.read_bytes())
    raise ValueError(f"{reason}\n(see {paths.relative(kept)})")


def scrub(notebook):
    """Remove from an executed notebook all that differs between two executions.

    Timestamps and papermill's records go, cell ids become numbers, and neighbouring pieces of one output stream are
    joined.
    """
    from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor  # slow to import

    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return CoalesceStreamsPreprocessor().preprocess(notebook, {})[0]


def _execute(name):
    source, scale = paths.NOTEBOOKS / f"{name}.ipynb", runs.load().scale
    if not source.exists():
        there = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
        raise ValueError(f"{paths.relative(source)} is missing; expected one of {there}")
    figures = paths.figures(scale) / name.partition("_")[2]
    figures.mkdir(parents=True, exist_ok=True)  # an output of the pipeline, also if it stays empty
    run(source, paths.reports(scale) / f"{name}.ipynb")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Execute a notebook into its report.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("notebook", nargs="*", default=[], help="its name, without folder and suffix")
    which.add_argument("--recorded", metavar="SCALE", help="all that can be made of a recorded scale")
    with readable_errors():
        options = parser.parse_args()
        names = options.notebook
        if options.recorded:
            paths.show(options.recorded)
            names = [name for name, kind in RECORDED.items() if (paths.results(options.recorded) / kind).is_dir()]
            if not names:
                raise ValueError(f"{paths.relative(paths.PARAMS.parent)} holds no recorded run; see docs/recorded.md")
        if len(names) == 1:
            _execute(*names)
        else:
            parallel(_execute, names, what="notebooks")
