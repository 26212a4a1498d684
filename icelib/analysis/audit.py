"""The paper's numbers read again: class ratios behind its AUPRs, contradictions, open choices.

A detector is described by two Gaussians, the binormal model of ROC analysis: negatives have scores N(0, 1), positives
N(d, s²), with separation d and spread s. AUROC and FPR95, shares, give d and s; AUPR then depends on nothing but the
ratio r of positives to negatives: outliers per known image where outliers are the positives, else the reverse.
"""

import contextlib
import itertools
import math
import re

import numpy as np
import pandas as pd
from scipy import integrate, optimize
from scipy.special import log_ndtr
from scipy.stats import norm

from icelib import paper
from icelib.config import runs

ROUNDING = 5e-5  # half a unit of the last printed digit, as a share
Z95 = norm.ppf(0.95)  # z below
KNOWN = 10_000  # test images of CIFAR-10 and of CIFAR-100
# images in the splits that publishers offer; of LSUN and iSUN in the versions that the source of ODIN offers
SIZES = {
    "iSUN": {"all": 8_925},
    "Places365": {"validation": 36_500, "test": 328_500, "training": 1_803_460, "all": 2_168_460},
    "Textures": {"all": 5_640},
    "LSUN": {"test": 10_000},
    "SVHN": {"test": 26_032, "training": 73_257, "extra": 531_131},
    "CIFAR100": {"test": 10_000},
}
BLOCKS = {  # of Table 1, from the top
    ("CIFAR10", "wideresnet", "finetune"): "CIFAR-10, WRN †",
    ("CIFAR10", "wideresnet", "scratch"): "CIFAR-10, WRN ‡",
    ("CIFAR10", "densenet", "scratch"): "CIFAR-10, DenseNet ‡",
    ("CIFAR100", "wideresnet", "scratch"): "CIFAR-100, WRN ‡",
}


def binormal(auroc, fpr95, wide=False):
    """Separation d and spread s with AUROC = Φ(d/√(1 + s²)) and FPR95 = Φ(z s − d), z = Φ⁻¹(0.95).

    With s = tan θ and d = Φ⁻¹(AUROC)/cos θ both become z sin θ − Φ⁻¹(FPR95) cos θ = Φ⁻¹(AUROC): at most one solution
    for an AUROC up to 95 %, up to two above, of which `wide` asks for the one of larger spread. FPR95 is the share of
    negatives above the score that 95 % of positives exceed. Raises ValueError if a value is not inside 0…1, or no two
    Gaussians have both.
    """
    if not (0 < auroc < 1 and 0 < fpr95 < 1):
        raise ValueError(f"AUROC {auroc:g} and FPR95 {fpr95:g}: expected shares between 0 and 1")
    a, b = norm.ppf(auroc), norm.ppf(fpr95)
    sine, angle = a / math.hypot(b, Z95), 0
    if abs(sine) <= 1:
        angle = math.atan2(b, Z95) + (math.pi - math.asin(sine) if wide else math.asin(sine))
    if not 0 < angle < math.pi / 2:
        limit = f" and at most {norm.cdf(-math.sqrt(a**2 - Z95**2)):.4f}" if a > Z95 else ""
        expected = "a second pair" if wide else f"FPR95 above {1 - auroc:.4f}{limit}"
        raise ValueError(f"no two Gaussians have AUROC {auroc:.4f} and FPR95 {fpr95:.4f}; expected {expected}")
    return a / math.cos(angle), math.tan(angle)


def swapped(separation, spread):
    """Exchange the parts of the two groups: `separation` d and `spread` s become d/s and 1/s."""
    return separation / spread, 1 / spread


def fpr95(separation, spread):
    """FPR95 of two Gaussians, as a share: Φ(z s − d), z = Φ⁻¹(0.95)."""
    return norm.cdf(Z95 * spread - separation)


def aupr(separation, spread, ratio):
    """Average precision of two Gaussians: ∫ r T/(r T + F) dT over recall T, F = Φ(s Φ⁻¹(T) − d); r is `ratio`."""
    u = np.linspace(-9, 9, 361)  # Φ⁻¹(T); for so smooth a function trapezoids are exact to 1e-9
    odds = np.exp(log_ndtr(spread * u - separation) - log_ndtr(u)) / ratio
    return float(integrate.trapezoid(norm.pdf(u) / (1 + odds), u))


def ratio_at(average_precision, separation, spread):
    """Positives per negative at which two Gaussians have this average precision; raise ValueError outside 0…1."""
    if not 0 < average_precision < 1:
        raise ValueError(f"AUPR {average_precision:g}: expected a share between 0 and 1")
    return math.exp(optimize.brentq(lambda x: aupr(separation, spread, math.exp(x)) - average_precision, -30, 30))


