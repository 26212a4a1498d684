"""Score files and metrics of trained runs, and the store that keeps them."""

import pytest
import torch

from icelib import metrics, models
from icelib.config import runs
from icelib.data import tasks
from icelib.evaluation import detectors, evaluate
from icelib.training import store, train
from icelib.util import paths, tensors
from icelib.util.files import read_json, write_json
from tests.conftest import RUN, once


@pytest.fixture
def trained(inside):
    """A plain, an OE and an ICE run, trained in this process."""
    once(inside, "evaluated runs", lambda: [train.train(runs.run(*RUN, name, 0)) for name in ("plain", "oe", "ice")])
    return inside


@pytest.fixture
def counted(monkeypatch):
    """Names of the runs that are evaluated and not taken from the store."""
    names, scores = [], evaluate._scores
    monkeypatch.setattr(evaluate, "_scores", lambda run: names.append(run.name) or scores(run))
    return names


@pytest.mark.parametrize("method", ["plain", "oe", "ice"])
def test_every_network_is_scored_by_all_detectors_and_its_own_score(trained, method):
    run = runs.run(*RUN, method, 0)
    found = evaluate.evaluate(run)
    own = {method} - {"plain"}
    assert set(found["detectors"]) == set(detectors.DETECTORS) | own
    scores, about = tensors.load(evaluate.place(run) / "scores.safetensors")
    test, _ = tasks.load("digits", "test")
    model, _ = store.load(run)
    assert torch.equal(scores["labels"], test["labels"])
    assert torch.equal(scores["predicted"], models.predict(model, test["known"], torch.float32).argmax(1))
    assert (
        found["origin"]["scores"] == about["sha256"] and found["origin"]["checkpoint"] == store.load(run)[1]["sha256"]
    )
    assert found["origin"]["scoring"]["threads"] == 1, "results must not depend on the number of threads"
    assert found["digest"] == store.digest(run) and found["task"] == "digits"
    assert found["images"] == {"known": len(test["labels"]), "digits-89": 100, "gaussian": 100}
    for detector, values in found["detectors"].items():
        assert set(values) == {"digits-89", "gaussian", "near", "far"}
        assert values["near"] == values["digits-89"] and values["far"] == values["gaussian"]
        expected = metrics.detection_metrics(scores[f"{detector}/known"], scores[f"{detector}/gaussian"])
        assert {name: x["value"] for name, x in values["gaussian"].items()} == pytest.approx(expected, abs=1e-9)


def test_a_changed_weight_evaluates_one_run(trained, counted):
    evaluate.evaluate_all([runs.run(*RUN, name, 0) for name in ("plain", "oe")], jobs=1)
    assert len(counted) == 2
    values = trained.params
    values["train"]["oe"]["weight"] = 0.7
    trained.params = values
    train.train(runs.run(*RUN, "oe", 0))
    found = evaluate.evaluate_all([runs.run(*RUN, name, 0) for name in ("plain", "oe")], jobs=1)
    assert counted[2:] == ["digits-wideresnet-scratch-oe-0"]
    assert list(found) == ["digits-wideresnet-scratch-plain-0", "digits-wideresnet-scratch-oe-0"]


def test_what_metrics_follow_from_is_in_the_key(trained, counted):
    run, places = runs.run(*RUN, "plain", 0), set()
    changes = [("bootstrap", 30), ("detectors", {"odin_temperature": 10.0, "odin_noise": 0.0014})]
    for key, value in [*changes, ("near", []), ("far", ["digits-89", "gaussian"])]:
        values = trained.params
        (values["tasks"]["digits"] if key in ("near", "far") else values)[key] = value
        if key == "far":
            values["tasks"]["digits"]["near"] = []
        trained.params = values
        places.add(evaluate.place(run))
    assert len(places) == 4
    assert "near" not in evaluate.evaluate(run)["detectors"]["msp"], "a mean over no sets"


