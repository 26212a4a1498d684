"""How the toy's outcome depends on its settings (sliders, a grid of starts), and what it says of the paper."""

import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from icelib import mixing, toy, toy_figures

MIXED = 0.05  # a rise of overlap above this is told from chance: 20 of 400 samples
NAMES = "overlap", "distance"  # of what `toy.mixed` measures
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
        From `starts`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    looks = {
        "rise": ("rise of overlap\non the way", {"cmap": "Blues", "vmin": 0, "vmax": 0.5}),
        "end": ("overlap at\nthe last step", {"cmap": "Blues", "vmin": 0, "vmax": 0.5}),
        "away": ("change of distance\nfrom nearest mean", {"cmap": "PuOr", "vmin": -4.5, "vmax": 4.5}),
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
    plt.setp(axes[-1], xlabel="$z_1$")
    return drawn


def origins(problem, places=((0, 0), (3, 0), (-3, 0), (3, 3), (0, -4)), weights=toy.WEIGHTS):
    """Largest overlap on the way from Figure 3's start, with the classes elsewhere in the plane.

    ŵ of eq. 0.9 depends on where the origin lies, and with it how Energy moves features.

    Parameters
    ----------
    problem : toy.Problem
    places : tuple of (float, float)
        What is added to the means and to the start of the outliers.
    weights : dict of str to float
        λ of each method.

    Returns
    -------
    DataFrame
        A row for each place, a column for each method.
    """
    rows = {}
    for x, y in places:
        moved = toy.Problem(problem.means + torch.tensor([x, y]), problem.covariance)
        drawn = toy.samples(moved, (toy.START[0] + x, toy.START[1] + y))
        paths = {method: toy.descend(moved, method, drawn, weight) for method, weight in weights.items()}
        rows[f"({x}, {y})"] = {method: toy.mixed(path)["overlap"].max() for method, path in paths.items()}
    return pd.DataFrame(rows).T.rename_axis("centre of the classes")


def orders(problem):
    """Count pairs of a known sample and an outlier that max_i f_i and max_i p(z|i) order oppositely.

    Parameters
    ----------
    problem : toy.Problem

    Returns
    -------
    DataFrame
        A row for each place where outliers may lie, columns as in `icelib.mixing.opposite_order`,
        in percent of all pairs of 1,000 known samples and 1,000 outliers.
    """
    middle, (across, along) = problem.means.mean(0), problem.linear()[0].diff(dim=0)[0]
    beside = torch.stack([-along, across]) / (across**2 + along**2).sqrt()  # unit vector where f_1 = f_2
    places = {"beyond class 1, around B": toy.examples(problem)[1], "between the classes": middle}
    places["beside both, as probable in either"] = middle + 6 * beside
    rows = {}
    for place, start in places.items():
        known, _, outlier = toy.samples(problem, start.tolist(), count=500)
        scores = [
            score(z).max(1).values for score in (problem.logits, problem.log_likelihood) for z in (known, outlier)
        ]
        rows[place] = {key: 100 * value for key, value in mixing.opposite_order(*scores).items()}
    return pd.DataFrame(rows).T.rename_axis("outliers lie")


def verdict_likelihood(problem, table):
    """Say in Markdown that the toy agrees with the paper's Figure 2, and how often.

    Parameters
    ----------
    problem : toy.Problem
    table : DataFrame
        From `orders`.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the problem does not agree, as `toy.examples`.
    """
    found = toy.examples(problem)
    (a, b), (p_a, p_b) = problem.logits(found)[:, 0], problem.log_likelihood(found)[:, 0].exp()
    shares = "; ".join(
        f"outliers {place}: {row.score_wrong:.1f} %, {row.likelihood_wrong:.1f} %" for place, row in table.iterrows()
    )
    return (
        f"**False likelihood: agrees with Figure 2.** $f_1$ is {a:.1f} at A and {b:.1f} at B, $p(z|1)$ is {p_a:.1e} at A "
        f"and {p_b:.1e} at B. Pairs of a known sample and an outlier in which only the logit puts the outlier first, and "
        f"in which only the likelihood does: {shares}."
    ).replace(" -", " −")


def verdict_shift(curves, found, elsewhere):
    """Say in Markdown whether the toy agrees with the paper's Figure 3.

    Parameters
    ----------
    curves : dict of str to list of dict of str to ndarray
        For each method, from `toy.mixed`, the first draw of samples and others.
    found : dict of str to dict of str to ndarray
        From `starts`.
    elsewhere : DataFrame
        From `origins`.

    Returns
    -------
    str
    """
    first = {method: draws[0] for method, draws in curves.items()}
    rises = {m: [each["overlap"].max() - each["overlap"][0] for each in draws] for m, draws in curves.items()}
    nearer, farther = first["OE"]["centrality"], first["ICE"]["distance"]
    claims = {
        "OE drags outliers nearer to the centre than known samples are": nearer[-1] < 1 < nearer[0],
        "OE mixes them with known samples on the way": min(rises["OE"]) > MIXED,
        "ICE does not mix them": max(rises["ICE"]) <= MIXED,
        "ICE pushes them away from the nearest class mean, by 5 % or more": farther[-1] >= 1.05 * farther[0],
    }
    word = "agrees" if all(claims.values()) else "agrees in part" if any(claims.values()) else "does not agree"
    lines = [f"**Distribution shift: {word} with Figure 3.**", ""]
    lines += [f"- {claim}: **{'yes' if holds else 'no'}**." for claim, holds in claims.items()]
    lines += [
        "",
        "| | overlap: start, largest (step), end | its rise over draws | farther from the centre than known | "
        "distance from nearest mean | starts that mix | its change over starts | largest overlap, classes elsewhere |",
        "|:--|:--|:--|:--|:--|:--|:--|:--|",
    ]
    for method, curve in first.items():
        (over, centre, distance), start, place = (curve[name] for name in curve), found[method], elsewhere[method]
        lines.append(
            f"| {method} | {over[0]:.2f}, {over.max():.2f} ({over.argmax()}), {over[-1]:.2f} "
            f"| {min(rises[method]):.2f} … {max(rises[method]):.2f} | {centre[0]:.2f} → {centre[-1]:.2f} "
            f"| {distance[0]:.2f} → {distance[-1]:.2f} | {(start['rise'] > MIXED).sum()} of {start['rise'].size} "
            f"| {start['away'].min():.2f} … {start['away'].max():.2f} | {place.min():.2f} … {place.max():.2f} |"
        )
    return "\n".join(lines).replace(" -", " −")
