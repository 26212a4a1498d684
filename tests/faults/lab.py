"""A finished tiny pipeline, copies of it to break, and the record of what was found."""

import contextlib
import json
import platform
import re
import shutil
import sys
import time
from pathlib import Path

import yaml

from icelib.util import paths
from icelib.util.files import write_bytes, write_json
from tests.conftest import RUN, Project, make_project

NAME, OTHER = f"{'-'.join(RUN)}-ice-0", f"{'-'.join(RUN)}-plain-0"  # two runs
REPRO = (sys.executable, "-m", "dvc", "repro")
TRAIN = (sys.executable, "-m", "icelib.training.train")
# what `make results` does, for the reasons that Makefile gives
PREPARE = "(find .dvc/tmp -maxdepth 1 -name rwlock -empty -delete; chmod -R u+w .dvc/cache/files) 2> /dev/null"
MAKE = ("sh", "-c", f'{PREPARE}; exec "$@"', "make", *REPRO)


class Lab:
    """Projects in one folder; all copies have the same path, so that outputs may be compared by their bytes."""

    def __init__(self, folder, kills=50):
        self.folder, self.kills = folder, kills
        self.template, self.finished, self.root = (folder / name for name in ("template", "finished", "project"))

    def prepare(self):
        """Make the undisturbed outputs, unless an earlier drill in this folder did."""
        if not self.finished.exists():
            for path in self.folder.glob("template*"):  # of a drill that was cut off
                shutil.rmtree(path)
            self.template.mkdir(parents=True)
            project = make_project(self.template)
            project.params = project.params | {"parallel": {"jobs": 2}}
            project.call("git", "init", "-q")
            project.call(sys.executable, "-m", "dvc", "init", "-q")
            self.copy(self.template).call(*REPRO)
            shutil.copytree(self.root, self.folder / "finishing", symlinks=True)
            (self.folder / "finishing").rename(self.finished)

    def copy(self, source=None):
        """Return a copy of the finished project, or of `source`, in place of the last copy."""
        for path in (self.root, self.folder / "site"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source or self.finished, self.root, symlinks=True)
        project = Project(self.root)
        project.environment |= {"DVC_SITE_CACHE_DIR": str(self.folder / "site"), "PYTHONUNBUFFERED": "1"}
        return project

    def untrained(self):
        """Return a copy of the finished project whose networks are gone."""
        project = self.copy()
        shutil.rmtree(project.root / ".dvc/store")
        shutil.rmtree(project.root / "checkpoints")
        return project

    def compare(self, folders=("data", "checkpoints", "reports", "results", "figures")):
        """List what differs from the undisturbed outputs: files that are missing, more, or of other bytes."""
        found, expected = outputs(self.root, folders), outputs(self.finished, folders)
        return sorted(
            f"{name}: {'missing' if name not in found else 'not expected' if name not in expected else 'differs'}"
            for name in found.keys() | expected.keys()
            if found.get(name) != expected.get(name)
        )

    def compare_store(self):
        """List what of the declared runs' entries in the store differs from the undisturbed ones."""
        runs = [path.name for path in (self.finished / "checkpoints/tiny").iterdir()]
        return self.compare([entry(self.finished, run).relative_to(self.finished) for run in runs])


class Report:
    """Cases by fault: survived are those in which all held; a wrong result is an output that differs unsaid."""

    def __init__(self, path):
        self.path = path
        self.faults = json.loads(path.read_text())["faults"] if path.exists() else {}

    def begin(self, name, title):
        """Start the record of a fault anew."""
        self.faults[name] = {"title": title, "cases": []}

    def case(self, name, what, problems, wrong, **details):
        """Record what was done, what did not hold, and what outputs are wrong although nothing was said."""
        self.faults[name]["cases"].append({"what": what, "problems": problems, "wrong": wrong, **details})
        print(f"{time.strftime('%H:%M:%S')} {name}: {what}: {'; '.join(problems + wrong) or 'survived'}", flush=True)
        write_json(self.path, {"machine": f"{platform.system()} {platform.machine()}", "faults": self.faults})
        write_bytes(self.path.with_suffix(".md"), self.table().encode())

    def table(self):
        """The counts as Markdown."""
        rows, total = [], [0, 0, 0]
        for fault in self.faults.values():
            cases = fault["cases"]
            tried = [(case.get("count", 1), not case["problems"] and not case["wrong"]) for case in cases]
            counts = [sum(count for count, _ in tried), sum(count for count, survived in tried if survived)]
            counts.append(sum(len(case["wrong"]) for case in cases))
            total = [a + b for a, b in zip(total, counts, strict=True)]
            rows.append(f"| {fault['title']} | {' | '.join(f'{count:,}' for count in counts)} |")
        head = ["| fault | tried | survived | wrong results |", "|:--|--:|--:|--:|"]
        return "\n".join([*head, *rows, f"| **all** | {' | '.join(f'**{count:,}**' for count in total)} |"]) + "\n"


def outputs(root, folders):
    """Everything in some folders, by path, but temporary files; histories without seconds, which are never the same."""
    found = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*") if path.is_file()):
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        if path.name in ("history.json", "run.json") or path.parent.name == "history":
            with contextlib.suppress(ValueError):
                record = json.loads(content)
                for epoch in record.get("epochs", []):
                    del epoch["seconds"], epoch["images_per_second"]
                content = {key: value for key, value in record.items() if key not in ("files", "sha256")}
        if ".writing-" not in name:
            found[name] = content
    return found


def entry(root, run):
    """Folder of a declared run (its name) in the store, by the digest that its copy in ``checkpoints/`` has."""
    return root / ".dvc/store/runs" / json.loads((root / f"checkpoints/tiny/{run}/run.json").read_text())["digest"]


def maker(project, path):
    """Name of the stage that makes a path, and what dvc.lock has of it."""
    found = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"].items()
    return next((name, stage) for name, stage in found if any(out["path"] == path for out in stage.get("outs", [])))


def remove(path):
    """Remove a file or a folder, if there is one."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def again(project, command=MAKE):
    """Give a command; list what went wrong."""
    status, output = project.call(*command, check=False)
    return [f"the same command failed: {said(output)}"] if status else []


def said(output):
    """The lines of an output that tell an error, shortened and without the folders of this machine."""
    output = re.sub(r"(?<![\w.-])/(?:[\w.@-]+/){2,}", "", output)
    lines = [line for line in output.splitlines() if re.search(r"error|cannot|Unable|busy|damaged|moved", line, re.I)]
    return [line.strip()[:300] for line in lines][:4]


def flip(content, random):
    """Flip one bit."""
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]


def cut(content, random):
    """Keep the beginning."""
    return content[: random.randrange(len(content))]


@contextlib.contextmanager
def inside(project):
    """Let `icelib.util.paths` of this process point into a project."""
    root = paths.ROOT
    before = {name: x for name, x in vars(paths).items() if isinstance(x, Path) and x.is_relative_to(root)}
    del before["PACKAGE"]
    try:
        for name, path in before.items():
            setattr(paths, name, project.root / path.relative_to(root))
        yield
    finally:
        for name, path in before.items():
            setattr(paths, name, path)
