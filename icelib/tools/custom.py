"""Trying out a loss, a head, a score or outliers of your own, beside the paper's methods.

A try is trained into the store as the runs of Table 3 are, whose task, network and protocol it shares. What is shown of
it is kept in ``scratch/custom/NAME/``; no tracked file is touched. README.md tells how to make it permanent.
"""

import contextlib
import hashlib
import inspect
import itertools
import os
import re
from datetime import datetime
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import Markdown, display

from icelib import heads, metrics, models, scores
from icelib.analysis import choice, matching
from icelib.config import runs
from icelib.config.schema import GIVEN, check_parameters, hint, loss_parameters
from icelib.data import tasks
from icelib.data.images import read_own
from icelib.evaluation import detectors, statistics
from icelib.methods import METHODS, Method, own_detector
from icelib.report import figures, results
from icelib.tools import record
from icelib.training import store, train
from icelib.util import machine, paths, tensors
from icelib.util.errors import DivergedError
from icelib.util.files import read_json, write_json

SAMPLES, WIDTH = 500, 8  # of random input: more samples than one who takes the first few is likely to take
_STOPPED = {}  # name and time of tries that were interrupted in this notebook, by all that was asked for


def loss(
    function=None, head="gaussian", score=scores.max_likelihood, *, name="", again="", seed=0, parent="", **values
):
    """Train with a loss of your own, and show first how it differs from ICE and OE.

    Parameters
    ----------
    function : callable
        As in `icelib.losses`; returns a scalar or a dict. ``known_features``, ``outlier_features`` are filled.
    head : str or type
        "linear", "gaussian", or ``Head(features, classes, **parameters)``: features (N, d) to logits (N, K).
    score : callable
        As in `icelib.scores`; may have a parameter ``features``.
    parent : str, optional
        A recorded scale: its plain network of this seed is fine-tuned, in place of one that is trained first.
    name, again : str, optional
        Under which it is kept, by default the function's with the time; and of a kept one to show, without training.
    **values : float, str or list
        Of loss, head and protocol (``epochs``, ``learning_rate``, ``clip``, …). What has a default may be left out, and
        parameters of the Gaussian head: ICE's. `choice.choose` takes one of lists, from scratch by protocol ``sweep``.

    Raises ValueError or TypeError, before a training, if one is of another form, and DivergedError as `train.train`.
    After an interruption the same call goes on; that a helper of the functions was edited is not seen then.
    """
    if again:
        return _show(runs.pick({record["name"]: record for record in _records()}, again, "kept try"))
    if not callable(function):
        raise ValueError(f"expected a function as loss, found {function!r}")
    label, now = re.sub(r"\W", "", getattr(function, "__name__", "loss")), datetime.now()
    if not (inspect.isclass(head) and issubclass(head, torch.nn.Module)) and head not in [*heads.HEADS]:
        raise ValueError(f"unknown head {head!r}{hint(head, heads.HEADS)}, or a class, a torch.nn.Module")
    code = (getattr(part, "__code__", part) for part in (function, head, score))  # equal if a cell is run again
    asked = (*code, name, seed, parent, repr(values))
    mark = now.isoformat()
    if "ICELIB_REPORT" in os.environ:  # the same code is trained once, however often its report is made
        mark = hashlib.sha256(f"{inspect.getsource(function)}{values}".encode()).hexdigest()
    name, mark = _STOPPED.pop(asked, (name or f"{label}-{now:%Y%m%d-%H%M%S}", mark))
    taken = {*detectors.DETECTORS, *(part for x in METHODS.values() if x.name for part in (x.name, x.title))}
    if not re.fullmatch(r"\w[\w+-]{0,63}", name) or name in taken:
        raise ValueError(f"name = {name!r}: expected letters, digits, - or _, and no method or detector of the project")
    METHODS[name] = Method(function, head, score, True, name)
    last = _runs(label, f"{name} {mark}", seed, parent, values)
    _probe(label, METHODS[name], last[0][1])
    seen, rows, place = [], [], display(display_id=True) if get_ipython() else None
    try:
        short = {key: x for key, x in values.items() if key != "epochs" or np.ndim(x)}
        for change, run in _runs(label, f"{name} {mark}", seed, parent, short, "sweep") if len(last) > 1 else []:
            with contextlib.suppress(DivergedError):
                train.train(run)
            rows.append({"change": change} | choice.outcome(store.history(run)))
        best = choice.choose(rows)["change"] if rows else {}
        run = next(run for change, run in last if change == best)
        kept = {"name": name, "made": mark, "candidates": rows, "run": run.model_dump()}
        kept |= {"history": train.train(run, partial(_watch, seen, place)), "metrics": _measured(run, {name: score})}
    except KeyboardInterrupt:
        if get_ipython() is None:
            raise
        _STOPPED[asked] = name, mark
        return print(f"stopped after epoch {len(seen)}; run the cell again to go on")
    path = paths.SCRATCH / "custom" / name / "try.json"
    if path.exists() and (old := read_json(path))["made"] != mark:  # nothing that was kept is lost
        aside = f"{name}-{re.sub(r'[^0-9T]', '', old['made'])[:15]}"
        write_json(path.parent.with_name(aside) / "try.json", old | {"name": aside})
    write_json(path, kept)
    return _show(kept)


