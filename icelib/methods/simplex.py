"""ICE on a Gaussian head whose means are held at equal distances. A variant of ours."""

import torch

from icelib.heads import GaussianHead
from icelib.losses import ice as loss
from icelib.scores import max_likelihood as score


class SimplexHead(GaussianHead):
    """Gaussian head whose class means are held at equal distances; only L is learned.

    Features come out of a ReLU, so the means are vertices of a simplex that it can reach: class i has
    the same value in a block of coordinates of its own, and 0 elsewhere.

    `separation` is the Euclidean distance between two means.

    Notes
    -----
    After Pang et al., "Rethinking Softmax Cross-Entropy Loss for Adversarial Robustness", 2020.
    """

    def __init__(self, features, classes, factor, separation, covariance_scale):
        super().__init__(features, classes, factor, 0.0, covariance_scale)
        if classes > features:
            raise ValueError(f"{classes} classes in {features} features; expected no more classes than features")
        means = torch.zeros(classes, features)
        for mean, block in zip(means, torch.arange(features).tensor_split(classes), strict=True):
            mean[block] = separation / (2 * len(block)) ** 0.5
        del self.means
        self.register_buffer("means", means)  # (K, d)

    def estimate(self, z, labels):
        """Refuse: the means of features are no simplex.

        Raises
        ------
        ValueError
        """
        raise ValueError("means on a simplex cannot be estimated from features; set gaussian_head to random")


TITLE, HEAD, OUTLIERS = "means on a simplex", SimplexHead, True
