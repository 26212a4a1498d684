"""A sample of 80 Million Tiny Images, the paper's auxiliary outliers, from one's own copy.

``python -m icelib.tinyimages tiny_images.bin tiny80m.npz`` draws images, always the same ones, into
a file that ``own_datasets`` can name. The set was withdrawn by its authors in 2020, so nothing here
fetches it. A record of ``tiny_images.bin`` is 3072 bytes: three planes, each column by column.
"""

import argparse
from pathlib import Path

import numpy as np

from icelib.errors import readable_errors
from icelib.files import replacing

RECORD = 3 * 32 * 32  # bytes
SEED = 80


def draw(path, count, excluded=None):
    """Draw images without repetition, always the same ones for the same file, count and exclusion.

    Parameters
    ----------
    path : path-like
        ``tiny_images.bin``; just the records drawn are read.
    count : int
    excluded : path-like, optional
        Numbers of records to leave out, from 1, one in a line: ``80mn_cifar_idxs.txt`` of the
        Outlier Exposure code lists those that are in CIFAR.

    Returns
    -------
    ndarray of uint8, shape (count, 32, 32, 3)

    Raises
    ------
    ValueError
        If a file is not of the form above, or has too few images.
    """
    size = Path(path).stat().st_size
    if not size or size % RECORD:
        raise ValueError(f"{path} has {size:,} bytes, expected a multiple of {RECORD}")
    table = np.memmap(path, np.uint8, mode="r").reshape(-1, RECORD)
    barred = _numbers(excluded, len(table)) if excluded else np.array([], int)
    left = len(table) - len(barred)
    if not 0 < count <= left:
        raise ValueError(f"{count:,} images are wanted, expected 1 to {left:,}, which {path} holds")
    ranks = np.sort(np.random.default_rng(SEED).choice(left, count, replace=False))  # sorted: read in one pass
    chosen = ranks + np.searchsorted(barred - np.arange(len(barred)), ranks, side="right")  # ranks skip the barred
    return table[chosen].reshape(-1, 3, 32, 32).transpose(0, 3, 2, 1)


def _numbers(path, total):
    try:
        numbers = np.unique(np.loadtxt(path, dtype=np.int64, ndmin=1)) - 1
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected one number of a record in each line") from None
    if len(numbers) and (numbers[0] < 0 or numbers[-1] >= total):
        raise ValueError(f"{path} names record {numbers[[0, -1]] + 1}, expected 1 to {total:,}")
    return numbers


def make(source, destination, images, exclude):
    """Draw so many images of `source` and write them as an ``.npz`` for ``own_datasets``.

    Parameters
    ----------
    source, images, exclude
        `path`, `count` and `excluded` of `draw`.
    destination : path-like

    Raises
    ------
    ValueError
        As `draw`.
    OSError
        With the name of `destination`, if it cannot be written.
    """
    with replacing(destination) as temporary:
        np.savez(temporary, images=np.ascontiguousarray(draw(source, images, exclude)))
    print(f"{destination}: {images:,} images of {source}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw a sample of 80 Million Tiny Images.")
    parser.add_argument("source", help="tiny_images.bin")
    parser.add_argument("destination", help=".npz to write")
    parser.add_argument("--images", type=int, default=300_000, help="how many (300000)")
    parser.add_argument("--exclude", help="numbers of the records in CIFAR: 80mn_cifar_idxs.txt")
    with readable_errors():
        make(**vars(parser.parse_args()))