def _runs(label, tried, seed, parent, values, shorter=""):
    """List what each combination of values changes, and its run, as pairs (dict, `runs.Run`)."""
    name, params, (known, network, protocol) = tried.partition(" ")[0], runs.load(), runs.main_block()
    protocol = "finetune" if parent else protocol
    protocol = shorter if shorter and protocol == "scratch" else protocol
    base = runs.run(runs.task_playing(known)[0], network, protocol, next(iter(params.train)), seed)
    if parent:
        base = base.model_copy(update={"parent": record.restore(parent, base.parent)})
    of_loss, of_head = loss_parameters(name), heads.parameters(METHODS[name].head)
    own, schedule, sides = [*of_loss, *of_head], base.schedule.model_dump(), {}
    for part in (METHODS[name].loss, heads.HEADS.get(METHODS[name].head, METHODS[name].head)):
        sides |= {key: p.default for key, p in inspect.signature(part).parameters.items() if p.default is not p.empty}
    sides |= {key: x for key, x in params.train.get("ice", {}).items() if key in of_head}
    sides = {key: x for key, x in sides.items() if key in own} | values
    for key, value in sides.items():
        if key not in (*own, *schedule):
            raise ValueError(f"{label} has no parameter {key!r}{hint(key, (*own, *schedule))}")
        sides[key] = np.atleast_1d(value).tolist()
        if not sides[key] or any(isinstance(x, bool) or not isinstance(x, int | float | str) for x in sides[key]):
            raise ValueError(f"{label}.{key} = {value!r}: expected a number or a word, or a list of these")
    pairs = []
    for given in (dict(zip(sides, x)) for x in itertools.product(*sides.values())):
        check_parameters(name, {key: x for key, x in given.items() if key in own}, label)
        parts = {"loss": {key: given[key] for key in of_loss}, "head": {key: given[key] for key in of_head}}
        run = base.model_copy(update={"method": name, "tried": tried, **parts})
        change = {key: x for key, x in given.items() if len(sides[key]) > 1}
        pairs.append((change, runs.vary(run, {key: x for key, x in given.items() if key not in own})))
    return pairs


