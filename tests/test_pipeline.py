"""The whole pipeline at a tiny scale, in a temporary folder with a DVC repository of its own."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import SOURCE, make_project

STAGE = re.compile(r"^Running stage '(?:.*:)?(.+)':", re.M)


ICE_RUNS = {"few": "wideresnet-scratch", "densenet": "densenet-scratch", "finetune": "wideresnet-finetune"}
NOTEBOOKS = ("audit", "benchmark", "ablations")  # of all scales together; they show or name any parameter
TRACED = ("tsne", "calibration", "causes")  # of each scale
BEYOND = ("search", "confirmation", "beyond")  # our variants
PER_SCALE = {f"{name}@tiny" for name in TRACED}
CHECK = "check"  # of params.yaml, after any change there
SUMMARY = "summary@tiny"  # of metrics, for comparing experiments
TABLES = ("table1", "table2", "table2_extended", "table3")


def repro(project, *arguments, **options):
    """Run `dvc repro`; return the stages that were executed and the output."""
    _, output = project.call(sys.executable, "-m", "dvc", "repro", *arguments, **options)
    return STAGE.findall(output), output


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
    stages, _ = repro(project, "../dvc.yaml", cwd=root / "notebooks")
    project.first = stages
    yield project
    assert committed_state() == before, "the checkout is as it was"


def test_one_command_makes_everything(finished):
    runs = {"train", "score", "metrics"}
    assert {stage.split("@")[0] for stage in finished.first} == {
        *(
            "check",
            "code",
            "methods",
            "data",
            "own_data",
            "task",
            "sweep",
            "summary",
            "trace_few",
            "toy",
            *NOTEBOOKS,
            *TRACED,
            *BEYOND,
        ),
        *(f"{stage}_{group}" for stage in runs for group in ("few", "densenet", "finetune")),  # many has none here
    }
    tables = [f"{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")]
    drawn = (
        "fig1",
        "fig2",
        "fig3",
        "fig4-tiny",
        "fig5-tiny",
        "contradiction-tiny",
        "sweeps/tiny-ice-weight",
        "beyond-tiny",
    )
    for name in (*tables, *(f"{name}.{suffix}" for name in drawn for suffix in ("png", "pdf"))):
        assert (finished.root / "figures" / name).stat().st_size > 500, name
    for path in (finished.root / "figures").rglob("*.png"):
        caption, small_print = path.with_suffix(".txt").read_text().split("\n\n")
        assert len(caption) > 80 and small_print, f"{path.name} stands alone"
    for name in (
        "wideresnet-scratch-plain",
        "wideresnet-scratch-ice",
        "densenet-scratch-ice",
        "wideresnet-finetune-ice",
    ):
        assert (finished.root / f"reports/tiny/02_training-few-{name}-0.ipynb").exists()
    for name in ("01_toy_analysis", "03_benchmark", "04_ablations", "07_paper_audit"):
        assert (finished.root / f"reports/{name}.ipynb").exists()
    for name in ("05_tsne", "06_calibration", "08_three_causes", "09_beyond_ice"):
        assert (finished.root / f"reports/tiny/{name}.ipynb").exists()
    left = {path.name for path in (finished.root / "notebooks").iterdir()}
    assert left == {path.name for path in (SOURCE / "notebooks").glob("*.ipynb")} | {"code"}, "no socket is left"


def test_table_has_every_row_and_says_what_was_not_run(finished):
    text = (finished.root / "figures/table2.md").read_text()
    block = next(part for part in text.split("###") if part.startswith(" CIFAR10 in the paper"))
    rows = [line.split("|")[1].strip() for line in block.splitlines() if line.startswith("|")][2:]
    assert rows == ["MSP", "ODIN", "Mahalanobis", "OE †", "Energy †", "ICE †", "OE ‡", "Energy ‡", "ICE ‡"]
    assert "not run at this scale" in next(line for line in block.splitlines() if line.startswith("| Energy ‡"))
    assert "not run at this scale" not in next(line for line in block.splitlines() if line.startswith("| ICE ‡"))
    hundred = next(part for part in text.split("###") if part.startswith(" In short: CIFAR100 in the paper"))
    assert len([line for line in hundred.splitlines() if line.startswith("|")]) == 2 + 6


def test_again_nothing_runs(finished):
    stages, output = repro(finished)
    assert stages == [] and "up to date" in output


@pytest.mark.slow
def test_results_are_the_same_bytes_when_trained_anew(finished):
    before = finished.bytes("figures/**/*") | finished.bytes("reports/**/*") | finished.bytes("checkpoints/**/*")
    # all that reads histories, whose seconds differ, so that the next test finds everything up to date
    again = ["train_few@tiny-few-wideresnet-scratch-ice-0", *sorted(PER_SCALE), *NOTEBOOKS]
    assert repro(finished, "--force", "--single-item", *again)[0] == again
    assert (
        finished.bytes("figures/**/*") | finished.bytes("reports/**/*") | finished.bytes("checkpoints/**/*") == before
    )


@pytest.mark.slow
def test_prose_retrains_nothing(finished):
    path = finished.root / "notebooks/02_training.ipynb"
    text = path.read_text()
    path.write_text(text.replace("# Training one network", "# Training a network"))
    assert repro(finished)[0] == ["code@02_training"]
    path.write_text(text)
    repro(finished)


@pytest.mark.slow
def test_a_new_lambda_retrains_ice_alone_and_reverting_restores(finished):
    before = finished.bytes("figures/**/*")
    values = finished.params
    values["tiny"]["train"]["ice"]["weight"] = 0.2
    finished.params = values
    stages, _ = repro(finished)
    expected = {f"{s}_{g}@tiny-few-{run}-ice-0" for s in ("train", "score", "metrics") for g, run in ICE_RUNS.items()}
    expected |= {CHECK, "trace_few@tiny-few-wideresnet-scratch-ice-0", SUMMARY, *PER_SCALE, *NOTEBOOKS}
    assert set(stages) == expected, "no other method, and no sweep"
    assert finished.bytes("figures/*.csv") != {k: v for k, v in before.items() if k.endswith(".csv")}
    values["tiny"]["train"]["ice"]["weight"] = 0.1
    finished.params = values
    assert repro(finished)[0] == [], "all of it comes from the run cache"
    assert finished.bytes("figures/**/*") == before


@pytest.mark.slow
def test_a_new_candidate_sweeps_anew_and_trains_no_run(finished):
    values = finished.params
    values["tiny"]["sweeps"]["ice-weight"]["values"].append({"weight": 0.4})
    finished.params = values
    assert set(repro(finished)[0]) == {CHECK, "methods@tiny", "sweep@tiny-ice-weight", *NOTEBOOKS}
    assert "0.4" in (finished.root / "reports/04_ablations.ipynb").read_text()


def trainings_to_repeat(project):
    """What `dvc repro` would train, found without running it."""
    _, output = project.call(sys.executable, "-m", "dvc", "status")
    return set(re.findall(r"^(train_\w+@.+):", output, re.M))


def test_a_new_lambda_concerns_trainings_of_ice_alone(finished):
    values = finished.params
    values["tiny"]["train"]["ice"]["weight"] = 0.2
    finished.params = values
    assert trainings_to_repeat(finished) == {f"train_{g}@tiny-few-{run}-ice-0" for g, run in ICE_RUNS.items()}
    values["tiny"]["train"]["ice"]["weight"] = 0.1
    finished.params = values


def test_a_new_plain_schedule_concerns_what_is_fine_tuned_from_it(finished):
    values = finished.params
    values["tiny"]["protocols"]["scratch"]["weight_decay"] = 0.001
    finished.params = values
    changed = {name.split("@")[0] for name in trainings_to_repeat(finished)}
    assert changed == {"train_few", "train_densenet", "train_finetune"}
    values["tiny"]["protocols"]["scratch"]["weight_decay"] = 0.0005
    finished.params = values


@pytest.mark.slow
def test_a_new_seed_trains_the_new_runs_alone(finished):
    values = finished.params
    values["seeds"] = ["0", "1"]
    finished.params = values
    stages, _ = repro(finished)
    runs = {
        "few": ("wideresnet-scratch-plain", "wideresnet-scratch-ice"),
        "densenet": ("densenet-scratch-ice",),
        "finetune": ("wideresnet-finetune-ice",),
    }
    expected = {f"{s}_{g}@tiny-few-{run}-1" for s in ("train", "score", "metrics") for g in runs for run in runs[g]}
    expected |= {f"trace_few@tiny-few-{run}-1" for run in runs["few"]}
    assert set(stages) == expected | {CHECK, SUMMARY, *PER_SCALE, *NOTEBOOKS}, "sweeps stay with the first seed"
    assert re.search(r"\| ICE ‡ .*\d ± \d", (finished.root / "figures/table2.md").read_text())
    assert re.search(r"ICE.*\d ± \d", (finished.root / "figures/table3.md").read_text())


@pytest.mark.slow
def test_a_loss_and_a_score_of_ones_own_are_added_to_the_tables_and_nothing_else_trains(finished):
    losses, scores = finished.root / "icelib/losses.py", finished.root / "icelib/scores.py"
    losses.write_text(losses.read_text() + OWN_LOSS)
    scores.write_text(scores.read_text() + OWN_SCORE)
    values = finished.params
    values["seeds"] = ["0"]
    values["own_methods"] = {"doubled": {"head": "gaussian", "score": "max_likelihood", "title": "Doubled"}}
    values["tiny"]["train"]["doubled"] = dict(values["tiny"]["train"]["ice"])
    values["tiny"]["detectors"]["own"] = ["least_logit"]
    values["runs"]["few"]["methods"].append("doubled")
    finished.params = values
    stages, _ = repro(finished)
    assert [stage for stage in stages if "train" in stage] == ["train_few@tiny-few-wideresnet-scratch-doubled-0"]
    assert not [stage for stage in stages if "sweep" in stage]
    for name in TABLES[:2] + TABLES[3:]:
        assert "Doubled" in (finished.root / f"figures/{name}.md").read_text()
    assert "least_logit" in (finished.root / "figures/table2_extended.md").read_text()
    for words in (("table1", "Doubled", "digits-89", "AUROC"), ("table3", "Doubled", "AUROC")):
        assert "few-wideresnet-scratch-doubled-0" in finished.python("provenance", *words, check=False)[1]
    _, told = finished.python("provenance", "table2_extended", "least_logit", "mean", "ice", "AUROC", check=False)
    assert "detector least_logit" in told


OWN_LOSS = '''

def doubled(known_logits, labels, outlier_logits, *, weight):
    """ICE with twice its weight."""
    return ice(known_logits, labels, outlier_logits, weight=2 * weight)
'''
OWN_SCORE = '''

def least_logit(logits):
    """The least logit."""
    return -logits.double().min(1).values
'''


def test_a_bad_parameter_ends_in_one_readable_error(finished):
    before = finished.bytes("checkpoints/**/*")
    values = finished.params
    values["tiny"]["train"]["ice"]["weight"] = -0.5
    finished.params = values
    status, output = finished.call(sys.executable, "-m", "dvc", "repro", check=False)
    assert status != 0 and "train.ice.weight = -0.5: expected a number ≥ 0" in output
    assert "Traceback" not in output
    assert f"failed to reproduce '{CHECK}'" in output and STAGE.findall(output) == [CHECK]
    assert finished.bytes("checkpoints/**/*") == before, "nothing is removed"


def test_a_notebook_that_raises_is_no_report(ready):
    path = ready.root / "notebooks/02_training.ipynb"
    path.write_text(path.read_text().replace("history = training.train(run)", "raise ValueError('on purpose')"))
    arguments = ["run", path, "reports/r.ipynb", "-p", "scale", "tiny"]
    status, output = ready.python("notebooks", *arguments, check=False)
    assert status == 1 and "error: ValueError: on purpose" in output and "Traceback" not in output
    assert not (ready.root / "reports/r.ipynb").exists()
    assert (ready.root / "scratch/r.failed.ipynb").exists()


@pytest.mark.slow
def test_the_notebooks_run_from_their_own_folder_in_any_order(finished, tmp_path):
    """As in JupyterLab, whose kernels start in notebooks/, from the last to the first, with nobody at the sliders."""
    before = finished.bytes("figures/**/*")
    shutil.rmtree(finished.root / "figures")
    values = finished.params
    values["tiny"]["train"]["ice"]["weight"] = 0.1
    finished.params = values
    repro(finished, *(f"metrics_{g}@tiny-few-{n}-ice-0" for g, n in ICE_RUNS.items()))
    repro(finished, "trace_few")
    made = {
        "09_beyond_ice": "beyond-tiny.png",
        "08_three_causes": "contradiction-tiny.png",
        "07_paper_audit": "class_ratios.png",
        "06_calibration": "fig5-tiny.png",
        "05_tsne": "fig4-tiny.png",
        "04_ablations": "sweeps/tiny-ice-weight.png",
        "03_benchmark": "fig1.png",
        "02_training": None,
        "01_toy_analysis": "fig3.png",
    }
    assert set(made) == {path.stem for path in (SOURCE / "notebooks").glob("*.ipynb")}
    for name, figure in made.items():
        path = finished.root / "notebooks" / f"{name}.ipynb"
        path.write_text(path.read_text().replace('scale = \\"laptop\\"', 'scale = \\"tiny\\"'))  # a reader's own edit
        command = ["nbconvert", "--to", "notebook", "--execute", path.name, "--output-dir", str(tmp_path)]
        finished.call(sys.executable, "-m", "jupyter", *command, cwd=path.parent)
        assert figure is None or (finished.root / "figures" / figure).exists()
    assert finished.bytes("figures/**/*") == before, "to the byte what papermill's execution made"
