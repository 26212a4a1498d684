"""Recorded results: what git keeps of trainings, and tables made of it alone."""

import hashlib
import json
import re
import shutil
import sys

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from sklearn.metrics import roc_auc_score

from icelib import metrics, models
from icelib.analysis import calibration, choice, matching
from icelib.config import runs
from icelib.data import tasks
from icelib.methods import METHODS
from icelib.report import render, results, tables
from icelib.tools import custom, provenance, readme, record
from icelib.training import store
from icelib.util import paths, tensors
from tests.conftest import SOURCE, Project

PLAIN, ICE = "digits-wideresnet-scratch-plain-0", "digits-wideresnet-scratch-ice-0"
FURTHER = """
from icelib.analysis import choice
from icelib.evaluation import snapshots
choice.run_all()
snapshots.declared(1)
"""
TABLES = """
from icelib.report import tables
for name in ("table1", "table2", "table3", "extended"):
    getattr(tables, name)().to_json(f"{name}.json", orient="records", indent=1)
"""


def git(project, *arguments):
    return project.call("git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments)[1].strip()


@pytest.fixture(scope="session")
def recorded(measured, tmp_path_factory):
    """The measured project with all committed, one sweep, its runs recorded and their tables kept as they were."""
    root = tmp_path_factory.mktemp("recorded") / "project"
    shutil.copytree(measured.root, root)
    project = Project(root)
    git(project, "init", "-q")
    git(project, "add", "params.yaml")
    git(project, "commit", "-q", "-m", "Choose")
    project.call(sys.executable, "-c", FURTHER + TABLES)
    project.told = project.python("tools.record")[1]
    return project


@pytest.fixture
def ready(recorded, tmp_path):
    shutil.copytree(recorded.root, tmp_path / "project")
    return Project(tmp_path / "project")


def origin(project):
    return json.loads((project.root / "recorded/tiny/origin.json").read_text())


def alone(project):
    """Leave of a project what a clone has: no data, networks, store or results."""
    for name in ("data", "checkpoints", "results", "figures", ".dvc"):
        shutil.rmtree(project.root / name)


@pytest.fixture
def shown(inside):
    """Its record alone, in this process."""
    alone(inside)
    paths.show("tiny")
    provenance._trail.cache_clear()
    yield inside
    paths.show("")
    provenance._trail.cache_clear()


def test_tables_of_the_record_alone_are_those_of_the_runs(shown):
    for name in ("table1", "table2", "table3", "extended"):
        before = json.loads((shown.root / f"{name}.json").read_text())
        assert json.loads(getattr(tables, name)().to_json(orient="records")) == before and len(before) > 50
    assert [results.sweep(name)["sweep"] for name in results.sweeps()] == ["ice-weight"]


def test_the_record_tells_its_origin_and_its_files_are_whole(recorded):
    about, commit = origin(recorded), git(recorded, "rev-parse", "HEAD")
    assert about["params"] == {"path": "params.yaml", "commit": commit, "date": about["params"]["date"]}
    assert len(about["runs"]) == 3 and "3 of 3 declared runs are recorded in recorded/tiny" in recorded.told
    for run in about["runs"].values():
        assert run["params"] == commit and run["code"].startswith(commit) and run["hardware"] and run["libraries"]
    folder = recorded.root / "recorded/tiny"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {*about["files"], "origin.json"}
    for place, digest in about["files"].items():
        assert hashlib.sha256((folder / place).read_bytes()).hexdigest() == digest
    assert (folder / "params.yaml").read_bytes() == (recorded.root / "params.yaml").read_bytes()


def test_scores_are_own_ones_of_the_sets_in_means_in_small_types(recorded):
    found, _ = tensors.load(recorded.root / f"recorded/tiny/scores/{ICE}.safetensors")
    whole, _ = tensors.load(recorded.root / f"results/tiny/scores/{ICE}.safetensors")
    assert set(found) == {"labels", "predicted", "ice/known", "ice/digits-89", "ice/gaussian"}
    for name, x in found.items():
        assert torch.equal(x, whole[name].to(x.dtype)) and x.dtype in (torch.float32, torch.uint8)


def test_what_a_run_says_of_validation_images_is_recorded(shown):
    run = next(run for run in runs.declared() if run.name == ICE)
    kept = matching.own_scores(run)
    assert set(kept) == {"known", *matching.KINDS}
    found = matching.measure(run)
    for name in matching.KINDS:
        assert found[name]["auroc"] == metrics.detection_metrics(kept["known"], kept[name])["auroc"]


def test_recorded_networks_predict_as_the_trained_ones(inside):
    model, _ = record.load("tiny", ICE)
    (run,) = [run for run in runs.declared() if run.name == ICE]
    trained, _ = store.load(run)
    x = tasks.load("digits", "test")[0]["known"][:200]
    ours, theirs = (models.predict(network, x, models.PRECISION).argmax(1) for network in (model, trained))
    assert (ours == theirs).float().mean() > 0.9
    own, full = model.state_dict(), trained.state_dict()
    assert all(torch.equal(own[name], x.bfloat16().float() if x.ndim == 4 else x) for name, x in full.items())


def test_candidates_of_a_sweep_are_tested_once_the_choice_is_committed(inside):
    found = json.loads((inside.root / "recorded/tiny/sweeps/ice-weight.json").read_text())
    rows = [row for candidate in found["candidates"] for row in candidate["runs"]]
    (_, run), *_ = choice.candidates("ice-weight")
    model, test = store.load(run)[0], tasks.load("digits", "test")[0]
    h = {name: model(models.normalize(test[name])).detach().double() for name in ("known", "digits-89")}
    score = np.concatenate([x.max(1).values for x in h.values()])
    auroc = roc_auc_score([1] * len(h["known"]) + [0] * len(h["digits-89"]), score)
    assert rows[0]["test"]["near"]["auroc"] == pytest.approx(auroc, abs=1e-3)
    right = (h["known"].argmax(1) == test["labels"]).double().mean()
    assert rows[0]["test"]["accuracy"] == pytest.approx(right.item(), abs=5e-3)
    assert len(rows) == 2 and rows[1]["test"] != rows[0]["test"] and set(rows[0]["test"]) >= {"near", "far"}
    before = results.sweep("ice-weight")
    assert not any("test" in row for x in before["candidates"] for row in x["runs"]), (
        "the choice itself sees no test image"
    )


def test_a_loss_of_ones_own_starts_from_a_recorded_network(inside):
    def pushed(known_logits, labels, outlier_logits, *, weight):
        return F.cross_entropy(known_logits, labels) + weight * outlier_logits.exp().mean()

    shutil.rmtree(paths.STORE / "runs")  # as where nothing was trained
    shutil.rmtree(inside.root / "checkpoints")
    custom.loss(pushed, name="mine", parent="tiny", weight=0.1)
    METHODS.pop("mine")
    kept = json.loads((paths.SCRATCH / "custom/mine/try.json").read_text())["run"]
    assert kept["schedule"]["start"] == "plain" and kept["parent"]["tried"].startswith("recorded tiny ")
    parent, about = store.load(runs.Run(**kept["parent"]))
    recorded = record.load("tiny", PLAIN)[0].state_dict()
    assert all(torch.equal(x, recorded[name]) for name, x in parent.state_dict().items()) and about["classes"]
    assert len(list((paths.STORE / "runs").iterdir())) == 2, "no plain network was trained"
    for change, options, message in (
        ({}, {"seed": 3}, f"recorded/tiny/weights/{PLAIN[:-1]}3.safetensors is missing"),
        ({"networks": {"wideresnet": {"depth": 10, "widen": 2}}}, {}, r"is of .*'widen': 1.*; expected .*'widen': 2"),
    ):
        inside.params = inside.params | change
        with pytest.raises(ValueError, match=message):
            custom.loss(pushed, name="other", parent="tiny", weight=0.1, **options)
        METHODS.pop("other")


def test_images_of_ones_own_are_scored_by_recorded_networks(shown, tmp_path):
    """In one line, without data or trainings, beside another scale."""
    paths.show("")
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    table = custom.outliers(tmp_path / "mine.npz", scale="tiny")
    assert list(table.index) == ["Plain training", "OE", "ICE"] and list(table) == ["AUROC own", "FPR95 own"]
    model, _ = record.load("tiny", ICE)
    own = model(models.normalize(torch.from_numpy(images).permute(0, 3, 1, 2))).max(1).values.detach().double().numpy()
    known = tensors.load(paths.RECORDED / "tiny" / "scores" / f"{ICE}.safetensors")[0]["ice/known"].double().numpy()
    assert table.loc["ICE", "AUROC own"] == pytest.approx(100 * metrics.detection_metrics(known, own)["auroc"], abs=0.1)
    assert paths.SHOWN == ""
    with pytest.raises(ValueError, match="scale = 'huge': expected one whose weights are recorded: tiny"):
        custom.outliers(tmp_path / "mine.npz", scale="huge")


@pytest.mark.parametrize("name", provenance.TABLES)
def test_every_cell_of_a_recorded_table_agrees_with_its_files(shown, capsys, name):
    render.write(name, getattr(tables, name)(), "benchmark")
    with pytest.raises(SystemExit) as ended:
        provenance.main(["--recorded", "tiny", name])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("no contradiction\n")


def test_a_set_whose_scores_are_not_recorded_contradicts_nothing(shown, capsys):
    path = shown.root / f"recorded/tiny/scores/{ICE}.safetensors"
    found, about = tensors.load(path)
    del found["ice/gaussian"], about["sha256"]
    tensors.save(path, found, about)
    render.write("table1", tables.table1(), "benchmark")
    with pytest.raises(SystemExit) as ended:
        provenance.main(["--recorded", "tiny", "table1"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("no contradiction\n")


def test_a_recorded_cell_tells_run_digest_data_seed_and_commits(shown, capsys):
    render.write("table2", tables.table2(), "benchmark")
    ask = ["table2", "--recorded", "tiny", "ICE", "scratch", "CIFAR10", "AUROC"]
    with pytest.raises(SystemExit) as ended:
        provenance.main(ask)
    text, about = capsys.readouterr().out, origin(shown)["runs"][ICE]
    assert ended.value.code == 0
    for line in (
        f"run: {ICE}", "seed: 0", f"digest: {about['digest']}", "images, train: SHA-256 ", "data sets: digits-train",
        f"parameters committed in {about['params']}, code {about['code']}, recorded on {about['date']}",
    ):  # fmt: skip
        assert f"\n{line}" in text, line
    path = shown.root / "recorded/tiny/params.yaml"
    path.write_text(path.read_text().replace("weight: 0.1", "weight: 0.3"))
    provenance._trail.cache_clear()
    with pytest.raises(SystemExit) as ended:
        provenance.main(ask)
    assert ended.value.code == 1 and "SHA-256 of params.yaml in recorded/tiny" in capsys.readouterr().out


def test_reports_of_a_record_need_nothing_else(ready):
    alone(ready)
    (ready.root / "params.yaml").unlink()
    ready.python("tools.notebooks", "--recorded", "tiny")
    for name in ("03_benchmark", "04_ablations", "06_calibration", "08_three_causes"):
        report = nbformat.read(ready.root / f"reports/tiny/{name}.ipynb", as_version=4)
        assert not any("custom.loss" in cell.source for cell in report.cells)
    made = {str(path.relative_to(ready.root / "figures/tiny")) for path in ready.root.glob("figures/tiny/*/*")}
    assert made >= {"benchmark/table1.md", "benchmark/fig1.png", "ablations/table3.md", "ablations/ice-weight.png"}
    assert made >= {"calibration/fig5.png", "three_causes/contradiction.png"}
    assert not (ready.root / "data").exists() and not (ready.root / "results").exists()


def test_the_first_seed_that_is_recorded_is_shown(shown):
    path = shown.root / "recorded/tiny/params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seeds": [1, 0]}, sort_keys=False))
    assert {run.name for run in calibration.declared()} >= {PLAIN, ICE}
    assert set(calibration.load()) >= {"plain", "ice"} and not calibration.declared(1)


