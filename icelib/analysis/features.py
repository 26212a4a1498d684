"""Figure 4: penultimate features as t-SNE draws them, and measures of what a picture cannot tell."""

from typing import NamedTuple

import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import numpy as np
import openTSNE
import pandas as pd
import seaborn as sns
from scipy.spatial.distance import pdist
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from icelib import batches, checkpoints, hardware, mixing, params, posthoc, tasks, traces
from icelib.captions import SCRATCH
from icelib.cells import by_block
from icelib.methods import METHODS

SHOWN = ("plain", "oe", "energy", "ice")  # methods of Figure 4
SHAPES = "os^Dv<>phd"  # of known classes; outliers are crosses
COLOURS = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 9, 3, 7, 5, 8, 6)]  # like ones apart
NEIGHBOURS = 15  # of an outlier, that are counted
PERPLEXITY = 30  # of t-SNE: about how many neighbours of a known sample count
CAPTION = (
    "Features before the last layer, drawn by t-SNE. Small points, a number at their median: known test images by "
    "class. Black crosses: outliers, placed by a map fitted to known images alone. All panels have the same limits, "
    "without unit; distances between groups have no meaning. Below, measured on the features themselves: silhouette "
    "of known classes (1: apart, 0: touching), mean distance to the class mean over that between class means, and the "
    f"known share of an outlier's {NEIGHBOURS} nearest neighbours, among as many known images as outliers (50 %: mixed)."
)
# Rules on a method's value x and those of the other methods, v.
RULES = {
    "largest": lambda x, v: x > v.max(),
    "smallest": lambda x, v: x < v.min(),
    "smallest, and below 1": lambda x, v: x < min(1, v.min()),
    "larger than ICE's": lambda x, v: x > v.ice,
    "over 1.1 times Plain's": lambda x, v: x > 1.1 * v.plain,
    "0.9 to 1.1 times Plain's": lambda x, v: abs(x / v.plain - 1) <= 0.1,
}
# Of the paper's section "Feature Distribution": method, statement, measure and the rule by which we agree.
STATEMENTS = (
    ("plain", "outliers heavily mixed with known", "known neighbours", "largest"),
    ("oe", "outliers squeezed into the centre", "centrality", "smallest, and below 1"),
    ("oe", "classes become slender", "slenderness", "over 1.1 times Plain's"),
    ("energy", "classes keep their shape", "slenderness", "0.9 to 1.1 times Plain's"),
    ("energy", "outliers close to known", "known neighbours", "larger than ICE's"),
    ("ice", "classes much as in plain training", "slenderness", "0.9 to 1.1 times Plain's"),
    ("ice", "classes tightly bounded", "within/between", "smallest"),
    ("ice", "classes apart from each other", "silhouette", "largest"),
    ("ice", "outliers in a local space", "spread", "smallest"),
)


class Features(NamedTuple):
    """Features of a network, or their places in a picture."""

    known: np.ndarray  # (N, d)
    labels: np.ndarray  # (N,)
    outlier: np.ndarray  # (M, d)
    classes: list  # names of the known classes, in the order of the labels
    outliers: str  # name of the outlier set

    def check(self):
        """Raise ValueError unless the shapes agree; return self."""
        known, labels, outlier = (np.shape(x) for x in self[:3])
        if len(known) != 2 or labels != known[:1] or len(outlier) != 2 or outlier[1] != known[1]:
            raise ValueError(f"known {known}, labels {labels}, outlier {outlier}; expected (N, d), (N,) and (M, d)")
        return self


def runs(scale):
    """Find the first seed's run of each method of Figure 4: dict of str to params.Run, None if not declared."""
    groups = by_block(scale)
    return {method: next(iter(groups[(*SCRATCH, method)]), None) for method in SHOWN}


