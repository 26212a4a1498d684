"""The paper's toy: two Gaussian classes in the plane, the gradients of its losses, and features set free.

N points of the plane are (N, 2); logits of the two classes are (N, 2), of K classes (N, K).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal

from icelib import heads, losses
from icelib.analysis.overlap import centrality, opposite_order, overlap
from icelib.util.errors import DivergedError

# λ of eqs. 0.3, 0.5 and 0.15: those of OE's and Energy's sources; the paper does not give ICE's
WEIGHTS = {"OE": 0.5, "Energy": 0.1, "ICE": 0.1}
START = (-5.0, 1.2)  # of the outliers: beyond class 1, where OE's way to the middle leads through it
FAR = 1.5, 6.0  # Mahalanobis distances of A and B from class 1's mean
STEPS, RATE, HEAD_RATE = 60, 0.2, 0.05  # of descent, with learning rates of features and head
MIXED = 0.05  # a rise of overlap above this is told from chance: 20 of 400 samples
GRID = np.linspace(-6, 6, 7), np.linspace(-4.5, 4.5, 5)  # z_1 and z_2 of where outliers start in `starts`
CENTRES = (0, 0), (3, 0), (-3, 0), (3, 3), (0, -4)  # of the classes, in `origins`


@dataclass(frozen=True, eq=False)
class Problem:
    """Classes p(z|i) = N(μ_i, Σ) with a tied Σ, symmetric and positive definite, and equal priors (as in eq. 0.9)."""

    means: torch.Tensor  # float64 (2, 2)
    covariance: torch.Tensor  # float64 (2, 2)

    def __post_init__(self):
        found = self.covariance
        if not (torch.equal(found, found.T) and torch.linalg.eigvalsh(found).min() > 0):
            raise ValueError(f"covariance {found.tolist()}; expected a symmetric, positive definite matrix")

    def linear(self):
        """ŵ_i = Σ⁻¹μ_i and b̂_i = −½ μ_iᵀΣ⁻¹μ_i of eq. 0.9: (2, 2) and (2,)."""
        weights = torch.linalg.solve(self.covariance, self.means.T).T
        return weights, -(weights * self.means).sum(1) / 2

    def logits(self, z):
        """f_i(z) = ŵ_iᵀz + b̂_i (eqs. 0.1 and 0.9): (N, 2) → (N, 2)."""
        weights, biases = self.linear()
        return z @ weights.T + biases

    def log_likelihood(self, z):
        """log p(z|i): (N, 2) → (N, 2)."""
        return MultivariateNormal(self.means, self.covariance).log_prob(z[:, None])

    def distance(self, z):
        """Mahalanobis distance of z from μ_i, in standard deviations σ: (N, 2) → (N, 2)."""
        offsets = z[:, None] - self.means  # (N, 2, 2)
        return (offsets * torch.linalg.solve(self.covariance, offsets.mT).mT).sum(2).sqrt()


def problem(first=1.0, second=1.0, correlation=0.4):
    """Problem with means (−2, 0) and (2, 0), and Σ from standard deviations `first`, `second` and correlation."""
    mixed = correlation * first * second
    means, covariance = [[-2, 0], [2, 0]], [[first**2, mixed], [mixed, second**2]]
    return Problem(*(torch.tensor(value, dtype=torch.float64) for value in (means, covariance)))


def examples(problem):
    """Find A, which class 1 may well produce, and B, which it never does, with f_1(B) > f_1(A).

    A lies 1.5σ from class 1's mean, towards class 2; B lies 6σ from it, along ŵ_1. Returns both (2, 2). Raises
    ValueError if the problem does not say where they are, or logit and likelihood agree on them.
    """
    directions = torch.stack([problem.means[1] - problem.means[0], problem.linear()[0][0]])  # (2, 2)
    lengths = problem.distance(problem.means[0] + directions)[:, 0]  # of the directions, in σ
    if not (lengths > 0).all():
        raise ValueError(f"means {problem.means.tolist()}; expected two different ones, the first not the origin")
    found = problem.means[0] + torch.tensor(FAR)[:, None] * directions / lengths[:, None]
    (a, b), (p_a, p_b) = problem.logits(found)[:, 0], problem.log_likelihood(found)[:, 0]
    if not (b > a and p_b < p_a):
        raise ValueError(f"f_1 is {a:.3g} at A and {b:.3g} at B; expected more at B, as class 1 lies along ŵ_1")
    return found


def samples(problem, start=START, spread=0.5, count=100, seed=0):
    """Draw `count` known samples per class, and twice as many outliers from a round Gaussian around `start`.

    Returns known samples (2·count, 2), their labels (2·count,) and outliers (2·count, 2).
    """
    noise = torch.randn(2, 2 * count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(2 * count) % 2
    known = problem.means[labels] + noise[0] @ torch.linalg.cholesky(problem.covariance).T
    return known, labels, torch.tensor(start, dtype=torch.float64) + spread * noise[1]


def eq_0_2(logits, labels):
    """∂L_sce(x, 1_y)/∂f = softmax(f) − 1_y, below eq. 0.2: (N, K), (N,) → (N, K)."""
    return logits.softmax(1) - F.one_hot(labels, logits.shape[1])


def eq_0_6(logits, total=1.0):
    """∂L_sce(x̃, u)/∂f = total · (softmax(f) − 1/K), with the sum `total` of the target u: (N, K) → (N, K).

    It is 1 if u is a distribution, as the paper says, and K if u is 1 for each class: the paper has the factor K.
    """
    return total * (logits.softmax(1) - 1 / logits.shape[1])


def eq_0_7(logits):
    """∂L_energy(x̃)/∂f = softmax(f): (N, K) → (N, K)."""
    return logits.softmax(1)


def eq_0_8(logits):
    """∂−L_energy(x)/∂f = −softmax(f), of the known term of eq. 0.5: (N, K) → (N, K)."""
    return -logits.softmax(1)


def eq_0_10(logits, weights, total=1.0):
    """∂L_sce(x̃, u)/∂z̃ = Σ_i total · (softmax(f)_i − 1/K) w_i: (N, K), (K, d) → (N, d)."""
    return eq_0_6(logits, total) @ weights


def eq_0_13(z, means, covariance):
    """∂L_ice-ood/∂z̃ = −2 exp(h)/(1 − exp(h)) (LLᵀ)⁻¹(z̃ − m) with m, h of the nearest class: (N, d) → (N, d).

    `means` (K, d), `covariance` LLᵀ (d, d). At a class mean it is not defined: NaN.
    """
    offsets = z[:, None] - means  # (N, K, d)
    steep = torch.linalg.solve(covariance, offsets.mT).mT  # (LLᵀ)⁻¹(z − m_i) (N, K, d)
    squared, nearest = (offsets * steep).sum(2).min(1)  # −h (N,), i (N,)
    return -2 * steep[torch.arange(len(z)), nearest] / torch.expm1(squared)[:, None]


def eq_0_14(z, labels, means, covariance):
    """∂L_ice-id/∂z = 2 (LLᵀ)⁻¹(z − m_y): (N, d), (N,) → (N, d); else as `eq_0_13`."""
    return 2 * torch.linalg.solve(covariance, (z - means[labels]).T).T


def fields(problem):
    """Descent directions −∂L/∂z of the losses' unweighted terms, by name: each a function (N, 2) → (N, 2)."""
    weights, means, factor = problem.linear()[0], problem.means, 2 * problem.covariance
    first = lambda z: torch.zeros(len(z), dtype=torch.int64)
    return {
        "cross-entropy, known of class 1 (0.2)": lambda z: -eq_0_2(problem.logits(z), first(z)) @ weights,
        "Energy, any known (0.8)": lambda z: -eq_0_8(problem.logits(z)) @ weights,
        "ICE, known of class 1 (0.14)": lambda z: -eq_0_14(z, first(z), means, factor),
        "OE, outlier (0.10)": lambda z: -eq_0_10(problem.logits(z), weights),
        "Energy, outlier (0.7)": lambda z: -eq_0_7(problem.logits(z)) @ weights,
        "ICE, outlier (0.13)": lambda z: -eq_0_13(z, means, factor),
    }