@pytest.mark.parametrize("name", evaluate.FILES)
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "another"])
def test_a_damaged_entry_is_computed_anew_to_the_same_bytes(trained, counted, name, damage, capsys):
    run, other = (runs.run(*RUN, name, 0) for name in ("plain", "oe"))
    evaluate.evaluate(run)
    path = evaluate.place(run) / name
    before = path.read_bytes()
    if damage == "cut":
        path.write_bytes(before[: len(before) // 2])
    elif damage == "changed":
        path.write_bytes(before.replace(b"0.", b"1.", 1) if path.suffix == ".json" else before[:-1] + b"\x7f")
    elif damage == "gone":
        path.unlink()
    else:  # whole, but of another run
        evaluate.evaluate(other)
        path.write_bytes((evaluate.place(other) / name).read_bytes())
        counted.remove(other.name)
    capsys.readouterr()
    evaluate.evaluate(run)
    assert counted == [run.name] * 2 and path.read_bytes() == before
    told = capsys.readouterr().err
    assert ("it is computed anew" in told) == (name != "metrics.json" or damage != "gone"), (
        "killed before it was written"
    )
    assert told.count("\n") <= 1
    evaluate.evaluate(run)
    assert len(counted) == 2


def test_the_command_writes_the_files_of_declared_runs_alone(trained):
    values = trained.params
    values["runs"] = [{"task": "digits", "network": "wideresnet", "protocol": "scratch", "methods": ["plain", "ice"]}]
    trained.params = values
    results = paths.results("tiny")
    write_json(results / "metrics" / "digits-wideresnet-scratch-old-0.json", {})
    trained.python("evaluation.evaluate", "--jobs", 2)
    names = [f"digits-wideresnet-scratch-{method}-0" for method in ("ice", "plain")]
    assert sorted(path.stem for path in results.glob("metrics/*")) == names
    assert sorted(path.stem for path in results.glob("scores/*")) == names
    summary = read_json(results / "summary.json")
    found = read_json(results / "metrics" / f"{names[0]}.json")
    assert list(summary) == [name.removesuffix("-0") for name in names[::-1]]
    assert set(summary[names[0][:-2]]) == {"accuracy", "auroc_near", "auroc_far", "fpr95_near", "fpr95_far"}
    expected = 100 * found["detectors"]["ice"]["near"]["fpr95_outlier_positive"]["value"]
    assert summary[names[0][:-2]]["fpr95_near"] == pytest.approx(expected, abs=1e-4)
    made = trained.bytes("results/**/*")
    # anew, and in one process: the same bytes
    trained.call("rm", "-r", ".dvc/store/evaluations")
    evaluate.declared(1)
    assert trained.bytes("results/**/*") == made


def test_a_run_that_is_not_trained_is_named(inside):
    with pytest.raises(ValueError, match="run digits-wideresnet-scratch-ice-0 is not trained .* run `dvc repro`"):
        evaluate.evaluate(runs.run(*RUN, "ice", 0))


def test_a_score_that_is_not_finite_is_named(trained, monkeypatch):
    method = evaluate.METHODS["ice"]
    monkeypatch.setitem(evaluate.METHODS, "ice", method._replace(score=lambda logits: method.score(logits) / 0))
    with pytest.raises(ValueError, match="run digits-wideresnet-scratch-ice-0: .* scores of '.*' are not finite"):
        evaluate.evaluate(runs.run(*RUN, "ice", 0))


def test_a_summary_is_the_mean_over_seeds_in_percent():
    entry = lambda value: {"auroc": {"value": value}, "fpr95_outlier_positive": {"value": 1 - value}}
    found = {
        f"digits-wideresnet-scratch-oe-{seed}": {
            "accuracy": {"value": 0.5 + seed / 10},
            "detectors": {"oe": {"far": entry(0.8 + seed / 10)}},
        }
        for seed in (0, 1)
    }
    wanted = [type("Run", (), {"name": name, "method": "oe"}) for name in found]
    expected = {"accuracy": 55.0, "auroc_far": 85.0, "fpr95_far": 15.0}
    assert evaluate.summarise(wanted, found) == {"digits-wideresnet-scratch-oe": expected}
