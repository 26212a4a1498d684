"""Results of runs that take hours or a GPU, as git keeps them: tables and figures follow from ``recorded/SCALE`` alone.

``python -m icelib.tools.record`` scores the declared runs that the store has finished, and writes

- ``params.yaml``, byte for byte, which has to be committed before: under its name, in configs/ or in recorded/;
- ``metrics``, ``history``, ``tasks``, and ``snapshots`` where they were measured, as in ``results/SCALE``;
- ``sweeps``, as there, and ``test`` of each run: accuracy and, by its own score, AUROC and FPR95 of test images;
- ``scores/RUN.safetensors``: ``labels``, ``predicted`` and the own score of known, near and far test images, float32;
- ``validation/RUN.safetensors``: that of validation images, see `matching.own_scores`, float32;
- ``logits/RUN.safetensors``: what 06 shows of them, of the first `LOGITS` images of each set, float16;
- ``features/RUN.safetensors``: what 05 shows, of the first `FEATURES` known test images and near outliers, float16;
- ``weights/RUN.safetensors`` of some runs: convolutions in bfloat16, the rest as it is, see `load`;
- ``origin.json``: digest, commits, date, hardware and libraries of each run, hashes of what each run, task and sweep
  was asked with, and SHA-256 of each file.

It can be called again as further runs are finished; what was recorded stays unless its parameters have changed.
"""

import argparse
import datetime
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from icelib import metrics, models
from icelib.analysis import choice, features, matching
from icelib.config import runs
from icelib.data import tasks
from icelib.evaluation import evaluate, snapshots
from icelib.methods import METHODS, own_detector
from icelib.report import results
from icelib.training import store
from icelib.training.parallel import parallel
from icelib.util import paths, tensors
from icelib.util.errors import readable_errors
from icelib.util.files import read_json, write_bytes, write_json

LARGEST = {"weights": 60, "all else": 25}  # MB (10⁶ bytes) of recorded/, all scales together
FEATURES, LOGITS, SEEDS = 300, 5000, 3  # images of each kind whose features or logits are kept, and of how many seeds


def record(jobs=None, weights=None):
    """Record the finished declared runs; return lines that tell what is recorded and what is missing.

    `weights` are names of the runs whose weights are recorded too, by default plain ones and all of the first seed.

    ValueError if params.yaml is not committed, a run of `weights` is not declared, no run is finished, or the record
    would be larger than `LARGEST`; no file is changed then.
    """
    plan, code = committed(), _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    params, wanted = runs.load(), {run.name: run for run in runs.declared()}
    folder, told = paths.RECORDED / params.scale, {}
    if weights is None:
        weights = [run.name for run in wanted.values() if run.method == "plain" or run.seed == params.seeds[0]]
    [runs.pick(wanted, name, "run of params.yaml") for name in weights]
    asked = _asked()
    before, changed, earlier = _before(folder, asked)
    trained = {name: run for name, run in wanted.items() if store.take(run)}
    told["diverged"] = [name for name, run in trained.items() if "diverged" in store.history(run)]
    told["not finished"] = [name for name in wanted if name not in trained and name not in before]
    told["removed, since recorded with other parameters"] = changed
    finished = {name: run for name, run in trained.items() if name not in told["diverged"]}
    if not finished and not before:
        raise ValueError(f"no declared run of scale {params.scale} is finished in {paths.relative(paths.STORE)}")
    evaluate.evaluate_all(list(finished.values()), jobs)
    with tempfile.TemporaryDirectory() as temporary:
        new, origin, gone = Path(temporary), {"params": plan, "runs": dict(before)}, [*changed, "origin"]
        for name, run in finished.items():
            about = _write(new, run, name in weights) | {"params": plan["commit"], "code": code}
            then = earlier.get(name, {})
            same = all(then.get(key) == about[key] for key in ("digest", "metrics"))  # it is what was recorded then
            origin["runs"][name] = then if same else about | {"date": datetime.date.today().isoformat()}
            if before.get(name, {}).get("digest") != about["digest"]:
                gone.append(name)  # of another training are also those files that are not written now
        recorded = [run for name, run in wanted.items() if name in origin["runs"]]
        for task in {run.task for run in recorded}:
            here = paths.results(params.scale) / "tasks" / f"{task}.json"
            write_json(new / "tasks" / here.name, read_json(here if here.exists() else folder / "tasks" / here.name))
        for name in params.sweeps:
            try:
                write_json(new / "sweeps" / f"{name}.json", _sweep(name, folder, jobs))
            except ValueError as error:
                told[f"sweep {name} is not recorded now"] = [str(error)]
        write_bytes(new / "params.yaml", paths.PARAMS.read_bytes())
        files = {path.relative_to(folder): path for path in _files(folder) if path.stem not in gone}
        files |= {path.relative_to(new): path for path in _files(new)}
        sizes = _sizes(files, folder)
        origin["files"] = {str(place): hashlib.sha256(files[place].read_bytes()).hexdigest() for place in sorted(files)}
        names = {path.stem for path in files}
        origin["asked"] = {name: value for name, value in asked.items() if name in names}
        for path in sorted(_files(new), key=lambda path: path.name == "params.yaml"):  # it tells of the others: last
            write_bytes(folder / path.relative_to(new), path.read_bytes())
    for path in _files(folder):
        if path.relative_to(folder) not in [*files, Path("origin.json")]:
            path.unlink()
    write_json(folder / "origin.json", origin)
    count = f"{len(recorded)} of {len(wanted)} declared runs are recorded in {paths.relative(folder)}"
    size = ", ".join(f"{kind} {size:.1f}" for kind, size in sizes.items())
    return [f"{count}; MB of recorded/: {size}", *(f"{what}: {', '.join(x)}" for what, x in told.items() if x)]


