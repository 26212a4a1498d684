"""``python -m tests.faults``: run the drill, or parts of it."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import SOURCE
from tests.faults import clock, damage, disks, kills, others
from tests.faults.lab import Lab
from tests.faults.report import Report

MOUNTS = "FAULTS_MOUNTS"  # set once the drill runs in a mount namespace of its own


def parts(lab, report, dice, options):
    """The faults by name, in the order in which they are tried."""
    return {
        "notebooks": lambda: others.notebooks(lab, report),
        "disks": lambda: disks.full(lab, report, dice),
        "readonly": lambda: disks.readonly(lab, report),
        "damage": lambda: damage.drill(lab, report, dice),
        "bits": lambda: damage.readers(lab, report, dice),
        "resume": lambda: damage.resume(lab, report, dice),
        "cache": lambda: damage.cache(lab, report, dice),
        "twice": lambda: others.twice(lab, report, dice),
        "clock": lambda: clock.clock(lab, report, dice),
        "kills": lambda: kills.drill(lab, report, dice, options.kills),
    }


def main():
    names = list(parts(None, None, None, None))
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="number of kills (50)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these parts alone")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (0)")
    parser.add_argument("--out", type=Path, default=SOURCE / "results/faults.json", help="file of the record")
    parser.add_argument("--folder", type=Path, help="where to work, kept for another call; a temporary one by default")
    options = parser.parse_args()
    if MOUNTS not in os.environ:
        _own_mounts()
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        lab, report = Lab(options.folder or Path(temporary)), Report(options.out)
        os.chmod(lab.folder, 0o755) if lab.folder.exists() else lab.folder.mkdir(parents=True)
        lab.prepare()
        for name in options.only:
            if name in ("disks", "readonly") and not disks.allowed():
                print(f"{name}: not tried, since this user may not mount file systems")
                continue
            parts(lab, report, random.Random(f"{options.seed} {name}"), options)[name]()
    print(report.table())
    return any(case["problems"] or case["wrong"] for fault in report.faults.values() for case in fault["cases"])


def _own_mounts():
    """Start anew in a mount namespace of its own, if the system allows that: its mounts go with it."""
    os.environ[MOUNTS] = "1"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", "--propagation", "private", *user]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if allowed:
        os.execvp("unshare", [*command, sys.executable, "-m", "tests.faults", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
