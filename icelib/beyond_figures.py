"""Variants of ICE beside ICE, in a picture."""

import matplotlib.pyplot as plt
import numpy as np

from icelib import beyond_tables as tables
from icelib.methods import PAPER

# figures of `beyond_tables.VALIDATION`, with the names of their axes
SHOWN = {
    "mean AUROC": "mean AUROC − ICE's (points),\nvalidation images",
    "accuracy": "accuracy − ICE's (points),\nvalidation images",
}
CAPTION = (
    "Variants of ICE and methods of the paper (hollow), compared with ICE on validation images: the difference for each "
    "seed (small marks), its mean and a 95 % interval over seeds (Student's). Right of the line is better than ICE. Mean "
    "AUROC is that over held-out auxiliary outliers and jigsaw images. Below the dashed line, the best of ours with seeds that "
    "had no part in choosing it. The intervals above it are each for one comparison: of eight, one may miss by chance."
)


def figure(found, confirmed):
    """Draw the differences to ICE in mean AUROC and accuracy, in points.

    Parameters
    ----------
    found, confirmed : dict of str to list of dict
        From `beyond_tables.load`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = [(name, runs, found["ice"], "") for name, runs in found.items() if name != "ice"]
    rows.sort(key=lambda row: -tables.difference(row[1], row[2], "validation").loc["mean AUROC", "mean"])
    rows += [(name, runs, confirmed["ice"], ",\nfurther seeds") for name, runs in confirmed.items() if name != "ice"]
    drawn, axes = plt.subplots(1, 2, figsize=(6.8, 0.8 + 0.32 * len(rows)), sharey=True, layout="constrained")
    for ax, (key, text) in zip(axes, SHOWN.items(), strict=True):
        for place, (name, runs, reference, _) in enumerate(rows):
            colour = "0.45" if name in PAPER else "C0"
            by_seed = (tables.figures(runs, "validation") - tables.figures(reference, "validation"))[key]
            row = tables.difference(runs, reference, "validation").loc[key]
            ax.plot([row.low, row.high], [place, place], color=colour, lw=1.5)
            ax.plot(by_seed, np.full(len(by_seed), place), "|", color=colour, ms=5)
            ax.plot(row["mean"], place, "o", color=colour, mfc="white" if name in PAPER else colour, ms=5.5)
        ax.axvline(0, color="k", lw=0.8)
        if confirmed:
            ax.axhline(len(rows) - 1.5, color="0.6", lw=0.8, ls="--")
        ax.set_xlabel(text)
    axes[0].set_yticks(range(len(rows)), [tables.label(name) + note for name, _, _, note in rows])
    axes[0].invert_yaxis()
    return drawn
