"""Images that a user brings: an ``.npz`` file or a folder."""

import zipfile

import numpy as np
import psutil
from PIL import Image

from icelib import paths
from icelib.photographs import decode, shrink

MOST_ELONGATED = 1000  # long side over short: more is no photograph, and would be resized to gigabytes


def read_own(path):
    """Read a user's ``.npz`` or image folder: (images, labels or None, class names)."""
    if path.is_dir():
        return _read_folder(path)
    images, labels = read_npz(path)
    return images, labels, []


def read_npz(path):
    """Read and check an ``.npz`` of images; nothing in it is ever unpickled.

    Returns
    -------
    images : ndarray of uint8, shape (N, 32, 32, 3)
    labels : ndarray of int64, shape (N,), or None

    Raises
    ------
    ValueError
        Names the file, what was found and what was expected.
    """
    try:
        _fits(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key in ("images", "labels")}
        for key, array in arrays.items():
            if not isinstance(array, np.ndarray):  # numpy returns the bytes of a member that is no array
                raise ValueError(f"its member {key!r} is no array")
    except FileNotFoundError:
        raise ValueError(f"{paths.relative(path)} is missing") from None
    except Exception as error:  # zipfile and numpy raise a dozen kinds for damaged files
        raise ValueError(f"{paths.relative(path)} is not a readable .npz file: {error}") from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        raise ValueError(f"{paths.relative(path)} has no array 'images'")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3) or not len(images):
        raise ValueError(
            f"{paths.relative(path)}: images are {images.dtype} {images.shape}, expected uint8 (N, 32, 32, 3), N ≥ 1"
        )
    if labels is None:
        return images, None
    integers = labels.shape == (len(images),) and labels.dtype.kind in "iu"
    # after the cast, which makes large unsigned numbers negative
    if not integers or labels.astype(np.int64).min() < 0:
        span = f" from {labels.min()} to {labels.max()}" if integers else ""
        raise ValueError(
            f"{paths.relative(path)}: labels are {labels.dtype} {labels.shape}{span}, expected integers from 0 to 2⁶³ − 1 "
            f"of shape ({len(images)},)"
        )
    return images, labels.astype(np.int64)


def _fits(path):
    """Raise ValueError if the arrays of an ``.npz``, which may be compressed a thousandfold, exceed the memory."""
    # numpy takes a member with or without the suffix
    names = [f"{key}{suffix}" for key in ("images", "labels") for suffix in ("", ".npy")]
    with zipfile.ZipFile(path) as file:
        size = sum(entry.file_size for entry in file.infolist() if entry.filename in names)
    free = psutil.virtual_memory().available
    if size > free:
        raise ValueError(f"its arrays take {size:,} bytes of memory, and {free:,} are free")


def _read_folder(folder):
    from torchvision.datasets.folder import IMG_EXTENSIONS  # slow to import

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
    if not files:
        raise ValueError(f"{folder} holds no images ({', '.join(IMG_EXTENSIONS)})")
    images = []
    for path in files:
        try:
            _check_sides(path)
            images.append(decode(path, shrink))
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            raise ValueError(f"{path} is not a readable image: {str(error) or type(error).__name__}") from error
    names = [path.relative_to(folder).parts[0] for path in files]
    if any(path.parent == folder for path in files):
        return np.stack(images), None, []  # classes only where every image lies in a class's folder
    classes = sorted(set(names))
    return np.stack(images), np.array([classes.index(name) for name in names]), classes


def _check_sides(path):
    """Raise ValueError if an image is so long that it would not fit into the memory once its short side is 32."""
    with Image.open(path) as image:  # reads its header alone
        width, height = image.size
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise ValueError(
            f"it has {width:,}×{height:,} pixels, expected a long side of at most {MOST_ELONGATED:,} times the short one"
        )
