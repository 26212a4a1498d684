"""Losses, heads, scores and outliers of a user's own: tried out, and made permanent."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from icelib import losses, scores
from icelib.config import runs as params
from icelib.evaluation import evaluate as scoring
from icelib.report import results
from icelib.tools import custom as own
from icelib.training.train import train as training
from icelib.util import paths
from icelib.methods import METHODS
from tests.conftest import RUN, Project

SCALE = 2.0


def stretched(known_logits, labels, outlier_logits, *, weight, stretch):
    """ICE with a global constant and a helper, as a user might write it."""
    return {
        "cross_entropy": F.cross_entropy(known_logits, labels),
        "known": weight * losses.ice_id(known_logits, labels).mean(),
        "outlier": twice(stretch * weight * losses.ice_ood(outlier_logits).mean()) / SCALE,
    }


def twice(x):
    return 2 * x


class Cosine(torch.nn.Module):
    """A head that the project does not have: −1 + cosine to each class's direction."""

    def __init__(self, features, classes, sharpness):
        super().__init__()
        self.directions, self.sharpness = torch.nn.Parameter(torch.randn(classes, features)), sharpness

    def forward(self, z):
        return self.sharpness * (F.normalize(z) @ F.normalize(self.directions).T - 1)


def margin(logits):
    top = logits.double().topk(2, 1).values
    return top[:, 0] - top[:, 1]


def tracked(project):
    return project.bytes("results/**/*") | project.bytes("checkpoints/**/*") | project.bytes("params.yaml")


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """The tiny project with plain and ICE trained and measured; tests copy it."""
    root = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(prepared.root, root)
    project = Project(root)
    values = project.params
    values["runs"]["densenet"]["known"] = values["runs"]["finetune"]["known"] = []
    project.params = values
    for method in ("plain", "ice"):
        code = "from icelib import params, training, scoring, results; r = params.run(*'{}'.split()); "
        code += "training.train(r); scoring.score(r); results.measure(r)"
        project.call(sys.executable, "-c", code.format(" ".join([*RUN, method, "0"])))
    return project


@pytest.fixture
def ready(trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture(autouse=True)
def forget():
    before = dict(METHODS)
    own._TRIED.clear()
    yield
    METHODS.clear()
    METHODS.update(before)


def test_a_loss_becomes_a_row_and_touches_nothing_tracked(inside, capsys, monkeypatch):
    before = tracked(inside)
    shown = own.loss(stretched, epochs=1, weight=0.1, stretch=3.0)
    assert tracked(inside) == before
    (home,) = paths.OWN.glob("stretched-*")
    assert {"run.json", "code.py", "checkpoints", "results"} <= {path.name for path in home.iterdir()}
    title = f"stretched {home.name[10:16]} (weight 0.1, stretch 3, 1 epoch)"
    assert list(shown.index) == ["few-wideresnet-scratch-plain-0", "few-wideresnet-scratch-ice-0", title]
    assert 0 < shown.loc[title, "accuracy"] < 100
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"| {title}, WRN(G)"))
    (metrics,) = home.glob("results/metrics/tiny/*.json")
    auroc = 100 * json.loads(metrics.read_text())["detectors"]["stretched"]["mean"]["auroc"]["value"]
    assert f"{auroc:.2f}" in row
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("a finished try was repeated"))
    pd.testing.assert_frame_equal(own.loss(stretched, epochs=1, weight=0.1, stretch=3.0), shown)
    own._TRIED.clear()  # as in another session
    pd.testing.assert_frame_equal(own.tried("tiny"), shown)
    monkeypatch.setattr(training, "code_digest", lambda: "other")
    assert len(own.tried("tiny")) == 2, "what other code made does not stand beside the rest"


