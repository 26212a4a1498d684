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
            line[f"{name} paper"] = _paper(cell)
            line[f"{name} ours"] = _number(cell)
            line[f"{name} difference"] = f"{cell.difference:+.2f}" if np.isfinite(cell.difference) else "–"
        lines.append(line)
    return pd.DataFrame(lines)


def _paper(cell):
    return f"{cell.paper:.2f}" if cell.paper_fits_convention else f"({cell.paper:.2f})"


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
    """Render Table 2 at one scale as Markdown: all rows in short, blocks that were run in both conventions."""
    parts = [f"## Table 2, {scale} scale\n\n{caption(scale)}"]
    for paper_known in table.paper_known.unique():
        parts.append(f"### In short: {_title(table, paper_known)}\n\nFPR95 of ours is outlier-positive.")
        parts.append(summary(table, paper_known))
        for convention, heading in HEADINGS.items() if _was_run(table, paper_known) else ():
            parts.append(f"### {_title(table, paper_known)}\n\n{heading}.")
            parts.append(display(table, paper_known, convention).to_markdown(index=False, disable_numparse=True))
    return "\n\n".join(parts) + "\n"


def latex(table, scale):
    """Render the blocks of Table 2 that were run at one scale as LaTeX tables, in both conventions."""
    parts = [f"% {caption(scale)}"]
    for paper_known in filter(lambda name: _was_run(table, name), table.paper_known.unique()):
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


def summary(table, paper_known):
    """Arrange one block of a long table in short, for the README: *paper* and *ours* only.

    FPR95 of ours is outlier-positive in every row.
    """
    block = table[(table.paper_known == paper_known) & (table.convention == "outlier_positive")]
    lines = []
    for (row, protocol), cells in block.groupby(["row", "protocol"], sort=False):
        line = {"Method": row + MARKS[protocol]}
        for cell in cells[cells.metric != "aupr"].itertuples():
            line[f"{METRICS[cell.metric]} paper"] = _paper(cell)
            line[f"{METRICS[cell.metric]} ours"] = _number(cell)
        lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def verdict(table, scale):
    """Compare ICE's lead over each baseline, from scratch, in the paper and here, as Markdown.

    A lead of ours is called open if it is within the noise: where the 95 % intervals of two
    single runs overlap, or where several seeds' means differ by less than their deviations add up to.
    """
    lines = []
    for paper_known in table.paper_known.unique():
        block = table[(table.paper_known == paper_known) & (table.convention == "outlier_positive")]
        cells = block[(block.protocol != "finetune") & (block.seeds > 0)].set_index(["row", "metric"])
        for baseline in ("MSP", "ODIN", "Mahalanobis", "OE", "Energy"):
            for metric, name in METRICS.items():
                # of post-hoc rows the paper has AUPR and FPR95 in the other convention
                posthoc = baseline in ("MSP", "ODIN", "Mahalanobis") and metric != "auroc"
                if (posthoc and (baseline, metric) != ("MSP", "accuracy")) or not {
                    ("ICE", metric),
                    (baseline, metric),
                } <= set(cells.index):
                    continue
                ice, other = cells.loc["ICE", metric], cells.loc[baseline, metric]
                sign = -1 if metric == "fpr95" else 1
                paper, ours = sign * (ice.paper - other.paper), sign * (ice.ours - other.ours)
                lines.append(
                    {
                        "ICE against": f"{baseline}, {paper_known}",
                        "metric": name[:-2],
                        "lead in the paper": f"{paper:+.2f}",
                        "lead here": f"{ours:+.2f}",
                        "verdict": _order(paper, ours) if _apart(ice, other) else "open",
                    }
                )
    if not lines:
        return f"At {scale} scale, ICE and its baselines were not run."
    counts = {
        word: sum(line["verdict"] == word for line in lines) for word in ("same order", "**other order**", "open")
    }
    text = (
        f"At {scale} scale, of {len(lines)} comparisons {counts['same order']} have the paper's order, "
        f"{counts['**other order**']} the other one, and {counts['open']} are within the noise. "
        "A positive lead means that ICE is better.\n\n"
    )
    return text + pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _apart(a, b):
    if a.seeds == b.seeds == 1:
        return a.low > b.high or b.low > a.high
    return abs(a.ours - b.ours) > a["std"] + b["std"]


def _order(paper, ours):
    return "same order" if paper * ours > 0 else "**other order**"


def _was_run(table, paper_known):
    return table.seeds[table.paper_known == paper_known].any()


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