def committed():
    """Return path, commit and date of the committed file that params.yaml equals.

    ValueError if there is none: a choice is written down before its test figures are recorded.
    """
    content = _git("hash-object", "--", paths.PARAMS)
    for line in _git("ls-tree", "-r", "HEAD", "--", "params.yaml", "configs", "recorded").splitlines():
        blob, path = line.split(maxsplit=2)[2].split("\t")
        if blob == content:
            commit, date = _git("log", "-1", "--format=%H %aI", "--", path).split()
            return {"path": path, "commit": commit, "date": date}
    found = f"{paths.relative(paths.PARAMS)} is not committed as it stands, neither under its name nor in configs/"
    raise ValueError(f"{found} or recorded/; commit it first: a choice stands before its test figures")


def _git(*command):
    try:  # of the checkout that holds the code
        answer = subprocess.run(["git", *command], cwd=paths.PACKAGE.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"git cannot tell what is committed: {getattr(error, 'stderr', None) or error}") from None
    return answer.stdout.strip()


def _before(folder, asked):
    """What origin.json has of runs that stay recorded; names of runs, tasks and sweeps that do not; all its runs."""
    if not (folder / "origin.json").exists():
        return {}, [], {}
    found = read_json(folder / "origin.json")  # not params.yaml beside it, which may have been edited in place
    changed = [name for name, value in found["asked"].items() if asked.get(name) != value]
    return {name: about for name, about in found["runs"].items() if name not in changed}, changed, found["runs"]


def _asked():
    """Hashes of what the files of runs, tasks and sweeps follow from beside images and code, by their names."""
    params, test = runs.load(), {"outliers", "near", "far", "outlier_images", "images"}
    dump = lambda task, *less: task.model_dump(exclude={"title", "train", *less}, exclude_defaults=True)
    found = {name: dump(task) for name, task in params.tasks.items()}
    same = [params.detectors.model_dump(), params.bootstrap]
    found |= {run.name: [run.configuration, found[run.task], *same] for run in runs.declared()}
    for name, sweep in params.sweeps.items():
        tried = [[change, run.configuration] for change, run in choice.candidates(name)]
        found[name] = [tried, dump(params.tasks[sweep.task], *test)]
    return {name: hashlib.sha256(json.dumps(x, sort_keys=True).encode()).hexdigest()[:32] for name, x in found.items()}