def test_scales_that_are_not_recorded_or_would_be_overwritten_are_refused(inside):
    for scale, message in (
        ("desk", "recorded/desk/origin.json is missing"),
        ("tiny", "'tiny' is this file's own scale"),
    ):
        inside.params = inside.params | {"recorded": [scale]}
        with pytest.raises(ValueError, match=message):
            runs.check()
    inside.params = inside.params | {"scale": "other"}
    runs.check()


def test_what_is_not_committed_is_not_recorded(ready):
    before = ready.bytes("recorded/**/*")
    text = (ready.root / "params.yaml").read_text()
    (ready.root / "params.yaml").write_text(text.replace("bootstrap: 20", "bootstrap: 21"))
    status, output = ready.python("tools.record", check=False)
    assert status == 1 and "error: params.yaml is not committed as it stands, neither" in output
    assert ready.bytes("recorded/**/*") == before
    (ready.root / "configs").mkdir()
    shutil.copy(ready.root / "params.yaml", ready.root / "configs/tiny.yaml")
    git(ready, "add", "configs")
    git(ready, "commit", "-q", "-m", "Choose otherwise")
    _, output = ready.call(sys.executable, "-c", "from icelib.tools import record; print(record.committed())")
    assert "'path': 'configs/tiny.yaml'" in output and git(ready, "rev-parse", "HEAD") in output


