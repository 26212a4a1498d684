"""Sweeps as a reader sees them: a table and a figure of each, and how a choice was made."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from icelib import params, paths, plots, scores, sweeps, training
from icelib.files import read_json
from icelib.methods import METHODS

CAPTION = (
    "Each candidate is one training of the task with few known classes. The rule takes the highest mean AUROC over the "
    "two kinds of validation outliers among the candidates in the grey band of accuracy (vertical line). No test image "
    "is used. The value in use, where it is another, is marked in the table."
)


def label(change):
    """Name a candidate by what it changes: ``{"weight": 0.1}`` → ``0.1``; several as ``−6 / −2``."""
    return " / ".join(value if isinstance(value, str) else f"{value:g}".replace("-", "−") for value in change.values())


def in_use(result, row):
    """Whether what a candidate changes has the value that params.yaml trains with.

    Parameters
    ----------
    result : dict
        From `sweeps.load`.
    row : dict
        One of its candidates.

    Returns
    -------
    bool
    """
    block = params.load().blocks[result["scale"]]
    # the protocol that the choice is for: a sweep's own schedule is only a shorter one
    schedule = block.protocols["scratch" if result["protocol"] == "sweep" else result["protocol"]]
    used = schedule.model_dump() | block.train[result["method"]]
    return all(used[key] == value for key, value in row["change"].items())


def table(result):
    """Arrange the validation figures of a sweep.

    Parameters
    ----------
    result : dict
        From `sweeps.load`.

    Returns
    -------
    DataFrame
        A row for each candidate, in percent; *rule* marks the one that `sweeps.choose` takes,
        *in use* the one that params.yaml has.
    """
    lines = {}
    for row in result["candidates"]:
        marks = {"rule": "✓" if row["chosen"] else "", "in use": "✓" if in_use(result, row) else ""}
        lines[label(row["change"])] = columns(row) | marks
    found = pd.DataFrame(lines).T
    found.index.name = " / ".join(result["candidates"][0]["change"])
    return found


def columns(row):
    """Name and round the validation figures of a candidate, in percent; of one that diverged, accuracy as NaN."""
    if "diverged" in row:
        return {"accuracy": np.nan}
    figures = {
        "accuracy": row["accuracy"],
        "AUROC auxiliary": row["outliers"]["auroc"],
        "AUROC jigsaw": row["jigsaw"]["auroc"],
        "mean AUROC": sweeps.mean_auroc(row),
        "FPR95 auxiliary": row["outliers"]["fpr95"],
        "FPR95 jigsaw": row["jigsaw"]["fpr95"],
    }
    return {key: round(100 * value, 2) for key, value in figures.items()}


def figure(result):
    """Draw a sweep: accuracy with the candidates that the rule allows, and AUROC.

    Parameters
    ----------
    result : dict
        From `sweeps.load`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = [row for row in result["candidates"] if "diverged" not in row]
    x = np.arange(len(rows))
    accuracy = 100 * np.array([row["accuracy"] for row in rows])
    chosen = next(i for i, row in enumerate(rows) if row["chosen"])
    drawn, axes = plt.subplots(1, 2, figsize=(6.8, 2.9), layout="constrained")
    spread = np.sqrt(accuracy * (100 - accuracy) / result["images"]["known"])
    axes[0].errorbar(x, accuracy, spread, fmt="ko", capsize=3, label="accuracy ± standard error")
    top = accuracy.max()
    axes[0].axhspan(top - 100 * sweeps.WITHIN, top, color="0.88", zorder=0, label="within two points of best")
    axes[0].set(ylabel="accuracy on known (%)")
    auroc = {kind: [100 * row[kind]["auroc"] for row in rows] for kind in ("outliers", "jigsaw")}
    axes[1].plot(x, auroc["outliers"], "s--", color="C0", label="held-out auxiliary")
    axes[1].plot(x, auroc["jigsaw"], "^:", color="C1", label="jigsaw")
    axes[1].plot(x, [100 * sweeps.mean_auroc(row) for row in rows], "ko-", label="mean")
    axes[1].set(ylabel="AUROC (%)")
    for ax in axes:
        ax.axvline(chosen, color="0.6", lw=0.8, zorder=0)
        ax.set_xticks(x, [label(row["change"]) for row in rows])
        ax.set_xlabel(" / ".join(rows[0]["change"]).replace("_", " "))
        ax.set_xlim(-0.5, len(rows) - 0.5)
    drawn.legend(loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    drawn.suptitle(f"{result['title']}: validation images, one seed; vertical line: taken by the rule", fontsize=9)
    return drawn


def show(*names):
    """Display table and figure of each of these sweeps that is declared, and save the figures.

    Parameters
    ----------
    *names : str
    """
    from IPython.display import Markdown, display

    loaded = params.load()
    (paths.FIGURES / "sweeps").mkdir(parents=True, exist_ok=True)  # an output of the pipeline, also if it stays empty
    for scale in loaded.scales:
        for name in filter(loaded.sweeps.__contains__, names):
            result = sweeps.load(scale, name)
            method = METHODS[result["method"]].title
            epochs = loaded.blocks[scale].protocols[result["protocol"]].epochs
            text = f"**{result['title']}**, {scale} scale, {method}, {epochs} epochs, seed {result['seed']}"
            display(Markdown(text), table(result))
            drawn = figure(result)
            caption = f"{result['title']}: accuracy and detection on validation images. {CAPTION}"
            small_print = f"{text.replace('*', '')}; {paths.relative(paths.sweep(scale, name))}."
            plots.save(drawn, f"sweeps/{scale}-{name}", caption, small_print)
            plt.show()


def confidence(scale):
    """Median of ICE's confidence exp(max_i h_i) on validation images after the last epoch.

    Parameters
    ----------
    scale : str

    Returns
    -------
    DataFrame
        A row for each declared run of a method with ICE's score (ICE, ICE⁻, those that params.yaml adds), a
        column for each kind of image, in 0…1.
    """
    lines = {}
    for run in params.declared(scale):
        if METHODS[run.method].score is scores.max_likelihood:
            last = read_json(paths.history(run))["epochs"][-1]["score_quantiles"]
            middle = training.QUANTILES.index(0.5)
            lines[run.name] = {kind: float(np.exp(quantiles[middle])) for kind, quantiles in last.items()}
    return pd.DataFrame(lines).T
