"""Tensor files that cannot be half-written, silently damaged, or made to run code.

A file is in safetensors format, with one metadata entry, ``icelib``: a JSON object that describes
the content, its SHA-256, and that of all tensors. Equal content gives equal bytes.
"""

import contextlib
import hashlib
import json

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from icelib.util import paths
from icelib.util.files import write_bytes

WAY = "remove it and run `dvc repro`"


def save(path, tensors, about):
    """Write tensors (dict of str to Tensor) and what describes them (anything that JSON can hold), all or nothing.

    Raises OSError with the name of `path` if it cannot be written; a file already there is then unchanged.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = {"about": about, "sha256": _digest(tensors), "about_sha256": _digest_of_text(about)}
    # safetensors keeps metadata in no fixed order: one entry keeps the bytes the same
    write_bytes(path, to_bytes(tensors, metadata={"icelib": json.dumps(described)}))


def load(path, device="cpu"):
    """Read what `save` wrote: the tensors, on `device`, and ``about``, with ``sha256``, the digest of the tensors.

    Raises ValueError, which names the file, if it is missing, damaged or not of this project.
    """
    with _opened(path) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if _digest(tensors) != metadata["sha256"]:
        raise ValueError(f"{paths.relative(path)} is damaged: its tensors do not match their SHA-256; {WAY}")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, _about(path, metadata)


def read_about(path):
    """Read the ``about`` that `load` returns beside the tensors, from the header alone; ValueError as there."""
    with _opened(path) as (_, metadata):
        pass
    return _about(path, metadata)


def _about(path, metadata):
    about = metadata["about"]
    if metadata["about_sha256"] != _digest_of_text(about):
        told = "what describes its tensors does not match its SHA-256"
        raise ValueError(f"{paths.relative(path)} is damaged: {told}; {WAY}")
    return about | {"sha256": metadata["sha256"]}


def _digest_of_text(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@contextlib.contextmanager
def _opened(path):
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = json.loads(file.metadata()["icelib"])
            yield file, {key: metadata[key] for key in ("about", "sha256", "about_sha256")}
    except FileNotFoundError:
        raise ValueError(f"{paths.relative(path)} is missing; `dvc repro` makes it") from None
    except Exception as error:  # safetensors has an exception type of its own
        raise ValueError(f"{paths.relative(path)} cannot be read: {error or type(error).__name__}; {WAY}") from error


def _digest(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
