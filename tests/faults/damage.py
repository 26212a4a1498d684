"""Files that were damaged: by a byte, cut, emptied, or replaced by another's."""

import json
import os
import shutil

from icelib import checkpoints, data, params, paths, results, sweeps, tasks, tensors, training
from icelib.engine import Engine
from icelib.files import read_json
from tests.faults.disks import RUN
from tests.faults.lab import MAKE, REPRO, cache_object, inside, said, stages

NAME = RUN.removeprefix("tiny-")
OTHER = NAME.replace("ice", "plain")


def a_run(method="ice"):
    return params.run("tiny", "few", "wideresnet", "scratch", method, "0")


# kind of file: the file, another of the same kind, and what reads it
KINDS = {
    "prepared data set": ("data/sets/digits-train/all.npz", "data/sets/digits-test/all.npz", lambda: data.load("digits-train")),
    "description of a data set": ("data/sets/digits-train/about.json", "data/sets/digits-test/about.json", lambda: data.load("digits-train")),
    "task file": ("data/tasks/tiny/few/train.safetensors", "data/tasks/tiny/few/validation.safetensors", lambda: tasks.load("tiny", "few", "train")),
    "checkpoint": (f"checkpoints/tiny/{NAME}.safetensors", f"checkpoints/tiny/{OTHER}.safetensors", lambda: checkpoints.load(a_run())),
    "checkpoint on the way": (f"checkpoints/tiny/{NAME}.epochs/0001.safetensors", f"checkpoints/tiny/{OTHER}.epochs/0001.safetensors", lambda: checkpoints.load(a_run(), epoch=1)),
    "score file": (f"results/scores/tiny/{NAME}.safetensors", f"results/scores/tiny/{OTHER}.safetensors", lambda: results.measure(a_run())),
    "logits on the way": (f"results/logits/tiny/{NAME}.safetensors", f"results/logits/tiny/{OTHER}.safetensors", lambda: tensors.load(paths.logits(a_run()))),
    "metrics": (f"results/metrics/tiny/{NAME}.json", f"results/metrics/tiny/{OTHER}.json", lambda: results.load(a_run())),
    "history": (f"results/history/tiny/{NAME}.json", f"results/history/tiny/{OTHER}.json", lambda: read_json(paths.history(a_run()))),
    "measures on the way": (f"results/traces/tiny/{NAME}.json", f"results/traces/tiny/{OTHER}.json", lambda: read_json(paths.trace(a_run()))),
    "sweep": ("results/sweeps/tiny/ice-weight.json", f"results/metrics/tiny/{NAME}.json", lambda: sweeps.load("tiny", "ice-weight")),
    "report": (f"reports/tiny/02_training-{NAME}.ipynb", "reports/03_benchmark.ipynb", None),
    "table": ("figures/table2.csv", "figures/table3.csv", None),
    "figure": ("figures/fig1.png", "figures/fig3.png", None),
}  # fmt: skip


def flip(content, random):
    """One bit of one byte; of text that is a digit, one that stays a digit."""
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]


def cut(content, random):
    return content[: random.randrange(1, len(content))]


def empty(content, random):
    return b""


def drill(lab, report, random):
    """Damage every kind of file in every way; see what its reader says, and whether `dvc repro` mends it."""
    report.begin(
        "damage",
        "damaged file: data, task, checkpoint, scores, logits, metrics, history, measures, sweep, report, table, figure",
        "a reader names the file, or it is text that still reads; `dvc repro` makes the same outputs",
    )
    for kind, (name, other, read) in KINDS.items():
        for how in (flip, cut, empty, "that of another"):
            project = lab.copy()
            path = project.root / name
            whole = path.read_bytes()
            changed = (project.root / other).read_bytes() if isinstance(how, str) else how(whole, random)
            path.write_bytes(changed)
            problems, found = [], ""
            if read:
                with inside(project):
                    found = _refusal(read, path, problems)
            status, output = project.call(*REPRO, check=False)
            problems += [f"`dvc repro` failed: {said(output)}"] if status else []
            what = f"{kind}: {how if isinstance(how, str) else how.__name__}"
            report.case("damage", what, problems, lab.compare(), said=found)


def _refusal(read, path, problems):
    """What the reader says of a damaged file: a ValueError that names it, or nothing."""
    try:
        read()
    except ValueError as error:
        if str(paths.relative(path)) not in str(error):
            problems.append(f"the reader's error does not name the file: {error}")
        return str(error)[:300]
    except Exception as error:
        problems.append(f"the reader raises {type(error).__name__}: {error}")
    return "read"


