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
    with pytest.raises(ValueError, match=r"'noise' has no labels, so that classes = \[1\] cannot be chosen"):
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


NAMED = ["ant", "bee", "cow", "dog"]


def held(parts, name):
    return {x.tobytes() for x in parts["validation"][name]}, {x.tobytes() for x in parts["train"][name]}


def test_auxiliary_classes_are_left_out_and_others_kept_to_validate_on(sets):
    x, labels = images(80, seed=6), np.arange(80) % 4
    x[8] = datasets.load("testing")[0][3]  # an "ant" that is a known image
    x[13] = datasets.load("noise")[0][1]  # a "bee" that is tested on
    put("named", x, labels, NAMED)
    task = a_task(auxiliary={"set": "named", "exclude": ["cow"]}, auxiliary_validation=["bee"], images={"noise": "all"})
    parts, about = tasks.divide(task)
    validated, trained = held(parts, "outliers")
    of = lambda *wanted: {x[i].tobytes() for i in range(80) if labels[i] in wanted and i not in (8, 13)}
    assert (validated, trained) == (of(1), of(0, 3)) and about["dropped"]["auxiliary"] == 2
    assert about["images"]["validation"] == {"known": 9, "outliers": 19, "jigsaw": 9}
    share = tasks.divide(a_task(auxiliary={"set": "named", "exclude": ["cow"]}))[0]
    for name in ("known", "jigsaw"):
        assert np.array_equal(
            parts["validation"][name], share["validation"][name]
        )  # the share of known ones is as it was


@pytest.mark.parametrize("auxiliary", [{"exclude": ["cow"]}, {"classes": ["dog", "bee", "ant"]}])
@pytest.mark.parametrize("word", ["cow", "fox", 1, 7])
def test_only_auxiliary_classes_can_be_validated_on(sets, auxiliary, word):
    put("named", images(80, seed=6), np.arange(80) % 4, NAMED)
    task = a_task(auxiliary={"set": "named"} | auxiliary)
    task = task.model_copy(update={"auxiliary_validation": [word]})  # the schema knows nothing of the names
    if word == 1:  # of the names that are left, in their order
        assert len(tasks.divide(task)[0]["validation"]["outliers"]) == 20
    else:
        with pytest.raises(ValueError, match=rf"data set 'named' has no class {word!r}; expected one of \['(ant|dog)"):
            tasks.divide(task)


def test_all_images_of_a_set_are_taken_where_no_number_is_wished(sets):
    parts, about = tasks.divide(a_task(outlier_images="all", images={"others": 30}))
    assert about["images"]["test"] == {"known": 60, "others": 30, "noise": 80}
    assert {x.tobytes() for x in parts["test"]["noise"]} == {x.tobytes() for x in datasets.load("noise")[0]}
    put("copies", datasets.load("testing")[0][np.isin(datasets.load("testing")[1], [1])])
    with pytest.raises(ValueError, match="outlier set 'copies' has no images but known ones; expected others"):
        tasks.divide(a_task(outliers={"copies": {"set": "copies"}}, near=[], outlier_images="all"))


def test_outlier_classes_are_left_out_by_name(sets):
    put("named", images(40, seed=6), np.arange(40) % 4, NAMED)
    outliers = {"some": {"set": "named", "exclude": ["bee", "dog"]}}
    parts, _ = tasks.divide(a_task(outliers=outliers, near=[], outlier_images="all"))
    x, labels = datasets.load("named")
    assert {i.tobytes() for i in parts["test"]["some"]} == {i.tobytes() for i in x[np.isin(labels, [0, 2])]}


# Names of a set's classes in the order of its labels, what a task asks for, and the labels that are right.
NUMBERED = [
    (["1", "10", "2", "3"], [1, 2], [0, 2]),
    (["1", "10", "2", "3"], ["10", 3], [1, 3]),
    (["1", "10", "2", "3"], [0], None),  # a place, beside names that are numbers
    (["01", "02", "10"], ["02", "10"], [1, 2]),
    (["01", "02", "10"], [1], None),  # YAML takes 010 for 8
    (["008", "010"], [8], None),
    (["2019", "2020"], [2020], [1]),
    (["2019", "2020"], [1], None),
    (["ant", "bee"], [1], [1]),
    (["ant", "bee"], [2], None),
    (["ant", "bee"], [-1], None),
    (["ant", "bee"], ["Ant"], None),
    (["ant", "bee"], ["ant", 0], None),  # the same twice
    ([], [5, 7], [1, 2]),
    ([], ["5"], [1]),
    ([], [2], None),  # the third, of labels 3, 5 and 7
]


@pytest.mark.parametrize(("names", "wanted", "right"), NUMBERED)
def test_numbers_are_names_where_classes_are_called_by_numbers(sets, names, wanted, right):
    x, labels = images(60, seed=7), np.arange(60) % (len(names) or 3)
    put("folders", x, labels if names else np.array([3, 5, 7])[labels], names)
    task = a_task(auxiliary={"set": "folders", "classes": wanted})
    if right is None:
        with pytest.raises(ValueError, match=r"'folders' (has no class .*; expected one of|names a class twice)"):
            tasks.divide(task)
    else:
        found = set.union(*held(tasks.divide(task)[0], "outliers"))
        assert found == {i.tobytes() for i in x[np.isin(labels, right)]}


