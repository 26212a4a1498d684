"""What README says was found, written from a recorded scale: no number in it is typed.

``python -m icelib.tools.readme`` replaces what stands between the lines ``<!-- recorded: SCALE -->`` and
``<!-- end -->`` of README.md; a test compares the two.
"""

import argparse
import re

import pandas as pd

from icelib.config import runs
from icelib.evaluation.statistics import AHEAD, BEHIND, OPEN
from icelib.methods import METHODS, PAPER, own_detector
from icelib.report import render, results, tables
from icelib.report.captions import setting
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import write_bytes

BLOCK = re.compile(r"(<!-- recorded: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = (("accuracy", ""), ("auroc", "near"), ("fpr95", "near"), ("auroc", "far"), ("fpr95", "far"))


def found():
    """Write what the main block of the shown scale found, as Markdown: verdicts on ICE and ours, and a table."""
    several, (_, task) = runs.main_runs(), runs.task_playing(runs.main_block()[0])
    first, judged = several["ice"][0], [method for method in ("ice", tables.OURS) if method in several]
    names = [f"{tables.METRICS[metric][:-2]} {kind}".strip() for metric, kind in tables.MEASURES]
    said = [names, *map(_verdicts, judged)]
    lines = [f"{task.title}, {setting(first)}, epochs: {first.schedule.epochs}; ± over seeds.", ""]
    lines += [_row("by paired seeds", *(METHODS[method].title for method in judged)), "|:--" * len(said) + "|"]
    lines += [_row(*row) for row in zip(*said)]
    heads = [f"{tables.METRICS[metric][:-2]} {kind} {tables.METRICS[metric][-1]}" for metric, kind in COLUMNS]
    lines += ["", _row("percent", "seeds", *(" ".join(head.split()) for head in heads)), "|:--" * 7 + "|"]
    for method, group in several.items():
        if method in (*PAPER, *judged):
            measured = [results.metrics(run) for run in group]
            cells = [
                next(tables.cells({}, measured, own_detector(method), tables.NOTHING, kind, [metric]))
                for metric, kind in COLUMNS
            ]
            values = [render.ours(cell) for cell in pd.DataFrame(cells).itertuples()]
            lines.append(_row(METHODS[method].title, len(group), *values))
    return "\n".join(lines)


def _row(*cells):
    return f"|{'|'.join(map(str, cells))}|"


def _verdicts(method):
    """List for each measure which methods of the paper this one is ahead of, behind, or open to."""
    table, (known, network, protocol) = tables.differences(), runs.main_block()
    place = (table.paper_known == known) & (table.network == network) & (table.protocol == protocol)
    place &= table["first"] == tables.marked(METHODS[method].title, protocol)
    theirs, lines = {"MSP", *(tables.marked(METHODS[name].title, protocol) for name in PAPER)}, []
    for metric, kind in tables.MEASURES:
        rows = table[place & table["second"].isin(theirs) & (table.metric == metric) & (table.outliers == kind)]
        told = []
        for verdict, word in ((AHEAD, "ahead of"), (BEHIND, "behind")):
            names = rows[rows.verdict == verdict]["second"].map(lambda name: name.split(" †")[0].split(" ‡")[0])
            names = names.str.replace(", Gaussian head", "(G)")  # as the paper marks it; a comma would part the list
            told += [f"{word} {', '.join(names)}"] * bool(len(names))
        told += ["else open" if told else "open"] * (OPEN in set(rows.verdict))
        lines.append("; ".join(told))
    return lines


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
