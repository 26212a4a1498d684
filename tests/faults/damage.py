"""Files that were damaged by a byte, cut, emptied, or replaced by another's; notebooks that fail."""

import json
import os

import nbformat

from icelib.config import runs
from icelib.data import datasets, tasks
from icelib.report import results
from icelib.util import paths, tensors
from tests.conftest import RUN
from tests.faults.lab import NAME, OTHER, REPRO, again, cut, flip, inside, maker, remove, said


def _run():
    return runs.run(*RUN, "ice", 0)


def _tensors(name):
    return name, "", lambda: tensors.load(paths.ROOT / name)


# kind of file: the file, what in its name makes it another of the same kind, and what reads it
KINDS = {
    "prepared data set": ("data/sets/digits-train/all.npz", "train/test", lambda: datasets.load("digits-train")),
    "description of a set": ("data/sets/digits-train/about.json", "train/test", lambda: datasets.load("digits-train")),
    "task file": (
        "data/tasks/tiny/digits/train.safetensors",
        "train/validation",
        lambda: tasks.load("digits", "train"),
    ),
    "network": _tensors(f"checkpoints/tiny/{NAME}/weights.safetensors"),
    "network on the way": _tensors(f"checkpoints/tiny/{NAME}/epochs/0001.safetensors"),
    "scores": _tensors(f"results/tiny/scores/{NAME}.safetensors"),
    "logits on the way": _tensors(f"results/tiny/logits/{NAME}.safetensors"),
    "metrics": (f"results/tiny/metrics/{NAME}.json", "", lambda: results.metrics(_run())),
    "history": (f"results/tiny/history/{NAME}.json", "", lambda: results.history(_run())),
    "measures on the way": (f"results/tiny/snapshots/{NAME}.json", "", lambda: results.snapshots(_run())),
    "sweep": ("results/tiny/sweeps/ice-weight.json", "", lambda: results.sweep("ice-weight")),
    "report": ("reports/tiny/02_training.ipynb", "02_training/03_benchmark", None),
}


def drill(lab, report, random):
    """Damage every kind of file in every way; see what its reader says, and whether `dvc repro` mends it."""
    report.begin("damage", f"damaged file: {', '.join(KINDS)}")
    for kind, (name, swap, read) in KINDS.items():
        other = name.replace(*swap.split("/")) if swap else name.replace(NAME, OTHER)
        for how in (flip, cut, lambda *_: b"", None) if other != name else (flip, cut, lambda *_: b""):
            project, problems, found = lab.copy(), [], ""
            path = project.root / name
            path.write_bytes(how(path.read_bytes(), random) if how else (project.root / other).read_bytes())
            if read:
                with inside(project):
                    found = _refusal(read, name, problems)
            problems += again(project)
            what = f"{kind}: {how.__name__.replace('<lambda>', 'empty') if how else 'that of another'}"
            report.case("damage", what, problems, lab.compare(), said=str(found)[:300])


def _refusal(read, name, problems):
    """What the reader says of a damaged file, a ValueError that names it; None if it reads it."""
    try:
        read()
    except Exception as error:
        if not isinstance(error, ValueError) or name not in str(error):
            problems.append(f"the reader raises {type(error).__name__}: {error}")
        return error


def cache(lab, report, random):
    """Damage objects in DVC's cache whose outputs are missing, so that DVC would take them from there."""
    report.begin("cache", "damaged object in DVC's cache, with the output that it holds missing")
    for name in ("data/sets/digits-train", "data/tasks/tiny/digits", "checkpoints/tiny", "results/tiny/scores") * 2:
        project = lab.copy()
        objects = project.root / ".dvc/cache/files/md5"
        md5 = next(out["md5"] for out in maker(project, name)[1]["outs"] if out["path"] == name)
        listed = json.loads((objects / md5[:2] / md5[2:]).read_text())  # the files of a folder
        md5 = random.choice(listed)["md5"]
        held = objects / md5[:2] / md5[2:]
        remove(project.root / name)
        os.chmod(held, 0o644)
        held.write_bytes(flip(held.read_bytes(), random))
        os.chmod(held, 0o444)
        problems = again(project)
        if problems and name in problems[0]:  # refused: then both are removed
            held.unlink(missing_ok=True)
            remove(project.root / name)
            problems = again(project)
        report.case("cache", name, problems, lab.compare())


CELLS = (  # a notebook, and a cell at its end; None: the file is cut in half
    ("01", "raise ValueError('on purpose')"),
    ("02", "import os; os.kill(os.getpid(), 9)  # as when memory runs out"),
    ("03", "import sys; sys.exit(0)"),
    ("03", "import os; os._exit(0)"),
    ("03", None),
)


def notebooks(lab, report, random):
    """Notebooks that raise, end, are killed or are no notebooks."""
    report.begin("notebook", "notebook that raises, ends its kernel, is killed or cut in half")
    for number, cell in CELLS:
        project = lab.copy()
        (path,) = project.root.glob(f"notebooks/{number}_*.ipynb")
        made, before = f"reports/tiny/{path.name}", path.read_bytes()
        made_by = maker(project, made)
        if cell is None:
            path.write_bytes(before[: len(before) // 2])
        else:
            notebook = nbformat.reads(before, as_version=4)
            notebook.cells.append(nbformat.v4.new_code_cell(cell))
            nbformat.write(notebook, path)
        status, output = project.call(*REPRO, "--single-item", "--force", made_by[0], check=False)
        problems = [] if status else ["no error"]
        problems += ["a traceback instead of one line"] if "Traceback" in output else []
        problems += ["DVC recorded the stage as done"] if maker(project, made) != made_by else []
        problems += ["there is a report"] if (project.root / made).exists() else []
        path.write_bytes(before)
        problems += again(project)
        what = f"{path.stem}: {cell or 'the file cut in half'}"
        report.case("notebook", what, problems, lab.compare(), said=said(output))
