"""A tiny project with results, shared by the tests of this folder."""

import shutil
import sys

import pytest

from tests.conftest import Project, shared

MAKE = """
from icelib.evaluation import evaluate
from icelib.report import render, tables
from icelib.training import train
train.declared(1)
evaluate.declared(1)
for name, subject in {"table1": "benchmark", "table2": "benchmark", "extended": "benchmark", "table3": "ablations"}.items():
    render.write(name, getattr(tables, name)(), subject)
"""


@pytest.fixture(scope="session")
def measured(prepared, tmp_path_factory):
    """Plain training, OE and ICE trained and measured, with tables."""

    def make(root):
        shutil.copytree(prepared.root, root, dirs_exist_ok=True)
        project = Project(root)
        group = {"task": "digits", "network": "wideresnet", "protocol": "scratch", "methods": ["plain", "oe", "ice"]}
        project.params = project.params | {"runs": [group]}
        project.call(sys.executable, "-c", MAKE)

    return shared(tmp_path_factory, "measured", make)
