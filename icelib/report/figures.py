"""Figures, all in one style: PNG and PDF, readable at column width and without colour."""

import io
import textwrap

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from icelib import paths
from icelib.files import write_bytes

# of methods and post-hoc detectors, by their titles, the same in every figure
_PALETTE = sns.color_palette("colorblind", 10)
COLOURS = {
    name: _PALETTE[number]
    for name, number in {
        "MSP": 6, "ODIN": 5, "Mahalanobis": 9, "OE": 1, "Energy": 2, "ICE": 0, "BCE": 4, "Plain training": 7,
    }.items()
}  # fmt: skip
MARKERS = {"MSP": "P", "ODIN": "X", "Mahalanobis": "D", "OE": "o", "Energy": "s", "ICE": "^"}
MARKERS |= {"BCE": "v", "Plain training": "."}
LINES = {"OE": "--", "Energy": "-.", "ICE": "-", "BCE": ":", "Plain training": (0, (5, 1, 1, 1, 1, 1))}


def style():
    """Set the style of all figures."""
    sns.set_theme(context="paper", style="ticks", font_scale=1.0)
    matplotlib.rcParams.update(
        {"figure.dpi": 120, "savefig.dpi": 200, "axes.spines.top": False, "axes.spines.right": False}
    )


def save(figure, name, caption, small_print):
    """Write a figure as ``figures/NAME.png`` and ``.pdf``, and its caption as ``NAME.txt``.

    Equal figures give equal bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
    caption : str
        What is seen, for a reader who has nothing but the figure.
    small_print : str
        Where the numbers come from: scale, seeds, runs, hardware. It is also put below the figure.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is added now must move nothing
    for legend in figure.legends:  # else it would follow the lower edge of what is saved
        legend.set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
    width = max(40, int(24 * figure.get_figwidth()))  # letters in a line, at the size below
    # below the figure's lower edge; the tight bounding box follows
    figure.text(0.01, -0.01, textwrap.fill(small_print, width), fontsize=5, va="top", color="0.35")
    for suffix, metadata in (
        ("png", {"Software": None}),
        ("pdf", {"CreationDate": None, "Producer": None, "Creator": None}),
    ):
        content = io.BytesIO()
        figure.savefig(content, format=suffix, metadata=metadata, bbox_inches="tight")
        write_bytes(paths.FIGURES / f"{name}.{suffix}", content.getvalue())
    write_bytes(paths.FIGURES / f"{name}.txt", f"{caption}\n\n{small_print}\n".encode())


def figure1(tables):
    """Draw known accuracy against AUROC: the paper's points hollow, ours solid (Figure 1).

    The panels have axes of their own, as the tasks differ in difficulty.

    Parameters
    ----------
    tables : dict of str to DataFrame
        From `tables.table2`, for each scale.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shown = {
        scale: table[(table.paper_known == "CIFAR10") & (table.convention == "outlier_positive")]
        for scale, table in tables.items()
    }
    figure, axes = plt.subplots(1, 1 + len(shown), figsize=(3.4 * (1 + len(shown)), 3.8), layout="constrained")
    first = next(iter(shown.values()))
    _accuracy_auroc(axes[0], first, "paper", filled=False)
    axes[0].set_title("paper: CIFAR-10 (Table 2)")
    for ax, (scale, table) in zip(axes[1:], shown.items(), strict=True):
        _accuracy_auroc(ax, table[table.seeds > 0], "ours", filled=True)
        ax.set_title(f"ours, {scale} scale:\n{next(filter(None, table.known), 'not run')}")
    axes[0].set_ylabel("AUROC, mean over far sets (%)")
    entries = {}  # one for each method, hollow where the paper has it
    for ax in axes[::-1]:
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    shown = sorted(entries, key=lambda name: [*MARKERS, name].index(name))
    figure.legend(
        [entries[name] for name in shown],
        shown,
        loc="outside lower center",
        ncols=6,
        frameon=False,
        title="* trained from scratch; OE, Energy and ICE without star: fine-tuned.\n"
        "Lines: 95 % intervals of one run, or ± standard deviation over seeds.",
        title_fontsize=8,
    )
    return figure


def _accuracy_auroc(ax, table, column, filled):
    table = table.assign(
        low=table.low.fillna(table.ours - table["std"]), high=table.high.fillna(table.ours + table["std"])
    )
    points = table.pivot(index=["row", "protocol"], columns="metric", values=[column, "low", "high"])
    for (row, protocol), point in points.iterrows():
        x, y = point[column, "accuracy"], point[column, "auroc"]
        colour = COLOURS.get(row, "0.3")  # of methods that params.yaml adds
        if filled and np.isfinite(point["low", "auroc"]):
            ax.plot([x, x], [point["low", "auroc"], point["high", "auroc"]], color=colour, lw=1)
            ax.plot([point["low", "accuracy"], point["high", "accuracy"]], [y, y], color=colour, lw=1)
        ax.plot(
            x,
            y,
            MARKERS.get(row, "*"),
            label=row,
            color=colour,
            markerfacecolor=colour if filled else "none",
            markersize=7,
            markeredgewidth=1.4,
        )
        if protocol == "scratch":
            ax.annotate("*", (x, y), xytext=(6, 1), textcoords="offset points")
    ax.set_xlabel("accuracy on known images (%)")
    ax.margins(0.18)


def history(epochs):
    """Draw a training run: loss terms, accuracy and AUROC, and quantiles of the score by epoch.

    Parameters
    ----------
    epochs : list of dict
        From `training.train`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
    steps = [epoch["epoch"] for epoch in epochs]
    for name, marker in zip(epochs[0]["loss"], "os^"):
        axes[0].plot(steps, [epoch["loss"][name] for epoch in epochs], marker=marker, label=name.replace("_", " "))
    axes[0].set(ylabel="weighted loss term", title="training loss")
    axes[1].plot(steps, [100 * epoch["accuracy"] for epoch in epochs], "ko-", label="accuracy, known")
    for (name, label), marker in zip([("outliers", "AUROC, auxiliary"), ("jigsaw", "AUROC, jigsaw")], "s^"):
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
    """Draw the first images of each group in a row of their own.

    Parameters
    ----------
    groups : dict of str to array_like of uint8, shapes (N, 3, 32, 32)
    per_row : int

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(len(groups), 1, figsize=(7, 0.68 * len(groups)), layout="constrained")
    for ax, (name, images) in zip(np.atleast_1d(axes), groups.items(), strict=True):
        row = np.concatenate([np.asarray(image).transpose(1, 2, 0) for image in images[:per_row]], 1)
        ax.imshow(row, interpolation="nearest")
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        ax.set(xticks=[], yticks=[])
        sns.despine(ax=ax, left=True, bottom=True)
    return figure
