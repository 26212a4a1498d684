"""What `dvc repro` takes when there is nothing to do, with a hundred runs.

    python -m speed.noop [--items 100] [--seeds 6] [--out OUT.json]

Two pipelines, each in a temporary folder. One has a single stage over a matrix of `--items` names,
which copies a file; beside `dvc repro` stand `dvc status`, which looks at the same and runs nothing,
`dvc --version`, which is the program's start alone, and a no-op `make` with a rule for each item,
which compares times of files where DVC compares their contents. The other pipeline is the project's
own with `--seeds` seeds: every output is a stand-in of a few bytes, recorded as if it had been
made, so nothing is trained; real checkpoints and data sets cost no more, since DVC remembers the hashes of
files that have not changed. All take turns, `--repeats` times, and the fastest turn of each counts.
"""

import argparse
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from dvc import __version__ as dvc_version
from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile

from icelib.config import runs
from icelib.util import paths
from icelib.util.files import write_json
from speed.turns import fastest

DVC = [sys.executable, "-m", "dvc"]
NOTHING_TO_DO = ("up to date", "Nothing to be done")  # what DVC and make say then


def matrix(folder, items):
    """Make a pipeline that copies one file to `items` others, and a Makefile that does the same."""
    names = [f"item-{i}" for i in range(items)]
    stage = {
        "matrix": {"name": names},
        "cmd": "cp input ${item.name}",
        "deps": ["input"],
        "outs": ["${item.name}"],
    }
    (folder / "input").write_text("input\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"copy": stage}}))
    (folder / "Makefile").write_text(f"names = {' '.join(names)}\nall: $(names)\n$(names): input\n\tcp input $@\n")
    _call(folder, *DVC, "init", "--quiet", "--no-scm")
    _call(folder, *DVC, "repro", "--quiet")


def project(folder, seeds):
    """Make the project's own pipeline with so many seeds, all its outputs stand-ins; return its sizes."""
    for name in ("icelib", "notebooks"):
        shutil.copytree(paths.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "code"))
    shutil.copy(paths.ROOT / "dvc.yaml", folder)
    content = yaml.safe_load(paths.PARAMS.read_text())
    content["seeds"] = list(range(seeds))
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    _call(folder, *DVC, "init", "--quiet", "--no-scm")
    with Repo(str(folder)) as repo:
        stages = list(repo.index.stages)
        wanted = {Path(dep.fs_path) for stage in stages for dep in stage.deps if dep.protocol == "local"}
        outs = {Path(out.fs_path) for stage in stages for out in stage.outs}
        folders = {out for out in outs if any(out in path.parents for path in wanted)}
        for path in [*outs - folders, *wanted - folders]:  # recorded scales are neither copied nor made by a stage
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{path.name}\n")
        with repo.lock:
            locked = {stage.name: _record(stage) for stage in stages}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}, sort_keys=False))
    return {"runs": sum(len(group.methods) for group in runs.load().runs) * seeds, "stages": len(stages)}


def _record(stage):
    """Put a stage's outputs into the cache; return what stands in dvc.lock, which DVC would write stage by stage."""
    stage.save(run_cache=False)
    stage.commit()
    return json.loads(json.dumps(to_single_stage_lockfile(stage, with_files=True)))  # plain dicts and strings


def _call(folder, *command):
    # settings of the user's own must not matter
    environment = os.environ | {"DVC_GLOBAL_CONFIG_DIR": str(folder), "DVC_SYSTEM_CONFIG_DIR": str(folder)}
    environment |= {"DVC_NO_ANALYTICS": "true"}
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def _time(folder, commands, repeats):
    """Return the fewest seconds of each command; end with an error if one finds something to do."""

    def call(name):
        said = _call(folder, *commands[name])
        if "version" not in name and not any(words in said for words in NOTHING_TO_DO):
            raise SystemExit(f"{name} found something to do: {said}")

    return fastest({name: functools.partial(call, name) for name in commands}, repeats)


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=6, help="of the project's pipeline; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    commands = {f"dvc {word}": [*DVC, word] for word in ("repro", "status", "--version")}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        matrix(Path(name), options.items)
        seconds = _time(Path(name), commands | {"make": ["make", "all"]}, options.repeats)
        rows.append({"pipeline": "matrix", "runs": options.items, "stages": options.items, "seconds": seconds})
    if options.seeds:
        with tempfile.TemporaryDirectory() as name:
            sizes = project(Path(name), options.seeds)
            rows.append({"pipeline": "project", **sizes, "seconds": _time(Path(name), commands, options.repeats)})
    for row in rows:
        row["repro_to_status"] = row["seconds"]["dvc repro"] / row["seconds"]["dvc status"]
        print(f"{row['pipeline']}, {row['runs']} runs in {row['stages']} stages:")
        for name, value in row["seconds"].items():
            print(f"  {name:13} {value:7.3f} s")
    if options.out:
        environment = {"device": f"{platform.machine()} CPU", "dvc": dvc_version, "python": platform.python_version()}
        write_json(options.out, {"environment": environment, "rows": rows})
    return rows


if __name__ == "__main__":
    main()
