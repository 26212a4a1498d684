"""Published archives of image files: read from tar and zip, made 32×32, never extracted to disk.

Readers take and return what those of `icelib.readers` do. They raise ValueError if an archive holds no
images, or one that is larger than `FILE_LIMIT` or cannot be decoded.
"""

import io
import tarfile
import zipfile
from pathlib import PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

SUFFIXES = (".jpg", ".jpeg", ".png")
FILE_LIMIT = 64 << 20  # bytes of one image file; published ones have a few megabytes at most


def shrink(image):
    """Resize an image's shorter side to 32 (bilinear, antialiased) and crop the centre, as torchvision does."""
    width, height = image.size
    short = min(width, height)
    image = image.resize((32 * width // short, 32 * height // short), Image.Resampling.BILINEAR)
    return centre(image)


def centre(image):
    """Crop the centre of an image, 32×32; raise ValueError if it is smaller than that."""
    width, height = image.size
    if min(width, height) < 32:
        raise ValueError(f"an image has {width}×{height} pixels, expected at least 32×32")
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    return image.crop((left, top, left + 32, top + 32))


def decode(file, fit):
    """Decode an image file (path or open) to an array (32, 32, 3) uint8; `fit` is `shrink` or `centre`.

    Pillow refuses images of absurd size (`Image.DecompressionBombError`), and raises a dozen kinds of
    errors for damaged files.
    """
    with Image.open(file) as image:
        return np.asarray(fit(image.convert("RGB")))


def read_textures(archive):
    """Read all images of the Describable Textures Dataset with the numbers of their 47 kinds."""
    names, images = _read(archive, "dtd/images/", shrink)
    return {"all": (images, _numbers([PurePosixPath(name).parent.name for name in names]))}


def read_places365(archive):
    """Read the validation images of Places365."""
    return {"validation": (_read(archive, "val_256/", shrink)[1], None)}


def read_odin(archive):
    """Read one of the test sets of the ODIN paper, which come at 32×32 or a few pixels larger."""
    return {"test": (_read(archive, "", centre)[1], None)}


def read_tiny_imagenet(archive):
    """Read the training images of Tiny ImageNet with the numbers of their 200 classes."""
    names, images = _read(archive, "tiny-imagenet-200/train/", shrink)
    return {"train": (images, _numbers([PurePosixPath(name).parts[2] for name in names]))}


def _read(archive, folder, fit):
    """Names and images of a folder in an archive, in the order of names."""
    path, _ = archive
    found = {}
    files = _zipped(path) if zipfile.is_zipfile(path) else _tarred(path)
    for name, size, opened in tqdm(files, desc=f"decoding {path.name}", unit=" files"):
        place = PurePosixPath(name)
        # macOS leaves its own files beside the images, named ._NAME
        if not str(place).startswith(folder) or place.suffix.lower() not in SUFFIXES or place.name[0] == ".":
            continue
        if size > FILE_LIMIT:
            raise ValueError(f"{name} has {size:,} bytes, at most {FILE_LIMIT:,} are read")
        try:
            found[str(place)] = decode(io.BytesIO(opened().read(FILE_LIMIT + 1)), fit)
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            raise ValueError(f"{name}: {error}") from error
    if not found:
        raise ValueError(f"it holds no images in {folder or 'any folder'}")
    names = sorted(found)
    return names, np.stack([found[name] for name in names])


def _tarred(path):
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, member.size, lambda member=member: tar.extractfile(member)


def _zipped(path):
    with zipfile.ZipFile(path) as file:
        for member in file.infolist():
            if not member.is_dir():
                yield member.filename, member.file_size, lambda member=member: file.open(member)


def _numbers(names):
    return np.unique(names, return_inverse=True)[1]
