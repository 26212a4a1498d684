"""Tracing the tables' cells in a fresh clone, contradictions that must be found, and the statement in the README."""

import hashlib
import json
import re
import shutil
import subprocess

import pytest
import yaml

from icelib import lookup, statement, variant_trail
from icelib.tools import provenance
from icelib.util import paths, tensors
from tests.conftest import SOURCE

CELL = ["CIFAR10", "ICE", "scratch", "AUROC"]  # of Table 2


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A clone of what is committed: results made anew on another machine, and not yet recorded, fail no test."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    subprocess.run(["git", "clone", "-q", str(SOURCE), str(folder)], check=True)
    return folder


@pytest.fixture
def clone(committed, monkeypatch):
    """The clone, with this process's paths pointing into it; as it was again for the next test."""
    for name in ("PARAMS", "NOTEBOOKS", "FIGURES"):
        monkeypatch.setattr(paths, name, committed / getattr(paths, name).relative_to(paths.ROOT))
    monkeypatch.setattr(paths, "ROOT", committed)
    yield committed
    subprocess.run(["git", "-C", str(committed), "reset", "-q", "--hard"], check=True)
    subprocess.run(["git", "-C", str(committed), "clean", "-fdxq"], check=True)


def run_of(trace):
    return re.search(r"^run (\S+), (\S+) scale", str(trace), re.M).groups()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", [*lookup.KEYS, "sweeps", "beyond"])
def test_every_cell_can_be_traced_in_a_fresh_clone(clone, name):
    trace = provenance.check_table(name)
    assert trace.contradictions == []
    assert re.fullmatch(r"\w+: [1-9]\d* .*", trace.lines[0])


def test_a_cell_tells_run_checkpoint_data_parameters_versions_hardware_and_commits(clone, capsys):
    with pytest.raises(SystemExit) as ended:
        provenance.main(["table2", " / ".join(CELL)])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    run, scale = run_of(text)
    lock = yaml.load((clone / "dvc.lock").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
    (trained,) = [lock[name] for name in lock if re.fullmatch(rf"train_\w+@{scale}-{run}", name)]
    checkpoint = next(out for out in trained["outs"] if out["path"].endswith(f"{run}.safetensors"))
    history = json.loads((clone / f"results/history/{scale}/{run}.json").read_text())
    weight = trained["params"]["params.yaml"][f"{scale}.train.ice"]["weight"]
    for expected in (
        f"{checkpoint['path']}, MD5 {checkpoint['md5']}, which is not here",
        f"train: SHA-256 of its tensors {history['data']['train']}",
        f"{scale}.train.ice: weight {weight}",
        f"seed        {run[-1]}",
        f"torch {history['environment']['torch']}",
        f"on          {history['environment']['device']}",
        "recorded in commit",
        "no contradiction",
    ):
        assert expected in text, expected


def test_the_commit_of_the_code_holds_what_was_run(clone):
    text = str(provenance.trace_cell("table2", CELL))
    run, scale = run_of(text)
    commit = re.search(r"trained     by stage .*\n  code        of commit (\w+)", text)
    if not commit:  # a training of code that was never committed is told as such
        assert f"which commit holds the code that train_few@{scale}-{run} ran" in text
        return
    stage = provenance.lockfile.read()[f"train_few@{scale}-{run}"]
    for path, digest in stage.deps.items():
        if path.startswith("icelib/"):
            shown = subprocess.run(["git", "-C", clone, "show", f"{commit[1]}:{path}"], capture_output=True, check=True)
            assert hashlib.md5(shown.stdout).hexdigest() == digest, path


def test_contradictions_are_found(clone, capsys):
    run, scale = run_of(provenance.trace_cell("table2", CELL))
    metrics = clone / f"results/metrics/{scale}/{run}.json"

    def contradictions():
        with pytest.raises(SystemExit) as ended:
            provenance.main(["table2", *CELL])
        assert ended.value.code == 1
        found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("CONTRADICTION: ")]
        subprocess.run(["git", "-C", clone, "reset", "-q", "--hard"], check=True)
        return "\n".join(found)

    result = json.loads(metrics.read_text())
    result["detectors"]["ice"]["mean"]["auroc"]["value"] = 0.99
    metrics.write_text(json.dumps(result))
    text = contradictions()
    assert re.search(r"table2 has [\d.]+ where the result files of \S+ say 99.0", text)
    assert f"{metrics.relative_to(clone)} (MD5 " in text and "is not what metrics_few@" in text
    assert "remove it and run `make results`" in text, "plain dvc repro trusts what it restored from a damaged cache"

    lock = clone / "dvc.lock"
    scores = yaml.load(lock.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
    (used,) = [x["md5"] for x in scores[f"score_few@{scale}-{run}"]["deps"] if x["path"].startswith("checkpoints/")]
    before, stage, after = lock.read_text().partition(f"\n  score_few@{scale}-{run}:")
    lock.write_text(before + stage + after.replace(used, "f" * 32, 1))
    assert f"read another checkpoints/{scale}/{run}.safetensors (MD5 {'f' * 32}) than train_few@" in contradictions()

    values = yaml.safe_load((clone / "params.yaml").read_text())
    was = values[scale]["train"]["ice"]["weight"]
    values[scale]["train"]["ice"]["weight"] = 7.5
    (clone / "params.yaml").write_text(yaml.safe_dump(values))
    text = contradictions()
    assert f"was run with {scale}.train.ice.weight = {was}, and params.yaml has 7.5" in text
    assert "was made with other parameters than params.yaml has" in text

    history = clone / f"results/history/{scale}/{run}.json"
    edit(history, '"threads": ', '"threads": 1')
    assert "they are of two trainings" in contradictions()

    metrics.unlink()
    assert f"results/metrics/{scale}/{run}.json is missing" in contradictions()

    tensors.save(
        clone / f"checkpoints/{scale}/{run}.safetensors", {}, {"run": {}, "environment": {}, "data": {}, "parent": None}
    )
    text = contradictions()
    assert f"checkpoints/{scale}/{run}.safetensors was trained with other parameters" in text
    assert f"checkpoints/{scale}/{run}.safetensors (MD5 " in text


def test_without_git_the_rest_is_told(clone):
    (clone / ".git").rename(clone.parent / "aside")
    try:
        text = str(provenance.trace_cell("table2", CELL))
    finally:
        (clone.parent / "aside").rename(clone / ".git")
    assert "cannot be told: which commit holds the code that ran: this folder is no git repository" in text
    assert "no contradiction" in text


def test_a_repository_without_a_commit_has_nothing_to_tell(clone):
    (clone / ".git").rename(clone.parent / "aside")
    try:
        subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
        text = str(provenance.trace_cell("table2", CELL))
    finally:
        shutil.rmtree(clone / ".git")
        (clone.parent / "aside").rename(clone / ".git")
    assert "cannot be told: which commit holds the code that ran: the git repository has no commit yet" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["table2", "ICF"], r"error: no cell has 'ICF'; there are:\n(.*\n)*  row: MSP, ODIN, Mahalanobis, OE, Energy, ICE\n"),
        (["table2", "ICE", "AUROC"], r"several cells have these words; add one word of each line:\n(.*\n)*  protocol: "),
        (["table1", "MNIST", "iSUN"], r"no cell has 'iSUN' and the words before it; with those there are:\n"),
        (["table9", "ICE"], r"error: unknown table 'table9'; expected one of table1, table2"),
        (["sweeps", "ice-weight", "bias"], r"no cell has 'bias'; there are:\n(.*\n)*  metric: accuracy, "),
    ],
)  # fmt: skip
def test_unknown_cells_list_what_there_is(clone, arguments, expected):
    with pytest.raises(SystemExit) as ended:
        provenance.main(arguments)
    assert re.search(expected, str(ended.value.code) + "\n")


