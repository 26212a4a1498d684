"""Bad parameters: one readable error that names the key, the value and what was expected."""

import copy
import functools
import re

import pytest
import yaml

from icelib import catalog, divisions, losses, models, params, paths, sweeps
from icelib.checks import check_parameters
from icelib.methods import METHODS
from tests.conftest import SOURCE, tiny_params


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "ROOT", tmp_path)

    def change(*keys, to=None, remove=False):
        values = copy.deepcopy(tiny_params(tmp_path))
        place = values
        for key in keys[:-1]:
            place = place[key]
        if remove:
            del place[keys[-1]]
        elif keys:
            place[keys[-1]] = to
        paths.PARAMS.write_text(yaml.safe_dump(values))

    return change


def test_the_projects_own_parameters_are_valid():
    loaded = params.load(SOURCE / "params.yaml")
    assert loaded.scales and set(loaded.scales) <= set(loaded.blocks)


@pytest.mark.parametrize("scale", ["paper", "workstation"])
def test_the_papers_sets_need_the_three_lines_that_comments_name(tmp_path, monkeypatch, scale):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    text = (SOURCE / "params.yaml").read_text()
    values = yaml.safe_load(text) | {"scales": [scale], "beyond": []}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(
        ValueError, match=f"{scale} uses data sets that are in neither datasets nor .*: random300k, cifar100"
    ):
        params.load(tmp_path / "params.yaml")
    (listed,) = re.findall(r"block `paper` are\n# +(\[.*\])", text)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values | {"datasets": yaml.safe_load(listed)}))
    assert params.load(tmp_path / "params.yaml").scales == [scale]
    assert set(yaml.safe_load(listed)) <= set(catalog.DATASETS)
    for task in values[scale]["known"].values():
        part = task["known"] | task["outliers"] | {"auxiliary": task["auxiliary"]}
        for wanted in part.values():
            splits = catalog.DATASETS[wanted["set"]].images
            assert wanted["split"] in splits if "split" in wanted else len(splits) == 1


