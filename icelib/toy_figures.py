"""The toy as a reader sees it: the paper's Figures 2 and 3, gradients as fields, and how far features mix."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.patches import Ellipse

from icelib import plots, toy
from icelib.mixing import overlap

CLASSES = {"marker": ("o", "s"), "line": ("-", "--"), "color": ("C0", "C1")}
CAPTIONS = {
    "fig2": "Level sets of the logit f_1 (left) and of log p(z|1) (right) of class 1 in the paper's toy: two Gaussian classes "
    "with one covariance. Ellipses: 1σ and 2σ of class 1 (solid) and class 2 (dashed). A, a known sample, lies "
    "1.5σ from class 1's mean towards class 2, B, an outlier, 6σ from it along ŵ_1; p is the density there. The logit is higher at B, the density at A.",
    "gradient_fields": "Where one step of descent moves a feature. First two rows: direction (arrows, of equal length) and "
    "size (shade) of −∂L/∂z for cross-entropy and for the terms of OE, Energy and ICE, in parentheses their equations; "
    "no arrow below 0.001. Ellipses: 1σ and 2σ of class 1 (solid) and class 2 (dashed). Last row: gradients with "
    "respect to the two logits; hatched: an outlier's logit, or that of a class other than the known sample's, is raised.",
    "fig3": "Features as free parameters, descended with OE, Energy (eq. 0.5 without hinges) and ICE from the same start; "
    "w, b start at ŵ, b̂ of eq. 0.9. Circles, squares: known samples of classes 1 and 2; crosses: outliers. Trails: every "
    "step of six samples of a kind, a dot each. Dashed: where both classes are equally probable. Limits are those of the "
    "row. Overlap: ∫ min(p, q) of known and outlier densities, 0.5 if outliers coincide with one of the classes.",
    "fig3_mixing": "Mixing at every step of Figure 3. Left: overlap ∫ min(p, q) of known samples and outliers (0 apart, 0.5 "
    "outliers on one class, 1 equal). Middle: mean distance from the centre of the classes, outliers over known samples. "
    "Right: mean distance from an outlier to the nearest class mean. Line: Figure 3's draw; band: least to greatest of five.",
    "fig3_starts": "Does mixing depend on where outliers start? Each cell is a start. Upper row: largest overlap on the way "
    "minus that at the start (crosses: more than 0.05). Middle row: overlap at the last step. Lower row: how much farther "
    "outliers are from the nearest class mean at the end. Ellipses: 2σ of both classes at the start; star: Figure 3's start.",
}


def small_print(problem, seeds=""):
    """Tell of what a figure was computed; `seeds` names the draws of samples where features descend."""
    weights = ", ".join(f"{name} {value}" for name, value in toy.WEIGHTS.items())
    told = (
        "No images, no network: two Gaussian classes with equal priors, means "
        f"{' and '.join(map(str, problem.means.tolist()))}, covariance {problem.covariance.tolist()}; float64, CPU. "
    )
    descent = (
        f"{toy.STEPS} steps of descent, learning rates {toy.RATE} (features) and {toy.HEAD_RATE} (head), λ: {weights}; 100 "
        f"known samples per class, 200 outliers, {seeds}."
    )
    return (told + descent * bool(seeds)).replace("-", "−").strip()


def ellipses(ax, problem, sigmas=(1, 2)):
    """Draw the known classes as ellipses at Mahalanobis distances `sigmas`: solid class 1, dashed class 2."""
    values, vectors = np.linalg.eigh(problem.covariance.numpy())
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    for mean, line in zip(problem.means.tolist(), CLASSES["line"]):
        for sigma in sigmas:
            width, height = 2 * sigma * np.sqrt(values[::-1])
            ax.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, ls=line, lw=1.1, color="k"))


def _plane(x, y):
    points = torch.tensor(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))  # (len(y)·len(x), 2)
    return points, (len(y), len(x))


def figure2(problem):
    """Draw level sets of logit and likelihood of class 1, with a known sample A and an outlier B (Figure 2).

    Parameters
    ----------
    problem : toy.Problem

    Returns
    -------
    matplotlib.figure.Figure
    """
    found = toy.examples(problem)
    margin = 3 * problem.covariance.diagonal().sqrt().clamp(min=1)  # room for the ellipses and their names
    reach = torch.cat([found, problem.means])
    low, high = reach.min(0).values - margin, reach.max(0).values + margin
    x, y = (np.linspace(a, b, 121) for a, b in zip(low.tolist(), high.tolist()))
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.1), sharex=True, sharey=True, layout="constrained")
    scores = {"logit $f_1(z)$": problem.logits, "log-likelihood $\\log p(z\\,|\\,1)$": problem.log_likelihood}
    top, right = torch.stack([low[0], high[1] - 0.8]), torch.stack([high[0], high[1] - 0.8])
    for ax, (title, score), end in zip(axes, scores.items(), (right, problem.means[0])):
        _levels(ax, score, x, y, top + torch.linspace(0.04, 0.96, 200)[:, None] * (end - top))
        ellipses(ax, problem)
        for i, (x_mean, y_mean) in enumerate(problem.means):
            ax.text(x_mean, y_mean - 2.7 * problem.covariance[1, 1].sqrt(), f"class {i + 1}", ha="center", fontsize=7.5)
        for name, marker, side, point, value in zip("AB", "oX", ("left", "center"), found, score(found)[:, 0]):
            ax.plot(*point, marker, color="w", mec="k", ms=8)
            text = f"{name}: {value:.1f}" + (f"\np = {value.exp():.1e}" if "p(" in title else "")
            box = {"boxstyle": "round,pad=0.2", "fc": "w", "ec": "k", "lw": 0.6}
            place = {"xytext": (0, -9), "textcoords": "offset points", "ha": side, "va": "top", "bbox": box}
            ax.annotate(text.replace("-", "−"), point, fontsize=8, zorder=5, **place)
        ax.set(title=title, xlabel="$z_1$", aspect="equal", xlim=x[[0, -1]], ylim=y[[0, -1]])
    axes[0].set_ylabel("$z_2$")
    return figure


def _levels(ax, score, x, y, ray):
    """Level sets of class 1's score, labelled where they cross a ray (P, 2)."""
    z, shape = _plane(x, y)
    values = score(z)[:, 0].reshape(shape)
    ax.contourf(x, y, values, 11, cmap="Blues", alpha=0.5)
    lines = ax.contour(x, y, values, 11, colors="0.35", linewidths=0.6)
    misses = (score(ray)[:, 0] - torch.tensor(lines.levels)[:, None]).abs().min(1)  # of each level, and where
    near = [ray[i].tolist() for miss, i in zip(*misses) if miss < 0.1 * np.diff(lines.levels)[0]]
    ax.clabel(lines, fontsize=6.5, manual=near)