def by_logit(problem, z):
    """Derivatives of each method's own terms by a logit that no sample should raise (h for ICE): negative raises it.

    By method, OE (0.6), Energy (0.7, 0.8) and ICE (0.13, 0.14), derivatives (N,) at points z: were they outliers, by
    both logits; were they known samples of class 1, by that of class 2 (where OE has no term of its own).
    """
    f, h = problem.logits(z), -problem.distance(z).square() / 2  # (N, 2)
    steep = F.one_hot(h.argmax(1), 2) / torch.expm1(-h)  # of the nearest class: exp(h)/(1 − exp(h))
    outlier = {"OE": eq_0_6(f), "Energy": eq_0_7(f), "ICE": steep}
    found = {method: {"outlier, 1": d[:, 0], "outlier, 2": d[:, 1]} for method, d in outlier.items()}
    found["Energy"]["known, 2"], found["ICE"]["known, 2"] = eq_0_8(f)[:, 1], torch.zeros_like(f[:, 1])
    return found


def energy(known_logits, labels, outlier_logits, *, weight):
    """Eq. 0.5 as it stands, without the hinges of `icelib.losses.energy`, so that it has no lower bound."""
    difference = outlier_logits.logsumexp(1).mean() - known_logits.logsumexp(1).mean()
    return {"cross_entropy": F.cross_entropy(known_logits, labels), "energy": weight * difference}


