"""What was tried in ``scratch/own/``, as rows beside those of the pipeline."""

from typing import ClassVar

import pandas as pd

from icelib import ablations, cells, params, paths, rendering, sweeps, tables, tensors, training
from icelib.files import read_json

PARTS = ("train", "validation", "test")


class OwnRun(params.Run):
    """A run whose loss, head and score are a user's; their code is a part of its digest."""

    own: ClassVar[bool] = True
    head_kind: str
    code: str

    @property
    def title(self):
        """Name in tables: the method, the start of the folder's second part, values and budget."""
        values = [f"{name} {x}" if isinstance(x, str) else f"{name} {x:g}" for name, x in self.loss.items()]
        epochs = f"{self.schedule.epochs} epoch{'s' if self.schedule.epochs > 1 else ''}"
        return f"{self.method} {self.digest[:6]} ({', '.join([*values, epochs])})"


def made_of(run):
    """Return what a try's figures depend on beside its own parameters: images, code and bootstrap."""
    images = {
        part: tensors.read_about(paths.TASKS / run.scale / run.known / f"{part}.safetensors")["sha256"]
        for part in PARTS
    }
    return {"images": images, "code": training.code_digest(), "bootstrap": params.load().blocks[run.scale].bootstrap}


def finished(run):
    """Whether a try was finished with the images and the code that there are now."""
    path = paths.home(run) / "run.json"
    return path.exists() and read_json(path)["made_of"] == made_of(run)


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
    """Name and round the metrics of one set of outliers, in percent."""
    names = {"auroc": "AUROC ↑"}
    for convention in cells.CONVENTIONS:
        told = convention.replace("_", "-")
        names |= {f"aupr_{convention}": f"AUPR ↑ {told}", f"fpr95_{convention}": f"FPR95 ↓ {told}"}
    return {title: round(100 * entries[name]["value"], 2) for name, title in names.items()}


def candidates(rows, chosen):
    """Arrange the candidates of a sweep; *rule* marks the one that `sweeps.choose` takes."""
    lines = {ablations.label(x["change"]): ablations.columns(x) | {"rule": "✓" if x is chosen else ""} for x in rows}
    return pd.DataFrame(lines).T.rename_axis(" / ".join(rows[0]["change"]))
