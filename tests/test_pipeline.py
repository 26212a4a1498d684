"""The whole pipeline at a tiny scale, in a temporary folder with a DVC repository of its own."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from tests.conftest import SOURCE, make_project

STAGE = re.compile(r"^Running stage '(?:.*:)?(.+)':", re.M)
RESULTS = {"results"}
DRAWN = (
    "toy/fig2", "toy/fig3", "audit/class_ratios", "benchmark/fig1", "ablations/ice-weight", "tsne/fig4",
    "calibration/fig5", "calibration/reliability", "three_causes/contradiction",
)  # fmt: skip


def repro(project, *arguments, **options):
    """Run `dvc repro`; return the stages that were executed and the output."""
    _, output = project.call(sys.executable, "-m", "dvc", "repro", *arguments, **options)
    return STAGE.findall(output), output


def trained(output):
    """Numbers of trainings that stages have told of."""
    return [int(count) for count in re.findall(r"^  (\d+) of \1 runs, 0:00 left", output, re.M)]


def committed_state():
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=SOURCE, capture_output=True, text=True).stdout

    return git("status", "--porcelain"), git("diff")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose pipeline has run once; the tests below build on each other in file order."""
    before = committed_state()
    root = tmp_path_factory.mktemp("pipeline") / "a project"
    root.mkdir()
    project = make_project(root)
    project.call("git", "init", "-q")
    project.call(sys.executable, "-m", "dvc", "init", "-q")
    # from notebooks/, as a reader in JupyterLab's terminal would
    project.first, project.output = repro(project, "../dvc.yaml", cwd=root / "notebooks")
    yield project
    assert committed_state() == before, "the checkout is as it was"


def made(project):
    return project.bytes("figures/**/*") | project.bytes("checkpoints/**/*.safetensors") | project.bytes("reports/**/*")


def test_one_command_makes_everything(finished):
    stages = {"check", "task@digits", "train", "evaluate", "snapshots", "sweeps", "theory", "data@gaussian"}
    assert set(finished.first) == stages | RESULTS | {"own_data@digits-train", "own_data@digits-test"}
    assert trained(finished.output) == [4, 2], "the declared runs, and the candidates of the sweep"
    for name in DRAWN:
        for suffix in ("png", "pdf", "txt"):
            assert (finished.root / f"figures/tiny/{name}.{suffix}").stat().st_size > 100, name
    for name in ("benchmark/table1", "benchmark/table2", "benchmark/extended", "ablations/table3"):
        for suffix in ("csv", "md", "tex"):
            assert (finished.root / f"figures/tiny/{name}.{suffix}").stat().st_size > 300, name
    names = {path.name for path in (SOURCE / "notebooks").glob("*.ipynb")}
    assert {path.name for path in (finished.root / "reports/tiny").iterdir()} == names - {"09_ours.ipynb"}
    assert {path.name for path in (finished.root / "notebooks").iterdir()} == names, "no socket is left"


def test_reports_show_what_was_computed_and_nothing_of_the_machine(finished):
    for path in (finished.root / "reports/tiny").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert outputs and not [output for output in outputs if output.output_type == "error"]
        assert str(finished.root) not in path.read_text(), path.name


def test_again_nothing_runs(finished):
    stages, output = repro(finished)
    assert stages == [] and "up to date" in output


def test_a_bad_parameter_ends_in_one_readable_error(finished):
    before, values = made(finished), finished.params
    values["train"]["ice"]["weight"] = -0.5
    finished.params = values
    status, output = finished.call(sys.executable, "-m", "dvc", "repro", check=False)
    assert status != 0 and "train.ice.weight = -0.5: expected a number ≥ 0" in output
    assert "Traceback" not in output and STAGE.findall(output) == ["check"]
    assert made(finished) == before, "nothing is removed"
    values["train"]["ice"]["weight"] = 0.1
    finished.params = values


def test_a_new_lambda_trains_and_evaluates_the_runs_of_ice_alone(finished):
    """DVC's stages run, and take all others from the store."""
    evaluated = lambda: len(list((finished.root / ".dvc/store/evaluations").iterdir()))
    values = finished.params
    values["train"]["ice"]["weight"] = 0.2
    finished.params = values
    assert evaluated() == 4
    stages, output = repro(finished, "evaluate")
    assert stages == ["check", "train", "evaluate"] and trained(output) == [3] and evaluated() == 4 + 3
    values["train"]["ice"]["weight"] = 0.1
    finished.params = values
    stages, output = repro(finished, "evaluate")
    assert "train" in stages and trained(output) == [] and evaluated() == 4 + 3, "the store has them all"


