"""A project at a tiny scale in a temporary folder: real images, a small network, seconds per run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock

SOURCE = Path(__file__).resolve().parent.parent
RUN = ("digits", "wideresnet", "scratch")


def tiny_params(folder):
    """Parameters of a task on scikit-learn's digits, given as a user's own sets."""
    ice = {"weight": 0.1, "distance": 2.0, "mean_scale": 0.5, "factor": "lower"}
    schedule = {
        "epochs": 2,
        "known_batch": 32,
        "outlier_batch": 32,
        "learning_rate": 0.1,
        "shape": "onecycle",
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "clip": 5.0,
        "precision": "float32",
    }
    return {
        "scale": "tiny",
        "seeds": [0],
        "threads": 1,
        "compile": False,
        # in a command's own process: workers would import everything once more, on a core that other tests need
        "parallel": {"jobs": 1},
        "datasets": ["gaussian"],
        "recorded": [],
        "own_datasets": {
            "digits-train": {"path": str(folder / "train.npz")},
            "digits-test": {"path": str(folder / "test.npz")},
        },
        "tasks": {
            "digits": {
                "title": "digits 0 to 5",
                "plays": "CIFAR10",
                "known": {
                    "train": {"set": "digits-train", "classes": [0, 1, 2, 3, 4, 5]},
                    "test": {"set": "digits-test", "classes": [0, 1, 2, 3, 4, 5]},
                },
                "auxiliary": {"set": "digits-train", "classes": [6, 7]},
                "validation_share": 0.1,
                "outliers": {
                    "digits-89": {"set": "digits-test", "classes": [8, 9], "plays": "CIFAR100"},
                    "gaussian": {"set": "gaussian", "plays": "SVHN"},
                },
                "near": ["digits-89"],
                "far": ["gaussian"],
                "outlier_images": 100,
            }
        },
        "networks": {
            "wideresnet": {"depth": 10, "widen": 1, "stem": "strided", "dropout": 0.1},
            "densenet": {"depth": 7, "growth": 4, "stem": "strided", "dropout": 0.1},
        },
        "protocols": {
            "scratch": schedule,
            "finetune": schedule
            | {"start": "plain", "gaussian_head": "estimate", "shape": "cosine", "epochs": 1, "learning_rate": 0.01},
            "sweep": schedule | {"epochs": 1},
        },
        "train": {"plain": {}, "oe": {"weight": 0.5}, "ice": dict(ice)},  # a copy: YAML would write one alias
        "runs": [
            {"task": "digits", "network": "wideresnet", "protocol": "scratch", "methods": ["plain", "ice"]},
            {"task": "digits", "network": "densenet", "protocol": "scratch", "methods": ["ice"]},
            {"task": "digits", "network": "wideresnet", "protocol": "finetune", "methods": ["ice"]},
        ],
        "sweeps": {
            "ice-weight": {
                "title": "weight of ICE",
                "method": "ice",
                "task": "digits",
                "network": "wideresnet",
                "protocol": "sweep",
                "base": ice,
                "values": [{"weight": 0.05}, {"weight": 0.2}],
            }
        },
        "detectors": {"odin_temperature": 1000.0, "odin_noise": 0.0014},
        "bootstrap": 20,
    }


def pytest_collection_modifyitems(items):
    """Start with the longest file, which else would end alone on one of two cores."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


