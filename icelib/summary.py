"""The few numbers of each training that experiments are compared by.

``python -m icelib.summary SCALE`` writes ``results/summary/SCALE.json``, which `dvc exp show` and
`dvc metrics diff` show: accuracy, and detection by the method's own score (MSP on the plain network).
"""

import argparse

from icelib import cells, params, paths, results
from icelib.errors import readable_errors
from icelib.files import write_json
from icelib.methods import own_detector


def summarise(scale):
    """Write the summary of a scale.

    Parameters
    ----------
    scale : str
        Block of params.yaml.

    Returns
    -------
    dict of str to dict of str to float
        For each run without its seed: ``accuracy``, ``auroc`` and ``fpr95`` (outlier-positive) over
        the task's far sets; in percent, means over seeds.
    """
    found = {}
    for run in params.declared(scale):
        found.setdefault(run.name.rpartition("-")[0], []).append(run)
    summary = {}
    for name, runs in found.items():
        detector = own_detector(runs[0].method)
        read = [results.load(run) for run in runs]
        summary[name] = {
            metric: cells.ours([cells.entry(x, detector, "mean", metric, "outlier_positive") for x in read])["ours"]
            for metric in ("accuracy", "auroc", "fpr95")
        }
    write_json(paths.ROOT / "results" / "summary" / f"{scale}.json", summary)
    return summary


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Summarise the results of a scale for comparisons of experiments.")
    parser.add_argument("scale")
    with readable_errors():
        summarise(**vars(parser.parse_args()))
