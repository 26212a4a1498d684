"""What README says was found, written from a recorded scale: no number in it is typed.

``python -m icelib.tools.readme`` replaces what stands between the lines ``<!-- recorded: SCALE -->`` and
``<!-- end -->`` of README.md; a test compares the two.
"""

import argparse
import re

import pandas as pd

from icelib.config import runs
from icelib.evaluation.statistics import AHEAD, BEHIND, OPEN
from icelib.methods import METHODS, own_detector
from icelib.report import render, results, tables
from icelib.report.captions import setting
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import write_bytes

BLOCK = re.compile(r"(<!-- recorded: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = (("accuracy", ""), ("auroc", "near"), ("fpr95", "near"), ("auroc", "far"), ("fpr95", "far"))


def found():
    """Write what the main block of the shown scale found, as Markdown: ICE's verdicts by paired seeds, and a table."""
    several, (_, task) = runs.main_runs(), runs.task_playing(runs.main_block()[0])
    first = several["ice"][0]
    title = f"{task.title}, {setting(first)}, epochs: {first.schedule.epochs}; seeds: {max(map(len, several.values()))}"
    heads = [f"{tables.METRICS[metric][:-2]} {kind} {tables.METRICS[metric][-1]}" for metric, kind in COLUMNS]
    lines = ["| mean ± std | " + " | ".join(" ".join(head.split()) for head in heads) + " |", "|:--" * 6 + "|"]
    for method, group in several.items():
        measured = [results.metrics(run) for run in group]
        cells = [
            next(tables.cells({}, measured, own_detector(method), tables.NOTHING, kind, [metric]))
            for metric, kind in COLUMNS
        ]
        values = [render.ours(cell) for cell in pd.DataFrame(cells).itertuples()]
        lines.append(f"| {METHODS[method].title} | " + " | ".join(values) + " |")
    return "\n".join([f"{title}. ICE by paired seeds:\n", *_verdicts(), "", *lines])


def _verdicts():
    """A line for each measure: which methods ICE is ahead of, behind, or open to."""
    table, (known, network, protocol) = tables.differences(), runs.main_block()
    ice = tables.marked(METHODS["ice"].title, protocol)
    place = (table.paper_known == known) & (table.network == network) & (table.protocol == protocol)
    for metric, kind in tables.MEASURES:
        rows = table[place & (table["first"] == ice) & (table.metric == metric) & (table.outliers == kind)]
        told = []
        for verdict, word in ((AHEAD, "ahead of"), (BEHIND, "behind")):
            names = rows[rows.verdict == verdict]["second"].map(lambda name: name.split(" †")[0].split(" ‡")[0])
            told += [f"{word} {', '.join(names)}"] * bool(len(names))
        told += ["else open" if told else "open"] * (OPEN in set(rows.verdict))
        yield f"- {f'{tables.METRICS[metric][:-2]} {kind}'.strip()}: {'; '.join(told)}"


def write():
    """Bring README.md up to date."""
    path = paths.ROOT / "README.md"
    text = path.read_text()
    if not (block := BLOCK.search(text)):
        raise ValueError(f"{path.name} has no line <!-- recorded: SCALE --> with <!-- end --> after it")
    paths.show(block[2])
    write_bytes(path, BLOCK.sub(lambda match: f"{match[1]}{found()}\n{match[3]}", text).encode())


if __name__ == "__main__":
    argparse.ArgumentParser(description="Write what a recorded scale found into README.md.").parse_args()
    with readable_errors():
        write()
