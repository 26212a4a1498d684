"""How far known samples and outliers lie in each other: measures on features and on scores."""

import numpy as np
from scipy.spatial import KDTree
from sklearn.neighbors import NearestNeighbors


def overlap(known, outlier, neighbours=15, seed=0):
    """Estimate how much of two densities p, q is common: ∫ min(p, q), from 0 (apart) to 1 (equal).

    For equal numbers of both it is twice the error of the best possible classifier, which is estimated by the
    leave-one-out vote of the nearest neighbours (Euclidean distance; Cover and Hart, 1967). They never beat the best
    one but for chance: the estimate is rather too large than too small, the more so in many dimensions.

    Of the larger of `known` (N, d) and `outlier` (M, d) as many are drawn as there are of the other; an odd number of
    `neighbours` vote. ValueError if there are not more samples of each kind, or a value is not finite.
    """
    count, draw = min(len(known), len(outlier)), np.random.default_rng(seed)
    if count <= neighbours:
        raise ValueError(f"{count} samples of one kind; expected more than the {neighbours} neighbours that vote")
    known, outlier = (np.asarray(x)[draw.permutation(len(x))[:count]] for x in (known, outlier))
    points, kinds = np.concatenate([known, outlier]), np.repeat([0, 1], count)  # (2n, d), (2n,)
    votes = kinds[_nearest(points, neighbours)].mean(1) > 0.5
    return min(1.0, 2 * float(np.mean(votes != kinds)))


def _nearest(points, count):
    """Nearest others of each point: (n, d) → (n, count)."""
    if points.shape[1] < 5:  # a tree is several times as fast in the plane, and slower in many dimensions
        return KDTree(points).query(points, count + 1)[1][:, 1:]
    return NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)


def centrality(known, labels, outlier):
    """Mean distance of outliers (M, d) from the mean of the class means, over that of known samples (N, d).

    Below 1, outliers lie nearer to the centre of the classes than known samples do: the place to which the paper says
    outlier exposure drags them.
    """
    known, outlier, labels = np.asarray(known), np.asarray(outlier), np.asarray(labels)
    centre = np.mean([known[labels == i].mean(0) for i in np.unique(labels)], 0)  # (d,)
    far = np.linalg.norm(known - centre, axis=1).mean()
    return float(np.linalg.norm(outlier - centre, axis=1).mean() / far)


def opposite_order(known_score, outlier_score, known_likelihood, outlier_likelihood):
    """Count how often a score and a likelihood put a known sample and an outlier in opposite order.

    Parameters
    ----------
    known_score, known_likelihood : array_like, shape (N,)
    outlier_score, outlier_likelihood : array_like, shape (M,)
        All higher for known samples.

    Returns
    -------
    dict of str to float
        Shares of all N·M pairs. ``score_wrong``: the outlier has the higher score, the known sample the higher
        likelihood, as in the paper's Figure 2; ``likelihood_wrong``: the reverse; ``both_wrong``: the outlier is
        higher in both. Ties count as neither.
    """
    score = np.sign(np.subtract.outer(np.asarray(known_score), np.asarray(outlier_score)))  # (N, M)
    likelihood = np.sign(np.subtract.outer(np.asarray(known_likelihood), np.asarray(outlier_likelihood)))
    return {
        "score_wrong": float(np.mean((score < 0) & (likelihood > 0))),
        "likelihood_wrong": float(np.mean((score > 0) & (likelihood < 0))),
        "both_wrong": float(np.mean((score < 0) & (likelihood < 0))),
    }
