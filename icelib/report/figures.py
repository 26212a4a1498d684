"""Figures, all in one style: PNG and PDF, readable at column width and without colour."""

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from icelib.config import runs
from icelib.util import paths
from icelib.util.files import write_bytes

# of methods and post-hoc detectors, by their titles, the same in every figure; others have OTHER_…
_PALETTE = sns.color_palette("colorblind", 10)
_NUMBERS = {"MSP": 6, "ODIN": 5, "Mahalanobis": 9, "OE": 1, "Energy": 2, "ICE": 0, "BCE": 4, "Plain training": 7}
COLOURS = {name: _PALETTE[number] for name, number in _NUMBERS.items()}
MARKERS = {"MSP": "P", "ODIN": "X", "Mahalanobis": "D", "OE": "o", "Energy": "s", "ICE": "^"}
MARKERS |= {"BCE": "v", "Plain training": "."}
LINES = {"OE": "--", "Energy": "-.", "ICE": "-", "BCE": ":", "Plain training": (0, (5, 1, 1, 1, 1, 1))}
OTHER_COLOUR, OTHER_MARKER, OTHER_LINE = "0.3", "*", (0, (1, 1))


def style():
    """Set the style of all figures, whatever the user's own settings of matplotlib are."""
    matplotlib.rcdefaults()
    own = {"figure.dpi": 120, "savefig.dpi": 200, "axes.spines.top": False, "axes.spines.right": False}
    sns.set_theme(context="paper", style="ticks", rc=own)


def save(figure, name, caption, source):
    """Write a figure as ``figures/SCALE/NAME.png`` and ``.pdf``, and what it shows as ``.txt``; always the same bytes.

    `name` has the folder of its subject, ``benchmark/figure1`` say. `caption` tells what is seen, for a reader who has
    nothing but the figure; `source` where the numbers come from. Both are also in the files' metadata.
    """
    folder = paths.figures(runs.load().scale)
    about = f"{caption}\n\n{source}"
    for suffix, metadata in (
        ("png", {"Software": None, "Title": name, "Description": about}),
        ("pdf", {"CreationDate": None, "Producer": None, "Creator": None, "Title": name, "Subject": about}),
    ):
        content = io.BytesIO()
        figure.savefig(content, format=suffix, metadata=metadata, bbox_inches="tight")
        write_bytes(folder / f"{name}.{suffix}", content.getvalue())
    write_bytes(folder / f"{name}.txt", f"{about}\n".encode())


def history(epochs):
    """Draw a training: loss terms, accuracy and AUROC, and quantiles of the score by epoch, from `train.train`."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
    steps = [epoch["epoch"] for epoch in epochs]
    for name, marker in zip(epochs[0]["loss"], "os^vDPX*"):
        axes[0].plot(steps, [epoch["loss"][name] for epoch in epochs], marker=marker, label=name.replace("_", " "))
    axes[0].set(ylabel="weighted loss term", title="training loss")
    axes[1].plot(steps, [100 * epoch["accuracy"] for epoch in epochs], "ko-", label="accuracy, known")
    for name, label, marker in [("outliers", "AUROC, auxiliary", "s"), ("jigsaw", "AUROC, jigsaw", "^")]:
        axes[1].plot(steps, [100 * epoch["validation"][name]["auroc"] for epoch in epochs], marker=marker, label=label)
    axes[1].set(ylabel="percent", title="validation")
    for name, line, colour in [("known", "-", "C0"), ("outliers", "--", "C1")]:
        quantiles = np.array([epoch["score_quantiles"][name] for epoch in epochs])  # (epochs, 7)
        axes[2].plot(steps, quantiles[:, 3], line, marker="o", color=colour, label=f"{name}: median")
        axes[2].fill_between(steps, quantiles[:, 1], quantiles[:, 5], color=colour, alpha=0.2, label=f"{name}: 5–95 %")
    axes[2].set(ylabel="detection score", title="score on validation images")
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize=7)
    return figure


def image_grid(groups, per_row=12):
    """Draw the first images of each group, {name: uint8 (N, 3, 32, 32)}, in a row of their own."""
    figure, axes = plt.subplots(len(groups), 1, figsize=(7, 0.68 * len(groups)), layout="constrained")
    for ax, (name, images) in zip(np.atleast_1d(axes), groups.items(), strict=True):
        row = np.concatenate([np.asarray(image).transpose(1, 2, 0) for image in images[:per_row]], 1)
        ax.imshow(row, interpolation="nearest")
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        ax.set(xticks=[], yticks=[])
        sns.despine(ax=ax, left=True, bottom=True)
    return figure
