"""A task: data sets divided into what is trained on, validated on and tested on.

``python -m icelib.data.tasks TASK`` writes ``data/tasks/SCALE/TASK/{train,validation,test}.safetensors``, so that a
run depends on just the images it uses: a new test set changes no training file, unless auxiliary images are among its
own. Images are uint8 (N, 3, 32, 32), labels int64 (N,). All have ``known`` and ``labels``; train and validation have
auxiliary ``outliers``, validation also ``jigsaw``, and test a tensor for each outlier set by its name.
"""

import argparse
import hashlib
import json

import numpy as np
import torch

from icelib.config import runs
from icelib.data import datasets
from icelib.util import paths, tensors
from icelib.util.errors import readable_errors
from icelib.util.files import write_json

SEED = 15  # of the division; the same for every run, so that runs are comparable
SPECTRA = 2000
FEWEST = 16  # images of a kind that is compared: measures on features count the 15 nearest of its neighbours


def load(name, part):
    """Load the tensors (dict) of one part (train, validation or test) of a task, and what describes them (dict).

    That is ``classes``, the names of the known classes in the order of the labels, and ``sha256``. Raises ValueError if
    the file is missing or damaged, or its test images are others than params.yaml asks for.
    """
    path = paths.tasks(runs.load().scale) / name / f"{part}.safetensors"
    found, about = tensors.load(path)
    if part == "test" and about.get("asked") != _asked(runs.load().tasks[name]):
        raise ValueError(f"{paths.relative(path)} holds other images than tasks.{name} asks for; run `dvc repro`")
    return found, about


def _asked(task):
    """Hash of what the choice of test images follows from beside the sets."""
    wish = task.model_dump(include={"known", "outliers", "outlier_images", "images"}, exclude_defaults=True)
    return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()[:32]


def divide(task):
    """Divide data sets as a task (schema.Task) declares.

    Test outliers that equal a known image byte for byte, and auxiliary images that equal a test or known image, are
    dropped; known test images that equal a known training image are kept and counted as ``repeated``.
    The held-out images for validation are a share of the known training images and, as outliers, the classes of
    `auxiliary_validation` or else the same share of the auxiliary images; ``jigsaw`` are the known ones with their 4×4
    tiles of 8×8 pixels shuffled: outliers of a kind that no method is trained on.

    Returns the images (N, 32, 32, 3) uint8 and labels (N,) of each part, and ``title``, ``classes``, counts of
    ``images``, counts of ``dropped``, ``repeated``, and ``sources`` of the data sets. Raises ValueError if a data set
    lacks labels, a class or images that the task asks for, or no image is left to validate on or of a class to train
    on.
    """
    images, labels, classes = _select(task.known.train)
    test_images, test_labels, test_classes = _select(task.known.test)
    for part, found in ((task.known.train, labels), (task.known.test, test_labels)):
        if found is None:
            raise ValueError(f"known data set {part.set!r} has no labels; expected a class of each image")
    if len(classes) < 2:
        raise ValueError(f"known data set {task.known.train.set!r} has one class, {classes}; expected two or more")
    if not task.known.test.classes:  # else the i-th that is named is class i in both
        test_labels = _renumbered(test_labels, test_classes, classes, task.known)
    auxiliary, auxiliary_labels, auxiliary_classes = _select(task.auxiliary)
    held_classes = [_place(x, auxiliary_classes, task.auxiliary.set) for x in task.auxiliary_validation or []]

    trained = _bytes(images)
    repeated, known, dropped, outliers = sum(_are_in(test_images, trained)), trained | _bytes(test_images), {}, {}
    for name, part in task.outliers.items():
        found = _select(part)[0]
        again = _are_in(found, known)
        dropped[name] = sum(again)
        outliers[name] = _sample(name, found[np.invert(again)], task)
    again = np.array(_are_in(auxiliary, known.union(*map(_bytes, outliers.values()))))
    dropped["auxiliary"], auxiliary = int(again.sum()), auxiliary[~again]

    known_order = _draw("known").permutation(len(images))
    auxiliary_order = _draw("auxiliary").permutation(len(auxiliary))
    known_held, auxiliary_held = (round(task.validation_share * len(x)) for x in (images, auxiliary))
    validates = np.arange(len(auxiliary)) < auxiliary_held
    if held_classes:
        validates = np.isin(auxiliary_labels[~again][auxiliary_order], held_classes)
    held, kept = known_order[:known_held], known_order[known_held:]
    validated, trained = (auxiliary[auxiliary_order][chosen] for chosen in (validates, ~validates))
    if not (known_held and len(validated) and len(trained)):
        found = f"{task.validation_share} of {len(images)} known and {len(auxiliary)} auxiliary images"
        found += f" with auxiliary_validation = {held_classes}" if held_classes else ""
        raise ValueError(f"validation_share = {found} leaves none to validate on or to train on")
    for label, name in enumerate(classes):
        if not (labels[kept] == label).any():
            found = f"{(labels == label).sum()} images, all of them held out to validate on"
            raise ValueError(f"class {name!r} of {task.known.train.set!r} has {found}; expected some to train on")
    parts = {
        "train": {"known": images[kept], "labels": labels[kept], "outliers": trained},
        "validation": {"known": images[held], "labels": labels[held], "outliers": validated},
        "test": {"known": test_images, "labels": test_labels, **outliers},
    }
    parts["validation"]["jigsaw"] = _jigsaw(images[held])
    counts = {part: {name: len(x) for name, x in of.items() if name != "labels"} for part, of in parts.items()}
    about = {"title": task.title, "classes": [str(name) for name in classes], "images": counts, "dropped": dropped}
    about |= {"repeated": repeated, "sources": {part.set: datasets.about(part.set)["source"] for part in task.parts}}
    return parts, about


