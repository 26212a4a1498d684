"""What `pip install .` asks for is enough for the core, and the pipeline extra for all else."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata

from packaging.requirements import Requirement

from tests.conftest import SOURCE

PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

USE = """
import torch, torchvision, icelib
from icelib import heads, losses, methods, metrics, models, scores
from icelib.data import images  # of examples/finetune_own_images.py
assert set(methods.METHODS) >= set(methods.PAPER)
x, labels = torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, -1, -1])
backbone = models.WideResNet(10, 1, "strided")
head = icelib.GaussianHead(backbone.features, 3)
z = backbone(x)
head.start(z, labels)
icelib.ICELoss()(head(z), labels).backward()
head.estimate(z, labels)
score = scores.max_likelihood(head(z)).detach().numpy()
assert images.is_image("a.JPG")
print(metrics.detection_metrics(score[:4], score[4:]))
"""


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(lines):
    """Distributions that are installed with some others, by the requirements of these."""
    seen, waiting = set(), list(map(Requirement, lines))
    while waiting:
        wanted = waiting.pop()
        if (key := (canonical(wanted.name), *sorted(wanted.extras))) not in seen:
            seen.add(key)
            try:
                needed = map(Requirement, metadata.requires(wanted.name) or ())
            except metadata.PackageNotFoundError:  # of another system
                continue
            extras = wanted.extras | {""}
            waiting += [r for r in needed if not r.marker or any(r.marker.evaluate({"extra": x}) for x in extras)]
    return {name for name, *_ in seen}


def names(lines):
    return {canonical(Requirement(line).name) for line in lines}


def test_the_core_runs_where_nothing_else_is_installed():
    assert names(PROJECT["dependencies"]) == {"torch", "torchvision", "numpy"}
    there = closure(PROJECT["dependencies"]) | {"icelib"}
    owners = metadata.packages_distributions()
    blocked = [module for module, found in owners.items() if not there & set(map(canonical, found))]
    assert {"sklearn", "pandas", "pydantic", "yaml", "joblib", "scipy", "matplotlib", "psutil", "tqdm"} <= set(blocked)
    block = f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
    done = subprocess.run([sys.executable, "-c", block + USE], cwd=SOURCE, capture_output=True, text=True)
    assert done.returncode == 0 and "auroc" in done.stdout.lower(), done.stderr
    assert "left out" not in done.stderr  # as methods that cannot be imported are


def test_the_pipeline_extra_has_all_that_the_library_imports():
    owners, ours = metadata.packages_distributions(), sys.stdlib_module_names | {"icelib"}
    asked = names([*PROJECT["dependencies"], *EXTRAS["pipeline"], *EXTRAS["dask"]]) | {"dask"}  # distributed brings it
    imported = {}
    for path in (SOURCE / "icelib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {(name or "icelib").split(".")[0]: path.name for name in modules}
    lacking = {
        module: where
        for module, where in imported.items()
        if module not in ours and not asked & set(map(canonical, owners.get(module, [module])))
    }
    assert {"torch", "pandas", "yaml"} <= set(imported) and not lacking
