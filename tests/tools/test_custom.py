"""Losses, heads, scores and outliers of a user's own."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from icelib import losses
from icelib.methods import METHODS
from icelib.report import results
from icelib.tools import custom
from icelib.training import train
from icelib.util import paths
from icelib.util.errors import DivergedError
from tests.conftest import Project


def stretched(known_logits, labels, outlier_logits, *, weight, stretch=1.0):
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "known": weight * losses.ice_id(known_logits, labels).mean(),
        "outlier": stretch * weight * losses.ice_ood(outlier_logits).mean(),
    }


def pulled(known_logits, labels, outlier_logits, *, weight, known_features, outlier_features):
    """A single tensor, of features too."""
    apart = weight * (known_features.mean(0) @ outlier_features.mean(0))
    return F.cross_entropy(known_logits, labels) + apart


class Cosine(torch.nn.Module):
    """A head that the project does not have: −1 + cosine to each class's direction."""

    def __init__(self, features, classes, sharpness=5.0):
        super().__init__()
        self.directions, self.sharpness = torch.nn.Parameter(torch.randn(classes, features)), sharpness

    def forward(self, z):
        return self.sharpness * (F.normalize(z) @ F.normalize(self.directions).T - 1)


def margin(logits):
    top = logits.double().topk(2, 1).values
    return top[:, 0] - top[:, 1]


def norm(logits, features):
    return features.double().norm(dim=1)


@pytest.fixture
def ready(measured, tmp_path):
    shutil.copytree(measured.root, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture(autouse=True)
def forget():
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)
    custom._STOPPED.clear()


def tracked(project):
    folders = ("results", "checkpoints", "figures", "data", "notebooks")
    return {name: project.bytes(f"{name}/**/*") for name in folders} | project.bytes("params.yaml")


def record(name):
    return json.loads((paths.SCRATCH / "custom" / name / "try.json").read_text())


def no_training(monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("training began"))


def test_a_loss_is_told_by_its_difference_and_kept(inside, capsys, monkeypatch):
    before = tracked(inside)
    custom.loss(stretched, name="mine", epochs=1, weight=0.1)
    assert tracked(inside) == before
    text = capsys.readouterr().out
    first, *_, last = [line for line in text.splitlines() if line.startswith("| mine")]
    assert first.startswith("| mine − ICE") and "| mine − OE" in text and "One seed each" in text
    metrics, ice = record("mine")["metrics"], results.metrics(custom._declared()["ICE"])
    ours, theirs = (100 * x["detectors"][y]["far"]["auroc"]["value"] for x, y in ((metrics, "mine"), (ice, "ice")))
    assert f"{ours:.2f}" in last and f"{ours - theirs:+.2f}" in first
    assert (paths.SCRATCH / "custom/mine/figure.png").stat().st_size > 1000
    no_training(monkeypatch)
    METHODS.pop("mine")  # as in another session
    custom.loss(again="mine")
    assert capsys.readouterr().out == text
    with pytest.raises(ValueError, match=r"unknown kept try: 'min' \(did you mean 'mine'\?\)"):
        custom.loss(again="min")
    table = custom.tried()
    assert list(table.index) == ["Plain training", "OE", "ICE", "mine"] and table.loc["mine", "stretch"] == 1.0
    assert not [path for path in (paths.SCRATCH / "custom").iterdir() if path.name != "mine"]


def test_a_loss_of_the_project_with_other_values_and_another_protocol(inside):
    custom.loss(losses.ice, epochs=1, weight=0.3, learning_rate=0.05, clip=1.0)
    (path,) = (paths.SCRATCH / "custom").iterdir()
    assert path.name.startswith("ice-20")
    run = record(path.name)["run"]
    ice = custom.runs.load().train["ice"]
    assert run["loss"] == {"weight": 0.3} and run["head"] == {key: x for key, x in ice.items() if key != "weight"}
    assert (run["schedule"]["learning_rate"], run["schedule"]["clip"], run["schedule"]["epochs"]) == (0.05, 1.0, 1)