LOSSES = {"OE": losses.outlier_exposure, "Energy": energy, "ICE": losses.ice}


def head(problem, method):
    """Top layer of a method at its start: ŵ, b̂ of eq. 0.9, or for ICE m = μ, LLᵀ = 2Σ, whose softmax is the same."""
    gaussian = method == "ICE"
    made = (heads.GaussianHead(2, 2) if gaussian else heads.LinearHead(2, 2)).double()
    if gaussian:
        factor = torch.linalg.cholesky(2 * problem.covariance)  # L (2, 2)
        values = {"means": problem.means, "log_diagonal": factor.diagonal().log(), "lower": factor.tril(-1)}
    else:
        values = dict(zip(("weight", "bias"), problem.linear()))
    made.load_state_dict(values)
    return made


class Path(NamedTuple):
    """Features on their way, after each of T steps, and the head's linear form (`heads`' ``linear``)."""

    known: torch.Tensor  # (T + 1, N, 2)
    labels: torch.Tensor  # (N,)
    outlier: torch.Tensor  # (T + 1, M, 2)
    weights: torch.Tensor  # (T + 1, 2, 2)
    biases: torch.Tensor  # (T + 1, 2)


def descend(problem, method, drawn, weight, steps=STEPS, rate=RATE, head_rate=HEAD_RATE):
    """Let the features of samples `drawn` descend for T steps, and the head with them (the paper's Figure 3): a Path.

    Each step is gradient descent on all samples and the loss of `method`, a key of `LOSSES`, with λ = `weight`. Losses
    are means; a feature's step follows the gradient of its own sample, as if it were that of a sum. DivergedError if a
    feature is no longer finite.
    """
    known, labels, outlier = drawn
    z, top, states = [known.clone().requires_grad_(), outlier.clone().requires_grad_()], head(problem, method), []
    scales = [rate * len(known), rate * len(outlier)] + [head_rate] * len(list(top.parameters()))
    for step in range(steps + 1):
        states.append([x.detach().clone() for x in (*z, *top.linear())])
        if not all(x.isfinite().all() for x in states[-1]):
            raise DivergedError(f"{method} with λ = {weight} diverged at step {step}; expected finite features")
        loss = sum(LOSSES[method](top(z[0]), labels, top(z[1]), weight=weight).values())
        free = [*z, *top.parameters()]
        gradients = torch.autograd.grad(loss, free)
        with torch.no_grad():
            for x, gradient, scale in zip(free, gradients, scales, strict=True):
                x -= scale * gradient
    known, outlier, weights, biases = (torch.stack(x) for x in zip(*states))
    return Path(known, labels, outlier, weights, biases)


