"""Bad parameters: one readable error that names the key, the value and what was expected."""

import copy
import functools
import re

import pytest
import yaml

from icelib import models
from icelib.config import runs, schema
from icelib.methods import METHODS
from icelib.util import paths
from tests.conftest import SOURCE, tiny_params


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "ROOT", tmp_path)

    def change(*keys, to=None):
        values = copy.deepcopy(tiny_params(tmp_path))
        if keys:
            *folders, last = keys
            functools.reduce(lambda part, key: part[key], folders, values)[last] = to
        paths.PARAMS.write_text(yaml.safe_dump(values))

    return change


@pytest.mark.parametrize("path", [SOURCE / "params.yaml", *sorted((SOURCE / "configs").glob("*.yaml"))], ids=str)
def test_the_projects_own_parameters_are_valid_and_declare_runs(path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", path)
    assert runs.load().scale == ("laptop" if path.name == "params.yaml" else path.stem)
    assert len({run.name for run in runs.declared()}) == len(runs.declared()) >= 14
    for task in runs.load().tasks.values():
        for part in task.parts:
            splits = schema.PUBLISHED[part.set].splits
            assert part.split in splits if part.split else len(splits) == 1


def test_all_declared_runs_have_names_of_their_own(write):
    write("seeds", to=[0, 7])
    names = ["wideresnet-scratch-plain", "wideresnet-scratch-ice", "densenet-scratch-ice", "wideresnet-finetune-ice"]
    assert [run.name for run in runs.declared()] == [f"digits-{name}-{seed}" for name in names for seed in (0, 7)]


def test_a_fine_tuned_run_has_the_plain_network_of_its_seed_as_parent(write):
    write()
    run = runs.run("digits", "wideresnet", "finetune", "ice", 3)
    assert run.parent == runs.run("digits", "wideresnet", "scratch", "plain", 3)
    assert runs.run("digits", "wideresnet", "scratch", "ice", 3).parent is None


def test_a_task_may_have_values_of_its_own(write):
    write("tasks", "digits", "train", to={"ice": {"weight": 0.7}})
    run = runs.run("digits", "wideresnet", "scratch", "ice", 3)
    assert run.loss == {"weight": 0.7} and run.head["mean_scale"] == 0.5


def test_a_protocol_may_have_values_of_its_own_before_which_a_tasks_go(write):
    write("protocols", "finetune", "train", to={"ice": {"weight": 0.7, "distance": 3.0}})
    run = runs.run("digits", "wideresnet", "finetune", "ice", 3)
    assert (run.loss["weight"], run.head["distance"], run.head["mean_scale"]) == (0.7, 3.0, 0.5)
    assert runs.run("digits", "wideresnet", "scratch", "ice", 3).loss == {"weight": 0.1}
    assert "train" not in run.model_dump()["schedule"] and type(run.schedule) is schema.Schedule
    values = yaml.safe_load(paths.PARAMS.read_text())
    values["tasks"]["digits"]["train"] = {"ice": {"weight": 0.9}}
    paths.PARAMS.write_text(yaml.safe_dump(values))
    run = runs.run("digits", "wideresnet", "finetune", "ice", 3)
    assert (run.loss["weight"], run.head["distance"]) == (0.9, 3.0)


def test_a_varied_run_has_the_same_name(write):
    write()
    run = runs.run("digits", "wideresnet", "scratch", "ice", 0)
    varied = runs.vary(run, {"weight": 0.7, "factor": "diagonal", "clip": 2.0})
    assert (varied.loss["weight"], varied.head["factor"], varied.schedule.clip) == (0.7, "diagonal", 2.0)
    assert varied.name == run.name and run.loss["weight"] == 0.1
    for change, message in [
        ({"wieght": 1.0}, r"ice has no parameter 'wieght' \(did you mean 'weight'\?\)"),
        ({"weight": -1.0}, "ice.weight = -1.0: expected a number ≥ 0"),
        ({"clip": -1.0}, "clip = -1.0: .*greater than 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            runs.vary(run, change)


def test_runs_are_grouped_as_the_papers_tables_are(write):
    write("seeds", to=[0, 1])
    groups = runs.by_block()
    assert [run.seed for run in groups["CIFAR10", "wideresnet", "scratch", "ice"]] == [0, 1]
    assert runs.task_playing("CIFAR10")[0] == "digits" and runs.task_playing("CIFAR100") == (None, None)


SCHEDULE = ("protocols", "scratch")
SWEEP = ("sweeps", "ice-weight")
SPARE = {"weight": 0.1, "margin_known": -1.0, "margin_outlier": -5.0}


BIRDS = {"set": "cifar10", "split": "test"}


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (("train", "ice", "weight"), -0.1, r"params.yaml: train.ice.weight = -0.1: expected a number ≥ 0"),
        (("train", "ice", "wieght"), 0.1, r"train.ice.wieght: no such parameter \(did you mean 'weight'\?\)"),
        (("train", "ice", "mean_scale"), 0.0, r"train.ice.mean_scale = 0.0: expected a number > 0"),
        (("train", "oe", "mean_scale"), 0.5, r"oe.mean_scale: no such parameter; expected one of \['weight'\]"),
        (("tasks", "digits", "outliers", "gaussian", "split"), "foo", r"gaussian: split = 'foo' of 'gaussian'; expected one"),
        (("tasks", "digits", "outliers", "gaussian"), BIRDS | {"classes": ["brid"]}, r"'brid' is no class of 'cifar10' \("),
        (("tasks", "digits", "outliers", "gaussian"), BIRDS | {"exclude": [10]}, r"10 is no class of 'cifar10'; expected"),
        (("runs", 0, "methods"), [], r"runs.0.methods = \[\]: .*at least 1"),
        (("train", "icee"), {}, r"train.icee = 'icee': no such name \(did you mean 'ice'\?\)"),
        (("train", "ice", "weight"), "high", r"train.ice.weight = 'high': expected a number ≥ 0"),
        (("train", "ice", "weight"), "1e-3", r"weight = .1e-3.: expected a number ≥ 0; .* exponent: 0.001$"),
        (("train", "ice", "weight"), "-0", r"weight = .-0.: expected a number ≥ 0; without quotes or exponent: -0$"),
        ((*SCHEDULE, "learning_rate"), "5e-5", r"learning_rate = .5e-5.: .*; .* exponent: 0.00005$"),
        (("train", "ice", "weight"), [1], r"train.ice.weight = \[1\]: .*expected a finite number or a word"),
        (("train", "ice", "factor"), "lowr", r"train.ice.factor = 'lowr': expected one of \['lower', "),
        (("train", "ice", "weight"), 10**400, r"train.ice.weight = 10+\.\.\.: expected a finite number or a word"),
        (("train", "ice", "weight"), float("nan"), r"train.ice.weight = nan: .*expected a finite number"),
        (("train", "energy"), SPARE, r"margin_known = -1.0 with margin_outlier = -5.0: expected margin_known ≤"),
        (("tasks", "digits", "train"), {"ice": {"weight": -1.0}}, r"digits.train.ice.weight = -1.0: expected a num"),
        (("tasks", "digits", "train"), {"ic": {}}, r"tasks.digits.train.ic: no such method \(did you mean 'ice'"),
        ((*SCHEDULE, "train"), {"ice": {"weight": -1.0}}, r"scratch.train.ice.weight = -1.0: expected a number ≥ 0"),
        ((*SCHEDULE, "train"), {"ice": {"wieght": 1.0}}, r"scratch.train.ice.wieght: no such parameter"),
        ((*SCHEDULE, "train"), {"ic": {}}, r"protocols.scratch.train.ic: no such method \(did you mean 'ice'"),
        ((*SCHEDULE, "shape"), "steps", r"protocols.scratch: milestones = \[\]: expected shares .* \[0.5, 0.75\]"),
        (("tasks", "digits", "outlier_images"), "al", r"digits.outlier_images = 'al': expected 'all' or a whole number"),
        (("tasks", "digits", "outlier_images"), True, r"digits.outlier_images = True: expected 'all' or a whole number"),
        (("tasks", "digits", "images"), {"gaussian": 0}, r"images.gaussian = 0: expected 'all' or a whole number from 1"),
        (("tasks", "digits", "outliers", "gaussian", "plays"), "svhn", r"plays = 'svhn': .*'SVHN'"),
        (("tasks", "digits", "far"), ["gaussian", "gaussian"], r"far = .*'gaussian' is listed twice"),
        (("tasks", "digits", "far"), ["nothing"], r"tasks.digits: far names 'nothing', which is not in outliers"),
        (("tasks", "digits", "far"), ["digits-89"], r"near and far both name 'digits-89'"),
        (("tasks", "digits", "images"), {"nothing": 3}, r"images names 'nothing', which is not in outliers"),
        (("tasks", "digits", "validation_share"), 1.5, r"validation_share = 1.5: .*less than or equal to 0.5"),
        (("tasks", "digits", "outliers"), {"near": {"set": "gaussian"}}, r"outliers.near: this name has a meaning"),
        (("tasks", "other"), tiny_params(SOURCE)["tasks"]["digits"], r"tasks: two play the same part"),
        (("networks", "densenet", "growth"), 0, r"networks.densenet.growth = 0: .*greater than 0"),
        (("networks", "resnet"), {"depth": 3}, r"networks.resnet: no such key"),
        (("networks", "wideresnet", "dropout"), 1.0, r"dropout = 1.0: .*less than 1"),
        (("networks", "wideresnet", "widen"), 10**8, r"widen = 100000000: .*less than or equal to 100"),
        ((*SCHEDULE, "start"), "plian", r"protocols.scratch.start = 'plian': .*'random' or 'plain'"),
        ((*SCHEDULE, "start"), "plain", r"protocols.scratch.start = 'plain': expected 'random'"),
        ((*SCHEDULE, "gaussian_head"), "estimate", r"gaussian_head = 'estimate' with start = 'random': expected"),
        ((*SCHEDULE, "epochs"), 0, r"protocols.scratch.epochs = 0: .*greater than 0"),
        ((*SCHEDULE, "epochs"), 1.5, r"protocols.scratch.epochs = 1.5: .*integer"),
        ((*SCHEDULE, "epochs"), 10**25, r"scratch.epochs = 10+: .*less than or equal to 100000"),
        ((*SCHEDULE, "epocs"), 2, r"protocols.scratch.epocs: no such key \(found value 2\)"),
        ((*SCHEDULE, "shape"), "flat", r"protocols.scratch.shape = 'flat': .*'steps', 'cosine' or 'onecycle'"),
        ((*SCHEDULE, "learning_rate"), -1.0, r"learning_rate = -1.0: .*greater than 0"),
        ((*SCHEDULE, "learning_rate"), 10**400, r"scratch.learning_rate = 10+\.\.\.: "),
        ((*SCHEDULE, "known_batch"), 10**9, r"scratch.known_batch = 1000000000: .*less than or equal to 1000000"),
        ((*SWEEP, "values"), [], r"sweeps.ice-weight.values = \[\]: .*at least 1"),
        ((*SWEEP, "values"), [{"weight": 0.1}, {"clip": 0.1}], r"values: \['clip'\] beside \['weight'\]; expected the"),
        ((*SWEEP, "values"), [{"weight": 0.1}, {"weight": 0.1}], r"\{'weight': 0.1\} is listed twice"),
        ((*SWEEP, "values"), [{"start": "random"}], r"sweeps.ice-weight: values: start is the protocol's"),
        ((*SWEEP, "values"), [{"epochs": 1}, {"epochs": 0}], r"epochs.*greater than 0"),
        ((*SWEEP, "seeds"), [], r"sweeps.ice-weight.seeds = \[\]: .*at least 1"),
        ((*SWEEP, "seeds"), [1, 1], r"sweeps.ice-weight.seeds = \[1, 1\]: 1 is listed twice"),
        ((*SWEEP, "values"), [{"train": {}}], r"values.0.train: expected a finite number or a word"),
        ((*SWEEP, "task"), "digts", r"sweeps.ice-weight.task = 'digts': no such task \(did you mean 'digits'\?\)"),
        (("runs", 0, "task"), "digts", r"runs\[0\].task = 'digts': no such task \(did you mean 'digits'\?\)"),
        (("runs", 0, "protocol"), "sctch", r"runs\[0\].protocol = 'sctch': no such protocol"),
        (("runs", 0, "methods"), ["ice", "ice"], r"runs.0.methods = .*'ice' is listed twice"),
        (("runs", 0, "methods"), "ice", r"params.yaml: runs.0.methods = 'ice': .*list"),
        (("runs", 0, "methods"), ["bce"], r"runs\[0\].methods names 'bce': train.bce is missing; add its values there"),
        (("runs", 1, "network"), "wideresnet", r"runs\[0\] and runs\[1\] declare digits-wideresnet-scratch-ice twice"),
        (("runs", 0, "extra"), {}, r"runs.0.extra: no such key"),
        (("seeds",), [0, 0], r"seeds = \[0, 0\]: 0 is listed twice"),
        (("seeds",), [2**63], r"seeds.0 = 9223372036854775808: "),
        (("seeds",), ["0"], r"seeds.0 = '0': .*integer"),
        (("seeds",), [], r"seeds = \[\]: .*at least 1"),
        (("threads",), 0, r"threads = 0: .*greater than or equal to 1"),
        (("parallel",), {"jobs": 0}, r"params.yaml: parallel.jobs = 0: expected 'auto' or a whole number from 1 to 1,0+"),
        (("parallel",), {"jobs": "many"}, r"params.yaml: parallel.jobs = 'many': expected 'auto' or a whole number"),
        (("parallel",), {"jobs": 1.5}, r"params.yaml: parallel.jobs = 1.5: expected 'auto' or a whole number"),
        (("parallel",), {"backend": "threads"}, r"parallel.backend = 'threads': .*'loky' or 'dask'"),
        (("datasets",), [], r"params.yaml: tasks.digits uses 'gaussian', which is in neither datasets nor own_datasets"),
        (("datasets",), ["gausian"], r"datasets.0 = 'gausian': no such name \(did you mean 'gaussian'\?\)"),
        (("own_datasets", "mnist"), {"path": "x.npz"}, r"own_datasets.mnist: this is the name of a published set"),
        (("own_datasets", "mine"), {}, r"own_datasets.mine.path is missing"),
        (("own_datasets", "mine"), {"path": "x", "sha256": "AB12"}, r"own_datasets.mine.sha256 = 'AB12': .*pattern"),
        (("own_datasets", "mine"), {"path": "x", "clases": "2"}, r"own_datasets.mine.clases: no such key"),
        (("scale",), "v1.0", r"scale = 'v1.0': .*pattern"),
    ],
)  # fmt: skip
def test_wrong_values(write, keys, to, message):
    write(*keys, to=to)
    with pytest.raises(ValueError, match=message):
        runs.load()


@pytest.mark.parametrize("name", ["../../../outdir", "a/b", ".a", "-p", "$(touch x)", "a b", "a;b", "a\n", "", "a.b"])
@pytest.mark.parametrize(
    "keys", [("scale",), ("tasks",), ("datasets",), ("own_datasets",), ("sweeps",), ("protocols",)]
)
def test_names_of_folders_and_words_of_commands_are_refused(write, keys, name):
    """DVC makes paths and commands of these names, and removes what lies there before it gives the command."""
    task = tiny_params(paths.ROOT)["tasks"]["digits"]
    to = {"scale": name, "tasks": {name: task}, "datasets": [name], "own_datasets": {name: {"path": "x.npz"}}}
    to |= {"sweeps": {name: tiny_params(paths.ROOT)["sweeps"]["ice-weight"]}}
    to |= {"protocols": {name: tiny_params(paths.ROOT)["protocols"]["scratch"]}}
    write(*keys, to=to[keys[0]])
    with pytest.raises(ValueError, match=rf"(?s)params.yaml: {keys[0]}.*({re.escape('pattern')}|no such name)"):
        runs.load()


DIGITS = {"set": "digits-train", "classes": [0, 1, 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known.test.classes": [0, 1, 2, 3, 5, 4]}, r"known: test.classes = \[0, .*\]: expected those of train"),
        ({"known.test.classes": [0, 1, 2, 3, 4]}, r"test.classes = .*: expected those of train.classes, in their order"),
        ({"known.test.classes": None}, r"test.classes = None: expected those of train.classes"),
        ({"known.train.classes": []}, r"known.train.classes = \[\]: .*at least 1"),
        ({"auxiliary.classes": [6, 6]}, r"auxiliary.classes = \[6, 6\]: 6 is listed twice"),
        ({"auxiliary.classes": [5, 6]}, r"auxiliary.classes = \[5, 6\] of 'digits-train': expected none .* known.* 5"),
        ({"auxiliary": {"set": "digits-train"}}, r"auxiliary.classes = all of 'digits-train': expected none that is"),
        ({"auxiliary": {"set": "digits-train", "exclude": [0, 1, 2, 3, 4]}}, r"all but \[0, .*\] of 'digits-train': .* 5"),
        ({"auxiliary.exclude": [6]}, r"classes = \[6, 7\] and exclude = \[6\]: expected one of them at most"),
        ({"auxiliary_validation": [8]}, r"auxiliary_validation names 8, which is not among the auxiliary classes"),
        ({"auxiliary_validation": [6, 7]}, r"auxiliary_validation = \[6, 7\]: expected to leave some auxiliary classes"),
        ({"outliers.digits-89": {"set": "digits-train", "classes": [7]}}, r"digits-89: 7 is of the auxiliary images"),
        ({"outliers.digits-89.classes": [0, 8]}, r"outliers.digits-89.classes = \[0, 8\] of 'digits-test': expected"),
        ({"known.test": DIGITS, "known.train": DIGITS}, r"test.set = 'digits-train', .*: expected another set or split"),
        ({"known.test": DIGITS | {"split": "all"}, "known.train": DIGITS}, r"test.split = 'all': expected another set"),
    ],
)  # fmt: skip
def test_tasks_that_would_measure_something_else_are_refused(write, changes, message):
    task = tiny_params(paths.ROOT)["tasks"]["digits"]
    for keys, value in changes.items():
        *folders, last = keys.split(".")
        functools.reduce(dict.__getitem__, folders, task)[last] = value
    write("tasks", "digits", to=task)
    with pytest.raises(ValueError, match=message):
        runs.load()


@pytest.mark.parametrize(
    "changes",
    [
        {"auxiliary": {"set": "digits-train", "exclude": [0, 1, 2, 3, 4, 5]}, "auxiliary_validation": [6, 8]},
        {"auxiliary_validation": [7], "outlier_images": "all", "images": {"gaussian": 50}},
        {"outliers.digits-89": {"set": "digits-test", "classes": [7]}},  # of other images
    ],
)
def test_tasks_that_are_accepted(write, changes):
    task = tiny_params(paths.ROOT)["tasks"]["digits"]
    for keys, value in changes.items():
        *folders, last = keys.split(".")
        functools.reduce(dict.__getitem__, folders, task)[last] = value
    write("tasks", "digits", to=task)
    assert runs.load().tasks["digits"].near == ["digits-89"]


def test_all_classes_but_some():
    most = schema.Part(set="cifar10", split="train", exclude=["ship", 9])
    assert most.labels == "airplane automobile bird cat deer dog frog horse".split()
    assert most.shared(schema.Part(set="cifar10", split="test", classes=["bird", "truck"])) == ["bird"]
    own = schema.Part(set="own", exclude=["a", 3])  # whose names are known when the set is there
    assert own.labels is None and own.shared(schema.Part(set="own", classes=["a", "b", 3])) == ["b"]
    assert own.shared(schema.Part(set="own")) == ["all"]
    rest = [0, 1, 2, 3, 4, 5, 6, 7]
    schema.Known(train=most, test=schema.Part(set="cifar10", split="test", classes=rest))
    for different in (["a"], None):
        with pytest.raises(ValueError, match="expected those of train.classes"):
            schema.Known(train=own, test=schema.Part(set="own", split="test", exclude=different))


def test_a_class_is_the_same_by_name_and_by_number():
    train = schema.Part(set="cifar10", split="train", classes=["bird", "cat"])
    assert train.shared(schema.Part(set="cifar10", split="test", classes=[2, "dog"])) == ["bird"]
    assert train.shared(schema.Part(set="own", classes=["bird"])) == []
    schema.Known(train=train, test=schema.Part(set="own", classes=[0, 1]))
    with pytest.raises(ValueError, match="expected those of train.classes"):
        schema.Known(train=train, test=schema.Part(set="own", classes=["cat", "bird"]))


@pytest.mark.parametrize("kind", ["wideresnet", "densenet"])
def test_depths_are_those_that_networks_can_have(write, kind):
    shape = {"wideresnet": schema.WideResNetShape, "densenet": schema.DenseNetShape}[kind]
    other = {"wideresnet": {"widen": 1}, "densenet": {"growth": 1}}[kind]
    for depth in range(45):
        try:
            models.BACKBONES[kind](depth, 1)
        except ValueError:
            with pytest.raises(ValueError, match="expected .n . 4"):
                shape(depth=depth, **other)
        else:
            shape(depth=depth, **other)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_its_parameters(name):
    with pytest.raises(ValueError, match=rf"train.{name}\.\w+ is missing; expected|no such parameter"):
        schema.check_parameters(name, {"nothing": 1}, f"train.{name}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "params.yaml is not valid YAML"),
        ("- 1", "params.yaml: expected a mapping of keys, found list"),
        ("scale: a\nscale: b", "the key 'scale' is given twice"),
        ("[1]: 2", "a key is a mapping or a list; expected a word"),
        ("scale: 2024-13-45", "params.yaml is not valid YAML"),
    ],
)
def test_files_that_are_no_parameters(write, text, message):
    write()
    paths.PARAMS.write_text(text)
    with pytest.raises(ValueError, match=message):
        runs.load()
    paths.PARAMS.unlink()
    with pytest.raises(ValueError, match="params.yaml is missing; run from a checkout"):
        runs.load()


