"""Versions of the libraries that may change a digit of a result."""

from importlib.metadata import version

LIBRARIES = ("numpy", "pytorch-ood", "scikit-learn", "scipy", "torch", "torchvision")


def installed():
    """Return the installed version of each of `LIBRARIES`, by name."""
    return {name: version(name) for name in LIBRARIES}