def test_a_notebook_that_raises_is_no_report(ready):
    path = ready.root / "notebooks/02_training.ipynb"
    path.write_text(path.read_text().replace("histories = train.declared()", "raise ValueError('on purpose')"))
    status, output = ready.python("tools.notebooks", "02_training", check=False)
    assert status == 1 and "error: ValueError: on purpose" in output and "Traceback" not in output
    assert not (ready.root / "reports/tiny/02_training.ipynb").exists()
    assert (ready.root / "scratch/02_training.failed.ipynb").exists()
    status, output = ready.python("tools.notebooks", "02_trainin", check=False)
    assert status == 1 and "error: notebooks/02_trainin.ipynb is missing; expected one of ['01_toy'" in output


def test_settings_of_the_user_do_not_leak_into_reports(ready, tmp_path):
    """A kernelspec, an IPython profile, a matplotlibrc, a backend, warnings, no home and a long TMPDIR of the user's."""
    cell = (
        "import sys, warnings, matplotlib.pyplot; warnings.warn('a leak', ResourceWarning)\n"
        "print(sys.executable, matplotlib.get_backend(), matplotlib.rcParams['font.size'])"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, ready.root / "notebooks/10_probe.ipynb")
    kernel = tmp_path / "share/kernels/python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["false"], "display_name": "broken", "language": "python"}')
    startup = tmp_path / "ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "0.py").write_text("raise SystemExit('a profile')")
    (tmp_path / "matplotlibrc").write_text("font.size: 33\nbackend: svg\ntext.usetex: True\n")
    long = tmp_path / ("long" * 30)
    long.mkdir()
    ready.environment |= {
        "JUPYTER_PATH": str(tmp_path / "share"), "IPYTHONDIR": str(tmp_path / "ipython"), "TMPDIR": str(long),
        "MPLBACKEND": "module://backend_interagg", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "PYTHONWARNINGS": "always", "HOME": f"{os.devnull}/home",
    }  # fmt: skip
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR"):
        ready.environment.pop(name, None)
    ready.python("tools.notebooks", "10_probe")
    (output,) = nbformat.read(ready.root / "reports/tiny/10_probe.ipynb", as_version=4).cells[0].outputs
    assert output.text.split() == [sys.executable, "module://matplotlib_inline.backend_inline", "10.0"]


@pytest.mark.slow
def test_results_are_the_same_bytes_when_trained_anew(finished):
    before = made(finished)
    shutil.rmtree(finished.root / ".dvc/store")
    shutil.rmtree(finished.root / "checkpoints")
    values = finished.params
    values["parallel"]["jobs"] = 2
    finished.params = values
    stages, output = repro(finished, "--force")
    assert trained(output) == [4, 2] and set(stages) == set(finished.first)
    assert made(finished) == before


@pytest.mark.slow
def test_prose_and_reports_train_nothing(finished):
    path = finished.root / "notebooks/02_training.ipynb"
    path.write_text(path.read_text().replace("# Training\\n", "# Training networks\\n"))
    for module in ("report/captions.py", "evaluation/snapshots.py", "tools/custom.py"):
        with (finished.root / "icelib" / module).open("a") as file:
            file.write("\n# more\n")
    _, output = repro(finished)
    assert trained(output) == []


@pytest.mark.slow
def test_a_new_seed_trains_the_new_runs_alone(finished):
    values = finished.params
    values["seeds"] = [0, 1]
    finished.params = values
    _, output = repro(finished)
    assert trained(output) == [4], "sweeps stay with the first seed"
    assert re.search(r"\d ± \d", (finished.root / "figures/tiny/benchmark/table2.md").read_text())


@pytest.mark.slow
def test_a_store_made_elsewhere_is_taken(finished, tmp_path):
    """Into a project where nothing was ever computed a store is copied: its pipeline trains nothing."""
    root = tmp_path / "other"
    root.mkdir()
    other = make_project(root)
    other.params = finished.params | {"own_datasets": other.params["own_datasets"]}
    other.call("git", "init", "-q")
    other.call(sys.executable, "-m", "dvc", "init", "-q")
    shutil.copytree(finished.root / ".dvc/store/runs", root / ".dvc/store/runs")
    _, output = repro(other)
    assert trained(output) == []
    assert other.bytes("figures/**/*.csv") == finished.bytes("figures/**/*.csv")


@pytest.mark.slow
def test_another_scale_leaves_this_one_as_it_is(finished):
    before, values = finished.bytes("*/tiny/**/*"), finished.params
    finished.params = values | {"scale": "other", "seeds": [0]}
    _, output = repro(finished, "evaluate")
    assert trained(output) == [], "the same trainings, by another name"
    assert finished.bytes("*/tiny/**/*") == before
    assert list((finished.root / "results/other/metrics").iterdir())


@pytest.mark.slow
def test_a_hundred_runs_cost_nothing_where_nothing_changed(finished):
    import time

    values = finished.params
    values["seeds"] = list(range(25))
    for protocol in values["protocols"].values():
        protocol["epochs"] = 1
    finished.params = values
    repro(finished)
    started = time.monotonic()
    assert repro(finished)[0] == []
    assert time.monotonic() - started < 15  # the aim, on an idle machine, is five seconds: python -m speed.noop
