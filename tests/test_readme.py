"""What README and docs/ tell to do: examples run, commands and keys exist, files are where they say."""

import functools
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from icelib import GaussianHead
from icelib.config import runs
from icelib.config.schema import check_parameters
from icelib.data import datasets, tasks
from icelib.evaluation import statistics
from icelib.methods import METHODS, Method
from icelib.report import tables
from icelib.tools import custom, readme
from icelib.training import store
from icelib.util import paths
from tests.conftest import SOURCE
from tests.test_pipeline import repro, trained

PAGES = [SOURCE / "README.md", SOURCE / "CONTRIBUTING.md", *sorted((SOURCE / "docs").glob("*.md"))]
README = PAGES[0].read_text()


def blocks(page, language):
    """List a page's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (SOURCE / page).read_text(), re.S)


LOOP, TRY = blocks("README.md", "python")
(CODE,) = blocks("docs/extend.md", "python")
FILE = re.match(r"# (icelib/methods/(\w+)\.py)\n", CODE)
LOSS, OWN, SEEDS = map(yaml.safe_load, [*blocks("docs/extend.md", "yaml"), *blocks("docs/change.md", "yaml")])
TASK = next(name for name, task in runs.load().tasks.items() if task.plays == "CIFAR10")


def merged(old, new):
    """Write keys of an example beside those that are there, and lines of `runs` behind them."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old.get(key), value) for key, value in new.items()}
    return [*old, *new] if isinstance(old, list) and isinstance(new[0], dict) else new


def change(project, example):
    """Put an example into params.yaml, with the project's task where it names the laptop's."""
    text = yaml.safe_dump(example).replace(TASK, "digits")
    assert text.count("digits") == yaml.safe_dump(example).count(TASK)
    project.params = merged(project.params, yaml.safe_load(text))


def add_loss(project):
    (project.root / FILE[1]).write_text(CODE.removeprefix(FILE[0]))
    change(project, LOSS)


def add_images(project):
    """A folder of as many pictures as the page says, not all of one size."""
    (path,) = [project.root / about["path"] for about in OWN["own_datasets"].values()]
    path.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(301):
        image = noise.integers(0, 256, (40 + number % 3, 36, 3), dtype=np.uint8)
        Image.fromarray(image).save(path / f"{number:03}.png")
    change(project, OWN)


TWO_RUNS = [{"task": "digits", "network": "wideresnet", "protocol": "scratch", "methods": ["plain", "ice"]}]
TRAIN = "from icelib.training import train; train.declared(1)"
TABLE3 = """
from icelib.evaluation import evaluate
from icelib.report import render, tables
evaluate.declared(1)
print(render.markdown("table3", tables.table3()))
"""


def entries(project):
    return {path.name: path.stat().st_mtime_ns for path in (project.root / ".dvc/store/runs").iterdir()}


def test_the_head_and_loss_for_a_loop_of_ones_own_give_gradients():
    torch.manual_seed(0)
    backbone = torch.nn.Linear(20, 64)
    names = {"backbone": backbone, "x": torch.randn(30, 20), "labels": torch.arange(30) % 11 - 1}
    exec(LOOP, names)
    assert backbone.weight.grad.abs().sum() > 0 and names["head"].means.grad.isfinite().all()


def test_the_loss_to_try_has_values_that_it_takes_and_gives_gradients(monkeypatch):
    calls = []
    monkeypatch.setattr(custom, "loss", lambda function, **given: calls.append((function, given)))
    exec(TRY, {})
    ((function, given),) = calls
    name, candidates = given.pop("name"), given.pop("weight")
    monkeypatch.setitem(METHODS, name, METHODS["ice"]._replace(loss=function))
    head = GaussianHead(8, 10)
    labels, z = torch.arange(20) % 10, torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    head.start(z[:20], labels)
    for weight in candidates:
        own = given | {"weight": weight}
        check_parameters(name, runs.load().train["ice"] | own, name)
        value = function(head(z[:20]), labels, head(z[20:]), **own)
        value.backward()
    assert len(candidates) > 1 and head.means.grad.abs().sum() > 0 and value.isfinite()


def test_the_permanent_loss_trains_alone_and_has_a_row(ready):
    ready.params = ready.params | {"runs": TWO_RUNS, "bootstrap": 5}
    ready.call(sys.executable, "-c", TRAIN)
    before = entries(ready)
    add_loss(ready)
    _, output = ready.call(sys.executable, "-c", TRAIN + TABLE3)
    after = entries(ready)
    assert len(after) == len(before) + 1 == 3 and before.items() <= after.items()
    assert (ready.root / f"results/tiny/metrics/digits-wideresnet-scratch-{FILE[2]}-0.json").exists()
    (row,) = [line for line in output.splitlines() if "split ICE" in line and line.startswith("|")][:1]
    assert len(re.findall(r"\d+\.\d+", row)) >= 4