def test_features_a_head_and_scores_of_ones_own(inside):
    values = {"head": Cosine, "epochs": 1, "weight": 0.1}
    custom.loss(pulled, score=norm, name="near", **values)
    custom.loss(pulled, score=margin, name="far", **values)
    assert [record(name)["history"][0]["loss"].keys() for name in ("near", "far")] == 2 * [{"loss"}]
    assert record("near")["run"]["head"] == {"sharpness": 5.0}
    auroc = [record(name)["metrics"]["detectors"][name]["far"]["auroc"]["value"] for name in ("near", "far")]
    assert auroc[0] != auroc[1], "the same network by two scores"


def test_candidates_are_chosen_on_validation_images(inside, capsys):
    custom.loss(stretched, name="mine", epochs=2, weight=[0.05, np.float32(0.2)])
    found = record("mine")
    rows = found["candidates"]
    assert [set(row["change"]) for row in rows] == 2 * [{"weight"}] and len({row["digest"] for row in rows}) == 2
    assert found["run"]["loss"]["weight"] == custom.choice.choose(rows)["change"]["weight"]
    assert len(found["history"]) == 2 and "Candidates, on validation images" in capsys.readouterr().out


def test_an_interrupted_try_goes_on(inside, monkeypatch, capsys):
    real, seen = train.validate, []

    def interrupted(*arguments):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(train, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):  # in a script it is Ctrl-C
        custom.loss(stretched, weight=0.2)
    seen.clear()
    monkeypatch.setattr(custom, "get_ipython", lambda: True)
    shown = []
    monkeypatch.setattr(custom, "display", lambda *things, **_: shown.extend(things))
    assert custom.loss(stretched, weight=0.1) is None
    assert capsys.readouterr().out == "stopped after epoch 1; run the cell again to go on\n"
    custom.loss(stretched, weight=0.1)
    assert len(seen) == 3, "the first of two epochs was not taken again"
    assert "stretched-" in shown[0].data and "− ICE" in shown[0].data, "the difference is told first"
    custom.loss(stretched, weight=0.1)
    assert len(seen) == 5, "what has ended is taken again only if it is asked for"


def test_a_loss_that_diverges_is_told(inside):
    def exploding(known_logits, labels, outlier_logits, *, weight):
        return {"grow": torch.exp(weight * known_logits.square().mean() + F.cross_entropy(known_logits, labels))}

    with pytest.raises(DivergedError, match="loss is not finite at epoch 1 of 2.*try a smaller learning rate"):
        custom.loss(exploding, head="linear", learning_rate=1000.0, weight=30.0)
    assert not (paths.SCRATCH / "custom").exists()


def not_finite(known_logits, labels, outlier_logits, *, weight):
    return {"grow": known_logits.sum() / 0}


def vector(known_logits, labels, outlier_logits, *, weight):
    return known_logits.sum(1)


def detached(known_logits, labels, outlier_logits, *, weight):
    return known_logits.detach().sum()


def root(known_logits, labels, outlier_logits, *, weight):
    return (known_logits - known_logits).sqrt().sum()


def a_number(known_logits, labels, outlier_logits, *, weight):
    return 1.0


def positional(known_logits, labels, outlier_logits, weight):
    return F.cross_entropy(known_logits, labels)


def two(logits, labels):
    return F.cross_entropy(logits, labels)


def misspelt(known_logits, labels, outlier_logits):
    return losses.ice_od(outlier_logits)


class TooWide(torch.nn.Linear):
    def __init__(self, features, classes):
        super().__init__(features, classes + 3)


def first_ones(logits):
    return logits.max(1).values[:10]


def needs_labels(logits, labels):
    return logits[:, 0]


