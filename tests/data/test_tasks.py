"""Tasks: who is trained on what, bit for bit as it was, and nothing that is tested is trained on."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from icelib.config.schema import Task
from icelib.data import datasets, tasks
from icelib.util import paths
from icelib.util.files import read_json, sha256, write_json
from tests.data.conftest import images

# of the arrays that commit 6019988 made of the same sets
DIVISION = {
    "train known": "2128d44cd16a17bb",
    "train labels": "0747c11ba6db8cf4",
    "train outliers": "74fecaf1f88bea37",
    "validation known": "0e456da326f71030",
    "validation labels": "fce224b163af3a2b",
    "validation outliers": "d22fc415cdb2c781",
    "validation jigsaw": "bea123861890664b",
    "test known": "2d290c28ee2deecd",
    "test labels": "f44fde9828e86a88",
    "test others": "6fe18dc656b1e1cd",
    "test noise": "345cf0d040204627",
}


def put(name, x, labels=None, classes=()):
    """Write a prepared data set."""
    (paths.DATASETS / name).mkdir(parents=True)
    np.savez(paths.DATASETS / name / "all.npz", images=x, **({} if labels is None else {"labels": labels}))
    splits = {"all": {"images": len(x), "sha256": sha256(x)}}
    write_json(paths.DATASETS / name / "about.json", {"source": name, "classes": list(classes), "splits": splits})


WHOLE = {"train": {"set": "training", "classes": [3, 1, 4]}, "test": {"set": "testing", "classes": [3, 1, 4]}}


def a_task(**changes):
    known = {"train": WHOLE["train"] | {"per_class": 30}, "test": WHOLE["test"]}
    outliers = {"others": {"set": "testing", "classes": [0, 2, 7, 8, 9]}, "noise": {"set": "noise"}}
    return Task(**{
        "title": "t", "plays": "CIFAR10", "known": known, "auxiliary": {"set": "training", "classes": [5, 6]},
        "validation_share": 0.1, "outliers": outliers, "near": ["others"], "far": [], "outlier_images": 70,
    } | changes)  # fmt: skip


@pytest.fixture
def sets(root):
    x, test = images(600, seed=1), images(200, seed=2)
    test[190:] = x[15:215:20]  # auxiliary ones
    put("training", x, np.arange(600) % 10)
    put("testing", test, np.arange(200) % 10)
    put("noise", images(80, seed=3))


def test_the_division_is_what_it_was(sets):
    parts, about = tasks.divide(a_task())
    made = {f"{part} {name}": x for part, arrays in parts.items() for name, x in arrays.items()}
    assert {name: sha256(np.ascontiguousarray(x))[:16] for name, x in made.items()} == DIVISION
    assert about["classes"] == ["3", "1", "4"] and about["dropped"] == {"others": 0, "noise": 0, "auxiliary": 7}
    assert about["images"]["test"] == {"known": 60, "others": 70, "noise": 70}
    assert about["sources"] == {name: name for name in ("training", "testing", "noise")}


def test_the_task_divides_without_overlap(sets):
    parts, _ = tasks.divide(a_task(known=WHOLE))
    x, labels = datasets.load("training")
    divided = Counter(image.tobytes() for part in ("train", "validation") for image in parts[part]["known"])
    assert divided == Counter(image.tobytes() for image in x[np.isin(labels, [3, 1, 4])])
    assert len(parts["validation"]["known"]) == 18
    # tile-shuffled images have the same pixels in another order
    jigsaw, known = (parts["validation"][name].reshape(-1, 3072) for name in ("jigsaw", "known"))
    assert np.array_equal(np.sort(jigsaw), np.sort(known)) and not np.array_equal(jigsaw, known)


def test_outliers_to_test_on_are_drawn_at_random(sets):
    found = tasks.divide(a_task())[0]["test"]["noise"]
    place = {image.tobytes(): i for i, image in enumerate(datasets.load("noise")[0])}
    order = [place[image.tobytes()] for image in found]
    assert len(set(order)) == 70 and max(order) > 70 and order != sorted(order)


def test_auxiliary_images_that_are_tested_on_are_dropped_and_counted(sets):
    auxiliary = {"set": "training", "classes": [5, 6]}
    parts, about = tasks.divide(a_task(outliers={"same": auxiliary}, near=[]))
    assert about["dropped"] == {"same": 3, "auxiliary": 73}  # three are known test images too
    tested = {image.tobytes() for image in parts["test"]["same"]}
    assert not any(image.tobytes() in tested for part in ("train", "validation") for image in parts[part]["outliers"])


def test_outliers_that_equal_known_images_are_dropped_and_counted(sets):
    known, tested = datasets.load("training"), datasets.load("testing")
    copies = images(90, seed=4)
    copies[5:8], copies[40:42] = known[0][known[1] == 4][:3], tested[0][tested[1] == 1][:2]
    put("copies", copies)
    parts, about = tasks.divide(a_task(known=WHOLE, outliers={"copies": {"set": "copies"}}, near=[], outlier_images=85))
    assert about["dropped"]["copies"] == 5
    left = {image.tobytes() for image in np.delete(copies, [5, 6, 7, 40, 41], 0)}
    assert {image.tobytes() for image in parts["test"]["copies"]} == left


def test_a_new_test_set_changes_no_training_image(sets):
    task = a_task()
    more = task.model_copy(update={"outliers": {"new": task.outliers["noise"], **task.outliers}})
    old, new = tasks.divide(task)[0], tasks.divide(more)[0]
    for part in ("train", "validation"):
        for name in old[part]:
            assert np.array_equal(old[part][name], new[part][name])


def test_a_set_may_have_a_number_of_its_own(sets):
    assert len(tasks.divide(a_task(images={"noise": 80}))[0]["test"]["noise"]) == 80
    message = r"outlier_images = 90, but outlier set 'noise' has only 80 images; lower .* images: \{noise: 80\}"
    with pytest.raises(ValueError, match=message):
        tasks.divide(a_task(outlier_images=90))
    with pytest.raises(ValueError, match="images.noise = 81, but outlier set 'noise' has only 80 images"):
        tasks.divide(a_task(images={"noise": 81}))
    with pytest.raises(ValueError, match="validation_share = 1e-09 .* leaves none to validate on"):
        tasks.divide(a_task(validation_share=1e-9))


def test_unknown_classes_are_named(sets):
    with pytest.raises(ValueError, match="data set 'training' has no class 77"):
        tasks.divide(a_task(auxiliary={"set": "training", "classes": [77]}))
    with pytest.raises(ValueError, match=r"'noise' has no labels, so that classes \[1\] cannot be chosen"):
        tasks.divide(a_task(auxiliary={"set": "noise", "classes": [1]}))
    with pytest.raises(ValueError, match="'noise' has no labels, so that per_class = 3 cannot be chosen"):
        tasks.divide(a_task(auxiliary={"set": "noise", "per_class": 3}))


def test_classes_are_chosen_by_name(sets):
    put("named", images(6, seed=5), np.arange(6) % 3, ["ant", "bee", "cat"])
    known = {"train": {"set": "named", "classes": ["cat", "ant"]}, "test": {"set": "testing", "classes": [3, 1]}}
    parts, about = tasks.divide(a_task(known=known, validation_share=0.25))
    assert about["classes"] == ["cat", "ant"]
    labels = {
        x.tobytes(): label for p in ("train", "validation") for x, label in zip(parts[p]["known"], parts[p]["labels"])
    }
    assert [labels[x.tobytes()] for x in datasets.load("named")[0][[0, 2, 3, 5]]] == [1, 0, 1, 0]


def test_few_images_of_each_class_are_drawn_at_random(sets):
    parts, _ = tasks.divide(a_task())
    labels = np.concatenate([parts[name]["labels"] for name in ("train", "validation")])
    assert Counter(labels.tolist()) == dict.fromkeys(range(3), 30)


def test_a_task_is_made_and_loaded(sets, monkeypatch):
    monkeypatch.setattr(tasks.runs, "load", lambda: SimpleNamespace(scale="tiny", tasks={"three": a_task()}))
    tasks.make("three")
    parts, _ = tasks.divide(a_task())
    for part, arrays in parts.items():
        found, about = tasks.load("three", part)
        assert set(found) == set(arrays) and about["classes"] == ["3", "1", "4"] and len(about["sha256"]) == 64
        assert np.array_equal(found["known"].permute(0, 2, 3, 1), arrays["known"])
    assert read_json(paths.results("tiny") / "tasks" / "three.json")["title"] == "t"
    with pytest.raises(ValueError, match="'thre'.*did you mean 'three'"):
        tasks.make("thre")
