"""How the toy's outcome depends on its settings (sliders, a grid of starts), and what it says of the paper."""

import os

import matplotlib.pyplot as plt
import numpy as np

from icelib import toy, toy_figures

MIXED = 0.05  # a rise of overlap above this is told from chance: 20 of 400 samples
NAMES = "overlap", "distance"
# Horizontally and vertically, where the outliers of the grid start
GRID = np.linspace(-6, 6, 7), np.linspace(-4.5, 4.5, 7)


def sliders(draw, **ranges):
    """Draw with settings that a person moves; in a notebook that is executed, with their defaults.

    `icelib.notebooks` sets ``ICELIB_TERMINAL`` where it executes a notebook. The cell then holds the
    picture alone and no widget, which would differ from one execution to the next.

    Parameters
    ----------
    draw : callable
        Takes the settings by name, returns a matplotlib Figure.
    **ranges : (str, float, float, float, float)
        For each setting: label, default, least and greatest value, step.

    Returns
    -------
    ipywidgets.VBox or None
        The sliders above the picture, to be shown as the last line of a cell; None where the
        defaults were drawn.
    """
    import ipywidgets
    from IPython.display import display

    def show(**settings):
        figure = draw(**settings)
        display(figure)
        plt.close(figure)  # or the notebook would show it once more below the cell

    if "ICELIB_TERMINAL" in os.environ:
        return show(**{name: default for name, (_, default, *_) in ranges.items()})
    controls = {
        name: ipywidgets.FloatSlider(
            default, min=low, max=high, step=step, description=label, continuous_update=False, readout_format=".2f"
        )
        for name, (label, default, low, high, step) in ranges.items()
    }
    box = ipywidgets.Box(list(controls.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([box, ipywidgets.interactive_output(show, controls)])


def starts(problem, weights=toy.WEIGHTS, every=4):
    """Let outliers start anywhere around the classes, and measure what becomes of them.

    Parameters
    ----------
    problem : toy.Problem
    weights : dict of str to float
        λ of each method.
    every : int
        Overlap is measured on every n-th step.

    Returns
    -------
    dict of str to dict of str to ndarray, shapes (7, 7)
        For each method, a row for each height of `GRID`: ``rise``, the largest overlap on the way
        minus that at the start; ``end``, overlap at the last step; ``away``, change of the distance
        of outliers from the nearest class mean.
    """
    found = {}
    for method, weight in weights.items():
        drawn = [toy.samples(problem, (x, y)) for y in GRID[1] for x in GRID[0]]
        curves = [toy.mixed(toy.descend(problem, method, each, weight), every) for each in drawn]
        shape = len(GRID[1]), len(GRID[0]), -1
        overlap, distance = (np.array([curve[name] for curve in curves]).reshape(shape) for name in NAMES)
        rise, away = overlap.max(-1) - overlap[..., 0], distance[..., -1] - distance[..., 0]
        found[method] = {"rise": rise, "end": overlap[..., -1], "away": away}
    return found


def figure(problem, found):
    """Draw what `starts` found.

    Parameters
    ----------
    problem : toy.Problem
    found : dict of str to dict of str to ndarray

    Returns
    -------
    matplotlib.figure.Figure
    """
    looks = {
        "rise": ("rise of overlap\non the way", {"cmap": "Blues", "vmin": 0, "vmax": 0.5}),
        "end": ("overlap at\nthe last step", {"cmap": "Blues", "vmin": 0, "vmax": 0.5}),
        "away": ("change of distance\nfrom nearest class mean", {"cmap": "PuOr", "vmin": -4, "vmax": 4}),
    }
    drawn, axes = plt.subplots(3, len(found), figsize=(7, 5.4), sharex=True, sharey=True, layout="constrained")
    for row, (name, (label, look)) in zip(axes, looks.items()):
        for ax, (method, measured) in zip(row, found.items()):
            image = ax.pcolormesh(*GRID, measured[name], **look)
            for i, j in np.argwhere(measured[name] > MIXED) if name == "rise" else ():
                ax.plot(GRID[0][j], GRID[1][i], "kx", ms=4)
            toy_figures.ellipses(ax, problem, sigmas=[2])
            ax.plot(*toy.START, "*", color="w", mec="k", ms=9)
            ax.set(aspect="equal", title=method if name == "rise" else None)
        row[0].set_ylabel("$z_2$")
        drawn.colorbar(image, ax=row, label=label)
    for ax in axes[-1]:
        ax.set_xlabel("$z_1$")
    return drawn
