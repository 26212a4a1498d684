"""How near are a task's near outliers? ``python -m tests.data.division [--named] [NEAR:AUXILIARY ...]``

A linear classifier (ridge) on fixed random features (whitened patches of CIFAR-10 as filters, two-sided ReLU, averages
of quadrants; no training of features, no class labels) parts known from auxiliary training images. Its AUROC of known
against near test images is about 50 where it takes near outliers for known ones, and high where they resemble the
auxiliary ones. Measured for the tasks of params.yaml, for splits that are given as ``airplane+truck:automobile+ship``
(all other classes are known), and, without ``--named``, for all splits of that size.
"""

import argparse
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F

from icelib import metrics
from icelib.config import runs
from icelib.config.published import PUBLISHED
from icelib.data import datasets

CLASSES = PUBLISHED["cifar10"].classes
SIZE = 6  # of a filter


def sample(images, labels, count):
    """The first `count` images of each class in a fixed random order: floats (N, 3, 32, 32) and labels."""
    order = np.random.default_rng(0).permutation(len(labels))
    kept = np.concatenate([order[labels[order] == i][:count] for i in np.unique(labels)])
    return torch.from_numpy(images[kept]).permute(0, 3, 1, 2).float() / 255, labels[kept]


def filters(images, count):
    """Kernels (count, 3, SIZE, SIZE) and biases that whiten a patch and compare it with a patch of the images."""
    generator = torch.Generator().manual_seed(0)
    some = images[torch.randperm(len(images), generator=generator)[:1000]]
    patches = F.unfold(some, SIZE, stride=3).transpose(1, 2).reshape(-1, 3 * SIZE**2)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
    whiten = vectors @ torch.diag((values + 1e-3).rsqrt()) @ vectors.T
    chosen = (patches[torch.randperm(len(patches), generator=generator)[:count]] - mean) @ whiten
    kernels = F.normalize(chosen, dim=1) @ whiten
    return kernels.reshape(-1, 3, SIZE, SIZE), -(kernels @ mean)


def features(images, kernels, biases):
    """Averages over quadrants of what filters answer, beyond 1 in either direction: (N, 8 · count)."""

    def answer(batch):
        response = F.conv2d(batch, kernels, biases)
        return F.adaptive_avg_pool2d(torch.cat([F.relu(response - 1), F.relu(-response - 1)], 1), 2).flatten(1)

    return torch.cat([answer(batch) for batch in images.split(250)])


class Classifier:
    """Known against auxiliary for any split of the classes: each needs but sums over classes, kept here."""

    def __init__(self, train, train_labels, test, test_labels):
        mean, std = train.mean(0), train.std(0)
        train, test = (torch.cat([(x - mean) / std, torch.ones(len(x), 1)], 1) for x in (train, test))
        by_class = [train[train_labels == i] for i in np.unique(train_labels)]
        self.products = [x.T @ x / len(x) for x in by_class]
        self.sums = [x.mean(0) for x in by_class]
        self.test = [test[test_labels == i] for i in np.unique(test_labels)]

    def auroc(self, known, auxiliary, near):
        """AUROC in percent of known against near test images."""
        mean = lambda of, classes: sum(of[i] for i in classes) / len(classes)
        square = mean(self.products, known) + mean(self.products, auxiliary)
        target = mean(self.sums, known) - mean(self.sums, auxiliary)
        weights = torch.linalg.solve(square + 0.03 * torch.eye(len(square)), target)
        score = lambda classes: torch.cat([self.test[i] @ weights for i in classes]).double().numpy()
        return 100 * metrics.detection_metrics(score(known), score(near))["auroc"]


def main(named, splits, count, images):
    """Print a table of the named splits, and how the rest of their size compares."""
    train, train_labels = sample(*datasets.load("cifar10", "train"), images)
    test, test_labels = sample(*datasets.load("cifar10", "test"), 1000)
    kernels = filters(train, count)
    classifier = Classifier(features(train, *kernels), train_labels, features(test, *kernels), test_labels)

    number = lambda names: tuple(CLASSES.index(name) for name in names)
    rows = {}
    for name, task in runs.load().tasks.items():
        near = [word for key in task.near for word in task.outliers[key].classes]
        rows[name] = number(task.known.train.classes), number(task.auxiliary.classes), number(near)
    for split in splits:
        near, auxiliary = (number(part.split("+")) for part in split.split(":"))
        rows[split] = tuple(i for i in range(10) if i not in near + auxiliary), auxiliary, near
    print(f"{count} filters, {images} training images of each class")
    for name, row in rows.items():
        print(f"  {name}: AUROC {classifier.auroc(*row):.1f} of known against near")
    for size in sorted({len(near) for _, _, near in rows.values()}) if not named else ():
        found = []
        for near, auxiliary in itertools.product(*(itertools.combinations(range(10), k) for k in (size, 2))):
            known = [i for i in range(10) if i not in near + auxiliary]
            if len(known) == 8 - size:
                found.append(classifier.auroc(known, auxiliary, near))
        assert len(found) == math.comb(10, size) * math.comb(10 - size, 2)
        good = sum(x <= 60 for x in found)
        quartiles = ", ".join(f"{x:.1f}" for x in np.percentile(found, [0, 25, 50, 75, 100]))
        print(f"  {len(found)} splits with {size} near: {good} at most 60; least, quartiles and most: {quartiles}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--named", action="store_true", help="without all other splits")
    parser.add_argument("--count", type=int, default=128, help="filters")
    parser.add_argument("--images", type=int, default=1000, help="training images of each class")
    parser.add_argument("splits", nargs="*", help="near:auxiliary, for example airplane+truck:automobile+ship")
    main(**vars(parser.parse_args()))