def _select(part):
    """Load the classes, numbered in that order, and as many images of each as a part names.

    Returns images, labels or None, and the names of the classes: in place of names their numbers where a set has none.
    """
    images, labels = datasets.load(part.set, part.split)
    if labels is None:
        wishes = ("classes", "exclude", "per_class")
        if wish := [f"{key} = {getattr(part, key)}" for key in wishes if getattr(part, key)]:
            raise ValueError(f"data set {part.set!r} has no labels, so that {wish[0]} cannot be chosen")
        return images, None, []
    names = datasets.about(part.set)["classes"]
    if not names:
        names, labels = np.unique(labels, return_inverse=True)
        names = names.tolist()
    chosen = [_place(name, names, part.set) for name in part.classes or part.exclude or names]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{part.classes or part.exclude} of {part.set!r} names a class twice; expected each once")
    if part.exclude:
        chosen = [i for i in range(len(names)) if i not in chosen]
    place = np.full(len(names), -1)
    place[chosen] = np.arange(len(chosen))
    labels, names = place[labels], [names[i] for i in chosen]
    images, labels = images[labels >= 0], labels[labels >= 0]
    if part.per_class:
        order = _draw(part.set).permutation(len(labels))
        kept = np.sort(np.concatenate([order[labels[order] == i][: part.per_class] for i in np.unique(labels)]))
        images, labels = images[kept], labels[kept]
    return images, labels, names


def _place(word, names, of):
    """Find the place of a class among the names: by its name, or by its number where no name looks like one."""
    words = [str(name) for name in names]
    if str(word) in words:
        return words.index(str(word))
    if isinstance(word, int) and 0 <= word < len(names) and not any(name.isdecimal() for name in words):
        return word
    raise ValueError(f"data set {of!r} has no class {word!r}; expected one of {names}")


def _renumbered(labels, names, wanted, known):
    """Number labels of test images as the training set does, by the names of the classes."""
    places = {str(name): i for i, name in enumerate(wanted)}
    present = [names[i] for i in np.unique(labels)]
    if foreign := [name for name in present if str(name) not in places]:
        found = f"test images of {known.test.set!r} are of {foreign}"
        raise ValueError(f"{found}; expected the classes of {known.train.set!r}: {wanted}; name `classes` for both")
    return np.array([places.get(str(name), -1) for name in names])[labels]


def _bytes(images):
    return {image.tobytes() for image in images}


def _are_in(images, others):
    """Tell of each image whether it is among `others`, a set of bytes."""
    return [image.tobytes() in others for image in images]


def _draw(purpose):
    """A generator of its own for each purpose: a new test set leaves the training images as they are."""
    return np.random.default_rng([SEED, *purpose.encode()])


def _sample(name, images, task):
    count = task.images.get(name, task.outlier_images)
    if not len(images):
        raise ValueError(f"outlier set {name!r} has no images but known ones; expected others")
    if count == "all":
        count = len(images)
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


def spectrum(images):
    """Root mean square amplitude of uint8 images (N, 32, 32, 3) at each radius √(u² + v²), rounded: (24,)."""
    size = images.shape[1]
    power = (np.abs(np.fft.fft2(images / 255, axes=(1, 2), norm="ortho")) ** 2).mean((0, 3))  # (32, 32)
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) * size] * 2)).round().astype(int)
    return np.sqrt(np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel()))


def make(name):
    """Divide the data sets of a task; write its files, and what `divide` tells of it to ``results/SCALE/tasks``.

    That has the `spectrum` of each kind of images too, of the first `SPECTRA` of them, as ``spectra`` by part and kind.

    ValueError as `divide`, or if test images of a kind, or outliers to validate on, are fewer than `FEWEST`.
    """
    params = runs.load()
    parts, about = divide(runs.pick(params.tasks, name, "task"))
    counts = about["images"]
    for kind, count in (counts["test"] | {"outliers to validate on": counts["validation"]["outliers"]}).items():
        if count < FEWEST:
            raise ValueError(f"task {name!r} has {count} images of {kind!r}; expected {FEWEST} or more, to be compared")
    folder, described = paths.tasks(params.scale) / name, {"classes": about["classes"]}
    asked = {"asked": _asked(params.tasks[name])}
    about["spectra"] = {
        f"{part} {kind}": [round(x, 6) for x in spectrum(arrays[kind][:SPECTRA]).tolist()]
        for part, arrays in parts.items()
        for kind in arrays
        if kind != "labels"
    }
    for part, arrays in parts.items():
        planes = {key: torch.from_numpy(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x) for key, x in arrays.items()}
        # in no other part, which no new test set is to change
        tensors.save(folder / f"{part}.safetensors", planes, described | (asked if part == "test" else {}))
    write_json(paths.results(params.scale) / "tasks" / f"{name}.json", about)
    print(f"{about['title']}: {about['images']}; dropped: {about['dropped']}")
    if about["repeated"]:
        of = about["images"]["test"]["known"]
        print(f"{about['repeated']} of {of} known test images equal a known training image byte for byte")
    for label in sorted(set(range(len(about["classes"]))) - set(parts["test"]["labels"].tolist())):
        print(f"no test image is of class {about['classes'][label]!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Divide data sets into training, validation and test images.")
    parser.add_argument("task", help="a task of params.yaml")
    with readable_errors():
        make(parser.parse_args().task)
