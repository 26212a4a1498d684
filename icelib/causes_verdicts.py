"""What the measured causes say of the paper's claims, as Markdown; every number comes from the traces."""

import numpy as np

from icelib import causes
from icelib.methods import METHODS

# of whose gradients, scores or features the paper says something
PAPER = ("oe", "energy", "bce", "ice")
_COMPARED = ("plain", "oe", "ice")


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
            f"Energy raises {100 * row.raised:.0f} % of the known logits against cross-entropy (mean over the epochs "
            f"after the start), in {100 * row.samples:.0f} % of the images: {_agrees(row.raised > 0)}."
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
    shown = [method for method in PAPER if method in table.index and np.isfinite(table.loc[method, "backbone"])]
    cosines = ", ".join(f"{METHODS[method].title} {_signed(table.loc[method, 'backbone'])}" for method in shown)
    text = f"On the backbone's weights the mean cosine is {cosines}."
    if {"oe", "energy", "ice"} <= set(shown):
        others = table.loc[["oe", "energy"], "backbone"].max()
        better = table.loc["ice", "backbone"] > others
        text += (
            f" That ICE's gradient is {'more' if better else 'not more'} compatible than OE's and Energy's "
            f"{_agrees(better)} with the paper; that theirs pull *against* cross-entropy on the whole (both below −0.1) "
            f"{_agrees(others < -0.1)}: about zero means that they pull elsewhere."
        )
    if {"ice", "ice_minus"} <= set(table.index):
        row = table.loc["ice_minus"]
        text += (
            f" In the training of ICE⁻, whose one auxiliary term is ICE's on outliers, the cosine is "
            f"{_signed(row.backbone)} (that term's gradient is {100 * row.ratio:.0f} % of cross-entropy's in norm). This "
            "suggests that ICE owes its alignment to the term on known images, which pulls where cross-entropy pulls "
            "anyway; on ICE's own network the two terms were not measured apart."
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
                f"\nOE makes the likelihood a worse guide ({wrong:.0f} % of the pairs with the other sets against "
                f"{before:.0f} % after plain training). Its loss asks for equal logits on outliers and says nothing of "
                "how likely their features are; why they become so likely was not measured."
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
    for method in ("plain", *PAPER):
        if method in found:
            overlaps = {kind: causes.shift(found[method], "overlap", kind)[0] for kind in kinds}
            centre = {kind: causes.shift(found[method], "centrality", kind)[0][-1] for kind in kinds}
            told = ", ".join(f"{values[0]:.2f} → {values[-1]:.2f} ({kind})" for kind, values in overlaps.items())
            place = " and ".join(f"{value:.2f} ({kind})" for kind, value in centre.items())
            lines.append(f"- {METHODS[method].title}: overlap {told}; distance from the centre at the end {place}.")
    text = [""]
    if {"plain", "oe", "ice"} <= set(found):
        last = {
            measure: {m: np.array([causes.shift(found[m], measure, kind)[0][-1] for kind in kinds]) for m in _COMPARED}
            for measure in ("overlap", "centrality")
        }
        centre, mixed = last["centrality"], last["overlap"]
        inward = [kind for kind, oe, plain in zip(kinds, centre["oe"], centre["plain"]) if oe < min(1, plain)]
        told = "; ".join(_three(kind, centre, i) for i, kind in enumerate(kinds))
        where = {0: "on no kind of outlier", len(kinds): "on both kinds"}.get(
            len(inward), f"on {inward and inward[0]} alone"
        )
        text += [
            f"- That OE draws outliers to the centre: they end nearer to it than known images and than after plain "
            f"training {where} (distance from the centre, {told}). "
            f"{_part(len(inward), len(kinds))}",
            f"- That ICE pushes them away from it: {_agrees(bool((centre['ice'] > np.maximum(1, centre['plain'])).all()))}.",
            "- That outliers mix with known images under OE, and not under ICE: "
            f"{_agrees(bool((mixed['oe'] > mixed['plain'] + 0.05).any() and (mixed['ice'] <= mixed['plain']).all()))}. "
            f"Overlap at the end, {'; '.join(_three(kind, mixed, i) for i, kind in enumerate(kinds))}: "
            + (
                "both methods *part* outliers from known images, where plain training leaves more of them mixed."
                if (mixed["oe"] < mixed["plain"]).all() and (mixed["ice"] < mixed["plain"]).all()
                else "the methods do not both part outliers from known images."
            ),
        ]
    return "\n".join([*lines, *text]) or "No method with outliers was run."


def _three(kind, values, i):
    return f"{kind}: plain {values['plain'][i]:.2f}, OE {values['oe'][i]:.2f}, ICE {values['ice'][i]:.2f}"


def _part(count, among):
    return {0: "Does not agree.", among: "Agrees."}.get(count, "Agrees in part.")


def _agrees(yes):
    return "agrees" if yes else "does not agree"


def _signed(value):
    return f"{value:+.2f}".replace("-", "−")