def implied_ratio(auroc, fpr95, average_precision, wide=False):
    """Positives per negative that AUROC, FPR95 and AUPR (0…1) imply; see `binormal` and `ratio_at`."""
    return ratio_at(average_precision, *binormal(auroc, fpr95, wide))


def bounds(auroc, average_precision):
    """Limits of the ratio without Gaussians: (1 − AUROC)/(1 − AUPR) − 1 ≤ r ≤ 2 (1 − AUROC) AUPR/(1 − AUPR).

    Precision falls short of 1 by F/(r T + F), with recall T and false positive rate F. That is at least F/(r + 1),
    whose mean is (1 − AUROC)/(r + 1): the lower limit holds for every detector. The upper one holds where g = F/T never
    falls with T, as on a concave ROC curve: the mean of g is then at most 2 (1 − AUROC) by Chebyshev's inequality, and
    g/(r + g) is concave.
    """
    short = (1 - auroc) / (1 - average_precision)
    return short - 1, 2 * short * average_precision


def reading(auroc, fpr95, average_precision):
    """Tell what AUROC, FPR95 and AUPR in percent, with two decimals, imply, in positives per negative.

    ``ratio``; ``low`` and ``high``, what rounding leaves open; ``wide``, by the second solution; ``mixed``, were FPR95
    of the classes exchanged; ``least`` and ``most``, `bounds` with rounding. NaN where no Gaussians have the values.
    """
    printed = np.array([auroc, fpr95, average_precision]) / 100
    nearby = [printed + ROUNDING * np.array(signs) for signs in itertools.product((-1, 0, 1), repeat=3)]
    near = pd.Series([_or_nan(implied_ratio, *corner) for corner in nearby])
    return {
        "ratio": _or_nan(implied_ratio, *printed),
        "low": near.min(),
        "high": near.max(),
        "wide": _or_nan(implied_ratio, *printed, wide=True),
        "mixed": _or_nan(lambda a, f, p: ratio_at(p, *swapped(*binormal(a, f))), *printed),
        "least": bounds(printed[0] + ROUNDING, printed[2] - ROUNDING)[0],
        "most": bounds(printed[0] - ROUNDING, printed[2] + ROUNDING)[1],
    }


def _or_nan(function, *values, **options):
    with contextlib.suppress(ValueError):
        return function(*values, **options)
    return np.nan


def ratios():
    """`reading` of Table 1: DataFrame with a row for each of the 69 triples of AUROC, FPR95 and AUPR (percent)."""
    lines = []
    for line in paper.table("table1").itertuples():
        for method, title in (("oe", "OE"), ("energy", "Energy"), ("ice", "ICE")):
            values = {metric: getattr(line, f"{metric}_{method}") for metric in ("auroc", "fpr95", "aupr")}
            about = {"outliers": line.outliers, "block": BLOCKS[line.known, line.network, line.protocol]}
            lines.append(about | {"method": title} | values | reading(*values.values()))
    return pd.DataFrame(lines)


def check(arithmetic):
    """Work out an entry of contradictions.csv, ``LEFT = RIGHT: words``: its value, or ValueError if it is wrong."""
    left, equals, right = arithmetic.split(":")[0].partition(" = ")
    if not equals or not re.fullmatch(r"(min|max|[-+/\d., ()])+", left):
        raise ValueError(f"{arithmetic!r}: expected numbers, + - / , ( ), min and max, then ' = ' and their value")
    value = eval(left, {"__builtins__": {"min": min, "max": max}})
    if not math.isclose(value, float(right), abs_tol=1e-9):
        raise ValueError(f"{left} is {value:g}, not {right}")
    return float(right)


def choices():
    """Open choices of the paper, with a column, named after the scale, of the values that params.yaml has."""
    found, loaded = paper.table("choices"), runs.load()
    content = loaded.model_dump()
    found[loaded.scale] = [
        ", ".join(dict.fromkeys(filter(None, map(_text, _lookup(content, key.split(".")))))) for key in found.key
    ]
    return found


def _lookup(content, parts):
    """Values in the place that `parts` lead to, where * is every key; none if there is no such place."""
    if not parts:
        yield content
    elif isinstance(content, dict):
        for name in content if parts[0] == "*" else [parts[0]]:
            yield from _lookup(content[name], parts[1:]) if name in content else ()


def _text(value):
    if isinstance(value, dict | list | tuple):
        parts = value.values() if isinstance(value, dict) else value
        return ", ".join(filter(None, map(_text, parts)))
    return "" if value is None else str(value)