class Project:
    """A copy of the project's own files, with parameters of its own."""

    def __init__(self, root):
        self.root = root
        # the copy's code and folders, whatever is installed; a caller's git or terminal must not matter
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "ICELIB_", "DVC_"))}
        self.environment |= {
            "PYTHONPATH": str(root),
            "ICELIB_ROOT": str(root),
            "DVC_NO_ANALYTICS": "true",
            "DVC_GLOBAL_CONFIG_DIR": str(root / ".none"),
            "DVC_SYSTEM_CONFIG_DIR": str(root / ".none"),
        }
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    @property
    def params(self):
        return yaml.safe_load((self.root / "params.yaml").read_text())

    @params.setter
    def params(self, value):
        (self.root / "params.yaml").write_text(yaml.safe_dump(value, sort_keys=False))

    def start(self, *command, cwd=None, **options):
        return subprocess.Popen(
            command,
            cwd=cwd or self.root,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )

    def call(self, *command, cwd=None, check=True):
        process = self.start(*command, cwd=cwd)
        output, _ = process.communicate(timeout=1200)
        assert not check or process.returncode == 0, output
        return process.returncode, output

    def python(self, module, *arguments, **options):
        return self.call(sys.executable, "-m", f"icelib.{module}", *map(str, arguments), **options)

    def bytes(self, pattern):
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.glob(pattern))
            if path.is_file()
        }


def make_project(root):
    """Copy the tracked and new files of the checkout to `root` and make the tiny task's data."""
    from sklearn.datasets import load_digits

    for name in ("icelib", "notebooks"):
        shutil.copytree(
            SOURCE / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "code", ".ipynb_checkpoints")
        )
    for name in (".gitignore", ".dvcignore", "dvc.yaml"):
        shutil.copy(SOURCE / name, root / name)
    (root / "figures").mkdir()
    data = load_digits()
    images = np.rint(data.images * 255 / 16).astype(np.uint8).repeat(4, 1).repeat(4, 2)[..., None].repeat(3, 3)
    own = root.parent / f"{root.name}-own"
    own.mkdir()
    np.savez(own / "train.npz", images=images[:1200], labels=data.target[:1200])
    np.savez(own / "test.npz", images=images[1200:], labels=data.target[1200:])
    project = Project(root)
    project.params = tiny_params(own)
    return project


@pytest.fixture
def project(tmp_path):
    """A tiny project whose folder has a space in its name; nothing is prepared yet."""
    root = tmp_path / "a project"
    root.mkdir()
    return make_project(root)


PREPARE = """
from icelib.config import runs
from icelib.data import datasets, tasks
for name in [*runs.load().datasets, *runs.load().own_datasets]:
    datasets.prepare(name)
tasks.make("digits")
"""


def shared(tmp_path_factory, name, make):
    """A project that `make` fills, by the first of several workers of pytest alone; tests copy it and leave it as it is."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    root = folder / name / "project"
    with FileLock(folder / f"{name}.lock"):
        if not (made := root.with_name("made")).exists():
            shutil.rmtree(root.parent, ignore_errors=True)
            root.mkdir(parents=True)
            make(root)
            made.touch()
    return Project(root)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A tiny project with data sets and task made."""

    def make(root):
        # one process, since most of its time is that of the imports
        make_project(root).call(sys.executable, "-c", PREPARE)

    return shared(tmp_path_factory, "prepared", make)


@pytest.fixture
def ready(prepared, tmp_path):
    """A copy of the prepared project, to be changed by one test."""
    shutil.copytree(prepared.root, tmp_path / "project")
    return Project(tmp_path / "project")


MADE = {}


def once(project, name, make):
    """Let `make` write files into a project; where it was called for another test, write the same ones."""
    if name not in MADE:
        before = project.bytes("**/*")
        make()
        MADE[name] = {path: content for path, content in project.bytes("**/*").items() if content != before.get(path)}
    for path, content in MADE[name].items():
        (project.root / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / path).write_bytes(content)


@pytest.fixture
def inside(ready, monkeypatch):
    """The same, with this process's `icelib.util.paths` pointing into it."""
    from icelib.util import paths

    for name, value in list(vars(paths).items()):
        if isinstance(value, Path) and name not in ("ROOT", "PACKAGE"):
            monkeypatch.setattr(paths, name, ready.root / value.relative_to(paths.ROOT))
    monkeypatch.setattr(paths, "ROOT", ready.root)
    return ready
