"""From a table's cell to its origin, and contradictions that must be found."""

import json
import os
import shutil
import subprocess

import pytest

from icelib.tools import provenance
from icelib.util import tensors
from tests.conftest import Project

CELL = ["table2", "ICE", "scratch", "CIFAR10", "AUROC"]
NAME = "digits-wideresnet-scratch-ice-0"


@pytest.fixture
def ready(measured, tmp_path):
    shutil.copytree(measured.root, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture(autouse=True)
def forget():
    provenance._trail.cache_clear()


def told(capsys, *arguments, status=0):
    with pytest.raises(SystemExit) as ended:
        provenance.main(list(arguments))
    assert ended.value.code == status
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", provenance.TABLES)
def test_every_cell_agrees_with_its_files(inside, capsys, name):
    first, second = told(capsys, name)
    assert first == "no contradiction" and int(second.split()[1]) > 50


def test_a_cell_tells_where_it_comes_from(inside, capsys):
    metrics = inside.root / f"results/tiny/metrics/{NAME}.json"
    git = ["git", "-C", str(inside.root), "-c", "user.name=a", "-c", "user.email=a"]
    for command in (["init", "-q"], ["add", str(metrics)], ["commit", "-q", "-m", "Measure all"]):
        subprocess.run([*git, *command], check=True)
    lines = told(capsys, *CELL)
    result, about = (
        json.loads(metrics.read_text()),
        tensors.read_about(inside.root / "data/tasks/tiny/digits/train.safetensors"),
    )
    value = round(100 * result["detectors"]["ice"]["far"]["auroc"]["value"], 4)
    weights = tensors.read_about(inside.root / f"checkpoints/tiny/{NAME}/weights.safetensors")["sha256"]
    text = "\n".join(lines)
    assert lines[0] == "no contradiction" and lines[1].startswith(f"table2: {value} %, ")
    for line in (
        f"result file: {value} %, detector ice",
        f"score file: {value} %, detector ice",
        f"run: {NAME}",
        "parameters: weight 0.1, ",
        "seed: 0",
        f"digest: {result['digest']}",
        f"weights: SHA-256 {weights}",
        f"images, train: SHA-256 {about['sha256']}",
        f"trained on: {result['environment']['device']}",
        "scored on: ",
        "recorded: commit ",
    ):
        assert f"\n{line}" in text, line
    assert "Measure all" in text


def test_git_that_refuses_anothers_repository_says_what_to_do(inside, monkeypatch):
    """As in a container with a mounted folder, or on a shared disk."""
    file = inside.root / "params.yaml"
    assert provenance._commit(file).startswith("fatal: not a git repository")
    subprocess.run(["git", "init", "-q", inside.root], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = provenance._commit(file)
    assert "dubious ownership" in found and "safe.directory" in found and "\n" not in found
    monkeypatch.setenv("PATH", str(inside.root))
    assert provenance._commit(file) == "git is not installed"


@pytest.mark.parametrize(
    "words",
    [
        ["table2", "ICE / from scratch / CIFAR-10 / AUROC ↑"],
        ["table2", "auroc", "cifar10 ice", "scratch", "outlier-positive", "far"],
        ["table3", "ICE", "auroc"],
        ["extended", "own score", "ICE", "auroc"],
    ],
)
def test_words_are_taken_in_any_form(inside, capsys, words):
    assert told(capsys, *words)[2].rpartition(", ")[0] == told(capsys, *CELL)[2].rpartition(", ")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table2", "ICE", "svhn"], r"no cell has 'svhn' and the words before it; there are:\n  .*CIFAR10"),
        (
            ["table2", "ICE", "auroc"],
            r"(?s)several cells .* each line:\n  paper_known: CIFAR10, CIFAR100\n  protocol: ",
        ),
    ],
)
def test_words_that_name_no_cell_are_told(inside, words, message):
    with pytest.raises(ValueError, match=message):
        provenance.find(words[0], " ".join(words[1:]))


def changed(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_contradictions_come_first(inside, capsys):
    files = {kind: inside.root / f"results/tiny/{kind}/{NAME}.json" for kind in ("metrics", "history")}
    before = {path: path.read_bytes() for path in files.values()}

    def found():
        provenance._trail.cache_clear()
        lines = told(capsys, *CELL, status=1)
        for path, content in before.items():
            path.write_bytes(content)
        return "\n".join(line for line in lines if line.startswith("CONTRADICTION: ")) + f"\n{lines[0]}"

    changed(files["metrics"], lambda x: x["detectors"]["ice"]["far"]["auroc"].update(value=0.5))
    text = found()
    assert (
        f"where the result file of {NAME} says 50.0" in text and f"SHA-256 in results/tiny/metrics/{NAME}.json" in text
    )
    changed(files["history"], lambda x: x.update(digest="other"))
    assert f"digest in results/tiny/metrics/{NAME}.json and the run's history: " in found()
    table = inside.root / "figures/tiny/benchmark/table2.csv"
    text = table.read_text()
    value = provenance.find("table2", " ".join(CELL[1:])).ours
    table.write_text(text.replace(f",{value},", ",12.3,"))
    assert f"table2 has 12.3 where the score file of {NAME} says {value}" in found()
    table.write_text(text)
    values = inside.params
    inside.params = values | {"train": values["train"] | {"ice": values["train"]["ice"] | {"weight": 0.3}}}
    assert "and of params.yaml, images, code: " in found()
    inside.params = values
    other = inside.root / f"checkpoints/tiny/{NAME.replace('ice', 'oe')}/weights.safetensors"
    shutil.copy(other, inside.root / f"checkpoints/tiny/{NAME}/weights.safetensors")
    assert f"weights in results/tiny/metrics/{NAME}.json and checkpoints/" in found()
    (inside.root / f"results/tiny/scores/{NAME}.safetensors").write_bytes(b"half")
    assert f"not compared: results/tiny/scores/{NAME}.safetensors cannot be read" in found()


def test_what_a_clone_lacks_contradicts_nothing(inside, capsys):
    for name in ("data", "checkpoints", "results/tiny/scores"):
        shutil.rmtree(inside.root / name)
    lines = told(capsys, *CELL)
    assert lines[0] == "no contradiction" and "score file: not here" in lines
    assert len([line for line in lines if line.startswith("not compared: ") and "is missing" in line]) == 3


def test_a_scale_that_is_not_recorded_is_told_with_those_that_are(capsys):
    with pytest.raises(SystemExit):
        provenance.main(["table1", "--recorded", "dask"])
    assert "invalid choice: 'dask' (choose from" in (told := capsys.readouterr().err) and "desk" in told
