"""Where a cell of a table comes from: run, parameters, weights, images, seed, versions, hardware and commit.

``python -m icelib.tools.provenance TABLE WORD …`` tells it of a cell of ``table1``, ``table2``, ``table3`` or
``extended``, for example ``table2 ICE scratch CIFAR10 AUROC``; without words all cells are checked. The first line says
whether files contradict each other; the exit status is then 1. ``--recorded SCALE`` is of the tables of a recorded
scale, whose files are compared with its ``origin.json`` in place of today's code and images. Weights, scores and
images that are not here, as in a fresh clone, are told and contradict nothing.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd

from icelib import metrics
from icelib.config import runs
from icelib.methods import METHODS, own_detector
from icelib.report import tables
from icelib.training import store
from icelib.util import paths, tensors
from icelib.util.errors import readable_errors
from icelib.util.files import read_json

TABLES = ("table1", "table2", "table3", "extended")
# columns that tell the cells of a table apart, and what is meant where nothing is said
KEYS = "paper_known network protocol kind paper_outliers outliers method row model metric convention".split()
CLOSE = 0.01  # percent points that recorded scores, which are float32, may make
USUAL = {"convention": "outlier_positive", "outliers": "far"}


def read(name):
    """Read a table of `TABLES` as it was written; raise ValueError if it is not there."""
    folder = paths.figures(runs.load().scale)
    for path in folder.glob(f"*/{name}.csv"):
        return pd.read_csv(path, keep_default_na=False, na_values={key: [""] for key in ("ours", "paper")})
    raise ValueError(f"{paths.relative(folder)} holds no {name}.csv; `dvc repro` makes it")


def find(name, words):
    """Return the cell (Series) that has all words of a text, in any order and as they stand in the table or near it.

    Raises ValueError if none or several have, with what there is to choose from.
    """
    table, left = read(name), _simple(words).split()
    keys = [key for key in KEYS if key in table]
    while left:  # a value may be several words
        plain = table[keys].astype(str).map(_simple)
        fits = {n: (plain == " ".join(left[:n])).any(axis=1) for n in range(len(left), 0, -1)}
        count = next((n for n, here in fits.items() if here.any()), None)
        if count is None:
            raise ValueError(f"no cell has {left[0]!r} and the words before it; there are:\n{_choice(table[keys])}")
        table, left = table[fits[count]], left[count:]
    for key, value in USUAL.items():
        table = table[table[key] == value] if (table[key] == value).any() else table
    if len(table) > 1:
        raise ValueError(f"several cells have these words; add one of each line:\n{_choice(table[keys])}")
    return table.iloc[0]


def _simple(text):
    """Reduce a text to what tells it from others: CIFAR-10 and cifar10, fine-tuned and finetune become the same."""
    text = re.sub(r"(?<=[a-z])-|[^\w./\- ]|_", "", text.casefold().replace("⁻", "minus").replace("−", "-"))
    text = text.replace("finetuned", "finetune").replace("from scratch", "scratch").replace(" / ", " ")
    return " ".join(text.split())


def _choice(table):
    varied = {key: table[key].unique() for key in table if table[key].nunique() > 1}
    return "\n".join(f"  {key}: {', '.join(map(str, values))}" for key, values in varied.items())


def _detector(name, cell):
    """Key of a result file: the detector whose values stand in a cell."""
    titles = {METHODS[method].title: method for method in METHODS}
    if name == "table1":
        return titles[cell.method]
    if name == "extended":
        return {title: x for x, title in tables.POSTHOC.items()}.get(cell.row) or own_detector(titles[cell.network])
    paper = {"table2": {row: x for row, (_, x) in tables.ROWS.items()}, "table3": tables.ABLATION}[name]
    return paper.get(cell.row if name == "table2" else (cell.row, cell.model)) or titles[cell.row]


class Trail:
    """What the files of a run tell (``lines``), what contradicts (``wrong``), its result file, and scores if here."""

    def __init__(self, name):
        scale, self.lines, self.wrong, self.scores = runs.load().scale, [f"run: {name}"], [], None
        folder = paths.results(scale)
        self.result, history = (read_json(folder / kind / f"{name}.json") for kind in ("metrics", "history"))
        made, origin = paths.relative(folder / "metrics" / f"{name}.json"), self.result["origin"]
        content = json.dumps({key: x for key, x in self.result.items() if key != "sha256"}, sort_keys=True)
        self._same("SHA-256", hashlib.sha256(content.encode()).hexdigest(), self.result.get("sha256"), f"in {made}")
        for key in ("run", "digest", "environment"):
            self._same(key, self.result[key], history[key], f"in {made} and the run's history")
        with self._here():
            run = runs.pick({run.name: run for run in runs.declared()}, name, "run of params.yaml")
            values = run.loss | run.head | run.shape.model_dump() | run.schedule.model_dump()
            self.lines += [f"parameters: {', '.join(f'{key} {x}' for key, x in values.items())}", f"seed: {run.seed}"]
            if paths.SHOWN:
                self._recorded(name, folder)
            else:
                told = f"in {made} and of params.yaml, images, code"
                self._same("digest", self.result["digest"], store.digest(run), told)
        with self._here():
            recorded = folder / "weights" / f"{name}.safetensors"
            path = recorded if paths.SHOWN else paths.checkpoints(scale) / name / "weights.safetensors"
            if path.exists() or not paths.SHOWN:  # those of some runs are recorded
                about = tensors.load(path)[1]
                where = f"in {made} and {paths.relative(path.parents[not paths.SHOWN])}/"
                self._same("weights", origin["checkpoint"], about.get("whole", about["sha256"]), where)
        with self._here():
            self.scores, about = tensors.load(folder / "scores" / f"{name}.safetensors")
            self._same("scores", origin["scores"], about.get("whole", about["sha256"]), f"in {made} and scores/")
        sources = read_json(folder / "tasks" / f"{self.result['task']}.json")["sources"]
        self.lines += [f"digest: {history['digest']}", f"weights: SHA-256 {origin['checkpoint']}"]
        self.lines += [f"images, {part}: SHA-256 {digest}" for part, digest in history["images"].items()]
        self.lines += [f"data sets: {', '.join(f'{key} ({x})' for key, x in sources.items())}"]
        self.lines += [f"trained on: {_words(history['environment'])}", f"scored on: {_words(origin['scoring'])}"]
        self.lines += [f"recorded: {_commit(made)}"]

    def _recorded(self, name, folder):
        whole = read_json(folder / "origin.json")
        about, where = whole["runs"][name], f"in {paths.relative(folder)} and its origin.json"
        self._same("digest", self.result["digest"], about["digest"], where)
        for place in ("params.yaml", f"metrics/{name}.json", f"history/{name}.json"):
            found = hashlib.sha256((folder / place).read_bytes()).hexdigest()
            self._same(f"SHA-256 of {place}", found, whole["files"][place], where)
        self.lines += ["parameters committed in {params}, code {code}, recorded on {date}".format(**about)]

    def _same(self, what, found, expected, where):
        if found != expected:
            self.wrong.append(f"{what} {where}: {found}, expected {expected}; run `dvc repro`")

    @contextlib.contextmanager
    def _here(self):
        try:
            yield
        except ValueError as error:
            (self.lines if "is missing" in str(error) else self.wrong).append(f"not compared: {error}")

    def shares(self, detector, outliers, metric, convention):
        """The value in the result file, and the same computed from the scores; None without these."""
        stored = tables.entry(self.result, detector, outliers, metric, convention)["value"]
        if self.scores is not None and metric == "accuracy":
            return stored, round(float((self.scores["labels"] == self.scores["predicted"]).double().mean()), 10)
        task, key = runs.load().tasks[self.result["task"]], metric if metric == "auroc" else f"{metric}_{convention}"
        sets = ["known", *{"far": task.far, "near": task.near}.get(outliers, [outliers])]
        if any(f"{detector}/{name}" not in (self.scores or ()) for name in sets):
            return stored, None
        known, *others = (self.scores[f"{detector}/{name}"] for name in sets)
        found = [metrics.detection_metrics(known, x)[key] for x in others]
        return stored, round(float(np.mean(found)), 10)


_trail = functools.cache(Trail)  # a run stands behind many cells


def _words(environment):
    libraries = ", ".join(f"{key} {x}" for key, x in environment["libraries"].items())
    return "{device}, threads {threads}, {precision}, python {python}, ".format(**environment) + libraries


def _commit(path):
    """Name the commit that last changed a file, or say why git does not."""
    with contextlib.suppress(OSError):  # git is not installed
        command = ["git", "log", "-1", "--format=commit %h of %as, %s", "--", path]
        answer = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
        return (" ".join(answer.stderr.split()) if answer.returncode else answer.stdout.strip()) or "in no commit"
    return "git is not installed"


def trace(name, cell):
    """Follow a cell to its runs: lines that tell, and lines that contradict."""
    lines = [", ".join(f"{key} {cell[key]}" for key in KEYS if cell.get(key))]
    if pd.isna(cell.ours):
        return [*lines, "not run at this scale"], []
    several, detector = [_trail(run) for run in cell.runs.split()], _detector(name, cell)
    wrong = [line for trail in several for line in trail.wrong]
    shares = [trail.shares(detector, cell.outliers, cell.metric, cell.convention) for trail in several]
    for which, values in zip(("result file", "score file"), zip(*shares)):
        value = None if None in values else round(100 * float(np.mean(values)), 4)
        lines.append(f"{which}: {'not here' if value is None else f'{value} %, detector {detector}'}")
        if value is not None and abs(value - cell.ours) > CLOSE * bool(paths.SHOWN):
            wrong.append(f"{name} has {cell.ours} where the {which} of {cell.runs} says {value}; run `dvc repro`")
    told = (line for trail in several for line in trail.lines)
    return [f"{name}: {cell.ours} %, {lines[0]}", *lines[1:], *told], wrong


def main(arguments=None):
    """Print a trace; end the process with status 1 at a contradiction."""
    parser = argparse.ArgumentParser(description="Tell where a cell of a table comes from, or check a whole table.")
    parser.add_argument("table", choices=TABLES)
    scales = [path.name for path in paths.RECORDED.glob("*")]
    parser.add_argument("--recorded", choices=scales, default=paths.SHOWN, help="of a recorded scale's tables")
    parser.add_argument("words", nargs="*", help="what tells the cell apart, in any order, in one argument or several")
    options = parser.parse_intermixed_args(arguments)
    with readable_errors():
        paths.show(options.recorded)
        words, name = " ".join(options.words), options.table
        cells = [find(name, words)] if words else [cell for _, cell in read(name).iterrows()]
        traces = [trace(name, cell) for cell in cells]
    wrong = list(dict.fromkeys(f"CONTRADICTION: {line}" for _, found in traces for line in found))
    print(*(wrong or ["no contradiction"]), sep="\n")
    print(*(traces[0][0] if words else [f"{name}: {len(cells)} cells compared with their files"]), sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