def mixed(path, every=1):
    """Measure on every n-th step how known samples and outliers lie to each other: arrays (⌈(T + 1) / every⌉,).

    ``overlap`` and ``centrality`` of `analysis.overlap`, and ``distance``: Euclidean, from an outlier to the nearest
    class mean of the known features at that step, mean over outliers.
    """
    rows = []
    for known, outlier in zip(path.known[::every], path.outlier[::every]):
        means = torch.stack([known[path.labels == i].mean(0) for i in (0, 1)])
        distance = torch.cdist(outlier, means).min(1).values.mean().item()
        rows.append((overlap(known, outlier), centrality(known, path.labels, outlier), distance))
    return dict(zip(("overlap", "centrality", "distance"), np.array(rows).T, strict=True))


def starts(problem, weights=WEIGHTS, every=4):
    """Let outliers start at each place of `GRID`, and measure on every n-th step what becomes of them.

    For each method, arrays (5, 7) with a row for each z_2: ``rise``, the largest overlap on the way minus that at the
    start; ``away``, change of the distance of outliers from the nearest class mean.
    """
    found, drawn = {}, [samples(problem, (x, y)) for y in GRID[1] for x in GRID[0]]
    for method, weight in weights.items():
        curves = [mixed(descend(problem, method, each, weight), every) for each in drawn]
        changes = {
            "rise": [curve["overlap"].max() - curve["overlap"][0] for curve in curves],
            "away": [curve["distance"][-1] - curve["distance"][0] for curve in curves],
        }
        found[method] = {name: np.reshape(values, (len(GRID[1]), len(GRID[0]))) for name, values in changes.items()}
    return found


def origins(problem, weights=WEIGHTS, centres=CENTRES):
    """Largest overlap on the way by centre of the classes (rows) and method (columns); ŵ of eq. 0.9 depends on it."""
    rows = {}
    for x, y in centres:
        moved = Problem(problem.means + torch.tensor([x, y]), problem.covariance)
        drawn = samples(moved, (START[0] + x, START[1] + y))
        paths = {method: descend(moved, method, drawn, weight) for method, weight in weights.items()}
        rows[f"({x}, {y})"] = {method: mixed(path)["overlap"].max() for method, path in paths.items()}
    return pd.DataFrame(rows).T.rename_axis("centre of the classes")


def orders(problem):
    """Count pairs of a known sample and an outlier that max_i f_i and max_i p(z|i) order oppositely.

    A DataFrame with a row for each place where outliers may lie and the columns of `overlap.opposite_order`, in percent
    of all pairs of 1,000 known samples and 1,000 outliers.
    """
    middle, (across, along) = problem.means.mean(0), problem.linear()[0].diff(dim=0)[0]
    beside = torch.stack([-along, across]) / (across**2 + along**2).sqrt()  # unit vector where f_1 = f_2
    places = {"beyond class 1, around B": examples(problem)[1], "between the classes": middle}
    places["beside both, as probable in either"] = middle + 6 * beside
    scores, rows = (problem.logits, problem.log_likelihood), {}
    for place, start in places.items():
        known, _, outlier = samples(problem, start.tolist(), count=500)
        logits, likelihoods = ([f(z).max(1).values for z in (known, outlier)] for f in scores)
        rows[place] = opposite_order(*logits, *likelihoods)
    return 100 * pd.DataFrame(rows).T.rename_axis("outliers lie")
