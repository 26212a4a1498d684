"""Run the drill, or parts of it."""

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.conftest import SOURCE
from tests.faults import damage, disks, kills, store
from tests.faults.lab import Lab, Report

PARTS = {  # the faults by name, in the order in which they are tried
    "store": store.entries,
    "resume": store.resume,
    "together": store.together,
    "trainings": kills.trainings,
    "notebooks": damage.notebooks,
    "full": disks.full,
    "readonly": disks.readonly,
    "damage": damage.drill,
    "cache": damage.cache,
    "pipelines": kills.pipelines,
}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of the pipeline (50)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (0)")
    parser.add_argument("--out", type=Path, default=SOURCE / "results/faults.json", help="file of the record")
    parser.add_argument("--folder", type=Path, help="where to work, kept for another call; a temporary one by default")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        lab, report = Lab(options.folder or Path(temporary), options.kills), Report(options.out)
        lab.prepare()
        for name in options.only:
            PARTS[name](lab, report, random.Random(f"{options.seed} {name}"))
    print(report.table())
    return any(case["problems"] or case["wrong"] for fault in report.faults.values() for case in fault["cases"])


if __name__ == "__main__":
    sys.exit(main())
