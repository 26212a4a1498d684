"""Variants of ICE beside ICE: means over seeds, differences with intervals, and what follows from them."""

import pandas as pd
from scipy import stats

from icelib import ablations, beyond, captions, own_runs, params, paths, sweeps
from icelib.files import read_json, write_bytes
from icelib.methods import METHODS, PAPER

VALIDATION = {  # by which choices are made
    "accuracy": lambda x: x["accuracy"],
    "mean AUROC": sweeps.mean_auroc,
    "AUROC auxiliary": lambda x: x["outliers"]["auroc"],
    "AUROC jigsaw": lambda x: x["jigsaw"]["auroc"],
}
TEST = {  # by which none is
    "accuracy": "accuracy",
    "AUROC far": "far_auroc",
    "FPR95 far": "far_fpr95",
    "AUROC near": "near_auroc",
}


def load(scale):
    """Read what was compared at a scale, and what was confirmed.

    Parameters
    ----------
    scale : str

    Returns
    -------
    search : dict of str to list of dict
        The runs of each declared variant that did not diverge, see `beyond.trained`, ICE first.
    confirmed : dict of str to list of dict
        Those with further seeds of ICE and of the best of ours; empty if `beyond.choose` takes none.

    Raises
    ------
    ValueError
        If a result file is missing, unreadable, or made with other values than params.yaml has, if what
        was confirmed is not what was chosen, or ICE diverged.
    """
    found = beyond.declared(scale)
    path = paths.confirmation(scale)
    confirmed = read_json(path)
    best = beyond.choose(found)
    seeds = [[run["seed"] for run in runs] for runs in confirmed.get("runs", {}).values()]
    wanted = [[int(seed) for seed in beyond.block(scale).confirmation]] * 2 if best else []
    values = {name: found[name]["values"] for name in ("ice", best)} if best else {}
    if (confirmed.get("best", ""), confirmed.get("values")) != (best, values) or seeds != wanted:
        raise ValueError(
            f"{paths.relative(path)} is not of the variant, values and seeds that are wanted; run `dvc repro`"
        )
    if not found["ice"]["runs"]:
        raise ValueError(f"there is nothing to compare with, ICE diverged: {found['ice']['diverged']}")
    return {name: result["runs"] for name, result in found.items() if result["runs"]}, confirmed["runs"]


def diverged(scale):
    """Name the declared variants that diverged.

    Parameters
    ----------
    scale : str

    Returns
    -------
    str
        Markdown; empty if all were trained.
    """
    return "\n".join(
        f"- **{label(name)}** is not in the tables: {what_diverged(result)}."
        for name, result in beyond.declared(scale).items()
        if "diverged" in result
    )


def what_diverged(result):
    """Say of a result file with ``diverged`` whether candidates or a run did, with the message: a str."""
    lost = sum("diverged" in row for row in result["candidates"])
    what = f"{lost} of {len(result['candidates'])} candidates diverged" if lost else "a run diverged"
    return f"{what} ({result['diverged']})"


def figures(runs, kind):
    """Return the figures of runs in percent.

    Parameters
    ----------
    runs : list of dict
        See `beyond.trained`.
    kind : {"validation", "test"}

    Returns
    -------
    DataFrame
        A row for each seed, a column for each key of `VALIDATION` or `TEST` that the runs have.
    """
    if kind == "validation":
        rows = [{name: take(run["validation"]) for name, take in VALIDATION.items()} for run in runs]
    else:
        rows = [{name: run["test"][key] for name, key in TEST.items() if key in run["test"]} for run in runs]
    return 100 * pd.DataFrame(rows, index=[run["seed"] for run in runs])


def difference(runs, reference, kind):
    """Compare runs with those of ICE, seed by seed.

    Runs of one seed start from the same backbone and see the same images in the same order. The interval
    is Student's, for the mean of the differences over seeds.

    Parameters
    ----------
    runs, reference : list of dict
        Of the same seeds.
    kind : {"validation", "test"}

    Returns
    -------
    DataFrame
        For each figure ``mean``, ``low`` and ``high`` of the difference, in points; low and high hold the
        mean of 95 % of such experiments.
    """
    ours, theirs = figures(runs, kind), figures(reference, kind)
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    return pd.DataFrame({"mean": (ours - theirs).mean(), "low": interval.low, "high": interval.high})


def table(found, kind):
    """Arrange variants in rows: mean ± standard deviation over seeds, and the difference to ICE.

    Parameters
    ----------
    found : dict of str to list of dict
        From `load`, with ICE.
    kind : {"validation", "test"}

    Returns
    -------
    DataFrame of str
        In percent and points; intervals in brackets, those without zero in bold.
    """
    lines = {}
    for name, runs in found.items():
        values = figures(runs, kind)
        line = {key: f"{values[key].mean():.2f} ± {values[key].std(ddof=1):.2f}" for key in values}
        compared = difference(runs, found["ice"], kind)
        for key in list(line)[:2]:
            line[f"{key} − ICE's"] = "" if name == "ice" else _interval(compared.loc[key])
        lines[label(name)] = line
    return pd.DataFrame(lines).T.rename_axis("variant")


