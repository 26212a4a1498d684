"""Where a cell of a table comes from: run, parameters, weights, images, seed, versions, hardware and commit.

``python -m icelib.tools.provenance TABLE WORD …`` tells it of a cell of ``table1``, ``table2``, ``table3`` or
``extended``, for example ``table2 ICE scratch CIFAR10 AUROC``; without words it checks every cell. The first line says
whether files contradict each other; the exit status is then 1. Files that are not here (a clone has no weights, scores
or images until `dvc pull` or `dvc repro`) are told, and contradict nothing.
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

# what tells the cells of a table apart, in the columns of its .csv, and what is meant where nothing is said
KEYS = {
    "table1": ("paper_known", "network", "protocol", "kind", "paper_outliers", "outliers", "method"),
    "table2": ("paper_known", "row", "protocol", "outliers"),
    "table3": ("row", "model", "outliers"),
    "extended": ("row", "network", "outliers"),
}
USUAL = {"convention": "outlier_positive", "outliers": "far"}


def read(name):
    """Read a table as 03 and 04 wrote it; raise ValueError if it is none of `KEYS` or is not there."""
    runs.pick(KEYS, name, "table")
    folder = paths.figures(runs.load().scale)
    for path in folder.glob(f"*/{name}.csv"):
        return pd.read_csv(path, keep_default_na=False, na_values={key: [""] for key in ("ours", "paper")})
    raise ValueError(f"{paths.relative(folder)} holds no {name}.csv; `dvc repro` makes it")


def find(name, words):
    """Return the cell (Series) that has all words of a text, in any order and as they stand in the table or near it.

    Raises ValueError if none or several have, with what there is to choose from.
    """
    table, keys, left = read(name), [*KEYS[name], "metric", "convention"], _simple(words).split()
    while left:  # a value may be several words
        plain = table[keys].astype(str).map(_simple)
        fits = [(plain == " ".join(left[:n])).any(axis=1) for n in range(len(left), 0, -1)]
        count, here = next(((len(left) - i, x) for i, x in enumerate(fits) if x.any()), (0, None))
        if not count:
            raise ValueError(f"no cell has {left[0]!r} and the words before it; there are:\n{_choice(table[keys])}")
        table, left = table[here], left[count:]
    for key, value in USUAL.items():
        if key in keys and (table[key] == value).any():
            table = table[table[key] == value]
    if len(table) > 1:
        raise ValueError(f"several cells have these words; add one of each line:\n{_choice(table[keys])}")
    return table.iloc[0]


def _simple(text):
    """Reduce a text to what tells it from others: CIFAR-10 and cifar10, fine-tuned and finetune become the same."""
    text = re.sub(r"(?<=[a-z])-|[^\w./\- ]|_", "", text.casefold().replace("⁻", "minus").replace("−", "-"))
    text = text.replace("finetuned", "finetune").replace("from scratch", "scratch").replace(" / ", " ")
    return " ".join(text.split())


def _choice(table):
    return "\n".join(
        f"  {key}: {', '.join(map(str, table[key].unique()))}" for key in table if table[key].nunique() > 1
    )


def _detector(name, cell):
    """Key of a result file: the detector whose values stand in a cell."""
    by_title = {METHODS[method].title: method for method in METHODS}
    if name == "table2" and cell.row in tables.ROWS:
        return tables.ROWS[cell.row][1]
    if name == "table3" and (cell.row, cell.model) in tables.ABLATION:
        return tables.ABLATION[cell.row, cell.model]
    if name == "extended":
        by_title |= {title: detector for detector, title in tables.POSTHOC.items()}
        return by_title.get(cell.row) or own_detector(by_title[cell.network])
    return by_title[cell.method if name == "table1" else cell.row]


class Run:
    """What the files of a run tell (``lines``), what contradicts (``wrong``), its result file and its scores, if here."""

    def __init__(self, name):
        scale = runs.load().scale
        self.name, self.folder, self.lines, self.wrong = name, paths.results(scale), [f"run {name}"], []
        self.metrics, history = (read_json(self.folder / kind / f"{name}.json") for kind in ("metrics", "history"))
        made, origin = f"results/{scale}/metrics/{name}.json", self.metrics["origin"]
        values = {key: x for key, x in self.metrics.items() if key != "sha256"}
        found = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        self._check(found, self.metrics.get("sha256"), f"{made} was changed, its SHA-256")
        for key in ("run", "digest", "environment"):
            self._check(self.metrics[key], history[key], f"{made} and the run's history differ: {key}")
        self.lines.append(f"digest: {history['digest']}")
        run = next((run for run in runs.declared() if run.name == name), None)
        self._check(run is not None, True, f"params.yaml declares {name}:")
        with self._here():
            self._check(
                self.metrics["digest"], store.digest(run), f"{made} was made with other parameters or images: digest"
            )
        if run:
            values = run.loss | run.head | run.shape.model_dump() | run.schedule.model_dump()
            self.lines.append(f"parameters: {', '.join(f'{key} {x}' for key, x in values.items())}")
        self.lines.append(f"seed: {name.rpartition('-')[2]}")
        self.lines.append(f"weights: SHA-256 {origin['checkpoint']}")
        with self._here():
            weights = paths.checkpoints(scale) / name / "weights.safetensors"
            self._check(
                tensors.load(weights)[1]["sha256"], origin["checkpoint"], f"{made} is of other weights: SHA-256"
            )
        self.lines += [f"images, {part}: SHA-256 {digest}" for part, digest in history["images"].items()]
        sources = read_json(self.folder / "tasks" / f"{self.metrics['task']}.json")["sources"]
        self.lines.append(f"data sets: {', '.join(f'{key} ({x})' for key, x in sources.items())}")
        self.lines += [f"trained on: {_words(history['environment'])}", f"scored on: {_words(origin['scoring'])}"]
        self.lines.append(f"recorded: {_commit(made)}")
        self.scores = None
        with self._here():
            self.scores, about = tensors.load(self.folder / "scores" / f"{name}.safetensors")
            self._check(about["sha256"], origin["scores"], f"{made} is of other scores: SHA-256")

    def _check(self, found, expected, what):
        if found != expected:
            self.wrong.append(f"{what} {found}, expected {expected}")

    @contextlib.contextmanager
    def _here(self):
        try:
            yield
        except ValueError as error:
            (self.lines if "is missing" in str(error) else self.wrong).append(f"not compared: {error}")

    def shares(self, detector, outliers, metric, convention):
        """The value in the result file, and the same computed from the scores; None without these."""
        stored = tables.entry(self.metrics, detector, outliers, metric, convention)["value"]
        if self.scores is None:
            return stored, None
        if metric == "accuracy":
            again = (self.scores["labels"] == self.scores["predicted"]).double().mean()
            return stored, round(float(again), 10)
        task = runs.load().tasks[self.metrics["task"]]
        sets = {"far": task.far, "near": task.near}.get(outliers, [outliers])
        key = metric if metric == "auroc" else f"{metric}_{convention}"
        known = self.scores[f"{detector}/known"]
        again = [metrics.detection_metrics(known, self.scores[f"{detector}/{x}"])[key] for x in sets]
        return stored, round(float(np.mean(again)), 10)


RUN = functools.cache(Run)  # runs stand behind many cells


def _words(environment):
    libraries = ", ".join(f"{key} {x}" for key, x in environment["libraries"].items())
    return "{device}, threads {threads}, {precision}, python {python}".format(**environment) + f", {libraries}"


def _commit(path):
    """Name the commit that last changed a file."""
    command = ["git", "log", "-1", "--format=%h of %as, %s", "--", path]
    try:
        found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "git cannot be asked here"
    return f"commit {found}" if found else "in no commit"


def trace(name, cell):
    """Follow a cell to its runs: lines that tell, and lines that contradict."""
    lines = [", ".join(f"{key} {cell[key]}" for key in (*KEYS[name], "metric", "convention") if cell[key] != "")]
    if pd.isna(cell.ours):
        return [*lines, "not run at this scale"], []
    several, detector = [RUN(run) for run in cell.runs.split()], _detector(name, cell)
    wrong = [line for run in several for line in run.wrong]
    shares = [run.shares(detector, cell.outliers, cell.metric, cell.convention) for run in several]
    for which, values in zip(("result file", "score file"), zip(*shares)):
        if None in values:
            lines.append(f"{which}: not here")
            continue
        value = round(100 * float(np.mean(values)), 4)
        lines.append(f"{which}: {value} %, detector {detector}")
        if value != cell.ours:
            wrong.append(f"{name} has {cell.ours} where the {which} of {cell.runs} says {value}; run `dvc repro`")
    return [f"{name}: {cell.ours} % ({lines[0]})", *lines[1:], *(line for run in several for line in run.lines)], wrong


def main(arguments=None):
    """Print a trace; end the process with status 1 at a contradiction."""
    parser = argparse.ArgumentParser(description="Tell where a cell of a table comes from, or check a whole table.")
    parser.add_argument("table", choices=KEYS)
    parser.add_argument("words", nargs="*", help="what tells the cell apart, in any order, in one argument or several")
    options = parser.parse_args(arguments)
    with readable_errors():
        words = " ".join(options.words)
        cells = [find(options.table, words)] if words else [cell for _, cell in read(options.table).iterrows()]
        traces = [trace(options.table, cell) for cell in cells]
    wrong = list(dict.fromkeys(line for _, found in traces for line in found))
    print(*([f"CONTRADICTION: {line}" for line in wrong] or ["no contradiction"]), sep="\n")
    print(*(traces[0][0] if words else [f"{options.table}: {len(cells)} cells compared with their files"]), sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