def _write(folder, run, with_weights):
    """Write the files of a run; return what origin.json has of it."""
    place, about = evaluate.place(run), {"run": run.name, "configuration": run.configuration}
    result = evaluate.evaluate(run)
    write_json(folder / "history" / f"{run.name}.json", about | store.history(run))
    # without indentation, which would be a third of it
    write_bytes(folder / "metrics" / f"{run.name}.json", json.dumps(result, separators=(",", ":")).encode())
    kept = {name: torch.from_numpy(x).float() for name, x in matching.own_scores(run).items()}
    tensors.save(folder / "validation" / f"{run.name}.safetensors", kept, about)

    def reduced(kind, path, reduce):
        found, about = tensors.load(path)
        if kept := reduce(found):
            about = about | {"whole": about["sha256"], "run": run.model_dump()}  # SHA-256 of what it was made of
            tensors.save(folder / kind / f"{run.name}.safetensors", kept, about)

    reduced("scores", place / "scores.safetensors", lambda found: _scores(run, found))
    if run in snapshots.shown() and (snapshots.place(run) / "snapshots.json").exists():
        write_json(folder / "snapshots" / f"{run.name}.json", snapshots.measure(run))
        reduced("logits", snapshots.place(run) / "logits.safetensors", lambda found: _logits(run, found))
    if any(run in several[:SEEDS] for several in features.declared().values()):
        z = features.features(run)
        kept = {"known": z.known, "labels": z.labels, "outlier": z.outlier}
        kept = {name: torch.as_tensor(x[:FEATURES]) for name, x in kept.items()}
        kept = {name: x.half() if x.is_floating_point() else x.short() for name, x in kept.items()}
        about |= {"classes": z.classes, "outliers": z.outliers, "digest": result["digest"]}
        tensors.save(folder / "features" / f"{run.name}.safetensors", kept, about)
    if with_weights:
        small = lambda found: {name: x.bfloat16() if x.ndim == 4 else x for name, x in found.items()}
        reduced("weights", store.folder(run) / "weights.safetensors", small)
    machine = {"hardware": result["environment"]["device"], "libraries": result["environment"]["libraries"]}
    return {"digest": result["digest"], "metrics": result["sha256"]} | machine


def _sweep(name, folder, jobs):
    """A sweep's file, with the test figures of its runs that the store has; those of before are kept."""
    found, path = results.sweep(name), folder / "sweeps" / f"{name}.json"
    each = lambda result: [row for candidate in result["candidates"] for row in candidate["runs"]]
    before = {row["digest"]: row.get("test") for row in each(read_json(path))} if path.exists() else {}
    images = tensors.read_about(paths.tasks(found["scale"]) / found["task"] / "test.safetensors")["sha256"]
    pairs = [(run, row) for (_, run), row in zip(choice.candidates(name), each(found)) if "diverged" not in row]
    known = lambda row: (before.get(row["digest"]) or {}).get("images") == images
    here = lambda run, row: row["digest"] == store.digest(run) and store.place(row["digest"]).exists()
    todo = [(run, row) for run, row in pairs if not known(row) and here(run, row)]
    for _, row in pairs:
        row |= {"test": before[row["digest"]]} if known(row) else {}
    for (_, row), test in zip(todo, parallel(_test, [x for x, _ in todo], jobs=jobs, label=lambda x: x.name)):
        row["test"] = {"images": images} | test
    return found


def _test(run):
    """What test images say of a candidate by its own score, for comparison: the choice is committed by now."""
    (model, _), task, test = store.load(run), runs.load().tasks[run.task], tasks.load(run.task, "test")[0]
    values = matching.scored(model, run.method, {name: test[name] for name in ("known", *task.near, *task.far)})
    right = models.predict(model, test["known"], models.PRECISION).argmax(1) == test["labels"]
    found = {"accuracy": right.double().mean().item()}
    for kind in ("near", "far"):
        each = [metrics.detection_metrics(values["known"], values[name]) for name in getattr(task, kind)]
        shown = {"auroc": "auroc", "fpr95": "fpr95_outlier_positive"}.items() if each else ()
        found[kind] = {name: float(np.mean([x[metric] for x in each])) for name, metric in shown}
    return found


