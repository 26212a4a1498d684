"""How long a newcomer waits in JupyterLab for a row of Table 3 with a loss of their own.

    python -m benchmarks.first_row [--epochs N] [--out OUT.json]

It needs a Chromium and what `make results` leaves. A headless browser opens JupyterLab on a notebook
with the ten lines below, runs them and waits for the row, with the clock running from the moment at
which JupyterLab's page is asked for. Beside it stand the seconds of the training in it, by the run's
own history: the rest is JupyterLab, the kernel, imports, scoring and tables. The try is removed from
``scratch/own/`` before and after, so that none is found finished.
"""

import argparse
import inspect
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from icelib import hardware, params, paths
from icelib.files import read_json, write_json
from tests.browser import CHROMIUM, Browser, until

# what a user writes: one import line for PyTorch, one for the project, the loss, the call
LINES = """
    import torch.nn.functional as F
    from icelib import losses, own

    def first_row(known_logits, labels, outlier_logits, *, weight_known, weight_outlier):
        return {"cross_entropy": F.cross_entropy(known_logits, labels),
                "ice_id": weight_known * losses.ice_id(known_logits, labels).mean(),
                "ice_ood": weight_outlier * losses.ice_ood(outlier_logits).mean()}

    own.loss(first_row, {epochs}weight_known=0.05, weight_outlier=0.5)
"""
NOTEBOOK = "[...jupyterapp.shell.widgets('main')][0]"


def measure(epochs=None, root=paths.ROOT):
    """Run the lines in JupyterLab.

    Parameters
    ----------
    epochs : int, optional
        By default as many as the other rows have.
    root : path-like
        The project that is used.

    Returns
    -------
    dict
        ``lines`` of code, ``seconds`` to the row and of the ``training`` in it, and ``ratio`` of both.
    """
    code = inspect.cleandoc(LINES.replace("{epochs}", f"epochs={epochs}, " if epochs else ""))
    _forget(root)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lab").mkdir()
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else JupyterLab asks for one
        written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=kernel)
        nbformat.write(written, folder / "lab/mine.ipynb")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = [f"--ServerApp.port={port}", "--IdentityProvider.token=secret", "--no-browser", "--allow-root"]
        options += [f"--notebook-dir={folder / 'lab'}", "--LabApp.expose_app_in_browser=True"]
        server = subprocess.Popen([sys.executable, "-m", "jupyter", "lab", *options], stderr=subprocess.DEVNULL)
        browser = Browser(folder / "browser")
        try:
            until(lambda: _listens(port), 120)
            started = time.perf_counter()
            _run(browser, f"http://127.0.0.1:{port}/lab/tree/mine.ipynb?token=secret")
            seconds = time.perf_counter() - started
        finally:
            browser.close()
            server.terminate()
            server.wait(30)
    (history,) = (root / "scratch/own").glob("first_row-*/results/history/*/*.json")
    past = read_json(history)
    training = sum(epoch["seconds"] for epoch in past["epochs"])
    _forget(root)
    lines = sum(bool(line.strip()) for line in code.splitlines())
    sizes = {"lines": lines, "epochs": len(past["epochs"])}
    return {**sizes, "seconds": seconds, "training": training, "ratio": seconds / training}


def _run(browser, address):
    browser.resize(1400, 1000)
    browser.open(address)
    until(lambda: browser.evaluate(f"!!(window.jupyterapp && {NOTEBOOK}?.content?.model?.cells?.length)"), 120)
    browser.evaluate(f"{NOTEBOOK}.sessionContext.ready.then(() => true)")
    browser.evaluate(f"jupyterapp.shell.activateById({NOTEBOOK}.id)")
    browser.evaluate("jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")  # when it has ended
    cell = f"{NOTEBOOK}.content.widgets[0].model"
    shown = browser.evaluate(f"{NOTEBOOK}.content.widgets[0].node.textContent")
    if "first_row " not in shown:
        raise SystemExit(f"no row was shown: {browser.evaluate(f'JSON.stringify({cell}.sharedModel.outputs)')[-2000:]}")


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _forget(root):
    for folder in (Path(root) / "scratch/own").glob("first_row-*"):
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
        block = params.load().blocks[params.load().scales[0]]
        device = hardware.device()
        precision = hardware.choose_precision(block.protocols["scratch"].precision, device)
        write_json(options.out, {"environment": hardware.describe(device, precision), **found})
    return found


if __name__ == "__main__":
    main()