@pytest.mark.parametrize(
    ("words", "variant"),
    [
        (["likelihood ratio"], "ratio"),
        (["ratio", "likelihood"], "ratio"),
        (["Energy, Gaussian head (paper)"], "energy_gaussian"),
        (["ICE", "(paper)"], "ice"),
        (["ICE and OE"], "with_oe"),
        (["with_oe"], "with_oe"),
    ],
)
def test_variants_are_found_by_the_titles_that_tables_show(clone, words, variant):
    assert variant_trail.find([*words, "search", "accuracy", "validation"]).variant == variant


def test_a_cell_that_was_not_run_says_so(clone):
    table = lookup.read("table1")
    cell = table[table.ours.isna()].iloc[0]
    words = [f"{key}={cell[key]}" for key in (*lookup.KEYS["table1"], "metric", "convention")]
    trace = provenance.trace_cell("table1", words)
    assert "not run: there is nothing to trace" in str(trace) and not trace.contradictions


def test_the_statement_in_the_readme_is_that_of_the_committed_results(clone):
    before = (clone / "README.md").read_text()
    statement.write()
    assert (clone / "README.md").read_text() == before
    edit(clone / "README.md", "**Table 1:**", "**Table 1, better:**")
    statement.write()
    assert (clone / "README.md").read_text() == before
    edit(clone / "README.md", statement.END, "")
    with pytest.raises(ValueError, match=r"README.md: expected one line .* and after it one line"):
        statement.write()


def test_the_statement_follows_results_and_parameters(clone):
    before = statement.statement()
    values = yaml.safe_load((clone / "params.yaml").read_text())
    assert "a second seed" in before or len(values["seeds"]) > 1
    values["runs"]["many"]["known"] = []
    (clone / "params.yaml").write_text(yaml.safe_dump(values))
    runs = lambda text: int(re.search(r"scale:\*\* (\d+) trainings", text)[1])
    after = statement.statement()
    assert (
        runs(after) < runs(before)
        and "CIFAR100's part is played" in before
        and "CIFAR100's part is played" not in after
    )
