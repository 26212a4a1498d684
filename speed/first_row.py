"""How long a newcomer waits in JupyterLab for a row of Table 3 with a loss of their own.

    python -m speed.first_row [--epochs N] [--out OUT.json]

It needs a Chromium and what `make results` leaves. A headless browser opens JupyterLab on a notebook
with the lines below, runs them and waits for the row, with the clock running from the moment at
which JupyterLab's page is asked for. Beside it stand the seconds of the training in it, by the run's
own history: the rest is JupyterLab, the kernel, imports, scoring and tables. Every call trains anew;
the record of this one is removed from ``scratch/custom/`` afterwards.
"""

import argparse
import inspect
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from icelib.config import runs
from icelib.util import machine, paths
from icelib.util.files import read_json, write_json
from tests.tools.browser import CHROMIUM, NOTEBOOK, Browser, free_port, lab_options, listens, run_all, until

LINES = """
    import torch.nn.functional as F
    from icelib import losses
    from icelib.tools import custom

    def first_row(known_logits, labels, outlier_logits, *, weight_known, weight_outlier):
        return {"cross_entropy": F.cross_entropy(known_logits, labels),
                "ice_id": weight_known * losses.ice_id(known_logits, labels).mean(),
                "ice_ood": weight_outlier * losses.ice_ood(outlier_logits).mean()}

    custom.loss(first_row, {epochs}weight_known=0.05, weight_outlier=0.5)
"""


def code(epochs=None):
    """Return the lines that a user writes, with the default number of epochs or another."""
    return inspect.cleandoc(LINES.replace("{epochs}", f"epochs={epochs}, " if epochs else ""))


def measure(epochs=None):
    """Run the lines in JupyterLab.

    Parameters
    ----------
    epochs : int, optional
        By default as many as the other rows have.

    Returns
    -------
    dict
        ``lines`` of code, ``seconds`` to the row and of the ``training`` in it, and ``ratio`` of both.
    """
    _forget()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lab").mkdir()
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else JupyterLab asks for one
        written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code(epochs))], metadata=kernel)
        nbformat.write(written, folder / "lab/mine.ipynb")
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "jupyter",
            "lab",
            f"--notebook-dir={folder / 'lab'}",
            *lab_options(port, folder),
        ]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        browser = Browser(folder / "browser")
        try:
            until(lambda: listens(port), 120)
            started = time.perf_counter()
            run_all(browser, port, "mine.ipynb")
            cell = browser.evaluate(f"{NOTEBOOK}.content.widgets[0].node.textContent")
            if "first_row-" not in cell:
                raise SystemExit(f"no row was shown, but: {cell[-2000:]}")
            seconds = time.perf_counter() - started
        finally:
            browser.close()
            server.terminate()
            server.wait(30)
    (record,) = (paths.SCRATCH / "custom").glob("first_row-*/try.json")
    past = read_json(record)["history"]
    training = sum(epoch["seconds"] for epoch in past)
    _forget()
    lines = sum(bool(line.strip()) for line in code(epochs).splitlines())
    sizes = {"lines": lines, "epochs": len(past)}
    return {**sizes, "seconds": seconds, "training": training, "ratio": seconds / training}


def _forget():
    for folder in (paths.SCRATCH / "custom").glob("first_row-*"):
        shutil.rmtree(folder)


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if CHROMIUM is None:
        raise SystemExit("no chromium, chromium-browser or google-chrome on the PATH")
    found = measure(options.epochs)
    print("{lines} lines, {epochs} epochs: {seconds:.0f} s to the row, {training:.0f} s of training".format(**found))
    if options.out:
        device = machine.device()
        precision = machine.choose_precision(runs.load().protocols["scratch"].precision, device)
        write_json(options.out, {"environment": machine.describe(device, precision), **found})
    return found


if __name__ == "__main__":
    main()