def _probe(label, method, run):
    """Call loss, head and score on random features, so that a mistake shows before a training begins."""
    classes, build = len(tasks.load(run.task, "validation")[1]["classes"]), heads.HEADS.get(method.head, method.head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = torch.rand(2 * SAMPLES, WIDTH, requires_grad=True)
        logits = build(WIDTH, classes, **run.head)(z)
        _check(f"logits of {build.__name__} are", logits, 2 * SAMPLES, classes)
        signature, labels = inspect.signature(method.loss), torch.arange(SAMPLES) % classes
        given = {key: x for key, x in zip(GIVEN, (*z.split(SAMPLES), 0.0)) if key in signature.parameters}
        try:
            terms = method.loss(logits[:SAMPLES], labels, logits[SAMPLES:], **run.loss, **given)
        except TypeError as error:
            wanted = "(known_logits, labels, outlier_logits, *, ...)"
            raise ValueError(f"{label}{signature}: expected {wanted}; {error}") from error
    terms = terms if isinstance(terms, dict) else {"loss": terms}
    for key, term in terms.items():
        _check(f"{label}: term {key!r} is", term)
    if not terms or not (total := sum(terms.values())).requires_grad:
        raise ValueError(f"{label} has no gradient with respect to logits or features; was one detached?")
    _check(f"{label} has a gradient", torch.autograd.grad(total, z, allow_unused=True)[0], 2 * SAMPLES, WIDTH)
    label = f"{getattr(method.score, '__name__', 'score')} of logits {tuple(logits.shape)} is"
    _check(label, scores.apply(method.score, logits.detach(), z.detach()), 2 * SAMPLES)


def _check(what, value, *shape):
    if not isinstance(value, torch.Tensor) or value.shape != shape or not value.isfinite().all():
        found = f"of shape {tuple(value.shape)}" if getattr(value, "shape", ()) else repr(value)
        raise ValueError(f"{what} {found}; expected a finite tensor of shape {shape}")


def _watch(seen, place, epochs):
    """Note the epochs so far, and draw them in a place of a notebook."""
    seen[:] = epochs
    if place:
        with plt.rc_context():
            figures.style()
            place.update(figures.history(epochs))
            plt.close()


def _records():
    """Records of the tries at this scale, the newest last."""
    found = [read_json(path) for path in (paths.SCRATCH / "custom").glob("*/try.json")]
    return sorted((x for x in found if x["run"]["scale"] == runs.load().scale), key=lambda x: x["made"])


def _declared(seed=0):
    """Runs of the block of Table 3 by title, one of each method: of a seed, else the first."""
    found = runs.main_runs().items()
    return {METHODS[x].title: next((run for run in several if run.seed == seed), several[0]) for x, several in found}


def _percent(sets):
    """AUROC and FPR95 (outlier-positive) of far and near outliers, or of one's own, in percent."""
    names, kinds = {"AUROC": "auroc", "FPR95": "fpr95_outlier_positive"}, ("far", "near", "own")
    return {f"{x} {kind}": 100 * sets[kind][names[x]]["value"] for x in names for kind in kinds if kind in sets}


def _show(record):
    """Show differences, picture and the rows of Table 3."""
    name, several, lines = record["name"], _declared(record["run"]["seed"]), {}
    several[name], missing = runs.Run(**record["run"]), ""
    for title, run in several.items():
        try:
            result = record["metrics"] if title == name else results.metrics(run)
            sets = result["detectors"][name if title == name else own_detector(run.method)]
            lines[title] = {"accuracy": 100 * result["accuracy"]["value"]} | _percent(sets)
            lines[title]["epochs"] = run.schedule.epochs
        except ValueError as error:
            missing = f" Not all can be shown: {error}."
    found = pd.DataFrame(lines).T
    others = [METHODS[x].title for x in ("ice", "oe") if METHODS[x].title in lines]
    differences = pd.DataFrame({f"{name} − {x}": found.loc[name] - found.loc[x] for x in others}).T
    note = "In percent; of FPR95 (outlier-positive) less is better. One seed each: another may turn a difference round."
    pieces = [differences.to_markdown(floatfmt="+.2f"), note + missing, found.to_markdown(floatfmt=".2f")]
    if record["candidates"]:
        rows = [x["change"] | _validation(x) for x in record["candidates"]]
        pieces += ["Candidates, on validation images:", pd.DataFrame(rows).to_markdown(index=False)]
    with plt.rc_context():
        figures.style()
        figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
        for ax, kind in zip(axes, ("far", "near")):  # the axes of Figure 1
            for title, line in lines.items():
                marker = "*" if title == name else figures.MARKERS.get(title, "x")
                colour = "k" if title == name else figures.COLOURS.get(title, figures.OTHER_COLOUR)
                ax.plot(line.get(f"AUROC {kind}"), line["accuracy"], marker, color=colour, ms=9, label=title)
            ax.set(xlabel=f"AUROC, {kind} outliers (%)", ylabel="accuracy, known images (%)")
        figure.legend(*ax.get_legend_handles_labels(), loc="outside right", fontsize=7)
        figure.savefig(paths.SCRATCH / "custom" / name / "figure.png")
    plt.close()
    if get_ipython():
        display(Markdown("\n\n".join(pieces[:2])), figure, Markdown("\n\n".join(pieces[2:])))
    else:
        print(*pieces, sep="\n\n")


def _validation(row):
    """What choices are made by (`choice.outcome`), in percent."""
    if "diverged" in row:
        return {"accuracy": np.nan}
    values = {"accuracy": row["accuracy"], **{f"AUROC {x}": row[x]["auroc"] for x in ("outliers", "jigsaw")}}
    return {key: round(100 * x, 2) for key, x in values.items()}


def tried():
    """Return what choices are made by, in percent on validation images: of Table 3's methods, and of every kept try."""
    found = {title: (results.history(run)["epochs"], run) for title, run in _declared().items()}
    found |= {record["name"]: (record["history"], runs.Run(**record["run"])) for record in _records()}
    shown = {
        name: _validation(choice.figures(history[-1])) | {"epochs": len(history)} | run.loss
        for name, (history, run) in found.items()
    }
    return pd.DataFrame(shown).T


def score(function):
    """Score test images by the networks of Table 3's block: by a function, and by their own scores; in percent.

    Raises ValueError if it does not give a value for each image, or a network is not trained.
    """
    rows = {}
    for title, run in _declared().items():
        own = {getattr(function, "__name__", "score"): function, own_detector(run.method): METHODS[run.method].score}
        rows |= {(title, name): _percent(x) for name, x in _measured(run, own)["detectors"].items()}
    return pd.DataFrame(rows).T.round(2)


def outliers(path, scale=""):
    """Score an ``.npz`` or a folder of images of your own as outliers, by those networks' own scores; in percent.

    `scale` names a recorded one, ``"desk"`` say: then by its networks, of each method the first whose weights are
    recorded, against what was recorded of known test images. Nothing needs to be trained or downloaded; the weights'
    convolutions were rounded to bfloat16.

    Raises ValueError if images are not as ``own_datasets`` has them, or a network is not trained or recorded.
    """
    own, rows, before = torch.from_numpy(read_own(Path(path))[0]).permute(0, 3, 1, 2), {}, paths.SHOWN
    if not scale:
        for title, run in _declared().items():
            rows[title] = _percent(_measured(run, {"": METHODS[run.method].score}, {"own": own})["detectors"][""])
        return pd.DataFrame(rows).T.round(2)
    if scale not in (there := sorted(path.parent.name for path in paths.RECORDED.glob("*/weights"))):
        raise ValueError(f"scale = {scale!r}: expected one whose weights are recorded: {', '.join(there)}")
    paths.show(scale)
    try:
        for method, several in runs.main_runs().items():
            there = {x.stem for x in (paths.RECORDED / scale / "weights").iterdir()}
            if run := next((run for run in several if run.name in there), None):
                model, detector = record.load(scale, run.name)[0], own_detector(method)
                scored = tensors.load(run.file("scores", "safetensors"))[0]
                found = matching.scored(model, method, {"own": own})["own"]
                found = metrics.detection_metrics(scored[f"{detector}/known"].double().numpy(), found)
                found = {key: {"value": x} for key, x in found.items()}
                rows[METHODS[method].title] = _percent({"own": found})
    finally:
        paths.show(before)
    return pd.DataFrame(rows).T.round(2)


@torch.no_grad()
def _measured(run, functions, outliers=None):
    """Accuracy of a network and detection by some scores, as in result files, on its outliers or on others."""
    (model, _), task = store.load(run, machine.device()), runs.load().tasks[run.task]
    test, repeats = tasks.load(run.task, "test")[0], runs.load().bootstrap
    labels, found = test.pop("labels"), {}
    images = test if outliers is None else {"known": test["known"], **outliers}
    z = {name: models.predict(model, x, models.PRECISION, features=True) for name, x in images.items()}
    logits = {name: models.logits(model, x) for name, x in z.items()}
    means = {"far": task.far, "near": task.near} if outliers is None else {}
    for name, function in functions.items():
        values = {x: detectors.checked(scores.apply(function, logits[x], z[x]), name, len(z[x])).numpy() for x in z}
        found[name] = statistics.detection(values.pop("known"), values, means, repeats)
    return {"accuracy": statistics.accuracy(labels, logits["known"].argmax(1).cpu(), repeats), "detectors": found}
