"""An empty project folder, images, and archives in miniature."""

import io
import tarfile

import numpy as np
import pytest

from icelib.util import paths


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder that `paths` points into."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "DOWNLOADS", tmp_path / "data" / "downloads")
    monkeypatch.setattr(paths, "DATASETS", tmp_path / "data" / "sets")
    paths.DOWNLOADS.mkdir(parents=True)
    return tmp_path


def images(count, seed=0):
    """Random images (count, 32, 32, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def tar(path, members, mode="w:gz"):
    """Write a tar file with members (dict of name to bytes)."""
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
