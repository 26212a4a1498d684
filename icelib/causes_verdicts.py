"""What the measured causes say of the paper's claims, as Markdown; every number comes from the traces."""

import numpy as np

from icelib import causes
from icelib.methods import METHODS

PAPER = ("oe", "energy", "bce", "ice")


def contradiction(found):
    """Say whether auxiliary terms contradict cross-entropy as the paper claims.

    Parameters
    ----------
    found : dict
        From `causes.load`.

    Returns
    -------
    str
    """
    table = causes.contradiction_table(found)
    if table.empty:
        return "No method with outliers was run."
    table = table.xs("mean", axis=1, level=1)
    table.index = [method for method in found if METHODS[method].outliers]
    lines = []
    if "energy" in table.index:
        row = table.loc["energy"]
        lines.append(
            f"Energy raises {100 * row.raised:.0f} % of the known logits against cross-entropy (mean over the epochs), "
            f"in {100 * row.samples:.0f} % of the images: {_agrees(row.raised > 0)}."
        )
    if "oe" in table.index:
        row = table.loc["oe"]
        lines.append(
            f"OE raises {100 * row.outlier_raised:.0f} % of the outliers' logits, those below average: "
            f"{_agrees(row.outlier_raised > 0)}. It moves no known logit, so the conflict with cross-entropy that the "
            "paper speaks of can arise only through what known images and outliers share, the weights."
        )
    innocent = [method for method in ("bce", "ice") if method in table.index]
    if innocent:
        none = not table.loc[innocent, ["raised", "lowered", "outlier_raised"]].to_numpy().any()
        names = " and ".join(METHODS[method].title for method in innocent)
        lines.append(f"{names}: {'no' if none else 'some'} such logit: {_agrees(none)}.")
    shown = [method for method in PAPER if method in table.index]
    cosines = ", ".join(f"{METHODS[method].title} {_signed(table.loc[method, 'backbone'])}" for method in shown)
    text = f"On the backbone's weights the mean cosine is {cosines}."
    if {"oe", "energy", "ice"} <= set(shown):
        others = table.loc[["oe", "energy"], "backbone"].max()
        better = table.loc["ice", "backbone"] > others
        text += (
            f" That ICE's gradient is {'more' if better else 'not more'} compatible than OE's and Energy's "
            f"{_agrees(better)} with the paper; that theirs pull *against* cross-entropy on the whole "
            f"{_agrees(others < -0.1)}: about zero means that they pull elsewhere."
        )
    if {"ice", "ice_minus"} <= set(table.index):
        text += (
            f" ICE⁻, which has ICE's outlier term alone, has {_signed(table.loc['ice_minus', 'backbone'])}: what lies "
            "between the two is the term on known images, which pulls where cross-entropy pulls anyway."
        )
    return "\n".join(f"- {line}" for line in [*lines, text])


def likelihood(found):
    """Say whether the logit misleads more often than the likelihood, as the paper claims.

    Parameters
    ----------
    found : dict
        From `causes.load`.

    Returns
    -------
    str
    """
    table = causes.likelihood_table(found)
    near = next(iter(found.values()))[0]["near"]
    lines = []
    for method in ("plain", *PAPER):
        if method in found:
            rows = table.loc[METHODS[method].title]
            claims = [rows.score_wrong[name] > rows.likelihood_wrong[name] for name in (near, "mean")]
            parts = "; ".join(
                f"with {where}, the logit alone is wrong in {rows.score_wrong[name]:.0f} % of the pairs, the likelihood "
                f"alone in {rows.likelihood_wrong[name]:.0f} %"
                for name, where in ((near, near), ("mean", "the other sets"))
            )
            verdict = {2: "As the paper says", 0: "The reverse of what the paper says"}.get(sum(claims), "It depends")
            lines.append(f"- {METHODS[method].title}: {parts}. {verdict}.")
    text = (
        "The paper's case exists in every network. Whether it is the *more frequent* one, so that a fitted likelihood "
        "would be the better guide, differs by method:"
    )
    if {"oe", "plain"} <= set(found):
        wrong = table.loc[METHODS["oe"].title, "likelihood_wrong"]["mean"]
        before = table.loc[METHODS["plain"].title, "likelihood_wrong"]["mean"]
        if wrong > before:
            lines.append(
                f"\nOE makes the likelihood the worse guide ({wrong:.0f} % against {before:.0f} % after plain training): "
                "it draws outliers to the middle of the classes, as the next section shows, and the middle is likely "
                "under a Gaussian that all classes share. There the logits, all alike, tell them better."
            )
    return "\n".join([text, "", *lines])


def shift(found):
    """Say whether outliers move to the centre and mix with known images, as the paper claims of OE.

    Parameters
    ----------
    found : dict
        From `causes.load`.

    Returns
    -------
    str
    """
    kinds = list(next(iter(found.values()))[0]["epochs"][0]["overlap"])
    lines = []
    for method in ("oe", "energy", "bce", "ice"):
        if method in found:
            overlaps = {kind: causes.shift(found[method], "overlap", kind)[0] for kind in kinds}
            centre = {kind: causes.shift(found[method], "centrality", kind)[0][-1] for kind in kinds}
            grows = any(values[1:].max() > values[0] for values in overlaps.values())
            told = ", ".join(f"{values[0]:.2f} → {values[-1]:.2f} ({kind})" for kind, values in overlaps.items())
            place = " and ".join(f"{value:.2f} ({kind})" for kind, value in centre.items())
            lines.append(
                f"- {METHODS[method].title}: overlap {told}, {'at times above' if grows else 'never above'} its value "
                f"before training; distance from the centre at the end {place}."
            )
    text = []
    if {"oe", "ice"} <= set(found):
        last = {
            m: np.mean([causes.shift(found[m], "centrality", kind)[0][-1] for kind in kinds]) for m in ("oe", "ice")
        }
        mixed = {m: np.mean([causes.shift(found[m], "overlap", kind)[0][-1] for kind in kinds]) for m in ("oe", "ice")}
        text = [
            "",
            f"That OE draws outliers to the centre, and ICE does not: {_agrees(last['oe'] < 1 < last['ice'])} (at the "
            f"end {last['oe']:.2f} and {last['ice']:.2f}, mean of both kinds). That outliers mix with known images "
            f"under OE and stay apart under ICE: {_agrees(mixed['oe'] > mixed['ice'] + 0.05)} (overlap at the end "
            f"{mixed['oe']:.2f} and {mixed['ice']:.2f}; a difference below 0.05 is not counted).",
        ]
    return "\n".join([*lines, *text]) or "No method with outliers was run."


def _agrees(yes):
    return "agrees" if yes else "does not agree"


def _signed(value):
    return f"{value:+.2f}".replace("-", "−")