def commit(project, change):
    values = project.params
    change(values)
    project.params = values
    git(project, "commit", "-q", "-m", "Choose again", "params.yaml")


def test_what_was_recorded_stays_until_its_parameters_change(ready):
    before = ready.bytes("recorded/tiny/*/*")
    shutil.rmtree(ready.root / ".dvc/store")
    shutil.rmtree(ready.root / "checkpoints")
    commit(ready, lambda x: x["runs"].append(dict(x["runs"][0], protocol="finetune", methods=["ice"])))
    _, output = ready.python("tools.record")
    assert (
        "3 of 4 declared runs are recorded" in output and "\n- not finished: digits-wideresnet-finetune-ice-0" in output
    )
    assert ready.bytes("recorded/tiny/*/*") == before and set(origin(ready)["runs"]) == {
        PLAIN,
        ICE,
        ICE.replace("ice", "oe"),
    }
    commit(ready, lambda x: x["train"]["ice"].update(weight=0.3))
    shutil.copy(ready.root / "params.yaml", ready.root / "recorded/tiny")  # a plan may be edited where it lies
    _, output = ready.python("tools.record")
    assert "2 of 4" in output and f"\n- removed, since recorded with other parameters: {ICE}" in output
    left = {path for path in before if ICE not in path}
    assert set(ready.bytes("recorded/tiny/*/*")) == left
    ready.call(
        sys.executable, "-c", TABLES.replace("from", "from icelib.util import paths; paths.show('tiny')\nfrom", 1)
    )
    rows = json.loads((ready.root / "table3.json").read_text())
    assert {row["row"] for row in rows if row["seeds"] == 0} >= {"ICE"}, "a row that is not recorded is not run"
    commit(ready, lambda x: x["protocols"]["sweep"].update(epochs=3))
    _, output = ready.python("tools.record")
    assert "\n- removed, since recorded with other parameters: ice-weight" in output
    assert set(ready.bytes("recorded/tiny/*/*")) == {path for path in left if "ice-weight" not in path}
    assert all("ice-weight" not in path for path in [*origin(ready)["files"], *origin(ready)["asked"]])


