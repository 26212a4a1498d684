"""The trail of one run, or of one candidate of a sweep, from its result file to data, parameters and code."""

from types import SimpleNamespace

import pandas as pd

from icelib import ablations, lockfile, lookup, params, paths, sweeps, tensors
from icelib.files import read_json
from icelib.tracing import MEND


def follow_run(trace, scale, name):
    """Follow one run.

    Parameters
    ----------
    trace : tracing.Trace
        What is found is added to it.
    scale, name : str

    Returns
    -------
    dict or None
        The content of the run's result file; None if it is missing.
    """
    of = SimpleNamespace(scale=scale, name=name, own="")
    metrics, history, scores, checkpoint = (
        paths.relative(path(of)).as_posix() for path in (paths.metrics, paths.history, paths.scores, paths.checkpoint)
    )
    trace.lines.append(f"run {name}, {scale} scale")
    trace.tell("seed", name.rpartition("-")[2])
    run = next((run for run in params.declared(scale) if run.name == name), None)
    trace.check(run, f"params.yaml does not declare the run {name} at {scale} scale")
    result, past = (
        read_json(paths.ROOT / path) if (paths.ROOT / path).exists() else None for path in (metrics, history)
    )
    origin = (result or {}).get("origin") or {}

    commit = trace.step("trained", checkpoint)
    if past:
        trace.check(past.get("run") == name, f"{history} is of the run {past.get('run')}")
        for part, digest in past["data"].items():
            trace.tell("", f"{part}: SHA-256 of its tensors {digest}")
        trace.tell("on", "{device}, {threads} threads, {precision}".format(**past["environment"]))
    _weights(trace, checkpoint, run, past, origin.get("checkpoint"))
    _sources(trace, scale, checkpoint)
    trace.step("scored", scores)
    if origin.get("scoring"):
        trace.tell("on", "{device}, {threads} threads, {precision}".format(**origin["scoring"]))
    else:
        trace.cannot_tell("on what hardware scores were computed: the result file does not record it")
    trace.step("measured", metrics)
    if result:
        trace.check(result.get("run") == name, f"{metrics} is of the run {result.get('run')}")
        other = f"{metrics} was made with other parameters than params.yaml has; run `dvc repro`"
        trace.check(run is None or result.get("digest") == run.digest, other)
    if result and past:
        other = f"{metrics} and {history} name different machines or versions: they are of two trainings; {MEND}"
        trace.check(result["environment"] == past["environment"], other)
    environment = {key: past["environment"][key] for key in ("python", "torch")} if past else {}
    trace.libraries(origin.get("scoring", {}).get("libraries", {}) | environment, commit)
    return result


def _weights(trace, path, run, past, recorded):
    """Tell the digest of a run's weights; where the checkpoint is here, compare what it says of itself."""
    if (paths.ROOT / path).exists():
        try:
            _, about = tensors.load(paths.ROOT / path)
        except ValueError as error:
            trace.check(False, str(error))
            return
        other = f"the scores behind the result file are of other weights (SHA-256 {recorded}) than {path} has"
        trace.check(recorded in (None, about["sha256"]), other)
        other = f"{path} was trained with other parameters than params.yaml has; run `dvc repro`"
        trace.check(run is None or about["run"] == run.model_dump(), other)
        for key in ("environment", "data", "parent"):
            trace.check(past is None or about[key] == past[key], f"{path} and the run's history differ in {key}")
        recorded = about["sha256"]
    if recorded:
        trace.tell("", f"checkpoint: SHA-256 of its tensors {recorded}")


def _sources(trace, scale, path):
    """Tell the data sets behind a task, which is named in what the training read."""
    stage = lockfile.maker(trace.stages, path)
    read = [x for x in stage.deps if x.startswith(f"data/tasks/{scale}/")] if stage else []
    for known in dict.fromkeys(x.split("/")[3] for x in read):
        about = f"results/data/{scale}/{known}.json"
        if not (paths.ROOT / about).exists():
            trace.cannot_tell(f"the sources of the data: {about} is missing")
            continue
        for name, source in read_json(paths.ROOT / about)["sources"].items():
            made = lockfile.maker(trace.stages, f"data/sets/{name}")
            digest = f", MD5 {made.outs[f'data/sets/{name}']}" if made else ""
            trace.tell("data set", f"{name}: {source}{digest}")


def sweep_cells():
    """Arrange the figures of all declared sweeps in rows, with the columns of `lookup.SWEEPS` and ``ours``."""
    loaded, rows = params.load(), []
    for scale in loaded.scales:
        for name in loaded.sweeps:
            shown = ablations.table(sweeps.load(scale, name)).drop(columns=["rule", "in use"])
            for (candidate, metric), value in shown.stack().items():
                rows.append(dict(zip((*lookup.SWEEPS, "ours"), (scale, name, candidate, metric, value), strict=True)))
    return pd.DataFrame(rows)


def follow_sweep(trace, scale, name, candidate=None):
    """Follow a sweep, and tell one candidate's parameters.

    Parameters
    ----------
    trace : tracing.Trace
        What is found is added to it.
    scale, name : str
    candidate : str, optional
        As `ablations.label` has it.
    """
    trace.lines.append(f"sweep {name}, {scale} scale")
    for change, run in sweeps.candidates(scale, name):
        if ablations.label(change) == candidate:
            trace.tell("seed", str(run.seed))
            values = run.loss | run.head | run.schedule.model_dump(exclude_none=True)
            trace.tell("candidate", ", ".join(f"{key} {value}" for key, value in values.items()))
    commit = trace.step("trained", paths.relative(paths.sweep(scale, name)).as_posix())
    trace.libraries({}, commit)
    trace.cannot_tell("the hardware of a sweep and the weights of its candidates: neither is kept")
