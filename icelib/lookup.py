"""One cell of a table, found by words such as ``ICE mnist AUROC scratch``."""

import re

import pandas as pd

from icelib import paths

# What tells the cells of a table apart, in the columns of figures/TABLE.csv.
KEYS = {
    "table1": ("scale", "paper_known", "network", "protocol", "paper_outliers", "outliers", "method"),
    "table2": ("scale", "paper_known", "row", "protocol"),
    "table3": ("scale", "row", "model"),
    "table2_extended": ("scale", "row", "outliers", "network"),
}
SWEEPS = ("scale", "sweep", "candidate", "metric")  # the same of sweeps, see `trail.sweep_cells`
WORDS = {"finetuned": "finetune", "fromscratch": "scratch"}  # as readers see them, and as the columns have them


def read(name):
    """Read a table as it was written, one row for each cell.

    Parameters
    ----------
    name : str
        A key of `KEYS`.

    Returns
    -------
    DataFrame
        The columns of `KEYS`, ``metric``, ``convention``, ``ours`` (percent) and ``runs``; where the
        paper has the table, ``paper`` too.

    Raises
    ------
    ValueError
        If there is no such table, or it was not made yet.
    """
    if name not in KEYS:
        raise ValueError(f"unknown table {name!r}; expected one of {', '.join(KEYS)}, sweeps, beyond")
    path = paths.FIGURES / f"{name}.csv"
    try:
        # "nan" as a word, so that an empty name of a set stays one
        table = pd.read_csv(path, keep_default_na=False, na_values={column: [""] for column in ("paper", "ours")})
    except FileNotFoundError:
        raise ValueError(f"{paths.relative(path)} is missing; `dvc repro` makes it") from None
    if name == "table2_extended":
        sides = [
            table.assign(network=side, ours=pd.to_numeric(table[side]), runs=table[f"{side}_runs"])
            for side in ("plain", "ice")
        ]
        table = pd.concat(sides, ignore_index=True)
    return table


def find(table, keys, words):
    """Find the one cell that has all of some words among its keys.

    Parameters
    ----------
    table : DataFrame
    keys : sequence of str
        Columns to look in.
    words : sequence of str
        Values of these columns, in any order and as they stand in the table or near it
        (``fine-tuned``, ``AUROC ↑``), or ``COLUMN=VALUE``. A value of several words may come as these words.

    Returns
    -------
    Series
        The row of the cell. Where the words leave only the convention open, the outlier-positive one.

    Raises
    ------
    ValueError
        If no cell or more than one has these words; lists what there is to choose from.
    """
    plain = {key: table[key].astype(str).map(simplified) for key in keys}
    here = pd.Series(True, table.index)
    for word in _joined(words, {value for column in plain.values() for value in column}):
        column, equals, value = word.partition("=")
        among = [column] if equals and column in keys else keys
        wanted = simplified(value if equals and column in keys else word)
        fits = pd.concat([plain[key] == wanted for key in among], axis=1).any(axis=1)
        if not fits.any():
            raise ValueError(f"no cell has {word!r}; there are:\n{_choice(table, keys)}")
        if not (here & fits).any():
            raise ValueError(
                f"no cell has {word!r} and the words before it; with those there are:\n{_choice(table[here], keys)}"
            )
        here &= fits
    found = table[here]
    open_keys = [key for key in keys if found[key].nunique() > 1]
    if open_keys == ["convention"]:
        return found[found.convention == "outlier_positive"].iloc[0]
    if open_keys:
        open_keys = [key for key in open_keys if key != "convention"]
        raise ValueError(f"several cells have these words; add one word of each line:\n{_choice(found, open_keys)}")
    return found.iloc[0]


def _joined(words, values):
    """Put together what a shell has divided: words in a row that are one value, as ``mean AUROC``."""
    left, found = list(words), []
    while left:
        count = next((n for n in range(len(left), 1, -1) if simplified(" ".join(left[:n])) in values), 1)
        found.append(" ".join(left[:count]))
        left = left[count:]
    return found


def simplified(text):
    """Reduce a text to what tells it from others: ``CIFAR-10`` and ``cifar10`` become the same.

    >>> simplified("AUROC ↑"), simplified("ICE⁻"), simplified("fine-tuned"), simplified("−6 / −2")
    ('auroc', 'iceminus', 'finetune', '-6/-2')
    """
    text = text.casefold().replace("⁻", "minus").replace("−", "-")
    text = re.sub(r"(?<=[a-z])-|[^\w./-]|_", "", text)
    return WORDS.get(text, text)


def _choice(table, keys):
    listed = {key: [str(value) for value in table[key].unique() if value != ""] for key in keys}
    return "\n".join(f"  {key}: {', '.join(values)}" for key, values in listed.items())
