"""All detection metrics against scikit-learn's three calls and pytorch-ood's, in time and memory.

    python -m speed.metrics [--known 10000] [--outliers 10000 1800000] [--out OUT.json]

Ours computes five metrics, in both conventions. scikit-learn's three calls (`roc_auc_score`,
`average_precision_score`, `roc_curve`) give three in one convention, outlier-positive; so does
pytorch-ood's `OODMetrics`, with more of its own. Scores are two overlapping normal samples in
float32, rounded to four digits so that there are ties. The three take turns, `--repeats` times, and
the fastest of each counts; peak memory is what Python and NumPy allocate beyond the scores
(tracemalloc), which does not see PyTorch's own tensors.
"""

import argparse
import functools
import tracemalloc
from pathlib import Path

import numpy as np
import torch
from pytorch_ood.metrics import OODMetrics
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from icelib.metrics import detection_metrics
from icelib.util import machine
from icelib.util.files import write_json
from speed.turns import fastest


def ours(known, outlier):
    """AUROC, AUPR and FPR95, outlier-positive, as shares, by `icelib.metrics`: (N,), (M,) → three floats."""
    values = detection_metrics(known, outlier)
    return values["auroc"], values["aupr_outlier_positive"], values["fpr95_outlier_positive"]


def scikit_learn(known, outlier):
    """The same by scikit-learn's three calls."""
    score = -np.concatenate([known, outlier])  # higher for outliers
    label = np.repeat([0, 1], [len(known), len(outlier)])
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    return roc_auc_score(label, score), average_precision_score(label, score), false[np.argmax(true >= 0.95)]


def pytorch_ood(known, outlier):
    """The same by pytorch-ood, but for its AUPR."""
    score = -torch.from_numpy(np.concatenate([known, outlier]))
    label = torch.from_numpy(np.repeat([0, -1], [len(known), len(outlier)]))  # negative: outlier
    values = OODMetrics()
    values.update(score, label)
    values = values.compute()
    return values["AUROC"], values["AUPR-OUT"], values["FPR95TPR"]  # its AUPR is the trapezoidal area


PEERS = {"ours": ours, "scikit-learn": scikit_learn, "pytorch-ood": pytorch_ood}


def compare(known_count, outlier_count, repeats):
    """Time all on so many scores, the same for each; return seconds, MiB, values and ratios."""
    draw = np.random.default_rng(0)
    known = draw.normal(1, 1, known_count).round(4).astype(np.float32)
    outlier = draw.normal(-1, 1, outlier_count).round(4).astype(np.float32)
    calls = {name: functools.partial(compute, known, outlier) for name, compute in PEERS.items()}
    seconds = fastest(calls, repeats)
    row = {"known": known_count, "outliers": outlier_count, "seconds": seconds, "peak_mib": {}, "values": {}}
    for name, compute in PEERS.items():
        tracemalloc.start()
        row["values"][name] = [float(value) for value in compute(known, outlier)]
        row["peak_mib"][name] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    row["times_as_fast_as"] = {name: seconds[name] / seconds["ours"] for name in PEERS if name != "ours"}
    return row


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--known", type=int, default=10_000)
    parser.add_argument("--outliers", type=int, nargs="+", default=[10_000, 1_800_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    rows = [compare(options.known, outliers, options.repeats) for outliers in options.outliers]
    for row in rows:
        print(f"{row['known']:,} known, {row['outliers']:,} outliers:")
        for name, seconds in row["seconds"].items():
            ratio = row["times_as_fast_as"].get(name)
            behind = f", ours is {ratio:.1f} times as fast" if ratio else ""
            print(f"  {name:13} {seconds * 1000:8.1f} ms, {row['peak_mib'][name]:6.1f} MiB{behind}")
    if options.out:
        environment = machine.describe(torch.device("cpu"), torch.float32)
        write_json(options.out, {"environment": environment, "rows": rows})
    return rows


if __name__ == "__main__":
    main()
