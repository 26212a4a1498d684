"""A task: data sets divided into what is trained on, validated on and tested on.

``python -m icelib.tasks SCALE KNOWN`` writes ``data/tasks/SCALE/KNOWN/{train,validation,test}``
as safetensors files, so that a run depends on just the images it uses: a new test set changes
no training file, unless auxiliary images are among its own. Images are uint8 (N, 3, 32, 32), labels int64 (N,).

================  ===============================================================
file              tensors
================  ===============================================================
train             ``known``, ``labels``, ``outliers``
validation        ``known``, ``labels``, ``outliers`` (auxiliary), ``jigsaw``
test              ``known``, ``labels`` and one tensor for each outlier set
================  ===============================================================
"""

import argparse

import numpy as np
import torch

from icelib import data, params, paths, tensors
from icelib.errors import readable_errors
from icelib.files import write_json

SEED = 15  # of the division; the same for every run, so that runs are comparable


def load(scale, known, part):
    """Load one part of a task.

    Parameters
    ----------
    scale, known : str
    part : {"train", "validation", "test"}

    Returns
    -------
    tensors : dict of str to Tensor
        See the table above.
    about : dict
        ``classes``, the names of the known classes in the order of the labels, and ``sha256``.

    Raises
    ------
    ValueError
        If the file is missing or damaged.
    """
    return tensors.load(paths.TASKS / scale / known / f"{part}.safetensors")


def divide(task):
    """Divide data sets as a task declares.

    Auxiliary images that equal a test image byte for byte are dropped and counted. The held-out
    images for validation are the same share of the known and of the auxiliary training images;
    ``jigsaw`` are the known validation images with their 4×4 tiles of 8×8 pixels shuffled: outliers
    of a kind that no method is trained on.

    Parameters
    ----------
    task : schema.Task

    Returns
    -------
    parts : dict of str to dict of str to ndarray
        Images (N, 32, 32, 3) uint8 and labels (N,) of each part.
    about : dict
        Title, names of the classes, counts of images used and dropped, and sources of the data sets.

    Raises
    ------
    ValueError
        If a data set is not prepared or damaged, lacks labels, a class or images that the task
        asks for, or if no image would be left to validate on.
    """
    images, labels = _select(task.known.train)
    test_images, test_labels = _select(task.known.test)
    if labels is None or test_labels is None:
        raise ValueError(f"known data set {task.known.train.set!r} or {task.known.test.set!r} has no labels")
    classes = [
        str(name)
        for name in task.known.train.classes or data.about(task.known.train.set)["classes"] or np.unique(labels)
    ]
    outliers = {name: _sample(name, _select(part)[0], task.outlier_images) for name, part in task.outliers.items()}
    auxiliary, _ = _select(task.auxiliary)

    tested = {image.tobytes() for group in (test_images, *outliers.values()) for image in group}
    unseen = np.array([image.tobytes() not in tested for image in auxiliary])
    auxiliary = auxiliary[unseen]

    known_order, auxiliary_order = (
        _draw("known").permutation(len(images)),
        _draw("auxiliary").permutation(len(auxiliary)),
    )
    known_held, auxiliary_held = (round(task.validation_share * len(x)) for x in (images, auxiliary))
    if not (known_held and auxiliary_held):
        raise ValueError(
            f"validation_share = {task.validation_share} of {len(images)} known and {len(auxiliary)} auxiliary images leaves none to validate on"
        )
    held, kept = known_order[:known_held], known_order[known_held:]
    parts = {
        "train": {
            "known": images[kept],
            "labels": labels[kept],
            "outliers": auxiliary[auxiliary_order[auxiliary_held:]],
        },
        "validation": {
            "known": images[held],
            "labels": labels[held],
            "outliers": auxiliary[auxiliary_order[:auxiliary_held]],
            "jigsaw": _jigsaw(images[held]),
        },
        "test": {"known": test_images, "labels": test_labels, **outliers},
    }
    about = {
        "title": task.title,
        "classes": classes,
        "auxiliary_dropped": int((~unseen).sum()),
        "images": {
            part: {name: len(x) for name, x in arrays.items() if name != "labels"} for part, arrays in parts.items()
        },
        "sources": {
            name: data.about(name)["source"]
            for name in dict.fromkeys(
                p.set for p in (task.known.train, task.known.test, task.auxiliary, *task.outliers.values())
            )
        },
    }
    return parts, about


def _select(part):
    """Load the classes of a data set that a part names, numbered in that order."""
    images, labels = data.load(part.set, part.split)
    if labels is None and (part.classes or part.per_class):
        wish = f"classes {part.classes}" if part.classes else f"per_class = {part.per_class}"
        raise ValueError(f"data set {part.set!r} has no labels, so that {wish} cannot be chosen")
    if part.classes:
        images, labels = _chosen(part, images, labels)
    if part.per_class:
        order = _draw(part.set).permutation(len(labels))
        kept = np.sort(np.concatenate([order[labels[order] == i][: part.per_class] for i in np.unique(labels)]))
        images, labels = images[kept], labels[kept]
    return images, labels


def _chosen(part, images, labels):
    names = data.about(part.set)["classes"]
    numbers = []
    for wanted in part.classes:
        if wanted not in names and wanted not in labels:
            raise ValueError(
                f"data set {part.set!r} has no class {wanted!r}; expected one of {names or np.unique(labels).tolist()}"
            )
        numbers.append(names.index(wanted) if wanted in names else wanted)
    chosen = np.isin(labels, numbers)
    place = {number: i for i, number in enumerate(numbers)}
    return images[chosen], np.array([place[label] for label in labels[chosen]])


def _draw(purpose):
    """A generator of its own for each purpose: a new test set leaves the training images as they are."""
    return np.random.default_rng([SEED, *purpose.encode()])


def _sample(name, images, count):
    if len(images) < count:
        raise ValueError(f"outlier_images = {count}, but outlier set {name!r} has only {len(images)} images")
    return images[_draw(name).permutation(len(images))[:count]]


def _jigsaw(images):
    tiles = images.reshape(-1, 4, 8, 4, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 8, 8, 3)
    order = _draw("jigsaw").permuted(np.tile(np.arange(16), (len(images), 1)), axis=1)  # (N, 16)
    tiles = np.take_along_axis(tiles, order[:, :, None, None, None], 1)
    return tiles.reshape(-1, 4, 4, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 32, 32, 3)


def _planes(x):
    """Put channels first where there are any: (N, 32, 32, 3) → (N, 3, 32, 32)."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)


def make(scale, known):
    """Divide the data sets of a task; write its files, and what `divide` tells of it to ``results/data``.

    Parameters
    ----------
    scale, known : str

    Raises
    ------
    ValueError
        If there is no such task, or as `divide`.
    """
    parts, about = divide(params.task(scale, known))
    for part, arrays in parts.items():
        images = {name: torch.from_numpy(_planes(x)) for name, x in arrays.items()}
        path = paths.TASKS / scale / known / f"{part}.safetensors"
        tensors.save(path, images, {"classes": about["classes"]})
    write_json(paths.ROOT / "results" / "data" / scale / f"{known}.json", about)
    print(f"{about['title']}: {about['images']}; {about['auxiliary_dropped']} auxiliary images dropped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Divide data sets into training, validation and test images.")
    parser.add_argument("scale")
    parser.add_argument("known")
    with readable_errors():
        make(**vars(parser.parse_args()))
