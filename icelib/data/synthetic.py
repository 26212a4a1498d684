"""Outliers that need no download: noise, scikit-learn's digits and patches of its photographs.

Each function returns ``{"test": (images, labels or None)}``, images uint8 (N, 32, 32, 3).
The noises follow the outlier-exposure paper (Hendrycks et al. 2019, appendix A), which draws
them in −1…1; here −1 is 0 and 1 is 255.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

COUNT = 2000
SEED = 20230207


def gaussian():
    """Pixels drawn from N(0, 0.5²), clipped to −1…1."""
    noise = np.random.default_rng(SEED).normal(0, 0.5, (COUNT, 32, 32, 3)).clip(-1, 1)
    return {"test": (np.rint(127.5 * (1 + noise)).astype(np.uint8), None)}


def rademacher():
    """Every channel of every pixel is 0 or 255, with equal probability."""
    bits = np.random.default_rng(SEED + 1).integers(0, 2, (COUNT, 32, 32, 3), np.uint8)
    return {"test": (255 * bits, None)}


def blobs():
    """Shapes with soft outlines: blurred coin flips (70 % heads), black below 0.75."""
    flips = np.random.default_rng(SEED + 2).random((COUNT, 32, 32, 3)) < 0.7
    smooth = np.stack([gaussian_filter(flip.astype(np.float64), 1.5) for flip in flips])
    return {"test": (np.rint(255 * np.where(smooth < 0.75, 0, smooth)).astype(np.uint8), None)}


def digits():
    """scikit-learn's 8×8 digits, each pixel enlarged to a 4×4 square, in three equal channels."""
    from sklearn.datasets import load_digits  # slow to import, and training needs none of it

    data = load_digits()
    small = np.rint(data.images * 255 / 16).astype(np.uint8)  # (N, 8, 8)
    large = small.repeat(4, 1).repeat(4, 2)
    return {"test": (large[..., None].repeat(3, 3), data.target)}


def photographs():
    """All 32×32 windows of scikit-learn's two sample photographs that do not overlap: many views of two scenes."""
    from sklearn.datasets import load_sample_images

    patches = []
    for photograph in load_sample_images().images:
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (32, 32), (0, 1))[::32, ::32]
        patches.append(windows.transpose(0, 1, 3, 4, 2).reshape(-1, 32, 32, 3))
    return {"test": (np.concatenate(patches), None)}