def test_other_code_or_values_are_another_try(inside):
    own.loss(stretched, epochs=1, weight=0.1, stretch=3.0)
    own.loss(stretched, epochs=1, weight=0.1, stretch=4.0)
    twice.__globals__["SCALE"] = 3.0  # a constant that the function uses
    try:
        shown = own.loss(stretched, epochs=1, weight=0.1, stretch=3.0)
    finally:
        twice.__globals__["SCALE"] = 2.0
    assert len(list(paths.OWN.glob("stretched-*"))) == 3 and len(shown) == 5


def test_candidates_are_chosen_by_the_rule(inside, capsys):
    shown = own.loss(stretched, epochs=1, weight=[0.05, 0.2], stretch=1.0)
    out = capsys.readouterr().out
    assert "✓" in out and "0.05" in out and "0.2" in out
    assert len(list(paths.OWN.glob("*"))) == 1, "candidates are trained as trials, without files of their own"
    assert any(f"(weight {weight:g}, stretch 1, 1 epoch)" in shown.index[-1] for weight in (0.05, 0.2))


def test_a_head_and_score_of_ones_own(inside):
    shown = own.loss(stretched, head=Cosine, score=margin, epochs=1, weight=0.1, stretch=1.0, sharpness=10.0)
    assert len(shown) == 3
    (home,) = paths.OWN.glob("stretched-*")
    code = (home / "code.py").read_text()
    assert "self.sharpness *" in code and "topk(2, 1)" in code and "def twice" in code and "SCALE = 2.0" in code


def test_an_interrupted_try_goes_on(inside, monkeypatch):
    real, seen = training.validate, []

    def interrupt(*arguments):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "validate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        own.loss(stretched, weight=0.1, stretch=3.0)
    monkeypatch.setattr(training, "validate", lambda *arguments: seen.append(1) or real(*arguments))
    own.loss(stretched, weight=0.1, stretch=3.0)
    assert len(seen) == 3, "the first of two epochs was not taken again"


def wrong_keys(known_logits, labels, outlier_logits, *, weight):
    return torch.tensor(1.0)


def not_finite(known_logits, labels, outlier_logits, *, weight):
    return {"cross_entropy": known_logits.sum() / 0}


def vector(known_logits, labels, outlier_logits, *, weight):
    return {"cross_entropy": known_logits.sum(1)}


def detached(known_logits, labels, outlier_logits, *, weight):
    return {"cross_entropy": known_logits.detach().sum()}


STEPS, CALLS = [0], []


def warmed_up(known_logits, labels, outlier_logits, *, weight):
    STEPS[0] += 1
    return {"cross_entropy": F.cross_entropy(known_logits, labels) * min(1, STEPS[0] / 60)}


def noted(known_logits, labels, outlier_logits, *, weight):
    CALLS.append(1)
    return {"cross_entropy": F.cross_entropy(known_logits, labels)}


def chance(known_logits, labels, outlier_logits, *, weight):
    return {"cross_entropy": F.cross_entropy(known_logits, labels) * np.random.rand()}


def of_torch(known_logits, labels, outlier_logits, *, weight):
    return {"cross_entropy": F.cross_entropy(known_logits + weight * torch.rand(()), labels)}


def positional(known_logits, labels, outlier_logits, weight):
    return {"cross_entropy": F.cross_entropy(known_logits, labels)}


def has_scale(known_logits, labels, outlier_logits, *, scale):
    return {"cross_entropy": F.cross_entropy(known_logits, labels)}


class Layers(torch.nn.Sequential):
    """A head whose number of units is a whole number."""

    def __init__(self, features, classes, hidden=4):
        super().__init__(torch.nn.Linear(features, hidden), torch.nn.Linear(hidden, classes))


class AnyKey(torch.nn.Linear):
    def __init__(self, features, classes, **others):
        super().__init__(features, classes)


class TooWide(torch.nn.Linear):
    def __init__(self, features, classes):
        super().__init__(features, classes + 3)


def first_ones(logits):
    return logits.max(1).values[:10]