def features(run):
    """Compute z = Z(x) of a trained run (params.Run) for all known test images and the nearest outliers: Features."""
    near = traces.nearest_set(params.task(run.scale, run.known))
    model, _ = checkpoints.load(run, hardware.device())
    data, about = tasks.load(run.scale, run.known, "test")
    z = [batches.predict(model, data[name], posthoc.PRECISION, features=True) for name in ("known", near)]
    known, outlier = (part.double().cpu().numpy() for part in z)
    return Features(known, data["labels"].numpy(), outlier, about["classes"], near)


def place(found):
    """Place features in the plane: fit t-SNE to known samples, then find each outlier its place among them.

    Parameters
    ----------
    found : Features

    Returns
    -------
    Features
        With coordinates (N, 2) and (M, 2), without unit.

    Raises
    ------
    ValueError
        If shapes do not agree.

    Notes
    -----
    Poličar, Stražar and Zupan, "openTSNE: A Modular Python Library for t-SNE Dimensionality
    Reduction and Embedding", 2024.
    """
    # one thread: more would wait for each other wherever another process takes a core
    method = openTSNE.TSNE(perplexity=PERPLEXITY, neighbors="exact", n_jobs=1, random_state=0)
    known = method.fit(found.check().known)
    outlier = known.transform(found.outlier)  # it shifts all of `known` to be centred: read these afterwards
    return found._replace(known=np.array(known), outlier=np.array(outlier))


def within_to_between(known, labels):
    """Mean of ‖z − μ_y‖ over known samples, over that of ‖μ_i − μ_j‖ over pairs of classes: (N, d), (N,) → float."""
    names, index = np.unique(labels, return_inverse=True)
    means = np.stack([known[labels == i].mean(0) for i in names])  # (K, d)
    return float(np.linalg.norm(known - means[index], axis=1).mean() / pdist(means).mean())


def slenderness(known, labels):
    """Share λ₁/Σ_k λ_k of a class's variance along its longest direction, mean over classes: (N, d), (N,) → float.

    λ are the eigenvalues of a class's covariance. It lies between 1/d (sphere) and 1 (line).
    """
    spectra = [np.linalg.eigvalsh(np.cov(known[labels == i].T)) for i in np.unique(labels)]  # each (d,), ascending
    return float(np.mean([values[-1] / values.sum() for values in spectra]))


def spread(known, outlier):
    """Mean distance of outliers to their mean, over that of known samples to theirs: (N, d), (M, d) → float."""
    outlier, known = (np.linalg.norm(x - x.mean(0), axis=1).mean() for x in (outlier, known))
    return float(outlier / known)


def known_neighbours(known, outlier):
    """Share of an outlier's `NEIGHBOURS` nearest neighbours that are known, among equal numbers of both kinds.

    Parameters
    ----------
    known, outlier : ndarray, shapes (N, d) and (M, d)
        Of the larger one, as many are drawn as there are of the other, always the same.

    Returns
    -------
    share, error : float
        Mean over outliers, 0 (apart) to about ½ (mixed); its standard error, as if they were independent.

    Raises
    ------
    ValueError
        If there are not more samples of each kind than `NEIGHBOURS`.
    """
    count, draw = min(len(known), len(outlier)), np.random.default_rng(0)
    if count <= NEIGHBOURS:
        raise ValueError(f"{count} samples of one kind; expected more than the {NEIGHBOURS} neighbours that count")
    points = np.concatenate([x[draw.permutation(len(x))[:count]] for x in (known, outlier)])  # known first (2n, d)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)  # (2n, k)
    shares = (nearest[count:] < count).mean(1)  # (n,)
    return float(shares.mean()), float(shares.std(ddof=1) / np.sqrt(count))


def numbers(found):
    """Measure Features: dict of str to float, three for below a panel, the error of one, three for what the paper says.

    Silhouette: Rousseeuw, 1987. The other measures are ours. ValueError as of `Features.check` and `known_neighbours`.
    """
    known, labels, outlier, *_ = found.check()
    share, error = known_neighbours(known, outlier)
    return {
        "silhouette": float(silhouette_score(known, labels)),
        "within/between": within_to_between(known, labels),
        "known neighbours": share,
        "known neighbours ±": error,
        "centrality": mixing.centrality(known, labels, outlier),
        "slenderness": slenderness(known, labels),
        "spread": spread(known, outlier),
    }


