"""The paper as data: its tables (values in percent), and where it contradicts itself, errs or leaves a choice."""

from pathlib import Path

import pandas as pd

NAMES = ("table1", "table2", "table3", "contradictions", "misprints", "choices")


def table(name):
    """Return one of `NAMES` as a DataFrame.

    The column ``convention`` of a table is not the paper's: it is the one that the values fit. Rows of Table 3,
    whose layout is ambiguous, are assigned as the text describes them.
    """
    if name not in NAMES:
        raise ValueError(f"unknown table of the paper: {name!r}; expected one of {', '.join(NAMES)}")
    return pd.read_csv(Path(__file__).parent / f"{name}.csv", keep_default_na=False)
