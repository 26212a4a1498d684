"""The measurements of speed at tiny sizes: what they report, and what cannot depend on timing."""

import json
import math

import pytest
import torch

from icelib import losses
from icelib.config import runs
from icelib.methods import PAPER
from icelib.tools import custom
from icelib.util import paths
from speed import first_row, head, mahalanobis, metrics, noop, steps, training, turns

TINY = ["--known", "2", "--outliers", "3"]


def saved(path):
    return json.loads(path.read_text())


def test_sides_take_turns_and_the_fastest_counts(monkeypatch):
    now, called = [0.0], []
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def side(name, seconds):
        def work():
            called.append(name)
            now[0] += seconds.pop()

        return work

    found = turns.fastest({"a": side("a", [3, 1, 2]), "b": side("b", [4, 5, 6])}, 3, lambda: called.append("wait"))
    assert found == {"a": 1, "b": 4}
    assert called == ["wait", "a", "wait", "wait", "b", "wait"] * 3


def test_training(tmp_path):
    options = ["--steps", "2", "--repeats", "1", "--workers", "0", "1", *TINY, "--out", str(tmp_path / "out.json")]
    row = training.main(options)
    assert saved(tmp_path / "out.json") == row
    assert row["images_per_step"] == 5 and row["steps"] == 2
    assert row["peer"] in ("loop, 0 workers", "loop, 1 workers")
    sides = set(row["images_per_second"])
    assert {"engine", "loop, 0 workers", "loop, 1 workers", "loop, no loading"} <= sides
    for part in ("images_per_second", "slowest_turn", "processor_seconds_per_step", "last_loss"):
        assert set(row[part]) == sides and all(map(math.isfinite, row[part].values()))
    speeds = row["images_per_second"]
    assert row["times_as_fast"]["engine"] == speeds["engine"] / speeds[row["peer"]]
    assert speeds[row["peer"]] == max(speeds["loop, 0 workers"], speeds["loop, 1 workers"])


@pytest.mark.parametrize("method", ["plain", "oe", "ice"])
@pytest.mark.parametrize("workers", [0, None])
def test_loop_and_engine_do_the_same(method, workers):
    """Black images are the same however they are cropped and mirrored: then so is the first step's loss."""
    run = turns.run_of(paths.PARAMS, "wideresnet", method)
    run = runs.vary(run, {"known_batch": 4, "outlier_batch": 6, "precision": "float32"})
    black = {"known": torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "labels": torch.zeros(4, dtype=torch.int64)}
    black["outliers"] = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    engine = training.Engine(run, black, training.CLASSES, torch.device("cpu"))
    loop, epochs = training.Loop(engine, black, workers), training.Epochs(engine)
    before = engine.model.state_dict()["backbone.stem.weight"].clone()
    torch.testing.assert_close(loop.model.state_dict()["backbone.stem.weight"], before)
    assert all((side.turn() > 0).all() for side in (loop, epochs))
    assert len(loop.losses) == 3  # two to warm up, and one
    assert loop.losses[0] == pytest.approx(epochs.losses[0], rel=1e-4)
    assert not torch.equal(loop.model.state_dict()["backbone.stem.weight"], before)


def test_the_loops_transforms_are_the_engines_normalisation():
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    image, label = training.PILImages(images, torch.tensor([7]))[0]
    assert label == 7 and image.shape == (3, 32, 32) and image.dtype == torch.float32
    # a crop of the padded image, mirrored or not: every value is one of the normalised image or of its padding
    normal = training.models.normalize(torch.nn.functional.pad(images, (4,) * 4))[0]
    for channel, found in zip(normal, image, strict=True):
        assert (found.reshape(-1, 1) - channel.unique()).abs().min(1).values.max() < 1e-5


def test_head(tmp_path):
    options = [
        "--params",
        str(paths.PARAMS),
        "--samples",
        "12",
        "--images",
        "6",
        "--classes",
        "2",
        "3",
        "--repeats",
        "1",
    ]
    result = head.main([*options, "--out", str(tmp_path / "out.json")])
    assert saved(tmp_path / "out.json") == result
    assert result["features"] == 64 and (result["samples"], result["images_timed"]) == (12, 6)
    assert [row["classes"] for row in result["rows"]] == [2, 3]
    for row in result["rows"]:
        assert row["share_of_step"] == {name: s / result["step_seconds"] for name, s in row["seconds"].items()}


