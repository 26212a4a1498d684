"""A variant of ours: OE on the hardest of four times as many outliers."""

import torch

from icelib.losses import outlier_exposure as loss
from icelib.scores import max_softmax as score

TITLE, HEAD, OUTLIERS, POOL = "mined OE (ours)", "linear", True, 4


@torch.no_grad()
def prepare(known, labels, outliers, *, model, generator):
    """Half are those that the network takes for known most surely, half are drawn: mining alone forgets easy ones.

    Notes
    -----
    After Chen et al., "ATOM: Robustifying Out-of-distribution Detection Using Outlier Mining", 2021.
    """
    count = len(outliers) // POOL
    model.eval()  # batch statistics of outliers alone would be others
    hard = score(model(outliers[count // 2 :])).topk(count - count // 2).indices + count // 2
    model.train()
    return torch.cat([outliers[: count // 2], outliers[hard]])
