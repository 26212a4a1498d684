"""ICE in a training loop of one's own: before and after it, on scikit-learn's digits, in seconds on a CPU.

    python examples/own_training.py [--seed 0] [--bf16]

The digits 0 to 4 are known classes, 5 to 7 auxiliary outliers; 8 and 9 are never trained on. The same loop trains an
MLP on known digits alone, and then with the Gaussian head and ICE's loss. Needs scikit-learn beside icelib.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn

from icelib import GaussianHead, ICELoss, LinearHead
from icelib.scores import max_likelihood, max_softmax


def data():
    """Images (N, 64) in 0…1 and labels (N,), −1 of outliers: training, test with known digits, and unseen digits."""
    images, digits = load_digits(return_X_y=True)
    x, digits = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(digits)
    y = torch.where(digits < 5, digits, -1)
    test = torch.arange(len(x)) % 3 == 0
    train = ~test & (digits < 8)
    return (x[train], y[train]), (x[test & (digits < 5)], y[test & (digits < 5)]), x[digits >= 8]


def train(backbone, head, loss, x, y, epochs=30, bf16=False):
    """Train a network with a loss that takes logits and labels, < 0 of outliers; return it."""
    network = nn.Sequential(backbone, head)
    # No weight decay on the head: it would pull means and covariance to zero.
    groups = [{"params": backbone.parameters()}, {"params": head.parameters(), "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(128):  # known and outliers in one forward pass
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(x[batch])
            loss(logits, y[batch]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)  # an outlier near a mean has a steep gradient
            optimizer.step()
    return network.eval()


@torch.no_grad()
def evaluate(network, score, test, unseen):
    """Accuracy on known test digits, and AUROC of a score, higher for known ones, against unseen digits; in %."""
    x, y = test
    logits = network(x)
    accuracy = (logits.argmax(1) == y).double().mean().item()
    known, outlier = score(logits), score(network(unseen))
    truth = [1] * len(known) + [0] * len(outlier)
    return 100 * accuracy, 100 * roc_auc_score(truth, torch.cat([known, outlier]))


def main(arguments=None):
    """Train without outliers and with ICE; print and return accuracy and AUROC of both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="forward passes of training in bfloat16, by autocast")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    (x, y), test, unseen = data()
    found = {}

    mlp = lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    plain = nn.CrossEntropyLoss()
    known = y >= 0
    network = train(mlp(), LinearHead(64, 5), plain, x[known], y[known], bf16=options.bf16)
    found["plain"] = evaluate(network, max_softmax, test, unseen)

    backbone, head, loss = mlp(), GaussianHead(64, 5), ICELoss(weight=0.5)
    head.start(backbone(x), y)  # scales its covariance to these features
    network = train(backbone, head, loss, x, y, bf16=options.bf16)
    found["ICE"] = evaluate(network, max_likelihood, test, unseen)

    for name, (accuracy, auroc) in found.items():
        print(f"{name:5}  accuracy {accuracy:5.1f} %  AUROC on unseen digits {auroc:5.1f} %")
    return found


if __name__ == "__main__":
    main()
