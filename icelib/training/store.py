"""Trained networks, and their states on the way, from the files that training writes."""

import torch

from icelib import models, paths, tensors
from icelib.methods import METHODS


def load(run, device="cpu", epoch=None):
    """Load the trained network of a run, or its state after some epoch.

    Parameters
    ----------
    run : params.Run
    device : torch.device or str
    epoch : int, optional
        One of ``run.schedule.kept_epochs``; 0 is the start. By default the trained network.

    Returns
    -------
    model : Classifier
        In evaluation mode.
    about : dict
        ``run``, ``classes``, ``environment``, ``data``, ``parent`` and ``code`` of the training, and
        ``sha256`` of the weights.

    Raises
    ------
    ValueError
        If the checkpoint is missing or damaged, or was made with other parameters.
    """
    path = paths.checkpoint(run) if epoch is None else paths.snapshots(run) / snapshot_name(epoch)
    weights, about = tensors.load(path, device)
    if about["run"] != run.model_dump():
        raise ValueError(
            f"{paths.relative(path)} was trained with other parameters than params.yaml has; run `dvc repro`"
        )
    head = METHODS[run.method].head
    model = models.build(run.network, run.shape.model_dump(), head, len(about["classes"]), run.head)
    model.load_state_dict(weights)
    return model.to(device, memory_format=torch.channels_last).eval(), about


def snapshot_name(epoch):
    """Name of the file that holds a network's state after an epoch."""
    return f"{epoch:04}.safetensors"
