"""Sweeps: the rule of choice, what is trained, and what is recorded."""

import pytest

from icelib.analysis import choice, matching
from icelib.config import runs
from icelib.report import results
from icelib.training import store, train
from icelib.util import paths
from icelib.util.files import read_json


def row(accuracy, outliers=0.9, jigsaw=0.5):
    return {
        "accuracy": accuracy,
        "outliers": {"auroc": outliers, "fpr95": 0.1},
        "jigsaw": {"auroc": jigsaw, "fpr95": 0.2},
    }


def history(accuracy, auroc=0.9):
    """As `store.history` returns it, of a training of two epochs."""
    kinds = {kind: {"auroc": auroc, "fpr95_outlier_positive": 0.1} for kind in ("outliers", "jigsaw")}
    quantiles = {kind: [0.1 * i for i in range(7)] for kind in ("known", *kinds)}
    epoch = {"accuracy": accuracy, "validation": kinds, "loss": {"cross_entropy": 1.0}, "score_quantiles": quantiles}
    return {"digest": "d", "epochs": [epoch | {"accuracy": 0.0}, epoch]}


DIVERGED = {"digest": "d", "epochs": [], "diverged": "loss is not finite"}


def test_the_rule_takes_the_best_detector_within_half_a_point_of_accuracy():
    rows = [row(0.80, 0.90), row(0.7951, 0.95), row(0.7949, 0.99), row(0.798, 0.93, 0.51), {"diverged": "at once"}]
    assert choice.choose(rows) is rows[1], "rows[2] costs more than half a point of accuracy"
    equal = [row(0.8), row(0.8)]
    assert choice.choose(equal) is equal[0], "the first of equals"
    with pytest.raises(ValueError, match="all 1 diverged: at once"):
        choice.choose(rows[4:])


def test_candidates_are_the_base_run_with_its_changes(inside):
    name, sweep = next(iter(runs.load().sweeps.items()))
    found = choice.candidates(name)
    assert [change for change, _ in found] == sweep.values
    for change, run in found:
        assert sweep.base | change == run.loss | run.head, "the tiny sweep changes values of loss and head"
        assert (run.task, run.network, run.protocol, run.method) == (
            sweep.task,
            sweep.network,
            sweep.protocol,
            sweep.method,
        )
    with pytest.raises(ValueError, match=r"unknown sweep: 'ice-wieght'"):
        choice.candidates("ice-wieght")


def test_a_sweep_trains_each_candidate_once_into_the_store_and_touches_no_checkpoint(inside):
    name = next(iter(runs.load().sweeps))
    folder = paths.results(runs.load().scale) / "sweeps"
    folder.mkdir(parents=True)
    (folder / "gone.json").write_text("{}")
    result = choice.run_all()[name]
    assert [path.name for path in folder.iterdir()] == [f"{name}.json"], "files of sweeps that are gone go too"
    assert read_json(folder / f"{name}.json") == result
    assert [entry["chosen"] for entry in result["candidates"]].count(True) == 1
    found = [one["digest"] for entry in result["candidates"] for one in entry["runs"]]
    assert found == [store.digest(run) for _, run in choice.candidates(name)]
    assert set(result["images"]) == {"known", "outliers", "jigsaw"}
    _, run = choice.candidates(name)[0]
    assert result["candidates"][0]["matched"] == matching.measure(run)["matched"]
    assert not paths.checkpoints(runs.load().scale).exists()
    kept = inside.bytes(".dvc/store/runs/**/*")
    assert choice.run_all()[name] == result and inside.bytes(".dvc/store/runs/**/*") == kept


@pytest.fixture
def untrained(monkeypatch):
    """Candidates whose histories a test makes up have no networks."""
    monkeypatch.setattr(matching, "measure", lambda run: {"matched": {"auroc": 0.6, "fpr95": 0.4}})


def test_a_diverged_candidate_is_recorded_and_not_chosen(inside, monkeypatch, untrained):
    name = next(iter(runs.load().sweeps))
    monkeypatch.setattr(train, "train_all", lambda wanted: [DIVERGED, *[history(0.5)] * (len(wanted) - 1)])
    first, second, *_ = choice.run_all()[name]["candidates"]
    assert first["diverged"] == "loss is not finite" and not first["chosen"]
    assert second["chosen"] and second["accuracy"] == 0.5, "the last epoch counts"
    monkeypatch.setattr(train, "train_all", lambda wanted: [DIVERGED] * len(wanted))
    with pytest.raises(ValueError, match=f"all diverged: .*{name}.*; see results/"):
        choice.run_all()
    path = paths.results(runs.load().scale) / "sweeps" / f"{name}.json"
    assert not any(entry["chosen"] for entry in read_json(path)["candidates"]), "what was found stands in the file"