def known_sets(train, test, train_names=(), test_names=()):
    """Known sets of which each image holds the class that it is meant to be of, as the value of its first pixel."""
    for name, (classes, numbers), names in (("tr", train, train_names), ("te", test, test_names)):
        x = images(len(classes), seed=len(name + names[0] if names else name))
        x[:, 0, 0, 0] = classes
        put(name, x, np.array(numbers), names)
    return a_task(known={"train": {"set": "tr"}, "test": {"set": "te"}}, validation_share=0.25)


CLASSES = np.arange(60) % 3
GAPS = np.array([1, 5, 255])
SAME = [
    ((CLASSES, CLASSES + 1), (CLASSES, CLASSES + 1), (), ()),  # labels from 1, as MATLAB has them
    ((CLASSES, GAPS[CLASSES]), (CLASSES, GAPS[CLASSES]), (), ()),
    ((CLASSES, GAPS[CLASSES]), (CLASSES[CLASSES > 0], GAPS[CLASSES[CLASSES > 0]]), (), ()),  # one is not tested on
    ((CLASSES, CLASSES), ([0, 2] * 9, [0, 1] * 9), ("ant", "bee", "cow"), ("ant", "cow")),
    ((CLASSES, CLASSES), (CLASSES, 2 - CLASSES), ("ant", "bee", "cow"), ("cow", "bee", "ant")),
    ((CLASSES, CLASSES), (CLASSES, CLASSES + 3), ("3", "4", "5"), ()),
]


@pytest.mark.parametrize(("train", "test", "train_names", "test_names"), SAME)
def test_known_test_images_are_numbered_as_the_training_images(sets, train, test, train_names, test_names):
    parts, about = tasks.divide(known_sets(train, test, train_names, test_names))
    for part in parts.values():
        assert part["labels"].tolist() == part["known"][:, 0, 0, 0].tolist()
    assert len(about["classes"]) == 3


OTHER = [
    ((CLASSES, CLASSES), (CLASSES, CLASSES), ("ant", "bee", "cow"), ("ant", "bee", "Cow"), r"\['Cow'\]"),
    ((CLASSES, CLASSES), (CLASSES, CLASSES), ("ant", "bee", "cow"), (), r"\[0, 1, 2\]"),
    ((CLASSES, CLASSES), (CLASSES, CLASSES + 1), (), (), r"\[3\]"),
    ((CLASSES, CLASSES), (CLASSES, CLASSES), ("1", "2", "3"), ("01", "02", "03"), r"\['01', '02', '03'\]"),
]


@pytest.mark.parametrize(("train", "test", "train_names", "test_names", "foreign"), OTHER)
def test_known_test_images_of_other_classes_are_refused(sets, train, test, train_names, test_names, foreign):
    task = known_sets(train, test, train_names, test_names)
    with pytest.raises(ValueError, match=rf"test images of 'te' are of {foreign}; expected the classes of 'tr': \["):
        tasks.divide(task)


@pytest.mark.parametrize("of", ["train", "test"])
def test_known_images_without_labels_are_refused(sets, of):
    put("bare", images(20, seed=8))
    for seed, name in enumerate(("tr", "te")):
        put(name, images(20, seed), np.arange(20) % 2)
    task = a_task(known={"train": {"set": "tr"}, "test": {"set": "te"}} | {of: {"set": "bare"}})
    with pytest.raises(ValueError, match="known data set 'bare' has no labels; expected a class of each image"):
        tasks.divide(task)


@pytest.mark.parametrize(("names", "wanted"), [(["images"], None), (["ant", "bee"], ["bee"]), ([], None)])
def test_one_known_class_is_refused(sets, names, wanted):
    """Such as a folder whose only folder holds those of the classes."""
    for seed, name in enumerate(("tr", "te")):
        put(name, images(20, seed), np.arange(20) % (len(names) or 1), names)
    part = {} if wanted is None else {"classes": wanted}
    task = a_task(known={"train": {"set": "tr"} | part, "test": {"set": "te"} | part})
    with pytest.raises(ValueError, match=r"known data set 'tr' has one class, \[('images'|'bee'|0)\]; expected two"):
        tasks.divide(task)


def test_a_class_of_which_none_is_left_to_train_on_is_refused(sets):
    order = np.random.default_rng([15, *b"known"]).permutation(40)
    labels = np.arange(40) % 2
    labels[order[:4]] = 2  # just those that are held out
    put("rare", images(40, seed=9), labels, ["ant", "bee", "cow"])
    put("rarely", images(20, seed=10), np.arange(20) % 2, ["ant", "bee", "cow"])
    task = a_task(known={"train": {"set": "rare"}, "test": {"set": "rarely"}})
    with pytest.raises(ValueError, match="class 'cow' of 'rare' has 4 images, all of them held out to validate on"):
        tasks.divide(task)
    put("none", images(40, seed=9), np.arange(40) % 2, ["ant", "bee", "cow"])  # named, but without images
    with pytest.raises(ValueError, match="class 'cow' of 'none' has 0 images"):
        tasks.divide(a_task(known={"train": {"set": "none"}, "test": {"set": "rarely"}}))


