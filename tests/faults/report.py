"""What the drill found, written after every case: one JSON file, and a table made from it."""

import json
import platform
import time

from icelib.files import write_bytes, write_json

COLUMNS = ("fault", "tried", "survived", "wrong results")


class Report:
    """Records of cases, by fault.

    A case is survived if everything that had to hold held: an error said what happened where one
    was due, and the same command then made the outputs of an undisturbed run. A wrong result is an
    output that differs from that run's although the command ended well.

    Parameters
    ----------
    path : pathlib.Path
        JSON file; a table of the same name with the suffix .md lies beside it.
    """

    def __init__(self, path):
        self.path = path
        self.faults = json.loads(path.read_text())["faults"] if path.exists() else {}

    def begin(self, name, title, expected, note=""):
        """Start the record of a fault anew."""
        self.faults[name] = {"title": title, "expected": expected, "note": note, "cases": []}
        self._write()

    def tried(self, name):
        """Number of cases recorded of a fault."""
        return sum(case.get("count", 1) for case in self.faults.get(name, {"cases": []})["cases"])

    def case(self, name, what, problems, wrong, **details):
        """Record one case.

        Parameters
        ----------
        name : str
            Of the fault.
        what : str
            What was done.
        problems : list of str
            What did not hold.
        wrong : list of str
            Outputs that are wrong although nothing was said.
        """
        self.faults[name]["cases"].append({"what": what, "problems": problems, "wrong": wrong, **details})
        print(f"{time.strftime('%H:%M:%S')} {name}: {what}: {'; '.join(problems + wrong) or 'survived'}", flush=True)
        self._write()

    def _write(self):
        write_json(self.path, {"machine": f"{platform.system()} {platform.machine()}", "faults": self.faults})
        write_bytes(self.path.with_suffix(".md"), self.table().encode())

    def table(self):
        """The counts as Markdown."""
        lines = [f"| {' | '.join(COLUMNS)} |", "|:--|--:|--:|--:|"]
        total = [0, 0, 0]
        for name, fault in self.faults.items():
            cases = fault["cases"]
            counts = [
                self.tried(name),
                sum(case.get("count", 1) for case in cases if not case["problems"] and not case["wrong"]),
                sum(len(case["wrong"]) for case in cases),
            ]
            total = [a + b for a, b in zip(total, counts, strict=True)]
            title = fault["title"] + (f" ({fault['note']})" if fault["note"] else "")
            lines.append(f"| {title} | {' | '.join(f'{count:,}' for count in counts)} |")
        lines.append(f"| **all** | {' | '.join(f'**{count:,}**' for count in total)} |")
        return "\n".join(lines) + "\n"