def needs_labels(logits, labels):
    return logits[:, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": TooWide}, r"TooWide gave \(500, 9\) for 500 samples; expected logits \(500, 6\)"),
        ({"head": AnyKey}, r"AnyKey\(features, classes, \*\*others\): expected .* further parameters by name"),
        ({"head": None}, r"head = None: expected one of \['linear', 'gaussian'\] or a class"),
        ({"score": first_ones}, r"first_ones returned \(10,\) for logits \(500, 6\)"),
        ({"score": needs_labels}, r"needs_labels is no function of logits alone"),
        ({"score": "max_softmax"}, r"expected a function of logits as score, found 'max_softmax'"),
        ({"weight": []}, r"stretched.weight = \[\]: expected at least one value"),
        ({"weight": [0.1, 0.1]}, r"stretched.weight names 0.1 twice"),
        ({"weight": None}, r"stretched.weight = None: expected a number or a word"),
        ({"weight": True}, r"stretched.weight = True: expected a number or a word"),
        ({"seed": -1}, r"seed = -1: expected an integer ≥ 0"),
        ({"seed": "0"}, r"seed = '0': expected an integer ≥ 0"),
    ],
)
def test_wrong_options_are_told_before_a_training_begins(inside, monkeypatch, options, message):
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message):
        own.loss(stretched, **({"weight": 0.1, "stretch": 1.0} | options))


def test_a_declared_name_and_edited_code_are_refused(inside, monkeypatch):
    values = inside.params
    about = {"head": "gaussian", "score": "max_likelihood", "title": "Stretched"}
    inside.params = values | {"own_methods": {"stretched": about}}
    monkeypatch.setattr(losses, "stretched", stretched, raising=False)
    monkeypatch.setattr(stretched, "__module__", "icelib.losses")
    with pytest.raises(ValueError, match=r"stretched is declared in params.yaml \(own_methods\)"):
        own.loss(stretched, weight=0.1, stretch=1.0)
    monkeypatch.setattr(training, "code_digest", lambda: "other")
    with pytest.raises(ValueError, match=r"code was edited since it was loaded here; restart the kernel"):
        own.loss(stretched, weight=0.1, stretch=1.0)


def with_default(known_logits, labels, outlier_logits, *, weight=0.1, stretch=1.0):
    return stretched(known_logits, labels, outlier_logits, weight=weight, stretch=stretch)


def test_parameters_with_a_default_may_be_left_out(inside):
    assert "(weight 0.3, stretch 1, 1 epoch)" in own.loss(with_default, epochs=1, weight=0.3).index[-1]


def test_whole_numbers_and_torchs_random_numbers_are_allowed(inside):
    shown = own.loss(of_torch, head=Layers, score=scores.max_softmax, epochs=1, weight=np.float32(0.5), hidden=3)
    assert "(weight 0.5, 1 epoch)" in shown.index[-1]
    assert own.loss(of_torch, head=Layers, score=scores.max_softmax, epochs=1, weight=0.5).index[-1] != shown.index[-1]


def test_new_test_images_train_nothing(inside, monkeypatch):
    shown = own.loss(stretched, epochs=1, weight=0.1, stretch=3.0)
    (file,) = paths.OWN.glob("*/run.json")
    about = json.loads(file.read_text())
    about["made_of"]["images"]["test"] = "other"
    file.write_text(json.dumps(about))
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained for other test images"))
    pd.testing.assert_frame_equal(own.loss(stretched, epochs=1, weight=0.1, stretch=3.0), shown)
    assert json.loads(file.read_text())["made_of"]["images"]["test"] != "other"


