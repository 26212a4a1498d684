"""Figures of the three causes, from what `icelib.causes` reads."""

import matplotlib.pyplot as plt
import numpy as np

from icelib import causes, plots
from icelib.methods import METHODS

DRAWN = ("plain", "oe", "energy", "bce", "ice")  # the paper's other variants stand in the tables
CONTRADICTION = {
    "raised": "known logits raised\nagainst cross-entropy (%)",
    "lowered": "known logits lowered\nagainst cross-entropy (%)",
    "outlier_raised": "outliers' logits raised (%)",
    "features": "cosine, known features",
    "shift": "cosine, common shift\nof all features",
    "backbone": "cosine, backbone's weights",
}
# what a reader needs who has nothing but the figure; the names of its parts are in its legend and axes
CAPTIONS = {
    "contradiction": (
        "Contradictory gradient in deep networks: where the auxiliary terms of a loss pull against cross-entropy, on "
        "training batches, from before training (epoch 0) to its end. Above: share of known images' logits that the "
        "auxiliary terms raise although cross-entropy lowers them, or lower although it raises them, and share of "
        "outliers' logits that they raise (lines that are not seen lie at zero). Below: cosine between the gradients of "
        "cross-entropy and of the auxiliary terms, with respect to known features (OE has none there), to one "
        "displacement common to all features, and to the backbone's weights; below zero they pull apart. Energy's known "
        "features are those beyond its margin. Bands: standard deviation over batches, or over seeds where there are "
        "several."
    ),
    "false_likelihood": (
        "False likelihood in deep networks: share of pairs of a known test image and an outlier in which the outlier "
        "scores higher. Hatched: by the largest logit alone, while a class-conditional Gaussian fitted to known training "
        "features orders the pair rightly (the paper's false likelihood). Plain: the reverse. Line: by both. The logit "
        "is f (linear head), for ICE h (Gaussian head)."
    ),
    "distribution_shift": (
        "Distribution shift in deep networks: features of outliers beside those of known test images, from before "
        "training (epoch 0) to its end. Above: overlap of the two densities, an estimate by nearest neighbours, from 0 "
        "(apart) to 1 (the same). Below: mean distance of outliers from the centre of the class means, over that of "
        "known images; below 1 they lie nearer to the centre. Left: outliers of the kind that was trained on, held "
        "out. Right: the nearest test outliers. Plain training, which sees no outlier, is the reference. Bands, where "
        "there are several seeds: standard deviation."
    ),
}


def drawn_runs(scale):
    """List the runs whose lines and bars the figures show."""
    return [run for run in causes.traced(scale) if run.method in DRAWN]


def contradiction(found):
    """Draw `icelib.contradiction`'s measures by epoch: shares above, cosines below.

    Parameters
    ----------
    found : dict
        From `causes.load`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn, axes = plt.subplots(2, 3, figsize=(7, 4.4), sharex=True, layout="constrained")
    for ax, (name, label) in zip(axes.flat, CONTRADICTION.items()):
        share = name in causes.SHARES
        for method in filter(found.__contains__, DRAWN):
            if METHODS[method].outliers:
                middle, spread = causes.contradiction(found[method], name)
                if not np.isnan(middle).all():
                    _line(ax, found[method], method, (100 if share else 1) * middle, (100 if share else 1) * spread)
        ax.set(title=label)
        if share:
            ax.set_ylim(-4, 104)
        else:
            ax.axhline(0, color="0.4", lw=0.8)
            ax.set_ylim(-1.05, 1.05)
    _finish(drawn, axes[-1])
    return drawn


def likelihood(found):
    """Draw how often logit and fitted likelihood order a known image and an outlier in opposite ways.

    Parameters
    ----------
    found : dict
        From `causes.load`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = causes.likelihood_table(found)
    near = next(iter(found.values()))[0]["near"]
    drawn, axes = plt.subplots(1, 2, figsize=(7, 2.7), sharey=True, layout="constrained")
    for ax, (name, title) in zip(
        axes, {near: f"nearest outliers ({near})", "mean": "mean over the other sets"}.items()
    ):
        rows = table.xs(name, level="outliers").reindex([METHODS[method].title for method in DRAWN if method in found])
        x = np.arange(len(rows))
        ax.bar(x - 0.2, rows.score_wrong, 0.38, color="C1", hatch="///", edgecolor="white", label="by the logit alone")
        ax.bar(x + 0.2, rows.likelihood_wrong, 0.38, color="C0", label="by the fitted likelihood alone")
        ax.plot(x, rows.both_wrong, "k_", ms=18, label="by both")
        ax.set_xticks(x, [title.removesuffix(" training") for title in rows.index], fontsize=8)
        ax.set_title(title)
    axes[0].set_ylabel("pairs (known, outlier)\nordered wrongly (%)")
    line, *bars = zip(*axes[0].get_legend_handles_labels())
    drawn.legend(*zip(*bars, line), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return drawn


def shift(found):
    """Draw overlap and centrality by epoch, for the nearest test outliers and the auxiliary ones.

    Parameters
    ----------
    found : dict
        From `causes.load`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    near = next(iter(found.values()))[0]["near"]
    drawn, axes = plt.subplots(2, 2, figsize=(7, 4.6), sharex=True, sharey="row", layout="constrained")
    for row, (measure, label) in zip(
        axes, {"overlap": "overlap with known", "centrality": "distance from the centre\n(known = 1)"}.items()
    ):
        for ax, (name, title) in zip(row, {"auxiliary": "held-out auxiliary outliers", near: near}.items()):
            for method in filter(found.__contains__, DRAWN):
                _line(ax, found[method], method, *causes.shift(found[method], measure, name))
            if measure == "overlap":
                ax.set(title=title, ylim=(-0.04, 1.04))
            else:
                ax.axhline(1, color="0.4", lw=0.8)
        row[0].set_ylabel(label)
    _finish(drawn, axes[-1])
    return drawn


def _line(ax, traces, method, middle, spread):
    title = METHODS[method].title
    epochs = [epoch["epoch"] for epoch in traces[0]["epochs"]]
    style = {"color": plots.COLOURS[title], "marker": plots.MARKERS[title], "ls": plots.LINES[title]}
    ax.plot(epochs, middle, label=title, ms=4, lw=1.2, **style)
    ax.fill_between(epochs, middle - spread, middle + spread, color=style["color"], alpha=0.15, lw=0)


def _finish(drawn, lowest):
    for ax in lowest:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    entries = {}
    for ax in drawn.axes:
        entries |= dict(zip(*reversed(ax.get_legend_handles_labels())))
    if not entries:
        drawn.text(0.5, 0.5, "no such method was run", ha="center")
        return
    drawn.legend(entries.values(), entries, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
