"""Where a cell of a table comes from: run, checkpoint, data, parameters, seed, versions, hardware, commits.

``python -m icelib.provenance TABLE WORD…`` prints it for one cell of ``table1``, ``table2``,
``table3``, ``table2_extended``, ``sweeps`` or ``beyond``, for example ``table2 ICE scratch CIFAR10 AUROC``;
without words it checks every cell. What disagrees is printed as a contradiction, and the exit status
is then 1. It works in a fresh clone, from the result files, dvc.lock and git's history.
"""

import argparse
import sys

import pandas as pd
import yaml

from icelib import cells, lockfile, lookup, paths, tables, trail, variant_trail
from icelib.errors import readable_errors
from icelib.methods import METHODS
from icelib.tables import ABLATION, POSTHOC, ROWS, TRIPLE
from icelib.tracing import MEND, Trace


def behind(name, cell):
    """Return which detector and which set of outliers a cell is of.

    Parameters
    ----------
    name : str
        A key of `lookup.KEYS`.
    cell : Series or namedtuple
        A row of `lookup.read`.

    Returns
    -------
    detector, outliers : str
        Keys of a result file.
    """
    own = {METHODS[method].title: method for method in tables.own_methods()}  # beside the paper's rows
    if name == "table1":
        return (TRIPLE | own)[cell.method], cell.outliers
    if name == "table2":
        return own.get(cell.row) or ROWS[cell.row][1], "mean"
    if name == "table3":
        return own.get(cell.row) or ABLATION[cell.row, cell.model], "mean"
    titles = {title: detector for detector, title in POSTHOC.items()}
    return titles.get(cell.row, cell.row), cell.outliers  # a score of a user's own is its own title


def trace_cell(name, words):
    """Trace one cell.

    Parameters
    ----------
    name : str
        A key of `lookup.KEYS`, ``sweeps`` or ``beyond``.
    words : list of str
        See `lookup.find`.

    Returns
    -------
    tracing.Trace

    Raises
    ------
    ValueError
        If no cell or more than one has these words, or a file is missing or unreadable.
    """
    trace = _trace()
    if name == "sweeps":
        cell = lookup.find(trail.sweep_cells(), lookup.SWEEPS, words)
        trace.lines.append(f"{cell.sweep}, {cell.candidate}, {cell.metric}, {cell.scale} scale: {cell.ours} %")
        trail.follow_sweep(trace, cell.scale, cell.sweep, cell.candidate)
        return trace
    if name == "beyond":
        cell = variant_trail.find(words)
        trace.lines.append("beyond: " + ", ".join(f"{key} {cell[key]}" for key in variant_trail.KEYS))
        trace.tell("ours", f"{cell.ours} %, mean over seeds {cell.seeds}")
        variant_trail.follow(trace, cell)
        return trace
    table, keys = lookup.read(name), (*lookup.KEYS[name], "metric", "convention")
    cell = lookup.find(table, keys, words)
    trace.lines.append(f"{name}: " + ", ".join(f"{key} {cell[key]}" for key in keys if cell[key] != ""))
    if pd.notna(cell.get("paper")):
        trace.tell("paper", f"{cell.paper} %, icelib/paper/{name}.csv")
    if pd.isna(cell.ours):
        trace.tell("ours", "not run: there is nothing to trace")
        return trace
    detector, outliers = behind(name, cell)
    trace.tell("ours", f"{cell.ours} %, detector {detector}, outliers {outliers}")
    trace.table(f"figures/{name}.csv", cell.scale)
    _compare(trace, name, cell, [trail.follow_run(trace, cell.scale, run) for run in cell.runs.split()])
    return trace


def check_table(name):
    """Compare all cells of a table with their result files, and follow each run behind it.

    `name` and errors are those of `trace_cell`.

    Returns
    -------
    tracing.Trace
    """
    trace, results = _trace(), {}
    if name == "sweeps":
        found = trail.sweep_cells()
        for scale, sweep in found[["scale", "sweep"]].drop_duplicates().itertuples(index=False):
            trail.follow_sweep(trace, scale, sweep)
        trace.lines = [f"sweeps: {len(found)} figures of {found.sweep.nunique()} sweeps"]
        return trace
    if name == "beyond":
        found = variant_trail.cells()
        for cell in found.itertuples():
            variant_trail.follow(trace, cell)
        trace.lines = [f"beyond: {len(found)} figures of {found.variant.nunique()} variants"]
        return trace
    table = lookup.read(name)
    shown = table[table.ours.notna()]
    for scale in shown.scale.unique():
        trace.table(f"figures/{name}.csv", scale)
    for cell in shown.itertuples():
        for run in cell.runs.split():
            if (cell.scale, run) not in results:
                results[cell.scale, run] = trail.follow_run(trace, cell.scale, run)
        _compare(trace, name, cell, [results[cell.scale, run] for run in cell.runs.split()])
    trace.lines = [f"{name}: {len(shown)} cells with a value of ours, from {len(results)} runs"]
    return trace


def _trace():
    return Trace(lockfile.read(), yaml.safe_load(paths.PARAMS.read_text()))


def _compare(trace, name, cell, results):
    """Check a cell's value against the result files of its runs."""
    if None in results:
        return  # told already
    detector, outliers = behind(name, cell)
    try:
        entries = [cells.entry(result, detector, outliers, cell.metric, cell.convention) for result in results]
    except KeyError as missing:
        trace.check(False, f"the result files of {cell.runs} have no entry {missing}, which {name} shows")
        return
    value, where = cells.ours(entries)["ours"], f"{detector}, {outliers}, {cell.metric}, {cell.convention}"
    other = f"{name} has {cell.ours} where the result files of {cell.runs} say {value} ({where}); {MEND}"
    trace.check(value == cell.ours, other)


def main(arguments=None):
    """Print a trace; end the process with status 1 at a contradiction."""
    parser = argparse.ArgumentParser(description="Tell where a cell of a table comes from, or check a whole table.")
    parser.add_argument("table", help=f"{', '.join(lookup.KEYS)}, sweeps or beyond")
    parser.add_argument("words", nargs="*", help="what tells the cell apart, in any order, or COLUMN=VALUE")
    options = parser.parse_args(arguments)
    words = [word.strip() for text in options.words for word in text.split(" / ")]
    with readable_errors():
        trace = trace_cell(options.table, words) if words else check_table(options.table)
    print(trace)
    sys.exit(bool(trace.contradictions))


if __name__ == "__main__":
    main()