def _interval(row):
    text = f"{row['mean']:+.2f} [{row.low:+.2f}, {row.high:+.2f}]".replace("-", "−")
    return f"**{text}**" if row.low > 0 or row.high < 0 else text


def label(name):
    """Title of a variant, by its key in `METHODS`; those of the paper's methods say so."""
    return f"{METHODS[name].title} (paper)" if name in PAPER else METHODS[name].title


def values(scale):
    """Say what was compared of each variant, and what the rule took.

    Parameters
    ----------
    scale : str

    Returns
    -------
    DataFrame of str
        A row for each variant that had candidates.

    Raises
    ------
    ValueError
        As `load`.
    """
    lines = {}
    for name, result in beyond.declared(scale).items():
        if result["candidates"]:
            marked = [
                f"**{ablations.label(row['change'])}**" if row["chosen"] else ablations.label(row["change"])
                for row in result["candidates"]
            ]
            names = " / ".join(result["candidates"][0]["change"]).replace("_", " ")
            lines[label(name)] = {"values": names, "candidates, the one taken in bold": "; ".join(marked)}
    return pd.DataFrame(lines).T.rename_axis("variant")


def verdict(confirmed):
    """Say whether the best of ours improves on ICE, by seeds that had no part in choosing it.

    Parameters
    ----------
    confirmed : dict of str to list of dict
        From `load`.

    Returns
    -------
    str
        Markdown. *Ours* is named only where both intervals on validation images exclude no improvement.
    """
    if not confirmed:
        return "No variant of ours is declared, or all diverged, or each costs more accuracy than the rule allows."
    best = next(name for name in confirmed if name != "ice")
    compared = difference(confirmed[best], confirmed["ice"], "validation")
    told = ", ".join(f"{key} {_interval(compared.loc[key])}" for key in ("mean AUROC", "accuracy"))
    better = {key: compared.loc[key].low > 0 for key in ("mean AUROC", "accuracy")}
    start = f"The best of ours by the rule is **{METHODS[best].title}**. With {len(confirmed[best])} further seeds, on validation images, it differs from ICE by: {told} points."
    if all(better.values()):
        return f"{start} Both intervals exclude no improvement: it is *ours*."
    held = [key for key, is_better in better.items() if is_better]
    if held:
        other = next(key for key in better if key not in held)
        return f"{start} So it improves {held[0]}, and of {other} that cannot be said: it is no improvement on ICE in both."
    return f"{start} Neither interval excludes no improvement: **no variant of ours is named**."


def small_print(scale, found, confirmed):
    """Say where the figures of `load` come from: scale, task, network, schedule, seeds and hardware."""
    block = params.load().blocks[scale]
    runs = [run for group in (*found.values(), *confirmed.values()) for run in group]
    machines = dict.fromkeys(captions.machine(run["environment"]) for run in runs)
    seeds = [", ".join(str(run["seed"]) for run in group.get("ice", [])) for group in (found, confirmed)]
    return (
        f"{scale} scale, {block.known[sweeps.KNOWN].title}, {captions.network(block.networks.wideresnet)}, "
        f"{block.protocols[own_runs.PROTOCOL].epochs} epochs from scratch. Seeds {seeds[0]}"
        f"{f'; confirmation {seeds[1]}' * bool(seeds[1])}. {' and '.join(machines)}."
    )


def write(scale, found, confirmed):
    """Write what `load` returned: tables as ``figures/beyond-SCALE.md``, each of their figures in ``.csv``."""
    pieces, lines = [f"## Beyond the paper: variants of ICE, {scale} scale", small_print(scale, found, confirmed)], []
    for part, group in (("search", found), ("confirmation", confirmed)):
        for kind in ("validation", "test") if group else ():
            pieces += [f"### {part.capitalize()}, {kind} images", table(group, kind).to_markdown()]
            lines += [line for name, runs in group.items() for line in _lines(scale, part, name, runs, group, kind)]
    write_bytes(
        paths.FIGURES / f"beyond-{scale}.md",
        "\n\n".join([*filter(None, (*pieces, diverged(scale), verdict(confirmed))), ""]).encode(),
    )
    write_bytes(paths.FIGURES / f"beyond-{scale}.csv", pd.DataFrame(lines).to_csv(index=False).encode())


def _lines(scale, part, name, runs, group, kind):
    compared = difference(runs, group["ice"], kind)
    for metric, found in figures(runs, kind).items():
        row = compared.loc[metric].round(4)
        yield {
            "scale": scale,
            "part": part,
            "variant": name,
            "images": kind,
            "metric": metric,
            "ours": round(found.mean(), 4),
            "std": round(found.std(ddof=1), 4),
            "difference": row["mean"],
            "low": row.low,
            "high": row.high,
            "seeds": " ".join(map(str, found.index)),
        }