def test_own_images_train_nothing_and_a_seed_the_new_runs_alone(inside):
    before = {store.digest(run) for run in runs.declared()}
    add_images(inside)
    (name,) = OWN["own_datasets"]
    datasets.prepare(name)
    tasks.make("digits")
    about = json.loads((paths.results("tiny") / "tasks/digits.json").read_text())
    assert about["images"]["test"][name] == len(tasks.load("digits", "test")[0][name]) == 301
    assert {store.digest(run) for run in runs.declared()} == before
    change(inside, SEEDS)
    after = [store.digest(run) for run in runs.declared()]
    assert len(set(after)) == 2 * len(before) and before < set(after)


def test_the_examples_fit_the_laptops_params(tmp_path, monkeypatch):
    scope = {}
    exec(CODE, scope)
    parts = (scope[key] for key in ("loss", "HEAD", "score", "OUTLIERS", "TITLE"))
    monkeypatch.setitem(METHODS, FILE[2], Method(*parts))
    values = yaml.safe_load((SOURCE / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(functools.reduce(merged, (LOSS, OWN, SEEDS), values)))
    params = runs.load(tmp_path / "params.yaml")
    assert len(params.runs) == len(values["runs"]) + 1 and params.seeds == [0, 1]
    assert len(params.tasks[TASK].outliers) == len(values["tasks"][TASK]["outliers"]) + 1


def test_the_permanent_loss_is_that_of_the_notebook():
    body = CODE[CODE.index("return {") :]
    cells = json.loads((SOURCE / "notebooks/04_ablations.ipynb").read_text())["cells"]
    assert [
        cell
        for cell in cells
        if "".join(body.split()) in "".join("".join(cell["source"]).replace("losses.", "").split())
    ]


def words(pattern):
    """What a pattern finds in the pages, with the one that it stands on."""
    return sorted({(found, page) for page in PAGES for found in re.findall(pattern, page.read_text())})


def test_commands_exist():
    for place, page in words(r"python -m ([a-z]\w*(?:\.\w+)+)"):
        path = SOURCE / place.replace(".", "/")
        path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert path.is_file() and '__name__ == "__main__"' in path.read_text(), f"{page.name}: {place}"
    targets = re.findall(r"^([\w-]+):", (SOURCE / "Makefile").read_text(), re.M)
    found = words(r"(?m)(?:`|^    )make ([a-z][\w-]*)")
    assert not [(name, page.name) for name, page in found if name not in targets]
    assert {"results", "report", "lab", "test"} <= {name for name, _ in found}


def test_options_of_commands_exist():
    """Options of `training.train`, and what the example of `provenance` asks for."""
    source = (SOURCE / "icelib/training/train.py").read_text()
    for options, page in words(r"python -m icelib\.training\.train ([^`]*)`"):
        for option in re.findall(r"--\w+", options):
            assert f'"{option}"' in source, f"{page.name}: {option}"
    tables = (SOURCE / "icelib/tools/provenance.py").read_text()
    for table, page in words(r"python -m icelib\.tools\.provenance (\w+)"):
        assert f'"{table}"' in tables, f"{page.name}: {table}"


def test_keys_that_experiments_set_are_in_params():
    values = yaml.safe_load((SOURCE / "params.yaml").read_text())
    found = {part.split("=")[0] for text, _ in words(r"-S ('[^']+'|\S+)") for part in shlex.split(text.rstrip("`)"))}
    assert "train.ice.weight" in found
    for key in found:
        functools.reduce(dict.__getitem__, key.split("."), values)


def test_paths_in_the_text_exist():
    folders = "icelib|notebooks|configs|tests|speed|docs|training|evaluation|report|analysis|tools|methods"
    for path, page in words(rf"`((?:{folders})/[\w./]*)`"):
        there = (SOURCE / path).exists() or (SOURCE / "icelib" / path).exists()
        assert there or path == "icelib/methods/NAME.py", f"{page.name}: {path}"


def test_the_index_of_docs_names_every_page():
    index = (SOURCE / "docs/README.md").read_text()
    assert "docs/README.md" in README
    assert [path.name for path in PAGES if path.parent.name == "docs" and f"({path.name})" not in index] == [
        "README.md"
    ]


def test_the_index_of_docs_answers_a_newcomers_questions():
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", (SOURCE / "docs/README.md").read_text(), re.M))
    assert "`ice`" in rows["eq. 0.15?"] and "(eq. 0.15)" in METHODS["ice"].loss.__doc__
    cells = json.loads((SOURCE / "notebooks/05_tsne.ipynb").read_text())["cells"]
    assert "05_tsne" in rows["Figure 4 made?"] and any("fig4" in "".join(cell["source"]) for cell in cells)


def test_the_readme_is_read_in_minutes():
    """Its length, and how many words stand before the first command and the end of the first verdict."""
    assert len(README.splitlines()) <= 150 and len(README.split()) <= 1500
    assert len(README[: README.index("\n    git clone")].split()) <= 150
    block = readme.BLOCK.search(README)[0]
    first = block.index("|AUROC near|") if "|AUROC near|" in block else 0
    assert len(README[: README.index(block) + block.index("\n", first)].split()) <= 200


def test_what_the_readme_says_was_found_is_what_is_recorded():
    block = readme.BLOCK.search(README)
    if not (paths.RECORDED / block[2] / "origin.json").exists():
        assert block[0] == f"{block[1]}Not recorded yet.\n{block[3]}"
        pytest.skip(f"recorded/{block[2]}/origin.json is missing: nothing of this scale is recorded yet")
    paths.show(block[2])
    try:
        assert block[0] == f"{block[1]}{readme.found()}\n{block[3]}", "run python -m icelib.tools.readme"
    finally:
        paths.show("")


def test_verdicts_are_those_on_ice_in_the_main_block_alone(monkeypatch):
    known, network, protocol = block = ("CIFAR10", "wideresnet", "finetune")
    names = ["paper_known", "network", "protocol", "metric", "outliers", "first", "second", "verdict"]
    ice, oe, energy, ratio = (tables.marked(METHODS[x].title, protocol) for x in ("ice", "oe", "energy", "ratio"))
    rows = [
        (*block, "auroc", "near", ice, "MSP", statistics.AHEAD),
        (*block, "auroc", "near", ice, oe, statistics.AHEAD),
        (*block, "auroc", "near", ice, energy, statistics.BEHIND),
        (*block, "auroc", "far", ice, oe, statistics.OPEN),
        (*block, "auroc", "far", ice, energy, statistics.AHEAD),
        (*block, "fpr95", "near", ice, oe, statistics.OPEN),
        (*block, "auroc", "far", ratio, ice, statistics.AHEAD),
        (known, network, "scratch", "auroc", "far", ice, oe, statistics.AHEAD),
        ("CIFAR100", network, protocol, "auroc", "far", ice, oe, statistics.AHEAD),
    ]
    monkeypatch.setattr(tables, "differences", lambda: pd.DataFrame(rows, columns=names))
    monkeypatch.setattr(runs, "main_block", lambda: block)
    near, far, rejected, *_ = readme._verdicts("ice")
    assert near == "ahead of MSP, OE; behind Energy"
    assert far == "ahead of Energy; else open"
    assert rejected == "open"


def test_make_tells_what_there_is_and_nothing_else():
    _, *targets = re.findall(r"^([\w-]+):", (SOURCE / "Makefile").read_text(), re.M)
    told = subprocess.run(["make", "--no-print-directory"], cwd=SOURCE, capture_output=True, text=True, check=True)
    assert re.findall(r"^make ([\w-]+) ", told.stdout, re.M) == targets


@pytest.mark.slow
def test_the_pipeline_after_each_of_the_examples(ready):
    ready.params = ready.params | {"runs": TWO_RUNS}
    ready.call("git", "init", "-q")
    ready.call(sys.executable, "-m", "dvc", "init", "-q")
    _, output = repro(ready, "train")
    assert trained(output) == [2]
    add_loss(ready)
    _, output = repro(ready, "train")
    assert trained(output) == [1]
    add_images(ready)
    _, output = repro(ready, "train")
    assert trained(output) == []
    change(ready, SEEDS)
    stages, output = repro(ready)
    assert trained(output)[0] == 3 and "results" in stages
    table = (ready.root / "figures/tiny/ablations/table3.md").read_text()
    assert re.search(r"split ICE.*\d ± \d", table)
    assert "mine" in (ready.root / "figures/tiny/benchmark/table1.md").read_text()
    assert (ready.root / "reports/tiny/04_ablations.ipynb").exists()
