"""A finished tiny pipeline, copies of it to break, and the comparison with what it made undisturbed."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys

import psutil
import yaml

from icelib import paths
from tests.conftest import Project, make_project

MADE = ("data", "checkpoints", "reports", "results", "figures", "notebooks/code")
RUNNING = re.compile(r"^Running stage '(?:.*:)?(.+)':", re.M)
REPRO = (sys.executable, "-m", "dvc", "repro")
# what `make results` does, for the reasons that Makefile gives
PREPARE = "(find .dvc/tmp -maxdepth 1 -name rwlock -empty -delete; chmod -R u+w .dvc/cache/files) 2> /dev/null"
MAKE = ("sh", "-c", f'{PREPARE}; exec "$@"', "make", *REPRO)


class Lab:
    """Projects in one folder; all copies have the same path, so that outputs may be compared by their bytes.

    Parameters
    ----------
    folder : pathlib.Path
        Empty folder with room for about 200 MB.
    """

    def __init__(self, folder):
        self.folder = folder
        self.template, self.finished = folder / "template", folder / "finished"
        self.root = folder / "project"
        self.expected = None

    def prepare(self):
        """Make the undisturbed outputs, unless an earlier drill in this folder did."""
        if not self.finished.exists():
            self.template.mkdir(parents=True)
            project = make_project(self.template)
            project.call("git", "init", "-q")
            project.call(sys.executable, "-m", "dvc", "init", "-q")
            project = self.copy(self.template)
            status, output = project.call(*REPRO, check=False)
            if status:
                raise RuntimeError(f"the undisturbed pipeline failed:\n{output}")
            shutil.copytree(self.root, self.folder / "finishing", symlinks=True)
            (self.folder / "finishing").rename(self.finished)
        self.expected = outputs(self.finished)

    def copy(self, source=None):
        """Return a copy of the finished project, or of `source`, in place of the last copy."""
        for path in (self.root, self.folder / "site"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source or self.finished, self.root, symlinks=True)
        project = Project(self.root)
        project.environment |= {"DVC_SITE_CACHE_DIR": str(self.folder / "site"), "OMP_NUM_THREADS": "1"}
        project.environment["PYTHONUNBUFFERED"] = "1"  # what a killed process printed is wanted
        return project

    def empty(self):
        """Return a project in which nothing has been made."""
        return self.copy(self.template)

    def compare(self):
        """List what differs from the undisturbed outputs: files that are missing, more, or of other bytes."""
        found = outputs(self.root)
        return sorted(
            f"{name}: {'missing' if name not in found else 'not expected' if name not in self.expected else 'differs'}"
            for name in found.keys() | self.expected.keys()
            if found.get(name) != self.expected.get(name)
        )


def outputs(root):
    """Everything that the pipeline made, by path; histories without their seconds, which are never the same.

    What a killed process leaves under the name of a temporary file is no output, to git and DVC neither.
    """
    found = {}
    for folder in MADE:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not path.name.startswith(".writing-"):
                found[str(path.relative_to(root))] = path.read_bytes()
    for name in [name for name in found if name.startswith("results/history")]:
        with contextlib.suppress(ValueError):
            history = json.loads(found[name])
            for epoch in history["epochs"]:
                del epoch["seconds"], epoch["images_per_second"]
            found[name] = json.dumps(history).encode()
    return found


def stages(project):
    """The stages of dvc.lock by name."""
    return yaml.load((project.root / "dvc.lock").read_text(), yaml.CSafeLoader)["stages"]


def drop(project, pattern):
    """Remove the outputs of all stages whose names match, in the folder and in DVC's cache; return the names."""
    chosen = {name: stage for name, stage in stages(project).items() if re.match(pattern, name)}
    for stage in chosen.values():
        for out in stage.get("outs", []):
            path, cached = project.root / out["path"], cache_object(project, out["md5"])
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            cached.unlink(missing_ok=True)
    shutil.rmtree(project.root / ".dvc/cache/runs", ignore_errors=True)
    return list(chosen)


def cache_object(project, md5):
    """Path of an object in DVC's cache."""
    return project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def again(project, *stages):
    """Give `dvc repro`; list what went wrong."""
    status, output = project.call(*REPRO, *stages, check=False)
    return [f"`dvc repro` failed: {said(output)}"] if status else []


def said(output):
    """The lines of an output in which an error is told, shortened and without the folders of this machine."""
    output = re.sub(r"(?<![\w.-])/(?:[\w.@-]+/){2,}", "", output)
    lines = [line for line in output.splitlines() if re.search(r"error|cannot|Unable|busy", line, re.I)]
    return [line.strip()[:300] for line in lines][:4]


def end(processes):
    """Kill these processes (psutil.Process), which the drill started."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def inside(project):
    """Let `icelib.paths` of this process point into a project."""
    names = ("PARAMS", "NOTEBOOKS", "FIGURES", "DOWNLOADS", "DATASETS", "TASKS", "RESUME")
    before = {name: getattr(paths, name) for name in (*names, "ROOT")}
    try:
        for name in names:
            setattr(paths, name, project.root / before[name].relative_to(before["ROOT"]))
        paths.ROOT = project.root
        os.environ["ICELIB_TERMINAL"] = ""
        yield
    finally:
        for name, value in before.items():
            setattr(paths, name, value)
