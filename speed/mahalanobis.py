"""The Gaussian head fitted to class means and tied covariance against pytorch-ood's Mahalanobis.

    python -m speed.mahalanobis [--samples 10000] [--features 640] [--classes 100] [--out OUT.json]

Fitted like this the head's max h *is* the Mahalanobis score. The detector multiplies with the
precision matrix once for each class; the head solves one triangular system for samples and means
together. Features are drawn from a Gaussian for each class. Both take turns, `--repeats` times, on
the same features in float32, and the fastest of each counts. In float64 the scores are compared:
the detector halves the squared distance, and its covariance is a sum over samples, not a mean.
"""

import argparse
from pathlib import Path

import torch
from pytorch_ood.detector import Mahalanobis

from icelib import scores
from icelib.heads import GaussianHead
from icelib.util import machine
from icelib.util.files import write_json
from speed.turns import fastest


def fitted_head(detector, factor="lower"):
    """The Gaussian head with a fitted detector's means and covariance: LLᵀ = 2Σ, as h has no ½."""
    classes, features = detector.mu.shape
    head = GaussianHead(features, classes, factor=factor).to(detector.mu)
    triangle = torch.linalg.cholesky(2 * detector.cov)
    if factor == "precision":
        triangle = torch.linalg.inv(triangle)
    with torch.no_grad():
        head.means.copy_(detector.mu)
        head.log_diagonal.copy_(triangle.diagonal().log())
        head.lower.copy_(triangle.tril(-1))
    return head


def features_of(samples, features, classes, dtype):
    """Correlated Gaussian features (samples, features) and their classes (samples,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % classes
    mixing = torch.randn(features, features, generator=generator, dtype=dtype) / features**0.5
    means = torch.randn(classes, features, generator=generator, dtype=dtype)
    return means[labels] + torch.randn(samples, features, generator=generator, dtype=dtype) @ mixing, labels


@torch.no_grad()
def compare(samples, features, classes, repeats):
    """Time both and compare their scores; return seconds, ratio and the largest relative difference."""
    z, labels = features_of(samples, features, classes, torch.float64)
    torch.set_default_dtype(torch.float64)  # the detector makes its tensors in the default type
    exact = Mahalanobis(None).fit_features(z, labels)
    torch.set_default_dtype(torch.float32)
    expected = exact.predict_features(z)
    found = {factor: -scores.max_likelihood(fitted_head(exact, factor)(z)) for factor in ("lower", "precision")}
    differences = {factor: ((x - expected) / expected).abs().max().item() for factor, x in found.items()}

    z = z.float()
    detector = Mahalanobis(None).fit_features(z, labels)
    sides = {"pytorch-ood": lambda: detector.predict_features(z)}
    for factor in ("lower", "precision"):
        head = fitted_head(detector, factor)
        sides[factor] = lambda head=head: scores.max_likelihood(head(z))
    seconds = fastest(sides, repeats)
    ratios = {name: seconds["pytorch-ood"] / seconds[name] for name in ("lower", "precision")}
    return {"seconds": seconds, "times_as_fast": ratios, "largest_relative_difference": differences}


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=640)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    row = compare(options.samples, options.features, options.classes, options.repeats)
    print(f"{options.samples:,} samples, d = {options.features}, K = {options.classes}:")
    print(f"  pytorch-ood           {row['seconds']['pytorch-ood']:.3f} s")
    for name, ratio in row["times_as_fast"].items():
        difference = row["largest_relative_difference"][name]
        print(
            f"  head, {name:9} {row['seconds'][name]:11.3f} s, {ratio:.0f} times as fast, differs by {difference:.0e}"
        )
    if options.out:
        size = {name: getattr(options, name) for name in ("samples", "features", "classes")}
        environment = machine.describe(torch.device("cpu"), torch.float32)
        write_json(options.out, {"environment": environment, **size, **row})
    return row


if __name__ == "__main__":
    main()
