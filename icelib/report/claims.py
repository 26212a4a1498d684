"""What the tables say of the paper's claims, scale by scale, as Markdown.

A lead of ours is called open if it is within the noise: where the 95 % intervals of two single
runs overlap, or where several seeds' means differ by less than their deviations add up to. A
positive lead means that ICE is better.
"""

import numpy as np
import pandas as pd

from icelib.captions import MARKS, NAMES
from icelib.cells import METRICS
from icelib.tables import TRIPLE, side

BLOCK = ("paper_known", "network", "protocol")
SETS = ("paper_outliers", "outliers")


def verdict1(table, scale):
    """Count how often ICE is the best of the three methods, in the paper and here.

    Parameters
    ----------
    table : DataFrame
        From `tables.table1`.
    scale : str

    Returns
    -------
    str
    """
    theirs, ours = triples(table)
    text = (
        f"In the paper, ICE is best or ties in {theirs.best_paper.sum()} of {len(theirs)} triples of OE, Energy and "
        "ICE (outlier-positive, means left out). "
    )
    if ours.empty:
        return text + f"At {scale} scale, none of them was run."
    lines, counts = [], theirs.groupby([*BLOCK, "metric"]).best_paper.agg(["sum", "count"])
    for (known, network, protocol, metric), here in ours.groupby([*BLOCK, "metric"], sort=False):
        best, among = counts.loc[known, network, protocol, metric]
        lines.append(
            {
                "block": f"{known}, {NAMES[network]}{MARKS[protocol]}",
                "metric": METRICS[metric][:-2],
                "ICE best in the paper": f"{best} of {among}",
                "ICE best here": f"{here.best_ours.sum()} of {len(here)}",
                "clearly ahead": _span(here.lead[here.lead > 0]),
                "clearly behind": _span(here.lead[here.lead < 0]),
                "open": str(here.lead.isna().sum()),
            }
        )
    return (
        f"{text}At {scale} scale it is in {ours.best_ours.sum()} of {len(ours)}: clearly ahead of the better of the "
        f"others in {(ours.lead > 0).sum()}, clearly behind it in {(ours.lead < 0).sum()}, and open in "
        f"{ours.lead.isna().sum()}. In brackets: the smallest and the largest clear lead. † fine-tuned, ‡ from "
        "scratch.\n\n"
    ) + _markdown(lines)


def triples(table):
    """Sum up each triple of OE, Energy and ICE, outlier-positive, means left out.

    Parameters
    ----------
    table : DataFrame
        From `tables.table1`.

    Returns
    -------
    theirs, ours : DataFrame
        Those of the paper, and those that were run here, a row each: ``paper_known``, ``network``,
        ``protocol``, ``metric``, ``paper_outliers``, ``outliers``; whether ICE is best or ties
        (``best_paper``, ``best_ours``); ``lead``, ICE's over the better of the others, NaN if open;
        and ``same_order``, whether the paper has a counterpart whose three methods have the order
        that they have here.
    """
    shown = table[(table.convention == "outlier_positive") & (table.outliers != "mean") & table.method.isin(TRIPLE)]
    every = pd.DataFrame([_triple(cells) for _, cells in shown.groupby([*BLOCK, "metric", *SETS], sort=False)])
    return every[every.in_paper].drop_duplicates([*BLOCK, "metric", "paper_outliers"]), every[every.was_run]


def verdict2(table, scale):
    """Sum up `comparisons2` as Markdown; `table` is from `tables.table2`."""
    return _summed_up(comparisons2(table), scale)


def comparisons2(table):
    """Compare ICE's lead over each other row of Table 2 with the same schedule, in the paper and here.

    Post-hoc rows are compared with ICE from scratch, by AUROC alone: the paper has their AUPR and FPR95 in
    the other convention, and one accuracy for all of them, which MSP stands for.

    Parameters
    ----------
    table : DataFrame
        From `tables.table2`.

    Returns
    -------
    list of dict of str to str
        ``verdict`` is "same order", "**other order**" or "open".
    """
    cells, lines = _comparable(table), []
    for other in cells[cells.row != "ICE"].itertuples():
        posthoc = other.protocol == "plain"
        if posthoc and other.metric != "auroc" and (other.row, other.metric) != ("MSP", "accuracy"):
            continue
        protocol = "scratch" if posthoc else other.protocol
        same = (cells.paper_known == other.paper_known) & (cells.metric == other.metric) & (cells.protocol == protocol)
        name = f"{other.row}{MARKS[other.protocol]}, {other.paper_known}"
        lines += [_compared(name, ice, other) for ice in cells[same & (cells.row == "ICE")].itertuples()]
    return lines


