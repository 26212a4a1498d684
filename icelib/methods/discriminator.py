"""A binary discriminator, known against outlier, beside the classifier on one backbone."""

import torch
import torch.nn.functional as F
from torch import nn

from icelib.heads import LinearHead
from icelib.losses import cross_entropy, mean
from icelib.scores import energy as score


class DiscriminatorHead(LinearHead):
    """Logits r_i = log softmax(f)_i + b of a linear head f and a binary logit b, both on the same features.

    Softmax over r is that of f, and log Σ_i exp(r_i) = b.

    Notes
    -----
    Bitterwolf, Meinke, Augustin and Hein, "Breaking Down Out-of-Distribution Detection", 2022: shared discriminator.
    """

    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.binary = nn.Linear(features, 1)

    def forward(self, z):
        return super().forward(z).log_softmax(1) + self.binary(z)

    @torch.no_grad()
    def start_from(self, plain):
        """Take over f from the head of a plain network."""
        self.weight.copy_(plain.weight)
        self.bias.copy_(plain.bias)


TITLE, HEAD, OUTLIERS = "binary discriminator", DiscriminatorHead, True


def loss(known_logits, labels, outlier_logits, *, weight):
    """Cross-entropy of the classes, and λ (−log σ(b) − log σ(−b̃)) of known against outlier."""
    return cross_entropy(known_logits, labels) | {
        "binary_known": weight * mean(F.softplus(-known_logits.logsumexp(1))),
        "binary_outlier": weight * mean(F.softplus(outlier_logits.logsumexp(1))),
    }
