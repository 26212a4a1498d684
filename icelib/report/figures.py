"""Figures, all in one style: PNG and PDF, as wide as a column, where every letter can be read, also without colour."""

import io
from html import escape

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from IPython.display import display
from matplotlib.text import Text

from icelib.config import runs
from icelib.util import paths
from icelib.util.files import write_bytes

# of methods and post-hoc detectors, by their titles, the same in every figure; others have OTHER_…
_PALETTE = sns.color_palette("colorblind", 10)
_NUMBERS = {"MSP": 6, "ODIN": 5, "Mahalanobis": 9, "OE": 1, "Energy": 2, "ICE": 0, "BCE": 4, "Plain training": 7}
_NUMBERS |= {"matched Energy (ours)": 3}
COLOURS = {name: _PALETTE[number] for name, number in _NUMBERS.items()}
MARKERS = {"MSP": "P", "ODIN": "X", "Mahalanobis": "D", "OE": "o", "Energy": "s", "ICE": "^"}
MARKERS |= {"BCE": "v", "Plain training": ".", "matched Energy (ours)": "*"}
LINES = {"OE": "--", "Energy": "-.", "ICE": "-", "BCE": ":", "Plain training": (0, (5, 1, 1, 1, 1, 1))}
_TICKS = {"size": 2.5, "width": 0.7, "pad": 2}
OTHER_COLOUR, OTHER_MARKER, OTHER_LINE = "0.3", "*", (0, (1, 1))
# figures are drawn at the size at which they are read: inches of a paper's column, and points of the smallest letter
COLUMN, SMALLEST = 3.3, 6


def style():
    """Set the style of all figures, a column wide, whatever the user's own settings of matplotlib are."""
    matplotlib.rcdefaults()
    own = {"figure.dpi": 160, "savefig.dpi": 300, "savefig.pad_inches": 0.03, "figure.figsize": (COLUMN, 2)}
    own |= {"figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
    own |= {"legend.frameon": False, "legend.handletextpad": 0.4, "legend.columnspacing": 1.2}
    own |= {"lines.markersize": 3.5, "axes.titlepad": 4, "axes.labelpad": 2, "axes.linewidth": 0.7}
    own |= {f"{axis}tick.major.{name}": value for axis in "xy" for name, value in _TICKS.items()}
    sns.set_theme(context="paper", style="ticks", font_scale=0.75, rc=own)  # letters of 6.6 and 7.2 points


def save(figure, name, caption, source):
    """Write a figure as ``figures/SCALE/NAME.png`` and ``.pdf``, and what it shows as ``.txt``; always the same bytes.

    `name` has the folder of its subject, ``benchmark/figure1`` say. `caption` tells what is seen, for a reader who has
    nothing but the figure; `source` where the numbers come from. Both are also in the files' metadata, and in a
    notebook they stand below the figure, which is shown at once.

    Raises ValueError if a letter is below `SMALLEST` points where the figure is as wide as a column.
    """
    figure.draw_without_rendering()  # gives ticks their labels
    for text in figure.findobj(Text):
        size = text.get_fontsize() * min(1, COLUMN / figure.get_figwidth())
        if text.get_text() and size < SMALLEST:
            found = f"{text.get_text()!r} has {size:.1f} points in a column of {COLUMN} inches"
            raise ValueError(f"figure {name}: {found}; expected at least {SMALLEST}")
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
    if get_ipython():
        told = f"{escape(caption)}<br><small>{escape(source)}</small>"
        display(figure)
        display({"text/html": f'<figcaption data-figure="{name}">{told}</figcaption>', "text/plain": about}, raw=True)
        plt.close(figure)  # else it would be shown again at the end of the cell


def history(epochs):
    """Draw a training: loss terms, accuracy and AUROC, and quantiles of the score by epoch, from `train.train`."""
    figure, axes = plt.subplots(1, 3, figsize=(2 * COLUMN, 2.1))
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
        ax.legend()
    return figure
