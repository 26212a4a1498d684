"""Images that a user brings: an ``.npz`` file or a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from icelib.util import paths

MOST_ELONGATED = 1000  # long side over short: more is no photograph, and would be resized to gigabytes


def is_image(path):
    """Tell by its name whether a file is an image; macOS leaves files of its own, named ._NAME, beside images."""
    from torchvision.datasets.folder import IMG_EXTENSIONS  # slow to import

    path = Path(path)
    return path.suffix.lower() in IMG_EXTENSIONS and not path.name.startswith("._")


def shrink(image):
    """Resize an image's shorter side to 32 (bilinear, antialiased) and crop the centre, as torchvision does."""
    width, height = image.size
    short = min(width, height)
    if max(width, height) > MOST_ELONGATED * short:
        most = f"{MOST_ELONGATED:,} times as long as wide"
        raise ValueError(f"it has {width:,}×{height:,} pixels, expected at most {most}")
    return centre(image.resize((32 * width // short, 32 * height // short), Image.Resampling.BILINEAR))


def centre(image):
    """Crop the centre of an image, 32×32; raise ValueError if it is smaller than that."""
    width, height = image.size
    if min(width, height) < 32:
        raise ValueError(f"an image has {width}×{height} pixels, expected at least 32×32")
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    return image.crop((left, top, left + 32, top + 32))


def decode(path, fit):
    """Decode an image file to an array (32, 32, 3) uint8; `fit` is `shrink` or `centre`."""
    with Image.open(path) as image:
        return np.asarray(fit(image.convert("RGB")))


def read_own(path):
    """Read a user's ``.npz`` or image folder: (images, labels or None, class names)."""
    return _read_folder(path) if path.is_dir() else (*read_npz(path), [])


def read_npz(path):
    """Read and check an ``.npz``: images (N, 32, 32, 3) uint8 and labels (N,) int64 or None; nothing is unpickled."""
    where = paths.relative(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key in ("images", "labels")}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # numpy returns the bytes of others
            raise ValueError("its members are no arrays")
    except FileNotFoundError:
        raise ValueError(f"{where} is missing") from None
    except Exception as error:  # zipfile and numpy raise a dozen kinds for damaged files
        raise ValueError(f"{where} is not a readable .npz file: {error}") from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        raise ValueError(f"{where} has no array 'images'")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3) or not len(images):
        raise ValueError(f"{where}: images are {images.dtype} {images.shape}, expected uint8 (N, 32, 32, 3), N ≥ 1")
    if labels is None:
        return images, None
    integers = labels.shape == (len(images),) and labels.dtype.kind in "iu"
    # after the cast, which makes large unsigned numbers negative
    if not integers or labels.astype(np.int64).min() < 0:
        found = f"{labels.dtype} {labels.shape}" + (f" from {labels.min()} to {labels.max()}" if integers else "")
        raise ValueError(f"{where}: labels are {found}, expected integers from 0 to 2⁶³ − 1 of shape ({len(images)},)")
    return images, labels.astype(np.int64)


def _read_folder(folder):
    files = sorted(path for path in folder.rglob("*") if is_image(path))
    if not files:
        raise ValueError(f"{folder} holds no images; expected files such as NAME.png or NAME.jpg")
    images = []
    for path in files:
        try:
            images.append(decode(path, shrink))
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            raise ValueError(f"{path} is not a readable image: {str(error) or type(error).__name__}") from error
    names = [path.relative_to(folder).parts[0] for path in files]
    if any(path.parent == folder for path in files):
        return np.stack(images), None, []  # classes only where every image lies in a class's folder
    classes = sorted(set(names))
    return np.stack(images), np.array([classes.index(name) for name in names]), classes
