"""Tensor files: what has no digest of its description is refused."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from icelib.util import tensors


@pytest.mark.parametrize("missing", ["about", "sha256", "about_sha256"])
def test_files_without_one_of_the_entries_are_refused(tmp_path, missing):
    path = tmp_path / "x.safetensors"
    tensors.save(path, {"x": torch.arange(3)}, {"classes": ["a"]})
    assert tensors.load(path)[1]["classes"] == tensors.read_about(path)["classes"] == ["a"]
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["icelib"])
    described.pop(missing)
    save_file({"x": torch.arange(3)}, path, {"icelib": json.dumps(described)})
    for read in (tensors.load, tensors.read_about):
        with pytest.raises(ValueError, match=rf"x.safetensors cannot be read: '{missing}'; remove it and run"):
            read(path)


@pytest.mark.parametrize("changed", ["about", "about_sha256"])
def test_a_description_that_does_not_match_its_digest_is_refused(tmp_path, changed):
    path = tmp_path / "x.safetensors"
    tensors.save(path, {"x": torch.arange(3)}, {"classes": ["a"]})
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["icelib"])
    described[changed] = {"classes": ["b"]} if changed == "about" else "0" * 64
    save_file({"x": torch.arange(3)}, path, {"icelib": json.dumps(described)})
    for read in (tensors.load, tensors.read_about):
        with pytest.raises(ValueError, match="x.safetensors is damaged: what describes its tensors does not match"):
            read(path)
