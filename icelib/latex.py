"""Text and tables in the way that LaTeX can set them."""

import re
from itertools import groupby
from operator import itemgetter

PACKAGES = r"% \usepackage{booktabs,graphicx}"
_SYMBOLS = str.maketrans(
    {character: "\\" + character for character in "%&_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {"†": r"$\dagger$", "‡": r"$\ddagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}
    | {"–": "--", "−": "$-$", "⁻": "$^-$"}
)


def escape(text):
    """Translate a text with our symbols, and ``**bold**``, to LaTeX."""
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text.translate(_SYMBOLS))


def table(frame, caption, label):
    """Set a table, scaled to the width of the text.

    Parameters
    ----------
    frame : DataFrame of str
        Columns are pairs of a group and a name.
    caption, label : str

    Returns
    -------
    str
    """
    groups = [(group, len(list(same))) for group, same in groupby(frame.columns, itemgetter(0))]
    names, *body = (" & ".join(map(escape, row)) for row in [[name for _, name in frame], *frame.to_numpy()])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            r"\vspace{1ex}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{'l' * frame.shape[1]}}}",
            r"\toprule",
            " & ".join(rf"\multicolumn{{{count}}}{{l}}{{{escape(group)}}}" for group, count in groups) + r" \\",
            names + r" \\",
            r"\midrule",
            *(row + r" \\" for row in body),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )
