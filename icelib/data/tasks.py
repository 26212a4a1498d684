"""A task: data sets divided into what is trained on, validated on and tested on.

``python -m icelib.data.tasks TASK`` writes ``data/tasks/SCALE/TASK/{train,validation,test}.safetensors``, so that a
run depends on just the images it uses: a new test set changes no training file, unless auxiliary images are among its
own. Images are uint8 (N, 3, 32, 32), labels int64 (N,). All have ``known`` and ``labels``; train and validation have
auxiliary ``outliers``, validation also ``jigsaw``, and test a tensor for each outlier set by its name.
"""

import argparse

import numpy as np
import torch

from icelib.config import runs
from icelib.data import datasets
from icelib.util import paths, tensors
from icelib.util.errors import readable_errors
from icelib.util.files import write_json

SEED = 15  # of the division; the same for every run, so that runs are comparable


def load(name, part):
    """Load the tensors (dict) of one part (train, validation or test) of a task, and what describes them (dict).

    That is ``classes``, the names of the known classes in the order of the labels, and ``sha256``. Raises ValueError if
    the file is missing or damaged.
    """
    return tensors.load(paths.tasks(runs.load().scale) / name / f"{part}.safetensors")


def divide(task):
    """Divide data sets as a task (schema.Task) declares.

    Test outliers that equal a known image byte for byte, and auxiliary images that equal a test image, are dropped.
    The held-out images for validation are the same share of the known and of the auxiliary training images; ``jigsaw``
    are the known ones with their 4×4 tiles of 8×8 pixels shuffled: outliers of a kind that no method is trained on.

    Returns the images (N, 32, 32, 3) uint8 and labels (N,) of each part, and ``title``, ``classes``, counts of
    ``images``, counts of ``dropped``, and ``sources`` of the data sets. Raises ValueError if a data set lacks labels, a
    class or images that the task asks for, or no image is left to validate on.
    """
    images, labels = _select(task.known.train)
    test_images, test_labels = _select(task.known.test)
    if labels is None or test_labels is None:
        raise ValueError(f"known data set {task.known.train.set!r} or {task.known.test.set!r} has no labels")
    classes = task.known.train.classes or datasets.about(task.known.train.set)["classes"] or np.unique(labels)
    auxiliary, _ = _select(task.auxiliary)

    dropped, known, outliers = {}, _bytes(images) | _bytes(test_images), {}
    for name, part in task.outliers.items():
        found, dropped[name] = _without(_select(part)[0], known)
        outliers[name] = _sample(name, found, task)
    auxiliary, dropped["auxiliary"] = _without(auxiliary, set().union(*map(_bytes, (test_images, *outliers.values()))))

    known_order = _draw("known").permutation(len(images))
    auxiliary_order = _draw("auxiliary").permutation(len(auxiliary))
    known_held, auxiliary_held = (round(task.validation_share * len(x)) for x in (images, auxiliary))
    if not (known_held and auxiliary_held):
        found = f"{task.validation_share} of {len(images)} known and {len(auxiliary)} auxiliary images"
        raise ValueError(f"validation_share = {found} leaves none to validate on")
    held, kept = known_order[:known_held], known_order[known_held:]
    validated, trained = np.split(auxiliary[auxiliary_order], [auxiliary_held])
    parts = {
        "train": {"known": images[kept], "labels": labels[kept], "outliers": trained},
        "validation": {"known": images[held], "labels": labels[held], "outliers": validated},
        "test": {"known": test_images, "labels": test_labels, **outliers},
    }
    parts["validation"]["jigsaw"] = _jigsaw(images[held])
    counts = {part: {name: len(x) for name, x in of.items() if name != "labels"} for part, of in parts.items()}
    about = {"title": task.title, "classes": [str(name) for name in classes], "images": counts, "dropped": dropped}
    return parts, about | {"sources": {part.set: datasets.about(part.set)["source"] for part in task.parts}}


def _select(part):
    """Load the classes, numbered in that order, and as many images of each as a part names."""
    images, labels = datasets.load(part.set, part.split)
    if labels is None and (part.classes or part.per_class):
        wish = f"classes {part.classes}" if part.classes else f"per_class = {part.per_class}"
        raise ValueError(f"data set {part.set!r} has no labels, so that {wish} cannot be chosen")
    if part.classes:
        names, numbers = datasets.about(part.set)["classes"], []
        for wanted in part.classes:
            if wanted not in names and wanted not in labels:
                expected = f"one of {names or np.unique(labels).tolist()}"
                raise ValueError(f"data set {part.set!r} has no class {wanted!r}; expected {expected}")
            numbers.append(names.index(wanted) if wanted in names else wanted)
        chosen, place = np.isin(labels, numbers), {number: i for i, number in enumerate(numbers)}
        images, labels = images[chosen], np.array([place[label] for label in labels[chosen]])
    if part.per_class:
        order = _draw(part.set).permutation(len(labels))
        kept = np.sort(np.concatenate([order[labels[order] == i][: part.per_class] for i in np.unique(labels)]))
        images, labels = images[kept], labels[kept]
    return images, labels


def _bytes(images):
    return {image.tobytes() for image in images}


def _without(images, others):
    """Leave out images that are among `others`, a set of bytes; return the rest and how many were left out."""
    kept = images[[image.tobytes() not in others for image in images]]
    return kept, len(images) - len(kept)


def _draw(purpose):
    """A generator of its own for each purpose: a new test set leaves the training images as they are."""
    return np.random.default_rng([SEED, *purpose.encode()])


def _sample(name, images, task):
    count = task.images.get(name, task.outlier_images)
    if len(images) < count:
        key = f"images.{name}" if name in task.images else "outlier_images"
        found = f"outlier set {name!r} has only {len(images)} images"
        way = f"lower outlier_images, or give this set a number of its own: images: {{{name}: {len(images)}}}"
        raise ValueError(f"{key} = {count}, but {found}; {way}")
    return images[_draw(name).permutation(len(images))[:count]]


def _jigsaw(images):
    tiles = images.reshape(-1, 4, 8, 4, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 8, 8, 3)
    order = _draw("jigsaw").permuted(np.tile(np.arange(16), (len(images), 1)), axis=1)  # (N, 16)
    tiles = np.take_along_axis(tiles, order[:, :, None, None, None], 1)
    return tiles.reshape(-1, 4, 4, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 32, 32, 3)


def make(name):
    """Divide the data sets of a task; write its files, and what `divide` tells of it to ``results/SCALE/tasks``."""
    params = runs.load()
    parts, about = divide(runs.pick(params.tasks, name, "task"))
    for part, arrays in parts.items():
        planes = {key: torch.from_numpy(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x) for key, x in arrays.items()}
        tensors.save(paths.tasks(params.scale) / name / f"{part}.safetensors", planes, {"classes": about["classes"]})
    write_json(paths.results(params.scale) / "tasks" / f"{name}.json", about)
    print(f"{about['title']}: {about['images']}; dropped: {about['dropped']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Divide data sets into training, validation and test images.")
    parser.add_argument("task", help="a task of params.yaml")
    with readable_errors():
        make(parser.parse_args().task)