def test_the_workstation_can_run_cifar10_alone(tmp_path, monkeypatch):
    """As its comment says: one known set, and no run of the groups that need another set or network."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    text = (SOURCE / "params.yaml").read_text()
    (listed,) = re.findall(r"block `paper` are\n# +(\[.*\])", text)
    changes = {"scales": ["workstation"], "beyond": [], "known": ["few"], "datasets": yaml.safe_load(listed)}
    values = yaml.safe_load(text) | changes
    for group in ("densenet", "many"):
        values["runs"][group]["known"] = []
    paths.PARAMS.write_text(yaml.safe_dump(values))
    runs = params.declared("workstation")
    assert {(run.known, run.network, run.shape.depth, run.shape.widen) for run in runs} == {
        ("few", "wideresnet", 40, 2)
    }
    assert len(runs) == 10
    batch = {method.outliers: 50_000 * (3 if method.outliers else 1) for method in METHODS.values()}
    images = sum(run.schedule.epochs * batch[METHODS[run.method].outliers] for run in runs)
    assert images == pytest.approx(42e6, rel=0.02), "README.md tells how many images an evening takes"


def test_two_tasks_of_one_part_are_refused(write):
    task = tiny_params(paths.ROOT)["tiny"]["known"]["few"]
    write("tiny", "known", to={"few": task, "other": task})
    with pytest.raises(ValueError, match="two tasks play the same part"):
        params.load()


def test_a_run_has_one_name_and_a_digest_of_all_that_matters(write):
    write()
    run = params.run("tiny", "few", "wideresnet", "scratch", "ice", "3")
    assert run.name == "few-wideresnet-scratch-ice-3"
    write("tiny", "train", "ice", "weight", to=0.2)
    changed = params.run("tiny", "few", "wideresnet", "scratch", "ice", "3")
    assert changed.digest != run.digest and changed.name == run.name
    write("tiny", "train", "oe", "weight", to=0.2)
    assert params.run("tiny", "few", "wideresnet", "scratch", "ice", "3").digest == run.digest


def test_all_declared_runs_have_names_of_their_own(write):
    write("seeds", to=["0", "7"])
    assert [run.name for run in params.declared("tiny")] == [
        "few-wideresnet-scratch-plain-0",
        "few-wideresnet-scratch-plain-7",
        "few-wideresnet-scratch-ice-0",
        "few-wideresnet-scratch-ice-7",
        "few-densenet-scratch-ice-0",
        "few-densenet-scratch-ice-7",
        "few-wideresnet-finetune-ice-0",
        "few-wideresnet-finetune-ice-7",
    ]


def test_a_fine_tuned_run_depends_on_what_its_plain_network_was_trained_with(write):
    write()
    run = params.run("tiny", "few", "wideresnet", "finetune", "ice", 3)
    assert run.parent == params.run("tiny", "few", "wideresnet", "scratch", "plain", 3)
    assert params.run("tiny", "few", "wideresnet", "scratch", "ice", 3).parent is None
    write("tiny", "protocols", "scratch", "epochs", to=9)
    assert params.run("tiny", "few", "wideresnet", "finetune", "ice", 3).digest != run.digest


def test_the_digest_of_a_variant_of_ours_holds_its_code(write, tmp_path, monkeypatch):
    head = {"factor": "lower", "mean_scale": 0.5, "covariance_scale": 0.1}
    write("tiny", "train", "two_weights", to=head | {"weight_known": 0.1, "weight_outlier": 0.2})
    digests = lambda: [params.run("tiny", "few", "wideresnet", "scratch", x, 0).digest for x in ("two_weights", "ice")]
    variant, ice = digests()
    for name in ("variants.py", "variant_heads.py"):
        (tmp_path / name).write_bytes((paths.PACKAGE / name).read_bytes())
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    assert digests() == [variant, ice]
    (tmp_path / "variants.py").write_text("# another loss")
    changed, same = digests()
    assert changed != variant and same == ice


def test_parameters_of_ones_own_may_have_any_sign(monkeypatch):
    def mine(known_logits, labels, outlier_logits, *, weight_of_logits, separation, inner, outer): ...

    monkeypatch.setitem(METHODS, "mine", METHODS["ice"]._replace(loss=mine, head="linear"))
    check_parameters("mine", {"weight_of_logits": -1.0, "separation": 0.0, "inner": 2.0, "outer": 1.0})
    with pytest.raises(ValueError, match="train.mine.separation = 'far': expected a number"):
        check_parameters("mine", {"weight_of_logits": 1.0, "separation": "far", "inner": 1.0, "outer": 2.0})


def test_a_task_may_have_values_of_its_own(write):
    write("tiny", "known", "few", "train", to={"ice": {"weight": 0.7}})
    run = params.run("tiny", "few", "wideresnet", "scratch", "ice", 3)
    assert run.loss == {"weight": 0.7} and run.head["mean_scale"] == 0.5


def test_a_sweep_may_vary_a_whole_number(write):
    write("tiny", "sweeps", "ice-weight", "values", to=[{"epochs": 1}, {"epochs": 3}])
    assert [run.schedule.epochs for _, run in sweeps.candidates("tiny", "ice-weight")] == [1, 3]


def test_a_varied_run_has_the_same_name_and_another_digest(write):
    write()
    run = params.run("tiny", "few", "wideresnet", "scratch", "ice", 0)
    varied = params.vary(run, {"weight": 0.7, "factor": "diagonal", "clip": 2.0})
    assert (varied.loss["weight"], varied.head["factor"], varied.schedule.clip) == (0.7, "diagonal", 2.0)
    assert varied.name == run.name and varied.digest != run.digest and run.loss["weight"] == 0.1
    for change, message in [
        ({"wieght": 1.0}, r"ice has no parameter 'wieght' \(did you mean 'weight'\?\)"),
        ({"weight": -1.0}, "train.ice.weight = -1.0: expected a number ≥ 0"),
        ({"clip": -1.0}, "clip = -1.0: .*greater than 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            params.vary(run, change)


SCHEDULE = ("tiny", "protocols", "scratch")


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (
            ("tiny", "train", "ice", "weight"),
            -0.1,
            r"params.yaml: tiny: .*train.ice.weight = -0.1: expected a number ≥ 0",
        ),
        (("tiny", "train", "ice", "wieght"), 0.1, r"train.ice.wieght: no such parameter \(did you mean 'weight'\?\)"),
        (("tiny", "train", "ice", "mean_scale"), 0.0, r"train.ice.mean_scale = 0.0: expected a number > 0"),
        (
            ("tiny", "train", "oe", "mean_scale"),
            0.5,
            r"train.oe.mean_scale: no such parameter; expected one of \['weight'\]",
        ),
        (("tiny", "train", "icee"), {}, r"train.icee: no such method \(did you mean 'ice'\?\)"),
        (("tiny", "train", "ice", "weight"), "high", r"train.ice.weight = 'high': expected a number ≥ 0"),
        (
            ("tiny", "train", "ice", "weight"),
            "1e-3",
            r"weight = .1e-3.: expected a number ≥ 0; .* with a point: 0.001$",
        ),
        (("tiny", "protocols", "scratch", "learning_rate"), "5e-5", r"learning_rate = .5e-5.: .*; .* point: 0.00005$"),
        (
            ("tiny", "train", "ice", "weight"),
            [1],
            r"tiny.train.ice.weight = \[1\]: .*expected a finite number or a word",
        ),
        (("tiny", "train", "ice", "factor"), "lowr", r"train.ice.factor = 'lowr': expected one of \['lower', "),
        (("tiny", "train", "ice", "factor"), 1.0, r"train.ice.factor = 1.0: expected one of"),
        (
            ("tiny", "known", "few", "train"),
            {"ice": {"weight": -1.0}},
            r"train.ice.weight = -1.0: expected a number ≥ 0",
        ),
        (("tiny", "known", "few", "train"), {"ic": {}}, r"known.few.train.ic: no such method \(did you mean 'ice'"),
        (("tiny", "known", "few", "outliers", "gaussian", "plays"), "svhn", r"plays = 'svhn': .*'SVHN'"),
        (("tiny", "networks", "densenet", "growth"), 0, r"tiny.networks.densenet.growth = 0: .*greater than 0"),
        (("tiny", "networks", "resnet"), {"depth": 3}, r"tiny.networks.resnet: no such key"),
        ((*SCHEDULE, "start"), "plian", r"tiny.protocols.scratch.start = 'plian': .*'random' or 'plain'"),
        (("tiny", "sweeps", "ice-weight", "values"), [], r"sweeps.ice-weight.values = \[\]: .*at least 1"),
        (("runs", "few", "known"), ["fwe"], r"runs.few.known names 'fwe', which is not in known: \['few'\]"),
        (
            ("runs", "densenet", "networks"),
            ["wideresnet"],
            r"yaml: runs.few and runs.densenet declare few-wideresnet-ice twice",
        ),
        (("runs", "few", "methods"), ["ice", "ice"], r"yaml: runs.few declare few-wideresnet-ice twice"),
        (("runs", "few", "methods"), ["ice"], r"runs.finetune needs the plain run of few-wideresnet; add plain"),
        (("seeds",), ["0", "0"], r"seeds names '0' twice"),
        (
            ("datasets",),
            [],
            r"yaml: tiny uses data sets that are in neither datasets nor own_datasets: gaussian; "
            r"all it uses: \[digits-train, digits-test, gaussian\]",
        ),
        (("sweeps",), ["ice-wieght"], r"sweeps names 'ice-wieght', unknown to tiny \(did you mean 'ice-weight'"),
        (("tiny", "known", "few", "mean_over"), ["gaussian", "gaussian"], r"mean_over names 'gaussian' twice"),
        (
            ("tiny", "sweeps", "ice-weight", "values"),
            [{"weight": 0.1}, {"mean_scale": 0.1}],
            r"values: \['mean_scale'\] beside \['weight'\]; expected the same keys in the same order",
        ),
        (
            ("tiny", "sweeps", "ice-weight", "values"),
            [{"weight": 0.1}, {"weight": 0.2}, {"weight": 0.1}],
            r"values: \{'weight': 0.1\} is listed twice",
        ),
        (
            ("tiny", "train", "energy"),
            {"weight": 0.1, "margin_known": -1.0, "margin_outlier": -5.0},
            r"train.energy.margin_known = -1.0 with margin_outlier = -5.0: expected margin_known ≤ margin_outlier",
        ),
        (
            ("tiny", "sweeps", "ice-weight", "method"),
            "two_weights",
            r"sweeps.ice-weight.method = 'two_weights': train.two_weights is missing",
        ),
        (
            ("tiny", "train", "ice", "weight"),
            10**400,
            r"train.ice.weight = 10+\.\.\.: expected a finite number or a word",
        ),
        (("tiny", "train", "ice", "weight"), -1e300, r"train.ice.weight = -1e\+300: .*no number beyond"),
        ((*SCHEDULE, "learning_rate"), 10**400, r"scratch.learning_rate = 10+\.\.\.: "),
        ((*SCHEDULE, "epochs"), 10**25, r"scratch.epochs = 10+: .*less than or equal to 100000"),
        ((*SCHEDULE, "snapshots"), 10**12, r"scratch.snapshots = 1000000000000: .*less than or equal to 100000"),
        ((*SCHEDULE, "known_batch"), 10**9, r"scratch.known_batch = 1000000000: .*less than or equal to 1000000"),
        ((*SCHEDULE, "gaussian_head"), "estimate", r"gaussian_head = 'estimate' with start = 'random': expected"),
        ((*SCHEDULE, "start"), "plain", r"protocols.scratch.start = 'plain': expected 'random'"),
        (("tiny", "protocols", "finetune", "start"), "random", r"gaussian_head = 'estimate' with start = 'random'"),
        (
            ("tiny", "protocols", "finetune"),
            tiny_params(SOURCE)["tiny"]["protocols"]["scratch"],
            r"protocols.finetune.start = 'random': expected 'plain'",
        ),
        (
            ("tiny", "sweeps", "ice-weight", "values"),
            [{"start": "random"}, {"start": "plain"}],
            r"sweeps.ice-weight.values: start = 'random': expected no start",
        ),
        (
            ("tiny", "sweeps", "ice-weight", "values"),
            [{"epochs": 1}, {"epochs": 0}],
            r"sweeps.ice-weight.values: epochs = 0: .*greater than 0",
        ),
        (("tiny", "networks", "wideresnet", "widen"), 10**8, r"widen = 100000000: .*less than or equal to 100"),
        (("datasets",), ["gausian"], r"datasets names 'gausian': no such data set \(did you mean 'gaussian'\?\)"),
        (("own_datasets", "mnist"), {"path": "x.npz"}, r"own_datasets.mnist: this is the name of a published set"),
        (("own_datasets", "mine"), {}, r"own_datasets.mine.path is missing"),
        (("own_datasets", "mine"), {"path": "x", "clases": "2"}, r"own_datasets.mine.clases: no such key"),
        (("seeds",), [str(2**63)], r"seeds.0 = '9223372036854775808': .*expected a seed below 2⁶³"),
        (("runs", "extra"), {}, r"runs.extra: no such key"),
        (("seeds",), [], r"seeds = \[\]: .*at least 1"),
        (("tiny", "train", "ice", "weight"), float("nan"), r"tiny.train.ice.weight = nan: .*expected a finite number"),
        ((*SCHEDULE, "epochs"), 0, r"tiny.protocols.scratch.epochs = 0: .*greater than 0"),
        ((*SCHEDULE, "epochs"), 1.5, r"tiny.protocols.scratch.epochs = 1.5: .*integer"),
        ((*SCHEDULE, "epocs"), 2, r"tiny.protocols.scratch.epocs: no such key \(found value 2\)"),
        ((*SCHEDULE, "shape"), "flat", r"tiny.protocols.scratch.shape = 'flat': .*'steps', 'cosine' or 'onecycle'"),
        ((*SCHEDULE, "learning_rate"), -1.0, r"learning_rate = -1.0: .*greater than 0"),
        (("tiny", "networks", "wideresnet", "dropout"), 1.0, r"dropout = 1.0: .*less than 1"),
        (("tiny", "known", "few", "mean_over"), ["nothing"], r"mean_over names 'nothing', which is not in outliers"),
        (("tiny", "known", "few", "validation_share"), 1.5, r"validation_share = 1.5: .*less than or equal to 0.5"),
        (("seeds",), [0], r"params.yaml: seeds.0 = 0: .*string"),
        (("scales",), ["tini"], r"scales names 'tini', but there is no block 'tini' \(did you mean 'tiny'\?\)"),
        (("runs", "few", "methods"), "ice", r"params.yaml: runs.few.methods = 'ice': .*list"),
    ],
)
def test_wrong_values(write, keys, to, message):
    write(*keys, to=to)
    with pytest.raises(ValueError, match=message):
        params.load()


NAMES = r"^\w[\w.+-]*$"


@pytest.mark.parametrize(
    "name", ["../../../outdir", "../few", "a/b", ".a", "-p", "$(touch x)", "a b", "a;b", "a\n", ""]
)
@pytest.mark.parametrize(
    "keys",
    [
        ("scales",),
        ("known",),
        ("runs", "few", "known"),
        ("sweeps",),
        ("beyond",),
        ("variants",),
        ("datasets",),
        ("own_datasets",),
        ("tiny", "known", "few", "auxiliary", "set"),
    ],
)
def test_names_of_folders_and_words_of_commands_are_refused(write, keys, name):
    """DVC makes paths and commands of these names, and removes what lies there before it gives the command."""
    write(*keys, to={"own_datasets": {name: {"path": "x.npz"}}, "set": name}.get(keys[-1], [name]))
    with pytest.raises(
        ValueError, match=rf"(?s)params.yaml: {'.'.join(keys)}.*({re.escape(NAMES)}|but there is no block)"
    ):
        params.load()


DIGITS = {"set": "digits-train", "classes": [0, 1, 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"known.test.classes": [0, 1, 2, 3, 5, 4]},
            r"known.few.known: test.classes = \[0, .*\]: expected those of train",
        ),
        (
            {"known.test.classes": [0, 1, 2, 3, 4]},
            r"test.classes = .*: expected those of train.classes, in their order",
        ),
        ({"known.test.classes": None}, r"test.classes = None: expected those of train.classes"),
        ({"known.train.classes": []}, r"known.few.known.train.classes = \[\]: .*at least 1"),
        ({"auxiliary.classes": [6, 6]}, r"known.few.auxiliary: classes names 6 twice"),
        (
            {"auxiliary.classes": [5, 6]},
            r"auxiliary.classes = \[5, 6\] of 'digits-train': expected none that is known.* 5",
        ),
        (
            {"auxiliary": {"set": "digits-train"}},
            r"auxiliary.classes = all of 'digits-train': expected none that is known",
        ),
        (
            {"outliers.digits-89.classes": [0, 8]},
            r"outliers.digits-89.classes = \[0, 8\] of 'digits-test': expected none",
        ),
        (
            {"known.test": DIGITS, "known.train": DIGITS},
            r"test.set = 'digits-train', .*: expected another set or split",
        ),
        ({"known.test": DIGITS | {"split": "all"}, "known.train": DIGITS}, r"test.split = 'all': expected another set"),
        ({"validation_share": 0.9999999}, r"validation_share = 0.9999999: .*less than or equal to 0.5"),
    ],
)
def test_tasks_that_would_measure_something_else_are_refused(write, changes, message):
    task = tiny_params(paths.ROOT)["tiny"]["known"]["few"]
    for keys, value in changes.items():
        *folders, last = keys.split(".")
        functools.reduce(dict.__getitem__, folders, task)[last] = value
    write("tiny", "known", "few", to=task)
    with pytest.raises(ValueError, match=message):
        params.load()


def test_a_class_is_the_same_by_name_and_by_number():
    with pytest.raises(ValueError, match="classes names 'bird' twice"):
        divisions.Part(set="cifar10", split="train", classes=["bird", 2])
    train = divisions.Part(set="cifar10", split="train", classes=["bird", "cat"])
    assert train.shared(divisions.Part(set="cifar10", split="test", classes=[2, "dog"])) == ["bird"]
    assert train.shared(divisions.Part(set="own", classes=["bird"])) == []
    divisions.Known(train=train, test=divisions.Part(set="own", classes=[0, 1]))
    with pytest.raises(ValueError, match="expected those of train.classes"):
        divisions.Known(train=train, test=divisions.Part(set="own", classes=["cat", "bird"]))


@pytest.mark.parametrize("kind", ["wideresnet", "densenet"])
def test_depths_are_those_that_networks_can_have(write, kind):
    shape = {"wideresnet": {"widen": 1}, "densenet": {"growth": 1}}[kind]
    for depth in range(45):
        try:
            models.BACKBONES[kind](depth, 1)
        except ValueError:
            write("tiny", "networks", kind, to=shape | {"depth": depth})
            with pytest.raises(ValueError, match=f"tiny.networks.{kind}.depth = {depth}: expected .n . 4"):
                params.load()
        else:
            write("tiny", "networks", kind, to=shape | {"depth": depth})
            params.load()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "ice_id",
            r"own_methods.*losses.ice_id\(known_logits, labels\): expected \(known_logits, labels, outlier_logits",
        ),
        ("wide", r"losses.wide\(known_logits, labels, outlier_logits, weight\): expected \(.*, \*, \.\.\.\)"),
        ("loose", r"losses.loose\(.*\*\*others\): expected"),
    ],
)
def test_a_function_that_is_no_loss_is_refused_before_it_trains(write, monkeypatch, loss, message):
    def wide(known_logits, labels, outlier_logits, weight): ...

    def loose(known_logits, labels, outlier_logits, **others): ...

    for function in (wide, loose):
        function.__module__ = losses.__name__
        monkeypatch.setattr(losses, function.__name__, function, raising=False)
    write("own_methods", to={loss: {"head": "linear", "score": "energy", "title": "Mine"}})
    with pytest.raises(ValueError, match=message):
        params.load()


def test_the_check_looks_up_every_task_and_run(write, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CHECKED", tmp_path / "data/params.txt")
    write("runs", "few", "methods", to=["plain", "ice", "bce"])
    with pytest.raises(ValueError, match="unknown tiny.train: 'bce'"):
        params.check()
    write("known", to=["few", "many"])
    with pytest.raises(ValueError, match="unknown tiny.known: 'many'"):
        params.check()
    assert not paths.CHECKED.exists()
    write()
    params.check()
    first = paths.CHECKED.read_bytes()
    write("tiny", "train", "ice", "weight", to=0.7)
    params.check()
    assert paths.CHECKED.read_bytes() == first, "constant, so that nothing is made anew"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("tiny", "train", "ice", "weight"), r"train.ice.weight is missing; expected a number"),
        ((*SCHEDULE, "epochs"), r"tiny.protocols.scratch.epochs is missing"),
        (("datasets",), r"params.yaml: datasets is missing"),
    ],
)
def test_missing_keys(write, keys, message):
    write(*keys, remove=True)
    with pytest.raises(ValueError, match=message):
        params.load()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (("tini", "few", "wideresnet", "scratch", "ice", 0), r"unknown scale: 'tini' \(did you mean 'tiny'\?\)"),
        (("tiny", "fw", "wideresnet", "scratch", "ice", 0), r"unknown tiny.known: 'fw'"),
        (("tiny", "few", "resnet", "scratch", "ice", 0), r"unknown tiny.networks: 'resnet'"),
        (("tiny", "few", "wideresnet", "scrtch", "ice", 0), r"unknown tiny.protocols: 'scrtch'"),
        (("tiny", "few", "wideresnet", "scratch", "ic", 0), r"unknown method 'ic' \(did you mean 'ice'\?\)"),
        (("tiny", "few", "wideresnet", "scratch", "energy", 0), r"unknown tiny.train: 'energy'; expected one of"),
        (("tiny", "few", "wideresnet", "scratch", "ice", "x"), r"seed is 'x'; expected a whole number ≥ 0"),
        (("tiny", "few", "wideresnet", "scratch", "ice", "-1"), r"seed is '-1'; expected a whole number ≥ 0"),
        (
            ("tiny", "few", "wideresnet", "scratch", "ice", str(2**63)),
            r"seed is '9223372036854775808'; expected one below",
        ),
        (("tiny", "few", "wideresnet", "scratch", "ice", "00"), r"seed is '00'; .*without leading zeros"),
    ],
)
def test_unknown_runs(write, run, message):
    write()
    with pytest.raises(ValueError, match=message):
        params.run(*run)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML"), ("- 1", "expected a mapping"), ("", "expected a mapping")]
)
def test_files_that_are_no_parameters(write, text, message):
    paths.PARAMS.write_text(text)
    with pytest.raises(ValueError, match=message):
        params.load()


def test_a_missing_file_says_where_to_run(write):
    with pytest.raises(ValueError, match="params.yaml is missing; run from a checkout"):
        params.load()
