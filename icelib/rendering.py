"""Tables as a reader sees them: Markdown, LaTeX, captions and verdicts."""

import numpy as np
import pandas as pd

from icelib import params, paths, results
from icelib.files import write_bytes
from icelib.tables import METRICS

MARKS = {"plain": "", "finetune": " †", "scratch": " ‡"}


def display(table, paper_known, convention):
    """Arrange one block of a long table as the paper prints it, each cell as text.

    Parameters
    ----------
    table : DataFrame
        From `table2`.
    paper_known : {"CIFAR10", "CIFAR100"}
    convention : str
        One of `CONVENTIONS`.

    Returns
    -------
    DataFrame of str
        A row for each method; for each metric the columns *paper*, *ours* and *difference*.
    """
    block = table[(table.paper_known == paper_known) & (table.convention == convention)]
    lines = []
    for (row, protocol), cells in block.groupby(["row", "protocol"], sort=False):
        line = {"Method": row + MARKS[protocol]}
        for cell in cells.itertuples():
            name = METRICS[cell.metric]
            line[f"{name} paper"] = f"{cell.paper:.2f}" if cell.paper_fits_convention else f"({cell.paper:.2f})"
            line[f"{name} ours"] = _number(cell)
            line[f"{name} difference"] = f"{cell.difference:+.2f}" if np.isfinite(cell.difference) else "–"
        lines.append(line)
    return pd.DataFrame(lines)


def _number(cell):
    if not cell.seeds:
        return "not run at this scale"
    if cell.seeds > 1:
        return f"{cell.ours:.2f} ± {cell.std:.2f}"
    return f"{cell.ours:.2f} [{cell.low:.1f}, {cell.high:.1f}]"


def caption(scale):
    """Say what the numbers of Table 2 at a scale were measured on, with sample counts."""
    parts = []
    for known in params.load().known:
        task = params.task(scale, known)
        runs = [run for run in params.declared(scale) if run.known == known]
        found = [results.load(run) for run in runs]
        images, setting, shape = found[0]["images"], found[0]["environment"], runs[0].shape
        parts.append(
            f"{task.plays}'s part is played by {task.title} ({images['known']} test images); detection is averaged over "
            + ", ".join(f"{name} ({images[name]})" for name in task.mean_over)
            + f"; the paper averages over iSUN, Places365, Textures, LSUN and SVHN. Network: WideResNet-{shape.depth}-{shape.widen}, "
            f"{runs[0].schedule.epochs} epochs from scratch, seeds {', '.join(dict.fromkeys(str(run.seed) for run in runs))}; "
            f"{setting['device']}, {setting['threads']} threads, {setting['precision']}, torch {setting['torch']}."
        )
    return (
        f"Table 2 at {scale} scale, in percent. "
        + " ".join(parts)
        + " In brackets: 95 % bootstrap intervals over test images of one run; "
        "after ±: standard deviation over seeds. † fine-tuned, ‡ from scratch. "
        "A paper value in parentheses seems to follow the other convention, so no difference is taken."
    )


HEADINGS = {
    "outlier_positive": "Outlier-positive: AUPR of finding outliers; FPR95 = known images rejected when 95 % of outliers are",
    "known_positive": "Known-positive: AUPR of finding known images; FPR95 = outliers accepted when 95 % of known images are",
}


def markdown(table, scale):
    """Render all blocks of Table 2 at one scale in both conventions as Markdown."""
    parts = [f"## Table 2, {scale} scale\n\n{caption(scale)}"]
    for paper_known in table.paper_known.unique():
        for convention, heading in HEADINGS.items():
            parts.append(f"### {_title(table, paper_known)}\n\n{heading}.")
            parts.append(display(table, paper_known, convention).to_markdown(index=False, disable_numparse=True))
    return "\n\n".join(parts) + "\n"


def latex(table, scale):
    """Render all blocks of Table 2 at one scale in both conventions as LaTeX tables."""
    parts = [f"% {caption(scale)}"]
    for paper_known in table.paper_known.unique():
        for convention, heading in HEADINGS.items():
            shown = display(table, paper_known, convention)
            text = f"{_title(table, paper_known)}. {heading}."
            parts.append(
                shown.to_latex(
                    index=False,
                    escape=True,
                    caption=_escape(text),
                    label=f"tab:table2-{scale}-{paper_known}-{convention}",
                )
            )
    symbols = {
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "–": "--",
        "±": r"$\pm$",
    }
    text = "\n".join(parts)
    for symbol, command in symbols.items():
        text = text.replace(symbol, command)
    return text


def verdict(table, scale):
    """Compare ICE's lead over each baseline, from scratch, in the paper and here, as Markdown.

    A lead of ours is called open where the 95 % intervals of the two methods overlap.
    """
    lines = []
    block = table[
        (table.paper_known == "CIFAR10") & (table.convention == "outlier_positive") & (table.protocol != "finetune")
    ]
    cells = block.set_index(["row", "metric"])
    for baseline, metrics in {"MSP": ["auroc", "accuracy"], "OE": list(METRICS), "Energy": list(METRICS)}.items():
        for metric in metrics:
            ice, other = cells.loc["ICE", metric], cells.loc[baseline, metric]
            if not (ice.seeds and other.seeds):
                continue
            sign = -1 if metric == "fpr95" else 1
            paper, ours = sign * (ice.paper - other.paper), sign * (ice.ours - other.ours)
            clear = ice.low > other.high or other.low > ice.high
            lines.append(
                {
                    "ICE against": "plain training (MSP)" if baseline == "MSP" else baseline,
                    "metric": METRICS[metric][:-2],
                    "lead in the paper": f"{paper:+.2f}",
                    "lead here": f"{ours:+.2f}",
                    "verdict": ("same order" if paper * ours > 0 else "**other order**")
                    if clear or ice.seeds > 1
                    else "open: the intervals overlap",
                }
            )
    if not lines:
        return f"At {scale} scale, ICE and its baselines were not run."
    same = sum(line["verdict"] == "same order" for line in lines)
    text = f"At {scale} scale the order is the paper's in {same} of {len(lines)} comparisons (a positive lead means that ICE is better):\n\n"
    return text + pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _title(table, paper_known):
    known = [name for name in table[table.paper_known == paper_known].known.unique() if name]
    return f"{paper_known} in the paper" + (f", {known[0]} here" if known else "; its part is not run at this scale")


def _escape(text):
    return text.replace("%", r"\%")


def write_table2(tables):
    """Write ``figures/table2.csv``, ``.md`` and ``.tex``.

    Parameters
    ----------
    tables : dict of str to DataFrame
        From `table2`, for each scale.
    """
    content = {
        "csv": pd.concat(tables.values()).to_csv(index=False),
        "md": "\n".join(markdown(table, scale) for scale, table in tables.items()),
        "tex": "\n".join(latex(table, scale) for scale, table in tables.items()),
    }
    for suffix, text in content.items():
        write_bytes(paths.FIGURES / f"table2.{suffix}", text.encode())
