"""Tables as a reader sees them: Markdown and LaTeX."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from icelib.config import runs
from icelib.report.captions import FINETUNE, KNOWN_POSITIVE, NAMES, OUTLIER_POSITIVE, SCRATCH, SECOND_SET, caption
from icelib.report.tables import DETECTION, METRICS, TRIPLE
from icelib.util import paths
from icelib.util.files import write_bytes

NOT_RUN, NOTHING_RUN = "not run", "Not run at this scale."
PACKAGES = r"% \usepackage{booktabs,graphicx}"
_SYMBOLS = {"†": r"$\dagger$", "‡": r"$\ddagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}
_SYMBOLS |= {"–": "--", "−": "$-$", "⁻": "$^-$", "λ": r"$\lambda$"}


class Part(NamedTuple):
    """One piece of a table."""

    title: str
    note: str
    label: str  # end of its LaTeX label
    blocks: tuple  # that its caption tells of
    frame: pd.DataFrame | None  # of texts, with pairs of a group and a name as columns; None if nothing was run


def markdown(name, table):
    """Render ``table``, from the function ``name`` of `tables` (table1, table2, …), as Markdown."""
    about = caption(name)
    pieces = [f"## {about.title}", "\n".join(f"- {line}" for line in about.told()), f"In percent. {about.legend}"]
    for part in PARTS[name](table):
        pieces += [f"### {part.title}", part.note]
        if part.frame is not None:
            flat = part.frame.set_axis([" ".join(pair).strip() for pair in part.frame], axis=1)
            pieces.append(flat.to_markdown(index=False, disable_numparse=True))
    return "\n\n".join(filter(None, pieces)) + "\n"


def tex(name, table):
    """Render what was run of a table as LaTeX, as `markdown` does; its first line names the packages that it needs."""
    about, pieces = caption(name), [PACKAGES]
    for part in PARTS[name](table):
        if part.frame is None:
            continue
        told = " ".join(filter(None, [part.note, *about.told(part.blocks), about.legend]))
        text = f"{about.title}, in percent. {part.title}. {told}"
        styled = part.frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
        layout = {"position_float": "centering", "column_format": "l" * part.frame.shape[1], "multicol_align": "l"}
        label, escaped = f"tab:{name}-{runs.load().scale}-{part.label}", re.sub(r"([%&_#$])", r"\\\1", text)
        text = styled.to_latex(hrules=True, caption=escaped, label=label, **layout)
        text = text.replace(r"\begin{tabular}", "\\resizebox{\\textwidth}{!}{%\n\\begin{tabular}")
        pieces.append(text.replace(r"\end{tabular}", r"\end{tabular}}").translate(str.maketrans(_SYMBOLS)))
    return "\n".join(pieces)


def write(name, table, subject):
    """Write a table as ``figures/SCALE/SUBJECT/NAME.csv``, ``.md`` and ``.tex``."""
    content = {"csv": table.to_csv(index=False), "md": markdown(name, table), "tex": tex(name, table)}
    for suffix, text in content.items():
        write_bytes(paths.figures(runs.load().scale) / subject / f"{name}.{suffix}", text.encode())


def _parts1(table):
    shown = table[table.convention == "outlier_positive"]
    for block, cells in shown.groupby(["paper_known", "network", "protocol"], sort=False):
        title = f"{_title(cells)}: {NAMES[block[1]]}, {NAMES[block[2]]}"
        if not cells.seeds.any():
            yield Part(title, NOTHING_RUN, "", (), None)
            continue
        for metric in DETECTION:
            lines, sets = [], ["kind", "paper_outliers", "outliers"]
            for (kind, their_set, our_set), row in cells[cells.metric == metric].groupby(sets, sort=False):
                mean = f"mean {kind}"
                line = {("", "kind"): kind, ("outliers", "paper"): mean if their_set == kind else their_set or "–"}
                line["outliers", "ours"] = mean if our_set == kind else our_set or "–"
                lines.append(line | _beside(row, "method", our_set != ""))
            yield Part(f"{title}, {METRICS[metric]}", "", "-".join([*block, metric]), (block,), _frame(lines))


def _parts2(table):
    for known, block in table.groupby("paper_known", sort=False):
        blocks = {"CIFAR10": (SCRATCH, FINETUNE), "CIFAR100": (SECOND_SET,)}[known]
        yield from _means(block, block["name"], "Method", blocks)


def _parts3(table):
    yield from _means(table, table.row + ", " + table.model, "Loss, network", (runs.main_block(),))


def _means(block, rows, first, blocks):
    """Parts of a table of means: far, near, and far in the other convention."""
    if not block.seeds.any():
        yield Part(_title(block), NOTHING_RUN, "", (), None)
        return
    notes = {"outlier_positive": OUTLIER_POSITIVE, "known_positive": KNOWN_POSITIVE}
    for kind, convention in (("far", "outlier_positive"), ("near", "outlier_positive"), ("far", "known_positive")):
        cells = block[(block.outliers == kind) & (block.convention == convention)]
        if convention == "known_positive":
            cells = cells[cells.metric.isin(["aupr", "fpr95"])]  # the others are those of the first part
        if cells.seeds.any():
            lines = [{("", first): row} | _beside(group, "metric") for row, group in cells.groupby(rows, sort=False)]
            note = f"{notes[convention]}{' The paper has its near set in Table 1 alone.' * (kind == 'near')}"
            title = f"{_title(block)}, {kind} outliers, {convention.replace('_', '-')}"
            label = f"{block.paper_known.iloc[0]}-{kind}-{convention}"
            yield Part(title, note, label, blocks, _frame(lines))


def _parts_extended(table):
    shown = table[(table.convention == "outlier_positive") & (table.metric != "aupr")] if len(table) else table
    if shown.empty:
        yield Part("Nothing was run", NOTHING_RUN, "", (), None)
        return
    for (kind, metric), cells in shown.groupby(["outliers", "metric"], sort=False):
        if cells.seeds.any():
            lines = [
                {("", "Detector"): row} | {("network", cell.network): ours(cell, 1) for cell in group.itertuples()}
                for row, group in cells.groupby("row", sort=False)
            ]
            title, note = f"{_title(cells)}, {kind} outliers, {METRICS[metric]}", OUTLIER_POSITIVE * (metric == "fpr95")
            yield Part(title, note, f"{kind}-{metric}", (runs.main_block(),), _frame(lines))


def _parts_differences(table):
    if not (len(table) and (table.seeds > 1).any()):
        yield Part("Nothing to compare", "A difference needs the same two seeds or more of both methods.", "", (), None)
        return
    groups = ["paper_known", "network", "protocol", "metric", "outliers"]
    for (*block, metric, outliers), cells in table[table.seeds > 1].groupby(groups, sort=False):
        title = f"{_title(cells)}: {NAMES[block[1]]}, {NAMES.get(block[2], block[2])}, {METRICS[metric]}"
        lines = [
            {
                ("", "methods"): f"{cell.first} − {cell.second}",
                ("difference", "mean"): _signed(cell.difference),
                ("difference", "95 % interval"): f"{_signed(cell.low)} to {_signed(cell.high)}",
                ("difference", "smallest shown"): f"{cell.shown:.2f}",
                ("", "seeds"): cell.seeds,
                ("", "verdict"): cell.verdict,
            }
            for cell in cells.itertuples()
        ]
        label = "-".join(filter(None, [*block, metric, outliers]))
        yield Part(f"{title}{f', {outliers} outliers' * bool(outliers)}", "", label, (tuple(block),), _frame(lines))


PARTS = {"table1": _parts1, "table2": _parts2, "table3": _parts3}
PARTS |= {"extended": _parts_extended, "differences": _parts_differences}


def _signed(value):
    return f"{value:+.2f}".replace("-", "−")


def _frame(lines):
    frame = pd.DataFrame(lines).fillna("–")
    return frame.set_axis(pd.MultiIndex.from_tuples(frame.columns), axis=1)


def _title(cells):
    known = next(filter(None, cells.known), "")
    return f"{cells.paper_known.iloc[0]} in the paper{f', {known} here' * bool(known)}"


def _beside(cells, group, was_tested=True):
    """Paper beside ours by the name in column `group`; without the paper where it has no such column."""
    line = {}
    for cell in cells.itertuples():
        name = getattr(cell, group)
        name = METRICS.get(name, name)
        if group == "metric" or name in TRIPLE:
            paper = f"{cell.paper:.2f}" if cell.paper_fits_convention else f"({cell.paper:.2f})"
            line[name, "paper"] = "–" if np.isnan(cell.paper) else paper
        line[name, "ours"] = ours(cell) if was_tested else "–"
    return line


def ours(cell, digits=2):
    """Write a row of `tables.cells`: mean over seeds, and its deviation where there are several."""
    if not cell.seeds:
        return NOT_RUN
    return f"{cell.ours:.{digits}f}" + (f" ± {cell.std:.{digits}f}" if cell.seeds > 1 else "")