def test_a_set_of_ones_own_that_is_missing_is_told_first(write, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CHECKED", tmp_path / "data" / "params.txt")
    write("own_datasets", "digits-test", to={"path": "own/mine"})
    (tmp_path / "train.npz").touch()
    with pytest.raises(
        ValueError, match="params.yaml: own_datasets.digits-test.path = 'own/mine' is missing; expected"
    ):
        runs.check()
    assert not paths.CHECKED.exists()
    (tmp_path / "own" / "mine").mkdir(parents=True)
    runs.check()
    assert paths.CHECKED.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digts", "wideresnet", "scratch", "ice", 0), r"unknown task: 'digts' \(did you mean 'digits'\?\)"),
        (("digits", "resnet", "scratch", "ice", 0), "unknown network: 'resnet'"),
        (("digits", "wideresnet", "scrach", "ice", 0), "unknown protocol: 'scrach'"),
        (("digits", "wideresnet", "scratch", "icee", 0), "unknown method: 'icee'"),
        (("digits", "wideresnet", "scratch", "bce", 0), "unknown train: 'bce'"),
        (("digits", "wideresnet", "scratch", "ice", -1), "seed = -1: expected a whole number"),
        (("digits", "wideresnet", "scratch", "ice", True), "seed = True: expected a whole number"),
    ],
)
def test_runs_that_cannot_be(write, arguments, message):
    write()
    with pytest.raises(ValueError, match=message):
        runs.run(*arguments)
