"""What the paper claims, what was measured, and whether it holds: a row each, and no sentence made from numbers.

A claim that one method does better than another is decided by the interval of `statistics.paired` alone, over seeds of
both; with fewer than `statistics.SEEDS` it is not tested.
"""

from typing import NamedTuple

import pandas as pd

from icelib.evaluation.statistics import AHEAD, BEHIND, SEEDS, paired
from icelib.report.captions import NAMES
from icelib.report.tables import METRICS, common_seeds

HOLDS, FAILS, OPEN, NOT_TESTED = "holds", "does not hold", "open", "not tested at this scale"
HEADS = ("the paper's words", "place", "measure", "paper", "ours", "verdict")


class Claim(NamedTuple):
    """A claim in the paper's words and its place; measure, its values there and here as texts; one of four verdicts."""

    words: str
    place: str
    measure: str
    paper: str
    ours: str
    verdict: str


def table(claims):
    """List claims as a DataFrame with the columns `HEADS`, for Markdown; words that the row above has are left out."""
    frame = pd.DataFrame(claims, columns=HEADS).replace(r"\|", r"\\|", regex=True)  # p(z|i) would end a cell
    same = (frame[[*HEADS[:2]]] == frame[[*HEADS[:2]]].shift()).all(axis=1)
    return frame.assign(**{head: frame[head].mask(same, "″") for head in HEADS[:2]})


def verdict(a, b):
    """Say whether `a` is larger than `b`, values of the same seeds in the same order: by the paired 95 % interval."""
    if len(a) < SEEDS:
        return NOT_TESTED
    return {AHEAD: HOLDS, BEHIND: FAILS}.get(paired(a, b).verdict(), OPEN)


def difference(a, b):
    """Write the mean of a − b over seeds with its 95 % interval: ``+1.20 [+0.30, +2.10], 3 seeds``."""
    if not len(a):
        return "not run"
    if len(a) == 1:
        return f"{a[0] - b[0]:+.2f}, 1 seed".replace("-", "−")
    found = paired(a, b)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}], {found.n} seeds".replace("-", "−")


def compare(words, place, cells, metric, first, second):
    """Make a Claim that row `first` of a table, ``ICE ‡`` say, exceeds row `second`, seed by seed on the same device.

    `cells` are rows of `tables.table1` or `tables.table2` of one block and one mean or set of outliers; `metric` is one
    of `tables.METRICS`, outlier-positive. Of FPR95, where less is better, the better row comes second. The claim's
    values are first − second, in percent points.
    """
    shown = cells[(cells.metric == metric) & (cells.convention == "outlier_positive")]
    a, b = (shown[shown["name"] == name].iloc[0] for name in (first, second))
    seeds = common_seeds(a, b)
    values = [[row.by_seed[seed] for seed in seeds] for row in (a, b)]
    ours = "no pair of one seed and device" if a.seeds and b.seeds and not seeds else difference(*values)
    stated = "–" if pd.isna(a.paper - b.paper) else f"{a.paper - b.paper:+.2f}".replace("-", "−")
    block = f"{a.paper_known}{f', {NAMES[a.network]}' if 'network' in a else ''}"
    where = f", {a.outliers if a.outliers in ('far', 'near') else a.paper_outliers}" * (metric != "accuracy")
    measure = f"{block}: {METRICS[metric][:-2]}{where}, {first} − {second}"
    return Claim(words, place, measure, stated, ours, verdict(*values))