def readers(lab, report, random, count=200):
    """Flip single bits anywhere in binary files: each must be refused or change nothing that is read."""
    report.begin(
        "bit",
        "one bit of a data, task, checkpoint, score or logits file flipped, and the file read",
        "an error that names the file, or what is read is the same",
    )
    project = lab.copy()
    binary = [
        kind for kind, (name, _, read) in KINDS.items() if read and not name.endswith("json") and kind != "score file"
    ]
    with inside(project):
        for kind in binary:
            name, _, read = KINDS[kind]
            path = project.root / name
            whole, right, problems, wrong = path.read_bytes(), _plain(read()), [], []
            for _ in range(count):
                path.write_bytes(flip(whole, random))
                try:
                    if _plain(read()) != right:
                        wrong.append(f"{name}: other content, and no error")
                except ValueError as error:
                    if str(paths.relative(path)) not in str(error):
                        problems.append(f"the error does not name the file: {error}")
                except Exception as error:
                    problems.append(f"{type(error).__name__}: {error}")
            path.write_bytes(whole)
            report.case("bit", kind, sorted(set(problems)), wrong, count=count)


def _plain(value):
    """Something that compares equal if and only if the content does."""
    if hasattr(value, "state_dict"):
        value = value.state_dict()
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, tuple):
        return [_plain(x) for x in value]
    return (
        value.numpy().tobytes() if hasattr(value, "numpy") else value.tobytes() if hasattr(value, "tobytes") else value
    )


class Interrupted(Exception):
    pass


def resume(lab, report, random, count=40):
    """Damage the state of an interrupted training, and go on."""
    report.begin(
        "resume",
        "damaged resume state",
        "it is set aside, training starts anew, and ends in the same weights and history",
    )
    project = lab.copy()
    with inside(project):
        run, epoch = a_run(), Engine.epoch
        shutil.rmtree(paths.RESUME, ignore_errors=True)

        def interrupted(self, number):
            if number == 1:
                raise Interrupted
            return epoch(self, number)

        Engine.epoch = interrupted
        try:
            training.train(run)
        except Interrupted:
            pass
        finally:
            Engine.epoch = epoch
        folder = paths.RESUME / run.digest
        shutil.copytree(folder, lab.folder / "resume", dirs_exist_ok=True)
        whole = (folder / "state.safetensors").read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")  # of JSON: shapes, and what describes them
        for number in range(count + 2):
            shutil.rmtree(folder)
            shutil.copytree(lab.folder / "resume", folder)
            if number < count:  # every other one in the header, which is small
                place = random.randrange(header if number % 2 else len(whole))
                changed = whole[:place] + bytes([whole[place] ^ 1 << random.randrange(8)]) + whole[place + 1 :]
            else:
                changed = cut(whole, random) if number == count else b""
            (folder / "state.safetensors").write_bytes(changed)
            try:
                training.train(run)
                problems = []
            except Exception as error:
                problems = [f"{type(error).__name__}: {error}"]
            what = (
                f"bit {place} of {len(whole)}, header of {header}"
                if number < count
                else "cut"
                if changed
                else "emptied"
            )
            report.case("resume", what, problems, lab.compare() if not problems else [])


def cache(lab, report, random):
    """Damage objects in DVC's cache whose outputs are missing, so that DVC would take them from there."""
    report.begin(
        "cache",
        "damaged object in DVC's cache, with the output that it holds missing",
        "it is not used, or a reader names the output and removing both makes the same outputs",
    )
    for stage, within in (
        ("own_data@digits-train", "data/"),
        ("task@tiny-few", "data/"),
        (f"train_few@{RUN}", "checkpoints/"),
        (f"train_few@{RUN}", "reports/"),
        (f"score_few@{RUN}", "results/"),
        (f"metrics_few@{RUN}", "results/"),
        ("benchmark", ""),
    ):
        for guarded in (True, False):
            project = lab.copy()
            outs = [out for out in stages(project)[stage]["outs"] if out["path"].startswith(within)]
            out = next(out for out in outs if not out["path"].endswith(".epochs") and "md5" in out)
            path, cached = project.root / out["path"], cache_object(project, out["md5"])
            held = cached
            if path.is_dir():
                held = cache_object(project, next(x["md5"] for x in json.loads(cached.read_text())))
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            if not held.exists():
                continue  # tables and figures are kept by git, not by DVC
            os.chmod(held, 0o644)
            held.write_bytes(flip(held.read_bytes(), random))
            os.chmod(held, 0o444 if guarded else 0o644)
            status, output = project.call(*MAKE, check=False)
            advice, problems = "", []
            if status:
                if out["path"] not in output:
                    problems.append(f"the error does not name the file: {said(output)}")
                held.unlink(missing_ok=True)
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                advice = "; refused, then both removed"
                again, said_then = project.call(*MAKE, check=False)
                problems += [f"`dvc repro` failed: {said(said_then)}"] if again else []
            what = f"{out['path']}{'' if guarded else ', not write-protected'}{advice}"
            report.case("cache", what, problems, lab.compare(), said=said(output))