def _scores(run, found):
    apart, own = _apart(run), own_detector(run.method)
    shown = {name: x.float() for name, x in found.items() if name.partition("/")[0] == own}
    shown = {name: x for name, x in shown.items() if name.partition("/")[2] not in apart}
    classes = {name: found[name] for name in ("labels", "predicted")}
    small = torch.uint8 if max(x.max() for x in classes.values()) < 256 else torch.int16
    return shown | {name: x.to(small) for name, x in classes.items()}


def _logits(run, found):
    """Those that 06 shows: of the first seed the last epoch, and all of ICE; of its other seeds the first and last."""
    first, ice = run.seed == runs.load().seeds[0], run.method == "ice"
    parts = [str(run.schedule.epochs), "labels", "validation", *["0"] * ice] if first or ice else []
    kept = {name: x for name, x in found.items() if (first and ice) or name.split("/")[0] in parts}
    kept = {name: x for name, x in kept.items() if name.split("/")[-1] not in _apart(run) | {"jigsaw"}}
    # the range of float16 is less than what the Gaussian head says of far outliers
    small = lambda x: x.clamp(-6e4, 6e4).half() if x.is_floating_point() else x.short()
    return {name: small(x[:LOGITS]) for name, x in kept.items()}


def _apart(run):
    """Test sets in no mean, of which metrics alone are kept."""
    task = runs.load().tasks[run.task]
    return {name for name in task.outliers if name not in (*task.near, *task.far)}


def _sizes(files, folder):
    """Megabytes of recorded/ by kind, with these files in the place of those of a folder."""
    sizes = dict.fromkeys(LARGEST, 0)
    for path in [*files.values(), *(x for x in _files(paths.RECORDED) if not x.is_relative_to(folder))]:
        sizes["weights" if path.parent.name == "weights" else "all else"] += path.stat().st_size / 1e6
    for kind, size in sizes.items():
        if size > LARGEST[kind]:
            way = "name fewer runs after --weights" if kind == "weights" else "declare fewer runs, or fewer test images"
            raise ValueError(f"recorded/ would hold {size:.1f} MB of {kind}; expected at most {LARGEST[kind]}: {way}")
    return sizes


def _files(folder):
    return [path for path in folder.rglob("[!.]*") if path.is_file()]


def load(scale, name, device="cpu"):
    """Load a recorded network as `store.load` does; its convolutions were rounded to bfloat16."""
    weights, about = tensors.load(paths.RECORDED / scale / "weights" / f"{name}.safetensors", device)
    run, classes = runs.Run(**about["run"]), len(about["classes"])
    model = models.build(run.network, run.shape.model_dump(), METHODS[run.method].head, classes, run.head)
    model.load_state_dict(weights)
    return model.to(device, memory_format=torch.channels_last).eval(), about


def restore(scale, run):
    """Put the recorded network of a run's name into the store, to start from; return the run that the store has it as.

    ValueError if its weights are not recorded, or it is another network or of other classes than the run's.
    """
    path = paths.RECORDED / scale / "weights" / f"{run.name}.safetensors"
    weights, about = tensors.load(path)
    found, classes = (about["run"]["shape"], about["classes"]), tasks.load(run.task, "train")[1]["classes"]
    if found != (expected := (run.shape.model_dump(), classes)):
        raise ValueError(f"{paths.relative(path)} is of {found}; expected what params.yaml has, {expected}")
    run = run.model_copy(update={"tried": f"recorded {scale} {about['sha256']}"})
    if not store.take(run):
        folder = store.unfinished(store.digest(run))
        tensors.save(folder / "weights.safetensors", {name: x.float() for name, x in weights.items()}, about)
        history = read_json(path.parents[1] / "history" / f"{run.name}.json")
        write_json(folder / "history.json", history | {"digest": folder.name})
        store.put(folder.name, run, {key: about[key] for key in ("environment", "images", "parent")})
        shutil.rmtree(folder)
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the finished declared runs in recorded/SCALE.")
    parser.add_argument("--jobs", type=int, help="evaluations at a time")
    parser.add_argument("--weights", nargs="*", metavar="RUN", help="runs whose weights are recorded")
    with readable_errors():
        print(*record(**vars(parser.parse_args())), sep="\n- ")
