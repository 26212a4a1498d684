"""What a trained network says of every test image, and the metrics that follow.

``python -m icelib.evaluation.evaluate`` evaluates all declared runs, several at a time, and writes in ``results/SCALE``

- ``scores/RUN.safetensors``: ``labels`` and ``predicted`` (N,) of the known test images and, for every detector and
  image set, ``DETECTOR/SET`` (M,) float64, higher for known images; the known set is called ``known``;
- ``metrics/RUN.json``: accuracy and, for every detector, each metric of `icelib.metrics` on every set of outliers and
  its means over the ``near`` and ``far`` sets of the task, as shares with bootstrap intervals;
- ``summary.json``: the few numbers that experiments are compared by (``dvc exp show``).
"""

import argparse
from collections import defaultdict

import numpy as np

from icelib import models, scores
from icelib.config import runs
from icelib.data import tasks
from icelib.evaluation import detectors, kept, statistics
from icelib.methods import METHODS, own_detector
from icelib.training import store
from icelib.training.parallel import parallel
from icelib.util import machine, paths
from icelib.util.errors import readable_errors
from icelib.util.files import write_json

FILES = ("scores.safetensors", "metrics.json")
CODE = [f"evaluation/{name}.py" for name in ("evaluate", "detectors", "statistics", "kept")]
CODE += ["metrics.py", "scores.py", "models.py"]


def place(run):
    """Return the folder of the store that holds a run's score file and metrics, or is to hold them."""
    params = runs.load()
    task = params.tasks[run.task]
    settings = {"detectors": params.detectors.model_dump(), "bootstrap": params.bootstrap}
    return kept.place(run, "evaluations", CODE, settings | {"near": task.near, "far": task.far})


def evaluate(run):
    """Score all test images with a run's own score and all detectors, and measure; or take it from the store.

    Returns the content of ``metrics/RUN.json``; raises ValueError if the run is not trained with these parameters,
    images or weights are damaged, or a score does not give one finite value for each image.
    """
    return kept.take(place(run), FILES, lambda: _evaluate(run))


def evaluate_all(wanted, jobs=None):
    """Evaluate runs (runs.Run) side by side; return what `evaluate` does of each, by name."""
    found = parallel(evaluate, wanted, jobs=jobs, label=lambda run: run.name, what="evaluations")
    return dict(zip([run.name for run in wanted], found, strict=True))


def _evaluate(run):
    found, about = _scores(run)
    params, sets = runs.load(), defaultdict(dict)
    for key, x in found.items():
        detector, _, name = key.partition("/")
        sets[detector][name] = x.numpy()
    del sets["labels"], sets["predicted"]
    means = {"near": params.tasks[run.task].near, "far": params.tasks[run.task].far}
    values = {"run": run.name, "scale": run.scale, "task": run.task}
    values |= {"configuration": run.configuration, "digest": about["digest"], "environment": about["environment"]}
    values["origin"] = {"checkpoint": about["checkpoint"], "scoring": about["scoring"]}
    values["images"] = {name: len(x) for name, x in sets[own_detector(run.method)].items()}
    values["accuracy"] = statistics.accuracy(found["labels"], found["predicted"], params.bootstrap)
    values["detectors"] = {
        name: statistics.detection(x.pop("known"), x, means, params.bootstrap) for name, x in sets.items()
    }
    return found, about, values


def _scores(run):
    """Tensors of a run's score file, and what describes them."""
    device, method = machine.device(), METHODS[run.method]
    model, about = store.load(run, device)
    model.requires_grad_(False)  # ODIN asks for gradients of images alone
    train, validation, test = (tasks.load(run.task, part)[0] for part in ("train", "validation", "test"))
    labels = test.pop("labels")
    test = {name: (pixels, detectors.features(model, pixels)) for name, pixels in test.items()}
    logits = {name: models.logits(model, z).cpu() for name, (_, z) in test.items()}
    found = detectors.score(model, train, validation, test, runs.load().detectors)
    for name, (pixels, z) in test.items():
        if method.outliers:  # in place of a detector's of this name
            values = detectors.checked(scores.apply(method.score, logits[name], z), run.method, len(pixels))
            if not values.isfinite().all():
                raise ValueError(f"run {run.name}: {(~values.isfinite()).sum()} scores of {name!r} are not finite")
            found[f"{run.method}/{name}"] = values
    about = {"checkpoint": about.pop("sha256"), "run": run.name, **about}
    about["scoring"] = machine.describe(device, models.PRECISION) | {"libraries": machine.versions()}
    return found | {"labels": labels, "predicted": logits["known"].argmax(1)}, about


def summarise(wanted, measured):
    """Sum up runs for comparisons of experiments: for each without its seed, in percent and as means over seeds.

    ``accuracy``, and by the method's own score ``auroc_near``, ``fpr95_near`` (outlier-positive), ``auroc_far`` and
    ``fpr95_far``, as far as the task has such.
    """
    groups = defaultdict(lambda: defaultdict(list))
    for run in wanted:
        result, values = measured[run.name], groups[run.name.rpartition("-")[0]]
        values["accuracy"].append(result["accuracy"]["value"])
        own = result["detectors"][own_detector(run.method)]
        for mean in {"near", "far"} & set(own):
            values[f"auroc_{mean}"].append(own[mean]["auroc"]["value"])
            values[f"fpr95_{mean}"].append(own[mean]["fpr95_outlier_positive"]["value"])
    percent = lambda x: round(100 * float(np.mean(x)), 4)
    return {name: {metric: percent(x) for metric, x in sorted(values.items())} for name, values in groups.items()}


def declared(jobs=None):
    """Evaluate all declared runs, and write their files and the summary."""
    wanted, scale = runs.declared(), runs.load().scale
    measured = evaluate_all(wanted, jobs)
    kept.publish({run.name: place(run) for run in wanted}, FILES, scale)
    write_json(paths.results(scale) / "summary.json", summarise(wanted, measured))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Evaluate all declared runs.")
    parser.add_argument("--jobs", type=int, help="evaluations at a time")
    with readable_errors():
        declared(**vars(parser.parse_args()))
