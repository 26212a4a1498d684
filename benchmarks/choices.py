"""Validation figures behind the choices in params.yaml: train candidates, look at no test image.

    python benchmarks/choices.py [OUT.csv]

trains every candidate below at laptop scale with seed 0 (about 25 minutes on two processor cores)
and writes one row for each: accuracy on known validation images, AUROC and FPR95
(outlier-positive) on held-out auxiliary outliers and on jigsaw images, in percent. Interrupted,
it goes on where it was; remove OUT.csv to train all anew.
"""

import sys
from pathlib import Path

import pandas as pd

from icelib import params, paths, training
from icelib.files import write_bytes

CANDIDATES = {
    "ice": [
        {"weight": 0.05},
        {"weight": 0.1},
        {"weight": 0.2},
        {"weight": 0.4},
        {"covariance_scale": 0.05},
        {"covariance_scale": 0.2},
    ],
    "plain": [{}],
    "oe": [{"weight": 0.5}, {"weight": 1.0}],
    "energy": [
        {"margin_known": -23.0, "margin_outlier": -5.0},  # as published for CIFAR-10
        {"margin_known": -15.0, "margin_outlier": -5.0},
        {"margin_known": -10.0, "margin_outlier": -3.0},
        {"margin_known": -6.0, "margin_outlier": -2.0},
    ],
}


def candidate(method, change):
    """Return the declared run of a method with some of its parameters changed."""
    run = params.run("laptop", "few", "wideresnet", "scratch", method, 0)
    parts = {part: {k: change.get(k, v) for k, v in getattr(run, part).items()} for part in ("loss", "head")}
    return run.model_copy(update=parts)


def trial(run):
    """Train one candidate without keeping it; return its last validation figures, as shares."""
    last = training.train(run, keep=False)[-1]
    figures = {"accuracy": last["accuracy"]}
    for kind, values in last["validation"].items():
        figures |= {f"{kind}_auroc": values["auroc"], f"{kind}_fpr95": values["fpr95_outlier_positive"]}
    return figures


def main(out):
    rows = pd.read_csv(out, keep_default_na=False).to_dict("records") if Path(out).exists() else []
    for method, changes in CANDIDATES.items():
        for change in changes:
            run = candidate(method, change)
            name = {"method": method, "parameters": " ".join(f"{k}={v:g}" for k, v in (run.loss | run.head).items())}
            if any(name.items() <= row.items() for row in rows):
                continue
            rows.append(name | {key: round(100 * value, 2) for key, value in trial(run).items()})
            write_bytes(out, pd.DataFrame(rows).to_csv(index=False).encode())
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:] or [paths.ROOT / "results" / "choices" / "laptop.csv"])
