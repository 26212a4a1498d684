"""Validation figures behind the choices in params.yaml: train candidates, look at no test image.

    python benchmarks/choices.py [OUT.csv]

trains every candidate below at laptop scale with seed 0 (about 25 minutes on two processor cores)
and writes one row for each: accuracy on known validation images, AUROC and FPR95
(outlier-positive) on held-out auxiliary outliers and on jigsaw images. Interrupted, it goes on
where it was.
"""

import sys

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


def trial(method, change):
    """Train one candidate without keeping it; return its row of the table."""
    run = params.run("laptop", "few", "wideresnet", "scratch", method, 0)
    loss = {name: change.get(name, value) for name, value in run.loss.items()}
    head = {name: change.get(name, value) for name, value in run.head.items()}
    last = training.train(run.model_copy(update={"loss": loss, "head": head}), keep=False)[-1]
    row = {
        "method": method,
        "parameters": " ".join(f"{k}={v:g}" for k, v in (loss | head).items()),
        "accuracy": last["accuracy"],
    }
    for kind, values in last["validation"].items():
        row |= {f"{kind}_auroc": values["auroc"], f"{kind}_fpr95": values["fpr95_outlier_positive"]}
    return row


def main(out):
    rows = []
    for method, changes in CANDIDATES.items():
        for change in changes:
            rows.append(trial(method, change))
            print(rows[-1], flush=True)
            write_bytes(out, (100 * pd.DataFrame(rows).set_index(["method", "parameters"])).round(2).to_csv().encode())


if __name__ == "__main__":
    main(*sys.argv[1:] or [paths.ROOT / "results" / "choices" / "laptop.csv"])