@pytest.mark.parametrize(
    ("function", "options", "kind", "message"),
    [
        (
            not_finite,
            {"weight": 1.0},
            ValueError,
            r"not_finite: term 'grow' is .*inf.*expected a finite tensor of shape",
        ),
        (vector, {"weight": 1.0}, ValueError, r"vector: term 'loss' is of shape \(500,\); expected .* of shape \(\)"),
        (detached, {"weight": 1.0}, ValueError, r"detached has no gradient"),
        (root, {"weight": 1.0}, ValueError, r"root has a gradient of shape .*; expected a finite tensor"),
        (a_number, {"weight": 1.0}, ValueError, r"a_number: term 'loss' is 1.0; expected a finite tensor"),
        (positional, {"weight": 1.0}, ValueError, r"positional has no parameter 'weight'"),
        (two, {}, ValueError, r"two\(logits, labels\): expected \(known_logits, labels, outlier_logits, \*, ...\)"),
        (misspelt, {}, AttributeError, r"module 'icelib.losses' has no attribute 'ice_od'"),
        ("ice", {}, ValueError, r"expected a function as loss, found 'ice'"),
        (stretched, {}, ValueError, r"stretched.weight is missing; expected a number ≥ 0"),
        (stretched, {"weight": -1.0}, ValueError, r"stretched.weight = -1.0: expected a number ≥ 0"),
        (stretched, {"wieght": 1.0}, ValueError, r"stretched has no parameter 'wieght' \(did you mean 'weight'\?\)"),
        (stretched, {"weight": []}, ValueError, r"stretched.weight = \[\]: expected a number or a word, or a list"),
        (stretched, {"weight": None}, ValueError, r"stretched.weight = None: expected a number or a word"),
        (stretched, {"weight": True}, ValueError, r"stretched.weight = True: expected a number or a word"),
        (stretched, {"weight": 1.0, "epochs": 0}, ValueError, r"epochs = 0: .*greater than 0"),
        (stretched, {"weight": 1.0, "seed": -1}, ValueError, r"seed = -1: expected a whole number"),
        (stretched, {"weight": 1.0, "name": "ice"}, ValueError, r"name = 'ice': expected .* no method or detector"),
        (stretched, {"weight": 1.0, "name": "../x"}, ValueError, r"name = '../x': expected letters, digits"),
        (
            stretched,
            {"weight": 1.0, "head": "gausian"},
            ValueError,
            r"unknown head 'gausian' \(did you mean 'gaussian'",
        ),
        (
            stretched,
            {"weight": 1.0, "head": TooWide},
            ValueError,
            r"logits of TooWide are of shape \(1000, 9\); expected",
        ),
        (stretched, {"weight": 1.0, "score": first_ones}, ValueError, r"first_ones of logits \(1000, 6\) is of shape"),
        (stretched, {"weight": 1.0, "score": needs_labels}, TypeError, r"needs_labels\(\) missing 1 required"),
    ],
)
def test_mistakes_are_told_before_a_training_begins(inside, monkeypatch, function, options, kind, message):
    no_training(monkeypatch)
    with pytest.raises(kind, match=message):
        custom.loss(function, **options)
    assert not paths.SCRATCH.exists()


def test_methods_that_are_not_measured_are_left_out(inside, capsys):
    for path in (inside.root / "results/tiny/metrics").glob("*.json"):
        path.unlink()
    custom.loss(stretched, name="mine", epochs=1, weight=0.1)
    text = capsys.readouterr().out
    assert "Not all can be shown: results/tiny/metrics" in text and "| mine " in text


def test_a_score_stands_beside_the_networks_own(inside):
    before = tracked(inside)
    table = custom.score(norm)
    own = {"Plain training": "msp", "OE": "oe", "ICE": "ice"}
    assert list(table.index) == [pair for title in own for pair in ((title, "norm"), (title, own[title]))]
    ice = results.metrics(custom._declared()["ICE"])["detectors"]["ice"]
    assert table.loc[("ICE", "ice"), "AUROC near"] == round(100 * ice["near"]["auroc"]["value"], 2)
    assert tracked(inside) == before
    with pytest.raises(ValueError, match=r"score 'first_ones' has shape \(10,\)"):
        custom.score(first_ones)


def test_outliers_of_ones_own(inside, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    table = custom.outliers(tmp_path / "mine.npz")
    assert list(table.index) == ["Plain training", "OE", "ICE"]
    assert list(table) == ["AUROC own", "FPR95 own"] and table["AUROC own"].between(0, 100).all()
    with pytest.raises(ValueError, match="missing.npz is missing"):
        custom.outliers(tmp_path / "missing.npz")
