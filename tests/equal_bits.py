"""Whether trainings and scores are those of an earlier commit, bit for bit: ``python -m tests.equal_bits [COMMIT]``.

Plain, OE, Energy, ICE and the likelihood ratio are trained at the tiny scale, from scratch and fine-tuned, with one
thread, by the code of both commits, each in a folder of its own; all tensors of weights and score files are compared.
The earlier commit is one of those with flat modules and scales in params.yaml, by default the last of them.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.conftest import SOURCE

METHODS = ["plain", "oe", "energy", "ice", "ratio"]
HEAD = {"factor": "lower", "mean_scale": 0.5, "covariance_scale": 0.1}
VALUES = {"energy": {"weight": 0.1, "margin_known": -6.0, "margin_outlier": -2.0}}
VALUES |= {"ratio": {"weight": 1.0, "radius": 0.0} | HEAD}

START = f"""
import pathlib, sys, yaml
import numpy as np
from sklearn.datasets import load_digits
from tests.conftest import tiny_params
root = pathlib.Path(sys.argv[1])
data = load_digits()
images = np.rint(data.images * 255 / 16).astype(np.uint8).repeat(4, 1).repeat(4, 2)[..., None].repeat(3, 3)
np.savez(root / "train.npz", images=images[:1200], labels=data.target[:1200])
np.savez(root / "test.npz", images=images[1200:], labels=data.target[1200:])
values, methods = tiny_params(root), {METHODS}
"""
EARLIER = f"""
values["tiny"]["train"] |= {VALUES}
values["runs"]["few"]["methods"], values["runs"]["finetune"]["methods"] = methods, methods[1:]
values["runs"]["densenet"]["methods"], values["beyond"] = [], []
(root / "params.yaml").write_text(yaml.safe_dump(values))
from icelib import data, params, scoring, tasks, training
for name, own in params.load().own_datasets.items():
    data.prepare(name, own.path)
data.prepare("gaussian")
tasks.make("tiny", "few")
for run in params.declared("tiny"):
    training.train(run)
    scoring.score(run)
"""
NOW = f"""
values["train"] |= {VALUES}
place = {{"task": "digits", "network": "wideresnet"}}
values["runs"] = [place | {{"protocol": "scratch", "methods": methods}}]
values["runs"] += [place | {{"protocol": "finetune", "methods": methods[1:]}}]
(root / "params.yaml").write_text(yaml.safe_dump(values))
from icelib.config import runs
from icelib.data import datasets, tasks
from icelib.evaluation import evaluate
from icelib.training import train
for name in (*runs.load().datasets, *runs.load().own_datasets):
    datasets.prepare(name)
tasks.make("digits")
train.declared()
evaluate.declared()
"""


def compute(code, script, folder):
    """Run a script with the code of a folder and one thread."""
    folder.mkdir()
    environment = os.environ | {"ICELIB_ROOT": str(folder), "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    environment |= {"ICELIB_TERMINAL": ""}
    subprocess.run([sys.executable, "-c", START + script, str(folder)], cwd=folder, env=environment, check=True)


def compare(earlier, now):
    """Print whether the tensors of both files are equal; those that the later one alone has are no difference."""
    first, second = load_file(earlier), load_file(now)
    different = [name for name in first if name not in second or not torch.equal(first[name], second[name])]
    print(f"{now.parent.name}/{now.name}: {len(first)} tensors", f"differ: {different}" if different else "equal")
    return not different


def main(commit="6019988"):
    """Compare; end with status 1 at a difference."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "code").mkdir()
        archive = subprocess.run(["git", "archive", commit], cwd=SOURCE, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(folder / "code")], input=archive, check=True)
        compute(folder / "code", EARLIER, folder / "earlier")
        compute(SOURCE, NOW, folder / "now")
        equal = []
        for path in sorted((folder / "earlier/checkpoints/tiny").glob("*.safetensors")):
            name = path.stem.replace("few-", "digits-")
            equal.append(compare(path, folder / f"now/checkpoints/tiny/{name}/weights.safetensors"))
            scores = folder / f"earlier/results/scores/tiny/{path.name}"
            equal.append(compare(scores, folder / f"now/results/tiny/scores/{name}.safetensors"))
        print(f"{sum(equal)} of {len(equal)} files are equal, bit for bit")
        sys.exit(len(equal) != 2 * (2 * len(METHODS) - 1) or not all(equal))


if __name__ == "__main__":
    main(*sys.argv[1:])
