"""Tables as a reader sees them: Markdown and LaTeX, written to ``figures/``."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from icelib import latex, paths
from icelib.captions import FINETUNE, HEADINGS, MANY, MARKS, NAMES, SCRATCH, caption
from icelib.cells import DETECTION, METRICS
from icelib.files import write_bytes
from icelib.tables import POSTHOC, side

NOT_RUN = "not run at this scale"


class Part(NamedTuple):
    """One piece of a table, as it stands on a page.

    Attributes
    ----------
    title, note : str
    label : str
        End of the LaTeX label.
    blocks : tuple
        Blocks of `captions.TABLES` that the caption tells of.
    frame : DataFrame of str or None
        Columns are pairs of a group and a name. None if nothing of it was run.
    in_latex : bool
    """

    title: str
    note: str
    label: str
    blocks: tuple
    frame: pd.DataFrame | None
    in_latex: bool = True


def markdown(name, table, scale):
    """Render a table at one scale as Markdown.

    Parameters
    ----------
    name : {"table1", "table2", "table3", "extended"}
    table : DataFrame
        From the function of that name in `icelib.tables`.
    scale : str

    Returns
    -------
    str
    """
    about = caption(name, scale)
    pieces = [f"## {about.title}", "\n".join(f"- {line}" for line in about.told()), f"In percent. {about.legend}"]
    for part in PARTS[name](table):
        text = f"{NOT_RUN.capitalize()}." if part.frame is None else _markdown(part.frame)
        pieces += [f"### {part.title}", part.note, text]
    return "\n\n".join(filter(None, pieces)) + "\n"


def tex(name, table, scale):
    """Render what was run of a table at one scale as LaTeX, with packages booktabs and graphicx.

    Parameters are those of `markdown`.

    Returns
    -------
    str
    """
    about = caption(name, scale)
    pieces = [latex.PACKAGES]
    for part in PARTS[name](table):
        if part.frame is None or not part.in_latex:
            continue
        told = " ".join(filter(None, [part.note, *about.told(part.blocks), about.legend]))
        text = f"{about.title}, in percent. {part.title}. {told}"
        pieces.append(latex.table(part.frame, text, f"tab:{name}-{scale}-{part.label}"))
    return "\n".join(pieces) + "\n"


def _parts1(table):
    shown = table[table.convention == "outlier_positive"]
    for block, cells in shown.groupby(["paper_known", "network", "protocol"], sort=False):
        title = f"{_title(cells)}: {NAMES[block[1]]}, {NAMES[block[2]]}"
        if not cells.seeds.any():
            yield Part(title, "", "", (), None)
            continue
        for metric in DETECTION:
            frame = _triples(cells[cells.metric == metric])
            yield Part(f"{title}, {METRICS[metric]}", "", "-".join([*block, metric]), (block,), frame)


def _triples(cells):
    lines = []
    for (theirs, ours), triple in cells.groupby(["paper_outliers", "outliers"], sort=False):
        line = {("outliers", "paper"): theirs or "–", ("outliers", "ours"): ours or "–"}
        for cell in triple.itertuples():
            line[cell.method, "paper"] = _bold(f"{cell.paper:.2f}", cell.best_paper) if np.isfinite(cell.paper) else "–"
            line[cell.method, "ours"] = _number(cell, cell.best_ours) if ours else "–"
            line[cell.method, "difference"] = _signed(cell.difference)
        lines.append(line)
    return pd.DataFrame(lines)


def _parts2(table):
    for known, block in table.groupby("paper_known", sort=False):
        blocks = {"CIFAR10": (SCRATCH, FINETUNE), "CIFAR100": (MANY,)}[known]
        rows = block.row + block.protocol.map(MARKS)
        note = "FPR95 of ours is outlier-positive."
        yield Part(f"In short: {_title(block)}", note, "", blocks, _short(block, rows), in_latex=False)
        yield from _both_conventions(block, rows, "Method", blocks) if block.seeds.any() else ()


def _parts3(table):
    rows = table.row + ", " + table.model
    if table.seeds.any():
        yield from _both_conventions(table, rows, "Loss, network", (SCRATCH,))
    else:
        yield Part(_title(table), "", "", (), None)


def _both_conventions(block, rows, first, blocks):
    for convention, note in HEADINGS.items():
        cells = block[block.convention == convention]
        label = f"{block.paper_known.iloc[0]}-{convention}"
        yield Part(_title(block), note, label, blocks, _paper_and_ours(cells, rows, first))


def _paper_and_ours(cells, rows, first):
    lines = []
    for row, group in cells.groupby(rows, sort=False):
        line = {("", first): row}
        for cell in group.itertuples():
            line[METRICS[cell.metric], "paper"] = _paper(cell)
            line[METRICS[cell.metric], "ours"] = _number(cell)
            line[METRICS[cell.metric], "difference"] = _signed(cell.difference)
        lines.append(line)
    return pd.DataFrame(lines)


def _short(block, rows):
    cells = block[(block.convention == "outlier_positive") & (block.metric != "aupr")]
    shown = _paper_and_ours(cells, rows, "Method")
    return shown[[name for name in shown if name[1] != "difference"]]


def _parts_extended(table):
    if not (table.plain_seeds.any() or table.ice_seeds.any()):
        yield Part(_title(table), "", "", (), None)
        return
    for outliers, group in table.groupby("outliers", sort=False):
        where = "mean over far sets" if outliers == "mean" else f"near set {outliers}"
        for convention, note in HEADINGS.items():
            lines = []
            for row, cells in group[group.convention == convention].groupby("row", sort=False):
                line = {("", "Detector"): row}
                for cell in cells.itertuples():
                    own = row == POSTHOC["ice"]  # a score that the plain network cannot have
                    line[METRICS[cell.metric], "plain"] = "–" if own else _number(side(cell, "plain"))
                    line[METRICS[cell.metric], "ICE"] = _number(side(cell, "ice"))
                    line[METRICS[cell.metric], "ICE − plain"] = _signed(cell.difference)
                lines.append(line)
            label = f"{outliers}-{convention}"
            yield Part(f"{_title(table)}, {where}", note, label, (SCRATCH,), pd.DataFrame(lines))


PARTS = {"table1": _parts1, "table2": _parts2, "table3": _parts3, "extended": _parts_extended}


def _title(cells):
    known = next(filter(None, cells.known), "")
    return f"{cells.paper_known.iloc[0]} in the paper" + (
        f", {known} here" if known else "; its part is not run at this scale"
    )


def _paper(cell):
    if np.isnan(cell.paper):
        return "–"
    return f"{cell.paper:.2f}" if cell.paper_fits_convention else f"({cell.paper:.2f})"


def _number(cell, bold=False):
    if not cell.seeds:
        return NOT_RUN
    spread = f"± {cell.std:.2f}" if cell.seeds > 1 else f"[{cell.low:.1f}, {cell.high:.1f}]"
    return f"{_bold(f'{cell.ours:.2f}', bold)} {spread}"


def _signed(value):
    return f"{value:+.2f}" if np.isfinite(value) else "–"


def _bold(text, bold):
    return f"**{text}**" if bold else text


def _markdown(frame):
    frame = frame.set_axis([" ".join(pair).strip() for pair in frame], axis=1)
    return frame.to_markdown(index=False, disable_numparse=True)


def _write(file, name, tables):
    content = {
        "csv": pd.concat(tables.values()).to_csv(index=False),
        "md": "\n".join(markdown(name, table, scale) for scale, table in tables.items()),
        "tex": "\n".join(tex(name, table, scale) for scale, table in tables.items()),
    }
    for suffix, text in content.items():
        write_bytes(paths.FIGURES / f"{file}.{suffix}", text.encode())


def write_table1(tables):
    """Write ``figures/table1.csv``, ``.md`` and ``.tex``.

    Parameters
    ----------
    tables : dict of str to DataFrame
        From `tables.table1`, for each scale.
    """
    _write("table1", "table1", tables)


def write_table2(tables):
    """Write ``figures/table2.csv``, ``.md`` and ``.tex``, see `write_table1`."""
    _write("table2", "table2", tables)


def write_table3(tables):
    """Write ``figures/table3.csv``, ``.md`` and ``.tex``, see `write_table1`."""
    _write("table3", "table3", tables)


def write_extended(tables):
    """Write ``figures/table2_extended.csv``, ``.md`` and ``.tex`` from `tables.extended`, see `write_table1`."""
    _write("table2_extended", "extended", tables)