def test_known_test_images_that_are_trained_on_are_counted_and_told(sets, monkeypatch, capsys):
    put("seen", np.concatenate([datasets.load("training")[0][[1, 3, 5]], images(17, seed=11)]), np.arange(20) % 4)
    put("all", *datasets.load("training"))
    put("else", images(200, seed=12))
    known = {"train": {"set": "all"}, "test": {"set": "seen"}}
    task = a_task(known=known, auxiliary={"set": "else"})
    monkeypatch.setattr(tasks.runs, "load", lambda: SimpleNamespace(scale="tiny", tasks={"known": task}))
    tasks.make("known")
    assert read_json(paths.results("tiny") / "tasks" / "known.json")["repeated"] == 3
    output = capsys.readouterr().out
    assert "3 of 20 known test images equal a known training image byte for byte" in output
    assert "no test image is of class '9'" in output and "class '3'" not in output
    assert len(tasks.load("known", "test")[0]["known"]) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {"noise": 15}}, "has 15 images of 'noise'; expected 16 or more"),
        ({"auxiliary": {"set": "few"}}, "has 15 images of 'outliers to validate on'"),
        (
            {"known": {"train": WHOLE["train"], "test": {"set": "tested", "classes": [3, 1, 4]}}},
            "has 15 images of 'known'",
        ),
    ],
)
def test_what_is_too_small_to_be_compared_is_refused_before_a_training(sets, monkeypatch, changes, message):
    put("few", images(150, seed=13))
    put("tested", images(15, seed=14), np.array([1, 3, 4] * 5), [str(i) for i in range(5)])
    task = a_task(**changes)
    monkeypatch.setattr(tasks.runs, "load", lambda: SimpleNamespace(scale="tiny", tasks={"small": task}))
    with pytest.raises(ValueError, match=f"task 'small' {message}"):
        tasks.make("small")


def test_few_images_of_each_class_are_drawn_at_random(sets):
    parts, _ = tasks.divide(a_task())
    labels = np.concatenate([parts[name]["labels"] for name in ("train", "validation")])
    assert Counter(labels.tolist()) == dict.fromkeys(range(3), 30)


def test_a_task_is_made_and_loaded(sets, monkeypatch):
    task = a_task(validation_share=0.2)
    monkeypatch.setattr(tasks.runs, "load", lambda: SimpleNamespace(scale="tiny", tasks={"three": task}))
    tasks.make("three")
    parts, _ = tasks.divide(task)
    for part, arrays in parts.items():
        found, about = tasks.load("three", part)
        assert set(found) == set(arrays) and about["classes"] == ["3", "1", "4"] and len(about["sha256"]) == 64
        assert np.array_equal(found["known"].permute(0, 2, 3, 1), arrays["known"])
    about = read_json(paths.results("tiny") / "tasks" / "three.json")
    assert about["title"] == "t"
    np.testing.assert_allclose(about["spectra"]["test others"], tasks.spectrum(parts["test"]["others"]), atol=1e-6)
    with pytest.raises(ValueError, match="'thre'.*did you mean 'three'"):
        tasks.make("thre")


def test_other_test_images_than_are_asked_for_are_told_and_change_no_training_file(sets, monkeypatch):
    before = a_task(validation_share=0.2)
    monkeypatch.setattr(tasks.runs, "load", lambda: SimpleNamespace(scale="tiny", tasks={"three": before}))
    tasks.make("three")
    files = [paths.tasks("tiny") / "three" / f"{part}.safetensors" for part in ("train", "validation", "test")]
    bytes_before = [path.read_bytes() for path in files]
    changed = a_task(validation_share=0.2, images={"noise": 20}, title="other words")
    monkeypatch.setattr(tasks.runs, "load", lambda: SimpleNamespace(scale="tiny", tasks={"three": changed}))
    with pytest.raises(ValueError, match=r"test.safetensors holds other images than tasks.three asks for; run `dvc"):
        tasks.load("three", "test")
    tasks.load("three", "train"), tasks.load("three", "validation")
    tasks.make("three")
    assert len(tasks.load("three", "test")[0]["noise"]) == 20
    assert [path.read_bytes() == old for path, old in zip(files, bytes_before)] == [True, True, False]


def test_a_flat_image_has_one_amplitude_and_a_wave_has_it_at_its_radius():
    found = tasks.spectrum(np.full((2, 32, 32, 3), 51, np.uint8))
    assert found[0] == pytest.approx(0.2 * 32) and np.abs(found[1:]).max() < 1e-12
    rows, columns = np.indices((32, 32))
    wave = 127.5 + 100 * np.cos(2 * np.pi * (3 * rows + 4 * columns) / 32)
    found = tasks.spectrum(np.broadcast_to(wave.round()[None, :, :, None], (1, 32, 32, 3)).astype(np.uint8))
    assert found[1:].argmax() + 1 == 5 and found[5] > 50 * np.delete(found, [0, 5]).max()
