"""Figure 5, and reliability diagrams of the probabilities of being known."""

import matplotlib.pyplot as plt
import numpy as np

from icelib import calibration, confidence, plots
from icelib.methods import METHODS

STEPS = 25  # of a histogram, over 0…1
DRAWN = ("plain", "oe", "energy", "bce", "ice")  # the paper's other variants stand in the tables
CAPTIONS = {
    "fig5": (
        "ICE's confidence exp(max h) that an image is known, epoch by epoch (the paper's Figure 5): histograms on known "
        "test images (to the left of each tick) and on the nearest outliers (to the right, hatched), with their "
        "medians. A good detector separates the two; the paper's gather at 1 and at 0. Widths are shares of images, "
        "each side relative to its own largest bin."
    ),
    "reliability": (
        "Does a stated probability of being known come true? Known test images and the nearest outliers in an even "
        "mixture, trained networks. Above: share of known images among those with about the stated probability; on the "
        "grey diagonal the statement is true, below it too many images are called known. Bins with less than 1 % of the "
        "weight are left out. Below: how often each probability is stated. Left: as the methods state it (Energy states no "
        "probability). Right: their "
        "detection scores after Platt's scaling, fitted on held-out known and auxiliary images."
    ),
}


def figure5(confidences, outliers):
    """Draw the distribution of exp(max_i h_i) by epoch, known images left, outliers right (Figure 5).

    Parameters
    ----------
    confidences : dict
        From `confidence.by_epoch`; if it is empty, so is the figure.
    outliers : str
        Name of the set of outliers.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    edges = np.linspace(0, 1, STEPS + 1)
    sides = {
        "known": {"sign": -1, "color": "C0", "marker": "<", "label": "known test images"},
        "outlier": {"sign": 1, "color": "C1", "marker": ">", "label": f"outliers ({outliers})", "hatch": "////"},
    }
    for place, values in enumerate(confidences.values()):
        for kind, side in sides.items():
            share = np.histogram(values[kind], edges)[0] / len(values[kind])
            ax.barh(
                edges[:-1],
                side["sign"] * 0.46 * share / share.max(),
                height=1 / STEPS,
                left=place,
                align="edge",
                color=side["color"],
                hatch=side.get("hatch"),
                edgecolor="white",
                linewidth=0.2,
                label=side["label"] if place == 0 else None,
            )
            ax.plot(
                place + side["sign"] * 0.05,
                np.median(values[kind]),
                side["marker"],
                color="k",
                ms=4,
                label=f"median, {kind}" if place == 0 else None,
            )
    if not confidences:
        ax.text(0.5, 0.5, "ICE was not run", ha="center")
        return drawn
    ax.set_xticks(range(len(confidences)), confidences)
    ax.set(xlabel="epoch (0: before training)", ylabel=r"confidence $\exp \max_i h_i$", ylim=(0, 1))
    drawn.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return drawn


def reliability(found):
    """Draw stated against observed probability of being known, on nearest outliers: direct, and Platt-scaled.

    Parameters
    ----------
    found : dict
        From `confidence.load`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn, axes = plt.subplots(
        2, 2, figsize=(7, 4.6), sharex=True, sharey="row", height_ratios=(3, 1), layout="constrained"
    )
    for column, direct in zip(axes.T, (True, False)):
        for method in filter(found.__contains__, DRAWN):
            stated = confidence.probabilities(found[method], method)
            way = next(iter(stated)) if direct else "Platt"
            if direct and way == "Platt":
                continue
            mixture = calibration.even_mixture(stated[way]["known"], stated[way][found[method][1]["near"]])
            _curve(column, METHODS[method].title, way if direct else "scaled", calibration.reliability(*mixture))
        column[0].plot([0, 1], [0, 1], color="0.5", lw=0.8, zorder=0)
        column[0].set_title("stated directly" if direct else "own score, Platt-scaled on held-out images")
        column[0].set(xlim=(0, 1), ylim=(-0.02, 1.02))
        if column[0].get_legend_handles_labels()[0]:
            column[0].legend(fontsize=7)
        else:
            column[0].text(0.5, 0.5, "stated by no method that was run", ha="center", fontsize=7)
        column[1].set_xlabel("stated probability of being known")
    axes[0, 0].set_ylabel("observed share of known")
    axes[1, 0].set_ylabel("share of\nimages (%)")
    return drawn


def _curve(column, title, way, bins):
    style = {"color": plots.COLOURS[title], "marker": plots.MARKERS[title], "ls": plots.LINES[title], "lw": 1.2}
    shown = bins[bins.weight > 0.01]  # bins of a few images are noise
    column[0].plot(shown.stated, shown.observed, label=f"{title}: {way}", ms=4, **style)
    middle = (np.arange(len(bins)) + 0.5) / len(bins)
    column[1].plot(middle, 100 * bins.weight, ms=3, **style)