def verdict3(table, scale):
    """Sum up `comparisons3` as Markdown; `table` is from `tables.table3`."""
    return _summed_up(comparisons3(table), scale)


def comparisons3(table):
    """Compare ICE's lead over each other row of Table 3, as `comparisons2` does; `table` is from `tables.table3`."""
    cells, lines = _comparable(table), []
    for other in cells[cells.row != "ICE"].itertuples():
        ice = cells[(cells.row == "ICE") & (cells.metric == other.metric)]
        lines += [_compared(f"{other.row}, {other.model}", cell, other) for cell in ice.itertuples()]
    return lines


def verdict_extended(table, scale):
    """Count the post-hoc detectors that are better on ICE's network than on the plain one.

    Parameters
    ----------
    table : DataFrame
        From `tables.extended`.
    scale : str

    Returns
    -------
    str
        Markdown.
    """
    cells = table[(table.convention == "outlier_positive") & (table.metric == "auroc")]
    lines = []
    for outliers, group in cells[cells.difference.notna()].groupby("outliers", sort=False):
        clear = group.difference[[_apart(side(cell, "plain"), side(cell, "ice")) for cell in group.itertuples()]]
        lines.append(
            {
                "outliers": "mean over far sets" if outliers == "mean" else f"near set {outliers}",
                "detectors": str(len(group)),
                "better on ICE's network": _span(clear[clear > 0]),
                "worse": _span(clear[clear < 0]),
                "open": str(len(group) - len(clear)),
            }
        )
    if not lines:
        return f"At {scale} scale, no post-hoc detector was applied to ICE's network."
    return (
        f"AUROC of post-hoc detectors at {scale} scale, on ICE's network against the plain one; in brackets the "
        "smallest and the largest clear difference, ICE − plain:\n\n"
    ) + _markdown(lines)


def _triple(cells):
    """Sum up OE, Energy and ICE on one set of outliers; ``lead`` is ICE's over the better other, NaN if open."""
    (ice,) = cells[cells.method == "ICE"].itertuples()
    others = cells[cells.method != "ICE"].itertuples()
    lead, other = min(((_lead(ice, other, "ours"), other) for other in others), key=lambda pair: pair[0])
    return {key: getattr(ice, key) for key in (*BLOCK, "metric", *SETS, "best_paper", "best_ours")} | {
        "in_paper": cells.best_paper.any(),
        "was_run": cells.best_ours.any(),
        # ties of the paper, which rounds to two digits, fit either order
        "same_order": bool(
            cells.paper.notna().all() and cells.sort_values(["ours", "paper"]).paper.is_monotonic_increasing
        ),
        "lead": lead if _apart(ice, other) else np.nan,
    }


def _comparable(table):
    """Cells of which both the paper and our runs say something."""
    return table[(table.convention == "outlier_positive") & (table.seeds > 0) & table.paper.notna()]


def _compared(name, ice, other):
    paper, ours = _lead(ice, other, "paper"), _lead(ice, other, "ours")
    return {
        "ICE against": name,
        "metric": METRICS[ice.metric][:-2],
        "lead in the paper": f"{paper:+.2f}",
        "lead here": f"{ours:+.2f}",
        "verdict": ("same order" if paper * ours > 0 else "**other order**") if _apart(ice, other) else "open",
    }


def _summed_up(lines, scale):
    if not lines:
        return f"At {scale} scale, ICE and its baselines were not run."
    same, other, unclear = counted(lines)
    return (
        f"At {scale} scale, of {len(lines)} comparisons {same} have the paper's order, {other} the other one, and "
        f"{unclear} are within the noise. A positive lead means that ICE is better.\n\n"
    ) + _markdown(lines)


def counted(lines):
    """Count the comparisons that have the paper's order, the other one, and neither, being within the noise."""
    return [sum(line["verdict"] == word for line in lines) for word in ("same order", "**other order**", "open")]


def _lead(ice, other, column):
    return (getattr(ice, column) - getattr(other, column)) * (-1 if ice.metric == "fpr95" else 1)


def _apart(a, b):
    if a.seeds == b.seeds == 1:
        return a.low > b.high or b.low > a.high
    return abs(a.ours - b.ours) > a.std + b.std


def _span(values):
    """Say how many there are, and the smallest and the largest of them."""
    if not len(values):
        return "0"
    ends = dict.fromkeys(f"{values.loc[at]:+.2f}" for at in (values.abs().idxmin(), values.abs().idxmax()))
    return f"{len(values)} ({' to '.join(ends)})"


def _markdown(lines):
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
