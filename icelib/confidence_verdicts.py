"""What the measured calibration says of the paper's claim, as Markdown; every number comes from the tables."""

import numpy as np

from icelib import confidence
from icelib.methods import METHODS


def separation(confidences):
    """Say whether the two distributions separate and gather at 1 and at 0, as in the paper's Figure 5.

    Parameters
    ----------
    confidences : dict
        From `confidence.by_epoch`.

    Returns
    -------
    str
    """
    if not confidences:
        return "ICE was not run."
    table = confidence.epoch_table(confidences)
    first, last = table.iloc[0], table.iloc[-1]
    known, outlier = last["known, median"], last["outlier, median"]
    steps = np.diff(table["AUROC (%)"])
    back = int((steps < -1).sum())
    return "\n".join(
        [
            f"- *They separate:* {_agrees(last['AUROC (%)'] > first['AUROC (%)'])}. AUROC goes from "
            f"{first['AUROC (%)']:.1f} to {last['AUROC (%)']:.1f} %, "
            + (f"and falls by more than a point in {back} of {len(steps)} steps on the way." if back else "steadily."),
            f"- *Outliers gather at 0* (median below 0.1): {_agrees(outlier < 0.1)}. The median is {outlier:.2f}; "
            f"{last['outlier < 0.1 (%)']:.0f} % are below 0.1.",
            f"- *Known images gather at 1* (median above 0.9): {_agrees(known > 0.9)}. The median is {known:.2f}; "
            f"{last['known > 0.9 (%)']:.0f} % are above 0.9.",
        ]
    )


def calibrated(table):
    """Say whether ICE's confidence is calibrated, and how it compares with other statements.

    Parameters
    ----------
    table : DataFrame
        From `confidence.detection_table`.

    Returns
    -------
    str
    """
    ice, plain = METHODS["ice"].title, METHODS["plain"].title
    if ice not in table.index.get_level_values(0):
        return "ICE was not run."
    own, scaled = (table.loc[(ice, way)] for way in (confidence.DIRECT["ice"][0], "Platt"))
    lines = [
        f"- ICE's confidence is off by {own.ECE:.1f} points in the mean [{own.low:.1f}, {own.high:.1f}] on the nearest "
        f"outliers, and by {own['ECE, far']:.1f} on the far sets. *Well calibrated*, taken as less than 5 points on "
        f"both: {_agrees(max(own.ECE, own['ECE, far']) < 5)} with the paper.",
        f"- Platt's scaling of the same score, with two fitted numbers: {scaled.ECE:.1f} and {scaled['ECE, far']:.1f}. "
        f"So scaling {_than(scaled.ECE, own.ECE)} on the nearest outliers and {_than(scaled['ECE, far'], own['ECE, far'])} "
        "on the far ones, which are of another kind than those it was fitted on.",
    ]
    if plain in table.index.get_level_values(0):
        msp = table.loc[(plain, confidence.DIRECT["plain"][0])]
        lines.append(
            f"- MSP of the plain network: {msp.ECE:.1f} and {msp['ECE, far']:.1f}; ICE's confidence is "
            f"{'better' if own.high < msp.low else 'worse' if own.low > msp.high else 'not told apart from it'} on the "
            "nearest outliers, by the intervals."
        )
    direct = table[table.index.get_level_values(1) != "Platt"]
    best, sharp = direct.ECE.idxmin(), table.Brier.idxmin()
    lines.append(
        f"- Smallest ECE of all direct statements, nearest outliers: {best[0]}, {best[1]} ({direct.ECE.min():.1f}). "
        f"Smallest Brier score of all, which counts separation too: {sharp[0]}, {sharp[1]} "
        f"({table.Brier.min():.3f}; ICE {own.Brier:.3f}; always saying ½ would have 0.250)."
    )
    return "\n".join(lines)


def classified(table):
    """Say whose predicted classes are the better calibrated ones.

    Parameters
    ----------
    table : DataFrame
        From `confidence.classification_table`.

    Returns
    -------
    str
    """
    order = table.sort_values("ECE")
    first, last = order.iloc[0], order.iloc[-1]
    if len(table) == 1:
        return f"{table.index[0]}: off by {first.ECE:.1f} points, confidence {first.confidence - first.accuracy:+.1f} points off accuracy."
    apart = first.high < last.low
    return (
        f"Smallest error: {order.index[0]} ({first.ECE:.1f} points), largest: {order.index[-1]} ({last.ECE:.1f}); their "
        f"intervals {'do not overlap' if apart else 'overlap'}. Mean confidence is above accuracy for "
        f"{', '.join(table.index[table.confidence > table.accuracy]) or 'none'}, and below it for "
        f"{', '.join(table.index[table.confidence <= table.accuracy]) or 'none'}."
    )


def _agrees(yes):
    return "agrees" if yes else "does not agree"


def _than(value, other):
    return "helps" if value < other - 0.5 else "hurts" if value > other + 0.5 else "changes little"