def fields(problem):
    """Descent directions −∂L/∂z by name: each a function (N, 2) → (N, 2), for unweighted terms."""
    weights, (means, factor) = problem.linear()[0], (problem.means, 2 * problem.covariance)
    first = lambda z: torch.zeros(len(z), dtype=torch.int64)
    return {
        "cross-entropy,\nknown of class 1 (0.2)": lambda z: -toy.eq_0_2(problem.logits(z), first(z)) @ weights,
        "Energy,\nany known sample (0.8)": lambda z: -toy.eq_0_8(problem.logits(z)) @ weights,
        "ICE,\nknown of class 1 (0.14)": lambda z: -toy.eq_0_14(z, first(z), means, factor),
        "OE,\noutlier (0.6, 0.10)": lambda z: -toy.eq_0_10(problem.logits(z), weights),
        "Energy,\noutlier (0.7)": lambda z: -toy.eq_0_7(problem.logits(z)) @ weights,
        "ICE,\noutlier (0.13)": lambda z: -toy.eq_0_13(z, means, factor),
    }


def gradient_fields(problem):
    """Draw the gradients of eqs. 0.2, 0.6 to 0.8, 0.10, 0.13 and 0.14 in the plane, and by logit.

    Parameters
    ----------
    problem : toy.Problem

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(3, 3, figsize=(7, 6.6), layout="constrained")
    (fine, shape), norm = _plane(x := np.linspace(-5, 5, 201), y := np.linspace(-4, 4, 161)), LogNorm(1e-3, 10)
    coarse = _plane(np.linspace(-4.6, 4.6, 11), np.linspace(-3.6, 3.6, 9))[0]
    for ax, (title, field) in zip(axes.flat, fields(problem).items()):
        size = field(fine).norm(dim=1).clamp(1e-3, 10).reshape(shape)
        shade = ax.pcolormesh(x, y, size, norm=norm, cmap="Blues", alpha=0.7, rasterized=True)
        steps = field(coarse)
        drawn = steps.norm(dim=1) > 1e-3
        ax.quiver(*coarse[drawn].T, *(steps / steps.norm(dim=1, keepdim=True))[drawn].T, scale=14, width=0.008)
        ellipses(ax, problem)
        ax.set_title(title, fontsize=8)
        ax.set(aspect="equal", xticks=[-4, 0, 4], yticks=[-3, 0, 3])
    figure.colorbar(shade, ax=axes[:2], label="size of $-\\partial L/\\partial z$", extend="both", shrink=0.7)
    plt.setp(axes[:2, 0], ylabel="$z_2$")
    plt.setp(axes[1], xlabel="$z_1$")
    _logit_space(axes[2])
    return figure


def _logit_space(axes):
    gap = torch.linspace(-6, 6, 121).double()
    logits = torch.stack([gap, torch.zeros_like(gap)], 1)  # softmax sees differences only
    gradients = {
        "OE, outlier (0.6)": (toy.eq_0_6, (0, 1)),
        "Energy, outlier (0.7)": (toy.eq_0_7, (0, 1)),
        "Energy, known of class 1 (0.8)": (toy.eq_0_8, (1,)),
    }
    for ax, (title, (gradient, forbidden)) in zip(axes, gradients.items()):
        values = gradient(logits)
        for i, line in enumerate(CLASSES["line"]):
            ax.plot(gap, values[:, i], line, color=CLASSES["color"][i], lw=1.5, label=f"$f_{i + 1}$")
            if i in forbidden:
                ax.fill_between(gap, values[:, i].clamp(max=0), hatch="////", fc="none", ec="0.6", lw=0)
        ax.axhline(0, color="0.3", lw=0.7)
        ax.set_title(title, fontsize=8)
        ax.set(xlabel="$f_1 - f_2$", ylim=(-1.1, 1.1))
        ax.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("$\\partial L / \\partial f_i$")


def figure3(paths, steps=(0, 15, 35, 60)):
    """Draw features on their way, a row for each method (Figure 3).

    Parameters
    ----------
    paths : dict of str to toy.Path
    steps : tuple of int
        Which steps to draw, a column each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    size = (1.75 * len(steps), 1.55 * len(paths) + 0.5)
    figure, axes = plt.subplots(len(paths), len(steps), figsize=size, sharex="row", sharey="row", layout="constrained")
    for row, (method, path) in zip(axes, paths.items()):
        points = torch.cat([path.known, path.outlier], 1)[list(steps)].reshape(-1, 2).numpy()
        low, high = np.quantile(points, [0.005, 0.995], 0)
        for ax, step in zip(row, steps):
            ax.set(xlim=(low[0] - 1, high[0] + 1), ylim=(low[1] - 1, high[1] + 1))
            _features(ax, path, step)
            found = overlap(path.known[step], path.outlier[step])
            ax.set_title(f"step {step}: overlap {found:.2f}", fontsize=7.5)
        row[0].set_ylabel(f"{method}\n$z_2$")
    plt.setp(axes[-1], xlabel="$z_1$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7.5, frameon=False, markerscale=2)
    return figure


def _features(ax, path, step):
    kinds = [
        *((path.known[:, path.labels == i], f"known, class {i + 1}", CLASSES["marker"][i], f"C{i}") for i in (0, 1)),
        (path.outlier, "outlier", "x", "k"),
    ]
    for points, label, marker, colour in kinds:
        edge = 0.6 if marker == "x" else 0
        ax.plot(*points[step].T, marker, color=colour, ms=2.6, mew=edge, alpha=0.7, label=label)
        trails = points[: step + 1, :6]  # (step + 1, 6, 2)
        ax.plot(trails[..., 0], trails[..., 1], ".-", color=colour, ms=1.4, lw=0.3)
    (weight, bias), limits = ((x[step, 0] - x[step, 1]).numpy() for x in (path.weights, path.biases)), ax.axis()
    point = -bias * weight / (weight @ weight)  # on the line where f_1 = f_2
    ax.axline(point, point + weight[::-1] * [-1, 1], color="0.4", ls="--", lw=0.9)
    ax.axis(limits)


def mixing(curves):
    """Draw overlap, centrality and distance at every step.

    Parameters
    ----------
    curves : dict of str to list of dict of str to ndarray
        For each method, from `toy.mixed`, the first draw of samples and others.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = {
        "overlap": "overlap $\\int \\min(p, q)$ of\nknown and outliers",
        "centrality": "distance from the centre,\noutliers over known",
        "distance": "distance of outliers from\nthe nearest class mean",
    }
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.4), layout="constrained")
    for ax, (name, label) in zip(axes, names.items()):
        for method, draws in curves.items():
            values = np.array([draw[name] for draw in draws])  # (draws, T + 1)
            look = {"color": plots.COLOURS[method], "marker": plots.MARKERS[method], "ms": 4, "markevery": 10}
            ax.plot(values[0], label=method, **look)
            ax.fill_between(range(values.shape[1]), values.min(0), values.max(0), color=look["color"], alpha=0.2, lw=0)
        ax.set_title(label, fontsize=8.5)
        ax.set(xlabel="step of descent", ylim=(0, None))
    axes[1].axhline(1, color="0.5", lw=0.7)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