@pytest.mark.parametrize(
    ("function", "values", "message"),
    [
        (
            wrong_keys,
            {"weight": 1.0},
            r"wrong_keys returned Tensor; expected a dict of its terms, one of them cross_entropy",
        ),
        (not_finite, {"weight": 1.0}, r"not_finite: term 'cross_entropy' is .*inf.*expected a finite tensor"),
        (vector, {"weight": 1.0}, r"vector: term 'cross_entropy' is .*shape \(\)"),
        (detached, {"weight": 1.0}, r"detached has no gradient"),
        (warmed_up, {"weight": 1.0}, r"warmed_up gives other values when it is called again"),
        (noted, {"weight": 1.0}, r"noted gives other values .*, or changes something that it uses"),
        (chance, {"weight": 1.0}, r"chance gives other values .* random numbers from torch alone"),
        (positional, {"weight": 1.0}, r"positional\(.*weight\): expected \(known_logits, labels, outlier_logits, \*"),
        (has_scale, {}, r"has_scale has a parameter 'scale', which is an option of own.loss"),
        (vector, {}, r"vector.weight is missing; expected a number ≥ 0"),
        (vector, {"weight": -1.0}, r"vector.weight = -1.0: expected a number ≥ 0"),
        (vector, {"weight": 1.0, "wieght": 2.0}, r"vector.wieght: no such parameter \(did you mean 'weight'\?\)"),
        (losses.ice, {"weight": 1.0}, r"ice is a method of the project already; choose another name"),
        (lambda *x: {}, {}, r"expected a function with a name of its own"),
        ("ice", {}, r"expected a function.*found 'ice'"),
    ],
)
def test_mistakes_are_told_before_a_training_begins(inside, monkeypatch, function, values, message):
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message):
        own.loss(function, **values)
    assert not paths.OWN.exists()


def test_an_unknown_head_is_told(inside):
    with pytest.raises(ValueError, match=r"unknown head 'gausian' \(did you mean 'gaussian'\?\)"):
        own.loss(stretched, head="gausian", weight=0.1, stretch=1.0)


def test_a_score_with_a_detectors_name_is_refused(inside):
    values = inside.params
    values["tiny"]["detectors"]["own"] = ["max_logit"]
    inside.params = values
    with pytest.raises(ValueError, match=r"tiny.detectors.own names 'max_logit', which is a detector already"):
        scoring.score(params.run(*RUN, "plain", 0))


@pytest.mark.parametrize(
    ("name", "title", "message"),
    [
        ("ice", "Mine", "ice: is a method of the project already"),
        ("ice_id", "ICE", "ice_id.title = 'ICE': another method has this title"),
        ("mine", "Mine", "icelib/losses.py has no function 'mine'"),
    ],
)
def test_own_methods_are_checked_in_params(inside, name, title, message):
    values = inside.params
    values["own_methods"] = {name: {"head": "gaussian", "score": "max_likelihood", "title": title}}
    inside.params = values
    with pytest.raises(ValueError, match=message):
        params.load()


def test_a_score_stands_beside_the_networks_own(inside):
    before = tracked(inside)
    table = own.score(margin)
    assert list(table.index) == [
        ("Plain training", "margin"),
        ("Plain training", "msp"),
        ("ICE", "margin"),
        ("ICE", "ice"),
    ]
    ice = results.load(params.run(*RUN, "ice", 0))["detectors"]
    assert table.loc[("ICE", "ice"), "AUROC ↑"] == round(100 * ice["ice"]["mean"]["auroc"]["value"], 2)
    same = own.score(scores.max_likelihood).loc[("ICE", "max_likelihood")]
    pd.testing.assert_series_equal(same, table.loc[("ICE", "ice")], check_names=False)
    assert tracked(inside) == before and (paths.OWN / "score-margin.csv").exists()
    with pytest.raises(ValueError, match=r"(?s)flat returned .* for logits \(500, 6\)"):
        own.score(flat)


def flat(logits):
    return logits


def test_outliers_of_ones_own(inside, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "known.npz", images=images)
    table = own.outliers(tmp_path / "known.npz")
    assert list(table.index) == ["Plain training", "ICE"] and table["AUROC ↑"].between(0, 100).all()
    with pytest.raises(ValueError, match="missing.npz is missing"):
        own.outliers(tmp_path / "missing.npz")
