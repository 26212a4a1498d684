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


def save(path, tensors, about):
    """Write tensors and what describes them to `path`, all or nothing.

    Parameters
    ----------
    path : path-like
    tensors : dict of str to Tensor
        Any shapes and types, on any device.
    about : dict
        Anything that JSON can hold.

    Raises
    ------
    OSError
        With the name of `path`, if it cannot be written; a file already there is then unchanged.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # safetensors keeps metadata in no fixed order: one entry keeps the bytes the same
    digests = {"sha256": _digest(tensors), "about_sha256": _digest_of_text(about)}
    metadata = {"icelib": json.dumps({"about": about} | digests)}
    write_bytes(path, to_bytes(tensors, metadata=metadata))


def load(path, device="cpu"):
    """Read what `save` wrote.

    Parameters
    ----------
    path : path-like
    device : torch.device or str
        Where to put the tensors.

    Returns
    -------
    tensors : dict of str to Tensor
    about : dict
        What was saved, and ``sha256``, the digest of the tensors.

    Raises
    ------
    ValueError
        If the file is missing, damaged or not of this project; names it.
    """
    with _opened(path) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    about, digest = metadata["about"], metadata["sha256"]
    if _digest(tensors) != digest:
        raise ValueError(
            f"{paths.relative(path)} is damaged: its tensors do not match their SHA-256; remove it and run `dvc repro`"
        )
    _check_about(path, metadata)
    return {name: tensor.to(device) for name, tensor in tensors.items()}, about | {"sha256": digest}


def _check_about(path, metadata):
    found = _digest_of_text(metadata["about"])
    if metadata.get("about_sha256", found) != found:  # earlier versions wrote none
        raise ValueError(
            f"{paths.relative(path)} is damaged: what describes its tensors does not match its SHA-256; remove it and run `dvc repro`"
        )


def _digest_of_text(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def read_about(path):
    """Read the ``about`` that `load` returns beside the tensors: nothing but the header is read.

    Raises
    ------
    ValueError
        If the file is missing or not of this project, or its header is damaged; names it.
    """
    with _opened(path) as (_, metadata):
        about = metadata["about"]
    _check_about(path, metadata)
    return about | {"sha256": metadata["sha256"]}


@contextlib.contextmanager
def _opened(path):
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = json.loads(file.metadata()["icelib"])
            yield file, {"about": metadata["about"], "sha256": metadata["sha256"]} | metadata
    except FileNotFoundError:
        raise ValueError(f"{paths.relative(path)} is missing; `dvc repro` makes it") from None
    except Exception as error:  # safetensors has an exception type of its own
        raise ValueError(
            f"{paths.relative(path)} cannot be read: {error or type(error).__name__}; remove it and run `dvc repro`"
        ) from error


def _digest(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
