"""Data sets as uint8 images, prepared once from published archives or a user's own files.

``python -m icelib.data NAME`` prepares a set, of the catalog or of ``own_datasets`` in params.yaml, into ``data/sets/NAME``: one ``.npz`` per split with
`images` (N, 32, 32, 3) uint8 and, where there are classes, `labels` (N,) int64; and ``about.json``
with counts, hashes, source and terms.
"""

import argparse
from pathlib import Path

import numpy as np

from icelib import images as image_files
from icelib import params, paths
from icelib.catalog import DATASETS
from icelib.errors import SourceError, readable_errors
from icelib.files import read_json, replacing, sha256, write_json
from icelib.sources import archive


def prepare(name, own=None):
    """Make ``data/sets/NAME`` from its archives, or from a user's own file or folder.

    Parameters
    ----------
    name : str
        A key of `catalog.DATASETS`, or any name for a set of one's own.
    own : path-like, optional
        An ``.npz`` with `images` (N, 32, 32, 3) uint8 and optionally `labels` (N,), or a folder
        of images.

    Raises
    ------
    SourceError
        If no source can be used, or archives cannot be decoded or hold other images than published.
    ValueError
        If the name is unknown, a user's set has that of a published one, or a user's file is not of
        the form above.
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
        except Exception as error:  # zlib, tarfile, numpy, scipy and Pillow raise dozens of kinds for damaged files
            raise SourceError(
                f"{name}: {[str(paths.relative(path)) for path, _ in archives]} cannot be decoded: "
                f"{error or type(error).__name__}"
            ) from error
        source = ", ".join(dict.fromkeys(str(source) for _, source in archives)) or "made from packages"
        about = {
            "title": record.title,
            "source": source,
            "terms": record.terms,
            "preparation": record.preparation,
            "classes": list(record.classes),
        }
    else:
        raise ValueError(f"unknown data set {name!r}; expected one of {sorted(DATASETS)} or an entry of own_datasets")

    about["splits"] = {}
    for split, (images, labels) in splits.items():
        images = np.ascontiguousarray(images)
        count = DATASETS[name].images.get(split, len(images)) if own is None else len(images)
        if len(images) != count:
            raise SourceError(f"{name}: {len(images)} {split} images were read, expected {count}")
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
        If the set is not prepared, has no such split, or its file or the description is damaged.
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
            f"{paths.relative(path)}: SHA-256 of the images is not {expected}, as "
            f"{paths.relative(path.with_name('about.json'))} has it: one of the two is damaged; remove both and run `dvc repro`"
        )
    return images, labels


def about(name):
    """Return the content of a prepared data set's ``about.json``: a dict.

    Raises
    ------
    ValueError
        If the set is not prepared, or the file is not readable.
    """
    path = paths.DATASETS / name / "about.json"
    if not path.exists():
        raise ValueError(
            f"data set {name!r} is not prepared ({paths.relative(path)} is missing); add it to `datasets` or `own_datasets` in params.yaml"
        )
    return read_json(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prepare a data set.")
    parser.add_argument("name", help="data set to prepare")
    with readable_errors():
        name = parser.parse_args().name
        # a path in the stage's command would be read by a shell
        own = None if name in DATASETS else params.load().own_datasets.get(name)
        prepare(name, own and paths.ROOT / own.path)
