"""The list of jobs, and what the README says about doing them at the same time."""

import re
import shutil
import sys

import networkx as nx

from icelib import jobs
from tests.conftest import Project
from tests.test_pipeline import repro

# the pipeline's form with shell commands for its stages, whose metrics are, as there, git's and not in the cache
SMALL = """\
stages:
  task:
    cmd: mkdir -p data && cp code data/task
    deps: [code]
    outs: [data/task]
  train_few:
    matrix: {method: [plain, ice], seed: ["0", "1"]}
    cmd: mkdir -p made history && sleep 2 && cp data/task made/${item.method}-${item.seed} && date +%N > history/${item.method}-${item.seed}
    deps: [data/task]
    outs: ["made/${item.method}-${item.seed}"]
    metrics: ["history/${item.method}-${item.seed}": {cache: false}]
  sweep:
    matrix: {name: [weight]}
    cmd: cp made/plain-0 sweep
    deps: [made/plain-0]
    metrics: [sweep: {cache: false}]
  table:
    cmd: cat history/* sweep > table
    deps: [history, sweep]
    metrics: [table: {cache: false}]
"""


def test_runs_and_sweeps_become_jobs_in_an_order_that_works():
    graph = nx.DiGraph()
    needs = {
        "metrics_few@ice": ["score_few@ice"],  # the order of the file is not that of the work
        "train_finetune@tuned": ["train_few@plain", "task"],
        "score_few@ice": ["train_few@ice"],
        "sweep@a": ["train_few@plain"],
        "train_few@ice": ["task"],
        "train_few@plain": ["task"],
        "trace_few@plain": ["train_few@plain"],
        "table": ["metrics_few@ice", "sweep@a"],
        "task": [],
    }
    graph.add_nodes_from(needs)
    graph.add_edges_from((stage, other) for stage, others in needs.items() for other in others)
    found = {name: (stages, waits) for name, stages, waits in jobs.jobs(graph)}
    assert found == {
        "ice": (["train_few@ice", "score_few@ice", "metrics_few@ice"], []),
        "plain": (["train_few@plain", "trace_few@plain"], []),
        "tuned": (["train_finetune@tuned"], ["plain"]),
        "sweep@a": (["sweep@a"], ["plain"]),
    }
    names = list(found)
    assert all(names.index(other) < names.index(name) for name, (_, waits) in found.items() for other in waits)


def test_the_tiny_project_as_jobs(project):
    project.call("git", "init", "-q")
    project.call(sys.executable, "-m", "dvc", "init", "-q")
    _, output = project.python("jobs")
    lines = dict(line.split("\t", 1) for line in output.splitlines())
    plain, ice = "tiny-few-wideresnet-scratch-plain-0", "tiny-few-wideresnet-scratch-ice-0"
    tuned, dense = "tiny-few-wideresnet-finetune-ice-0", "tiny-few-densenet-scratch-ice-0"
    others = ["sweep@tiny-ice-weight", "search@tiny-ice", "search@tiny-two_weights"]
    assert list(lines) == [plain, ice, dense, tuned, *others]
    stages = " ".join(f"{kind}_few@{ice}" for kind in ("train", "score", "metrics", "trace"))
    assert lines[ice] == f"dvc --wait-for-lock repro --single-item {stages}\t"
    assert lines[tuned].endswith(f"metrics_finetune@{tuned}\t{plain}")
    assert lines["sweep@tiny-ice-weight"].endswith(f"sweep@tiny-ice-weight\t{plain}")


def test_jobs_at_the_same_time_and_in_clones_that_share_a_cache(tmp_path):
    """Nothing runs twice: in one folder dvc.lock gathers the jobs, in another the run cache brings them."""
    (tmp_path / "first").mkdir()
    first = Project(tmp_path / "first")
    dvc = [sys.executable, "-m", "dvc"]
    first.call("git", "init", "-q")
    first.call(*dvc, "init", "-q")
    first.call(*dvc, "cache", "dir", str(tmp_path / "cache"))
    (first.root / "dvc.yaml").write_text(SMALL)
    (first.root / "code").write_text("1")
    shutil.copytree(first.root, tmp_path / "second")  # as a clone of it would be
    repro(first, "task")
    names = [f"train_few@{method}-{seed}" for method in ("plain", "ice") for seed in (0, 1)]
    at_once = [first.start(*dvc, "--wait-for-lock", "repro", "--single-item", name) for name in names]
    for process in at_once:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and "Running stage" in output, output
    assert repro(first)[0] == ["sweep@weight", "table"]

    second = Project(tmp_path / "second")
    stages, output = repro(second)
    assert stages == [] and len(re.findall("is cached - skipping run", output)) == 7
    assert (second.root / "table").read_bytes() == (first.root / "table").read_bytes()