def table(found):
    """Measure the Features of every method (a dict): a DataFrame with a row for each, see `numbers`."""
    return pd.DataFrame({method: numbers(each) for method, each in found.items()}).T


def figure(places, table):
    """Draw Figure 4: a panel for each method, with the numbers of `table` below.

    Parameters
    ----------
    places : dict of str to Features or None
        From `place`, by method; None, for a method that is not declared, gives an empty panel.
    table : DataFrame
        Of `numbers`, a row for each method that was run.

    Returns
    -------
    matplotlib.figure.Figure
    """
    limit = 1.05 * max((np.abs(x).max() for found in places.values() if found for x in found[:3:2]), default=1)
    drawn, axes = plt.subplots(2, 2, figsize=(7, 8), layout="constrained")
    drawn.get_layout_engine().set(hspace=0.06)  # else titles touch the numbers above them
    legend = [], []
    for ax, (method, found) in zip(axes.flat, places.items(), strict=True):
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
        ax.set(title=METHODS[method].title, ylabel="t-SNE, no unit", xlabel="t-SNE, no unit")
        if not found:
            ax.text(0, 0, "not run", ha="center", va="center")
            continue
        legend, row = _panel(ax, found), table.loc[method]
        ax.set_xlabel(
            "t-SNE, no unit\nsilhouette {silhouette:.2f}, within/between {within/between:.2f},\n"
            "known neighbours of an outlier {share:.0f} %".format(**row, share=100 * row["known neighbours"])
        )
    drawn.legend(*legend, loc="outside lower center", ncols=4, markerscale=2.5, frameon=False)
    return drawn


def _panel(ax, found):
    ax.set_rasterization_zorder(1.5)  # points, of which there are many, but no text
    for i, name in enumerate(found.classes):
        x, y = found.known[found.labels == i].T
        shape, colour = SHAPES[i % len(SHAPES)], COLOURS[i % len(COLOURS)]
        pale = 0.4 + 0.6 * np.array(colour)  # plain points, unlike transparent ones, make a small file
        ax.scatter(x, y, 4, marker=shape, color=pale, lw=0, antialiased=False, label=f"{i + 1}: {name}")
        halo = [effects.withStroke(linewidth=3, foreground="white")]
        ax.text(np.median(x), np.median(y), i + 1, ha="center", va="center", weight="bold", size=13, path_effects=halo)
    ax.scatter(*found.outlier.T, 9, "k", marker="x", alpha=0.6, lw=0.6, label=f"outliers: {found.outliers}")
    return ax.get_legend_handles_labels()


def verdict(table, scale):
    """Hold the paper's statements about Figure 4 against `numbers` (as in `figure`), as Markdown."""
    missing = [METHODS[method].title for method in SHOWN if method not in table.index]
    if missing:
        return f"At {scale} scale the statements about Figure 4 are not checked: {', '.join(missing)} not run."
    lines = []
    for method, claim, name, rule in STATEMENTS:
        values, errors = table[name], table.get(f"{name} ±", 0 * table[name])
        margin = 2 * np.hypot(errors[method], errors.drop(method).max())  # of a difference
        holds = {bool(RULES[rule](values[method] + shift, values.drop(method))) for shift in (-margin, margin)}
        verdict = "open" if len(holds) == 2 else "agrees" if holds.pop() else "**does not agree**"
        line = {"the paper sees": f"{METHODS[method].title}: {claim}", "measure": name, "agrees if": rule}
        lines.append(line | {METHODS[other].title: f"{values[other]:.3f}" for other in SHOWN} | {"verdict": verdict})
    found = [line["verdict"] for line in lines]
    return (
        f"At {scale} scale, statements that agree with the numbers: {found.count('agrees')} of {len(found)}; open, as "
        f"two standard errors could turn them: {found.count('open')}. Of the neighbours' share alone the standard "
        "error is known; how much another seed would change is not measured.\n\n"
    ) + pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
