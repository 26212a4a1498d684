"""What was tried in ``scratch/own/``, as rows beside those of the pipeline."""

import pandas as pd

from icelib import ablations, cells, paths, rendering, sweeps, tables
from icelib.files import read_json
from icelib.own_runs import OwnRun, finished


def tried(scale):
    """List the finished tries at a scale, in the order of their names.

    Parameters
    ----------
    scale : str

    Returns
    -------
    list of OwnRun
        Those made with other images or code than there are now are left out.
    """
    runs = [OwnRun(**read_json(path)["run"]) for path in sorted(paths.OWN.glob("*/run.json"))]
    return [run for run in runs if run.scale == scale and finished(run)]


def declared(scale):
    """List the runs of Table 3 at a scale, with the plain ones and those of methods that params.yaml adds."""
    found = cells.by_block(scale)
    methods = ["plain", *tables.ABLATION.values(), *tables.own_methods()]
    return [run for method in methods for run in found["CIFAR10", "wideresnet", "scratch", method]]


def table3(scale, tries):
    """Render Table 3 with a further row for each of some tries.

    Parameters
    ----------
    scale : str
    tries : iterable of OwnRun
        Finished.

    Returns
    -------
    str
        Markdown.
    """
    rows = [(run.title, run.head_kind, run.method, read_json(paths.metrics(run))) for run in tries]
    return rendering.markdown("table3", tables.table3(scale, rows), scale)


def validation(scale, tries=None):
    """Return the figures by which choices are made, of the methods of Table 3 and of tries.

    Parameters
    ----------
    scale : str
    tries : iterable of OwnRun, optional
        By default all that were finished.

    Returns
    -------
    DataFrame
        In percent, on validation images after the last epoch; FPR95 is outlier-positive.
    """
    lines = {}
    for run in [*declared(scale), *(tried(scale) if tries is None else tries)]:
        last = read_json(paths.history(run))["epochs"][-1]
        lines[getattr(run, "title", run.name)] = ablations.columns(sweeps.figures(last))
    return pd.DataFrame(lines).T


def percent(entries):
    """Name and round the metrics of one set of outliers in a result file (`entries`), in percent."""
    names = {"auroc": "AUROC ↑"}
    for convention in cells.CONVENTIONS:
        told = convention.replace("_", "-")
        names |= {f"aupr_{convention}": f"AUPR ↑ {told}", f"fpr95_{convention}": f"FPR95 ↓ {told}"}
    return {title: round(100 * entries[name]["value"], 2) for name, title in names.items()}


def candidates(rows, chosen):
    """Arrange the candidates of a sweep (`rows`) in percent; *rule* marks the one that `sweeps.choose` took."""
    lines = {ablations.label(x["change"]): ablations.columns(x) | {"rule": "✓" if x is chosen else ""} for x in rows}
    return pd.DataFrame(lines).T.rename_axis(" / ".join(rows[0]["change"]))
