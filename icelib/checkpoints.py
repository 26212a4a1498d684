"""Trained networks, from the files that training writes."""

import torch

from icelib import models, paths, tensors
from icelib.methods import METHODS


def load(run, device="cpu"):
    """Load the trained network of a run.

    Parameters
    ----------
    run : params.Run
    device : torch.device or str

    Returns
    -------
    model : Classifier
        In evaluation mode.
    about : dict
        ``run``, ``classes`` and ``environment`` of the training.

    Raises
    ------
    ValueError
        If the checkpoint is missing or damaged, or was made with other parameters.
    """
    weights, about = tensors.load(paths.checkpoint(run), device)
    if about["run"] != run.model_dump():
        raise ValueError(
            f"{paths.relative(paths.checkpoint(run))} was trained with other parameters than params.yaml has; run `dvc repro`"
        )
    head = METHODS[run.method].head
    model = models.build(run.network, run.shape.model_dump(), head, len(about["classes"]), run.head)
    model.load_state_dict(weights)
    return model.to(device, memory_format=torch.channels_last).eval(), about
