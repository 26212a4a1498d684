"""A variant of ours: OE, half of whose outliers have been given the power spectrum of known images."""

import functools

import torch

from icelib import models
from icelib.losses import outlier_exposure as loss
from icelib.scores import max_softmax as score

TITLE, HEAD, OUTLIERS = "matched OE (ours)", "linear", True


def prepare(known, labels, outliers, *, model, generator):
    """Leave the first half as it is, and give each of the others the spectrum of a known image, see `match`."""
    half = len(outliers) // 2
    partner = torch.arange(half, len(outliers), device=known.device) % len(known)  # both come in random order
    return torch.cat([outliers[:half], match(outliers[half:], known[partner])])


def match(images, others):
    """Filter normalised images so that each has the radial power spectrum of another: (N, 3, 32, 32) → the same.

    Auxiliary images often come of other cameras and resizing than known ones, and a network may tell outliers by that
    alone. Phases, directions and mean colours stay; the power over all frequencies of a radius √(u² + v²), rounded,
    becomes the other's, but for what leaves the range of pixels, which have 256 levels as in any image.
    """
    belongs, mean, std = _fixed(images.shape[-1], images.device)
    spectrum = torch.fft.rfft2(images)  # (N, 3, 32, 17)
    power = lambda x: x.abs().square().mean(1).flatten(1) @ belongs  # (N, radii)
    gain = (power(torch.fft.rfft2(others)) / power(spectrum).clamp(min=1e-6)).sqrt()
    gain[:, 0] = 1  # the mean colour
    gain = (gain @ belongs.T).view(-1, 1, *spectrum.shape[2:])
    pixels = torch.fft.irfft2(spectrum * gain, s=images.shape[2:]) * std + mean
    return models.normalize((pixels * 255).round().clamp(0, 255))


@functools.cache
def _fixed(size, device):
    """Which frequency is of which radius, (544, 23) of 0 and 1, and mean and deviation of `models.normalize`."""
    rows, columns = torch.fft.fftfreq(size) * size, torch.fft.rfftfreq(size) * size
    radius = (rows[:, None].square() + columns.square()).sqrt().round().long()
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (models.MEAN, models.STD))
    return torch.eye(radius.max() + 1)[radius.flatten()].to(device), mean, std
