"""The measure of nearness: it tells what resembles auxiliary images, and what does not."""

import numpy as np

from tests.data import division


def test_outliers_like_the_auxiliary_ones_are_found_and_those_like_known_ones_are_not():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 60)
    x = random.integers(0, 256, (240, 32, 32, 3), np.uint8)
    x[labels >= 2] = x[labels >= 2].repeat(4, 1)[:, :32]  # of classes 2 and 3: stripes
    train, train_labels = division.sample(x, labels, 40)
    test, test_labels = division.sample(x[::-1], labels[::-1], 20)
    kernels = division.filters(train, 16)
    classifier = division.Classifier(
        division.features(train, *kernels), train_labels, division.features(test, *kernels), test_labels
    )
    assert classifier.auroc([0], [2], [3]) > 95 and 25 < classifier.auroc([0], [2], [1]) < 75