def test_a_choice_goes_by_means_over_the_seeds_of_the_search(inside, monkeypatch, untrained):
    """The first candidate wins at one seed, the second on average."""
    name, values = "ice-weight", inside.params
    values["sweeps"][name]["seeds"] = [10, 11]
    inside.params = values
    pairs = choice.candidates(name)
    assert [(change["weight"], run.seed) for change, run in pairs] == [(0.05, 10), (0.05, 11), (0.2, 10), (0.2, 11)]
    aurocs = iter([0.99, 0.5, 0.8, 0.9])
    monkeypatch.setattr(train, "train_all", lambda wanted: [history(0.5, next(aurocs)) for _ in wanted])
    result = choice.run_all()[name]
    first, second = result["candidates"]
    assert result["seeds"] == [10, 11] and [one["seed"] for one in first["runs"]] == [10, 11]
    assert [one["outliers"]["auroc"] for one in first["runs"]] == [0.99, 0.5]
    assert first["outliers"]["auroc"] == pytest.approx(0.745) and first["loss"] == {"cross_entropy": 1.0}
    assert second["jigsaw"]["auroc"] == pytest.approx(0.85) and second["chosen"] and not first["chosen"]
    assert results.sweep(name) == result, "a reader takes it"
    outcomes = iter([history(0.5), DIVERGED, history(0.5, 0.1), history(0.5, 0.1)])
    monkeypatch.setattr(train, "train_all", lambda wanted: [next(outcomes) for _ in wanted])
    first, second = choice.run_all()[name]["candidates"]
    assert "accuracy" not in first and first["diverged"] and second["chosen"], "one that diverged is enough"


@pytest.mark.parametrize(
    ("chosen", "grid", "expected"),
    [
        ({"weight": 0.5}, [{"weight": x} for x in (0.2, 0.5, 1.0)], False),
        ({"weight": 1.0}, [{"weight": x} for x in (0.2, 0.5, 1.0)], True),
        ({"weight": 0.2}, [{"weight": x} for x in (0.5, 0.2, 1.0)], True),
        ({"factor": "lower"}, [{"factor": x} for x in ("lower", "diagonal")], False),
        ({"a": 1, "b": 5}, [{"a": a, "b": 5} for a in (0, 1, 2)], False),
        ({"a": 1, "b": 6}, [{"a": a, "b": b} for a in (0, 1, 2) for b in (4, 5, 6)], True),
    ],
)
def test_a_choice_at_an_end_of_its_grid_is_told(chosen, grid, expected):
    assert choice.at_end(chosen, grid) == expected


def test_a_result_tells_whether_its_choice_is_at_an_end(inside, monkeypatch, untrained):
    name, values = "ice-weight", inside.params
    values["sweeps"][name]["values"] = [{"weight": x} for x in (0.1, 0.2, 0.3)]
    inside.params = values
    for best, expected in ((0, True), (1, False), (2, True)):
        histories = [history(0.5, 0.9 if i == best else 0.8) for i in range(3)]
        monkeypatch.setattr(train, "train_all", lambda wanted, found=histories: found)
        assert choice.run_all()[name]["at_end"] is expected
    monkeypatch.setattr(train, "train_all", lambda wanted: [DIVERGED] * 3)
    with pytest.raises(ValueError, match="all diverged"):
        choice.run_all()
    assert read_json(paths.results("tiny") / "sweeps" / f"{name}.json")["at_end"] is False


def test_a_candidate_is_in_use_where_the_runs_of_the_tables_have_its_values(inside):
    name, sweep = next(iter(runs.load().sweeps.items()))
    values = inside.params
    values["train"][sweep.method] |= sweep.values[1]
    inside.params = values
    assert [choice.in_use(name, change) for change in sweep.values[:2]] == [False, True]
    values["protocols"]["finetune"]["train"] = {sweep.method: sweep.values[0]}
    inside.params = values
    assert [choice.in_use(name, change) for change in sweep.values[:2]] == [False, True], "scratch has its own"
    values["sweeps"][name]["protocol"] = "finetune"
    inside.params = values
    assert [choice.in_use(name, change) for change in sweep.values[:2]] == [True, False]
    assert all(run.parent for _, run in choice.candidates(name)), "any protocol can be searched"


def test_params_use_what_the_committed_sweeps_chose():
    """The project's own choices follow from its own validation figures."""
    params = runs.load()
    for name in params.sweeps:
        rows = read_json(paths.results(params.scale) / "sweeps" / f"{name}.json")["candidates"]
        assert [entry["change"] for entry in rows] == params.sweeps[name].values
        chosen = choice.choose(rows)
        assert chosen["chosen"] and choice.in_use(name, chosen["change"]), f"{name}: the rule takes {chosen['change']}"