def test_a_run_that_was_recorded_keeps_its_commits_where_its_results_are_the_same(ready):
    """As where params.yaml says in other words which images are tested."""
    before = origin(ready)
    commit(ready, lambda x: next(iter(x["tasks"].values())).update(images={"gaussian": 100}))
    ready.python("data.tasks", "digits")
    _, output = ready.python("tools.record")
    after = origin(ready)
    assert f"removed, since recorded with other parameters: digits, {PLAIN}" in output
    assert after["runs"] == before["runs"] and after["params"]["commit"] != before["params"]["commit"]
    assert after["asked"] != before["asked"]


def test_nothing_of_another_training_stays(ready):
    about, before = origin(ready), set(ready.bytes("recorded/tiny/*/*"))
    about["runs"][ICE] |= {"digest": "of other code", "metrics": "other"}
    (ready.root / "recorded/tiny/origin.json").write_text(json.dumps(about))
    ready.python("tools.record", "--weights")
    gone = before - set(ready.bytes("recorded/tiny/*/*"))
    assert gone == {path for path in before if path.endswith(f"weights/{ICE}.safetensors")} and len(gone) == 1


def test_too_large_a_record_is_refused(ready):
    before = ready.bytes("recorded/**/*")
    small = "from icelib.tools import record; record.LARGEST['weights'] = 0.001; record.record()"
    status, output = ready.call(sys.executable, "-c", small, check=False)
    assert status == 1 and re.search(
        r"would hold \d\.\d MB of weights; expected at most 0.001: name fewer runs", output
    )
    assert ready.bytes("recorded/**/*") == before


def test_the_readme_is_given_what_the_record_found(shown):
    page = shown.root / "README.md"
    page.write_text("before\n<!-- recorded: tiny -->\nold\n<!-- end -->\nafter\n")
    readme.write()
    before, found, after = re.split(r"(?<=recorded: tiny -->\n)|(?=\n<!-- end)", page.read_text())
    assert (before, after) == ("before\n<!-- recorded: tiny -->\n", "\n<!-- end -->\nafter\n")
    assert found == readme.found() and found.startswith(
        "digits 0 to 5, WideResNet-10-1, from scratch, epochs: 2; ± over seeds."
    )
    assert found.count("\n|AUROC ") == 2 and "\n|by paired seeds|ICE|\n" in found
    accuracy = json.loads((shown.root / f"recorded/tiny/metrics/{ICE}.json").read_text())["accuracy"]["value"]
    assert re.search(rf"^\|ICE\|1\|{100 * accuracy:.2f}\|", found, re.M) and "\n|OE|" in found
    page.write_text("no marker")
    with pytest.raises(ValueError, match="README.md has no line <!-- recorded: SCALE -->"):
        readme.write()


FILES = [*sorted((SOURCE / "configs").glob("*.yaml")), *sorted((SOURCE / "recorded").glob("*/params.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_configuration_can_be_used_today(path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", path)
    assert runs.load(path).scale == (path.parent.name if path.name == "params.yaml" else path.stem)
    assert runs.declared()
    if (path.parent / "origin.json").exists():  # a plan is committed before anything of it is recorded
        about = json.loads((path.parent / "origin.json").read_text())
        there = [x for x in path.parent.rglob("*") if x.is_file() and x.name != "origin.json"]
        found = {str(x.relative_to(path.parent)): hashlib.sha256(x.read_bytes()).hexdigest() for x in there}
        assert found == about["files"]