@pytest.mark.parametrize("factor", head.FACTORS)
def test_the_head_is_timed_with_all_its_gradients(factor):
    gradients = head.head_step(factor, samples=5, features=4, classes=3, device=torch.device("cpu"))()
    assert [tuple(g.shape) for g in gradients] == [(5, 4), (3, 4), (4,), (4, 4)]  # of z, m, and the factor's two parts
    assert all(g.isfinite().all() and g.any() for g in gradients)


def test_every_method_takes_steps_on_the_papers_dense_net(tmp_path):
    """The check that is made on a GPU, with a batch that a CPU can bear."""
    options = ["--networks", "densenet", *TINY, "--steps", "1", "--warm-up", "1", "--ceiling-size", "64"]
    result = steps.main([*options, "--out", str(tmp_path / "out.json")])
    written = saved(tmp_path / "out.json")
    assert written["rows"] == result["rows"] and written["environment"]["torch"] == torch.__version__
    rows = result["rows"]
    assert [row["method"] for row in rows] == [*PAPER]
    assert [row["images"] for row in rows] == [2 if method == "plain" else 5 for method in PAPER]
    for row in rows:
        assert all(map(math.isfinite, row["loss"].values()))
        assert row["share"] == row["tflops"] / result["ceiling_tflops"][row["precision"]]
        assert row["tflops"] == pytest.approx(6 * row["multiply_adds"] * row["images_per_second"] / 1e12)


def test_a_ceiling_leaves_the_products_exactness_as_it_was():
    before = torch.get_float32_matmul_precision()
    assert steps.ceiling(torch.device("cpu"), torch.bfloat16, 32) > 0
    assert torch.get_float32_matmul_precision() == before


def test_a_loss_that_is_not_finite_ends_the_steps():
    run = turns.run_of(paths.PARAMS, "wideresnet", "oe")
    run = runs.vary(run, {"known_batch": 2, "outlier_batch": 2, "weight": 1e39})
    with pytest.raises(SystemExit, match="not finite"):
        steps.measure(run, 1, 0, torch.device("cpu"))


def test_metrics_and_their_peers_agree(tmp_path):
    (row,) = metrics.main(
        ["--known", "300", "--outliers", "200", "--repeats", "1", "--out", str(tmp_path / "out.json")]
    )
    assert saved(tmp_path / "out.json")["rows"] == [row]
    assert row["values"]["ours"] == pytest.approx(row["values"]["scikit-learn"], abs=1e-6)
    assert row["values"]["pytorch-ood"] == pytest.approx(row["values"]["scikit-learn"], abs=0.01)
    assert set(row["times_as_fast_as"]) == {"scikit-learn", "pytorch-ood"}


def test_the_head_scores_as_the_mahalanobis_detector(tmp_path):
    options = ["--samples", "200", "--features", "8", "--classes", "3", "--repeats", "1"]
    row = mahalanobis.main([*options, "--out", str(tmp_path / "out.json")])
    assert saved(tmp_path / "out.json")["times_as_fast"] == row["times_as_fast"]
    assert all(difference < 1e-9 for difference in row["largest_relative_difference"].values())


def test_nothing_is_to_be_done_at_the_second_time(tmp_path):
    """The benchmark ends with an error if `dvc repro` or `make` finds something to do."""
    (row,) = noop.main(["--items", "2", "--seeds", "0", "--repeats", "1", "--out", str(tmp_path / "out.json")])
    assert saved(tmp_path / "out.json")["rows"] == [row]
    assert (row["pipeline"], row["runs"]) == ("matrix", 2)
    assert set(row["seconds"]) == {"dvc repro", "dvc status", "dvc --version", "make"}


def test_the_first_row_takes_at_most_ten_lines_and_its_loss_is_what_it_says(monkeypatch):
    called = []
    monkeypatch.setattr(custom, "loss", lambda function, **values: called.append((function, values)))
    for epochs in (None, 3):
        exec(first_row.code(epochs), {})
        assert len(first_row.code(epochs).splitlines()) <= 10
    (function, values), (_, short) = called
    assert short == values | {"epochs": 3}
    logits = -torch.rand(4, 3), torch.tensor([0, 1, 2, 0]), -torch.rand(5, 3)
    expected = losses.ice(*logits, weight=1.0)
    expected["ice_id"] *= values["weight_known"]
    expected["ice_ood"] *= values["weight_outlier"]
    assert function(*logits, **values) == expected
