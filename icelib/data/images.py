"""Images that a user brings: an ``.npz`` file or a folder.

An image file gives one image: its first frame, upright by its EXIF orientation, transparent parts on white, shorter
side resized to 32 and the centre cropped. Files of more than 8 bits a channel are refused, since only who made them
knows which value is white; a colour PPM alone tells it, and is scaled by that.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from icelib.util import paths

MOST_ELONGATED = 1000  # long side over short: more is no photograph, and would be resized to gigabytes
DEEP = ("I", "F")  # Pillow's modes of more than 8 bits, and their kinds such as I;16


def is_image(path):
    """Tell by its name whether a file is an image, and no hidden one such as macOS leaves beside images."""
    from torchvision.datasets.folder import IMG_EXTENSIONS  # slow to import

    path = Path(path)
    return path.suffix.lower() in IMG_EXTENSIONS and _is_shown(path)


def _is_shown(path):
    """Tell whether a name is a user's own; systems leave copies and thumbnails in hidden folders and in these two."""
    return not path.name.startswith(".") and path.name not in ("__MACOSX", "@eaDir")


def shrink(image):
    """Resize an image's shorter side to 32 (bilinear, antialiased) and crop the centre, as torchvision does."""
    width, height = image.size
    short = min(width, height)
    if max(width, height) > MOST_ELONGATED * short:
        most = f"{MOST_ELONGATED:,} times as long as wide"
        raise ValueError(f"it has {width:,}×{height:,} pixels, expected at most {most}")
    return centre(image.resize((32 * width // short, 32 * height // short), Image.Resampling.BILINEAR))


def halve(image):
    """Reduce an image of 64×64 pixels to 32×32, the means of squares of four; raise ValueError at another size."""
    if image.size != (64, 64):
        raise ValueError(f"an image has {image.width}×{image.height} pixels, expected 64×64")
    return image.reduce(2)


def centre(image):
    """Crop the centre of an image, 32×32; raise ValueError if it is smaller than that."""
    width, height = image.size
    if min(width, height) < 32:
        raise ValueError(f"an image has {width}×{height} pixels, expected at least 32×32")
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    return image.crop((left, top, left + 32, top + 32))


def read(path):
    """Read an image file as the module's head says, in its own size: an RGB image; ValueError if it has more bits."""
    with Image.open(path) as image:
        # Pillow cuts colours of 16 bits to 8; BGR;16 are 16 bits of all three
        stored = [str(args) for _, _, _, args in getattr(image, "tile", [])]
        if image.mode.split(";")[0] in DEEP or any(";16" in args and "BGR;16" not in args for args in stored):
            raise ValueError(f"it has mode {image.mode} {stored}, expected 8 bits a channel: convert it beforehand")
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


def decode(path, fit):
    """Decode an image file to (32, 32, 3) uint8, see the module's head; `fit` is `shrink`, `halve` or `centre`."""
    return np.asarray(fit(read(path)))


def read_own(path):
    """Read a user's ``.npz`` or image folder: (images, labels or None, class names)."""
    return _read_folder(path) if path.is_dir() else read_npz(path)


def read_npz(path):
    """Read and check an ``.npz``; nothing is unpickled.

    Returns images (N, 32, 32, 3) uint8, labels (N,) int64 or None, and the names of the classes (list of str, empty
    where the file has no `classes`); label i is the i-th name.
    """
    where = paths.relative(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            arrays = {key: file[key] for key in names if key in ("images", "labels", "classes")}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # numpy returns the bytes of others
            raise ValueError("its members are no arrays")
    except FileNotFoundError:
        raise ValueError(f"{where} is missing") from None
    except Exception as error:  # zipfile and numpy raise a dozen kinds for damaged files
        told = "it is no archive of plain arrays" if "pickle" in str(error) else error  # NumPy's advice is to unpickle
        raise ValueError(f"{where} is not a readable .npz file: {told}") from error
    images, labels, classes = (arrays.get(key) for key in ("images", "labels", "classes"))
    if images is None:
        raise ValueError(f"{where} has no array 'images'; found {', '.join(names) or 'none'}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3) or not len(images):
        raise ValueError(f"{where}: images are {images.dtype} {images.shape}, expected uint8 (N, 32, 32, 3), N ≥ 1")
    if labels is None:
        return images, None, []
    integers = labels.shape == (len(images),) and labels.dtype.kind in "iu"
    # after the cast, which makes large unsigned numbers negative
    if not integers or labels.astype(np.int64).min() < 0:
        found = f"{labels.dtype} {labels.shape}" + (f" from {labels.min()} to {labels.max()}" if integers else "")
        raise ValueError(f"{where}: labels are {found}, expected integers from 0 to 2⁶³ − 1 of shape ({len(images)},)")
    if classes is None:
        return images, labels.astype(np.int64), []
    if classes.ndim != 1 or classes.dtype.kind != "U" or len(set(classes.tolist())) < len(classes):
        raise ValueError(f"{where}: classes are {classes.dtype} {classes.shape}, expected names (K,), no two the same")
    if (most := labels.max()) >= len(classes):
        raise ValueError(f"{where}: a label is {most}, expected less than the number of classes, {len(classes)}")
    return images, labels.astype(np.int64), classes.tolist()


def _walk(folder, above=()):
    """All files of a folder that are not hidden, at any depth and also behind links, in the order of their paths."""
    here = folder.resolve()
    if here in above:
        raise ValueError(f"{folder} is a link to a folder that holds it; expected none such")
    for path in sorted(folder.iterdir()):
        if path.is_dir() and _is_shown(path):
            yield from _walk(path, (*above, here))
        elif not path.is_dir() and _is_shown(path):
            yield path


def listed(folder):
    """List the images of a folder: paths, labels (N,) or None, and names of classes; ValueError if there are none."""
    found = list(_walk(folder))
    files = [path for path in found if is_image(path)]
    if not files:
        raise ValueError(f"{folder} holds no images; expected files such as NAME.png or NAME.jpg")
    if others := Counter(path.suffix or path.name for path in found if not is_image(path)):
        print(f"{folder}: left out what is no image by its name: {dict(others)}", flush=True)
    classes = sorted({path.relative_to(folder).parts[0] for path in files})
    labels = np.array([classes.index(path.relative_to(folder).parts[0]) for path in files])
    if any(path.parent == folder for path in files):
        labels, classes = None, []  # classes only where every image lies in a class's folder
    for path in sorted(folder.iterdir()) if classes else ():
        if path.is_dir() and _is_shown(path) and path.name not in classes:
            raise ValueError(f"{path} holds no images, and the folders beside it do; expected images of this class too")
    return files, labels, classes


def _read_folder(folder):
    files, labels, classes = listed(folder)
    images = []
    for path in files:
        try:
            images.append(decode(path, shrink))
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            raise ValueError(f"{path} is not a readable image: {str(error) or type(error).__name__}") from error
    return np.stack(images), labels, classes
