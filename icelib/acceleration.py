"""How a network is computed, not what: compiled or not.

It does not belong to a run's configuration. It may change the last digits of a result, as another
processor does, and is recorded with the environment.
"""

import copy
import logging

import torch
from torch.utils.flop_counter import FlopCounterMode

KINDS = ("auto", "none", "compile", "graphs")
# Multiply-adds per image below which a step's kernels are so short that launching them takes the
# time; then CUDA graphs replay them at once. WideResNet-40-2 has 0.33 · 10⁹, WideResNet-34-10 6.66 · 10⁹.
SHORT_KERNELS = 1e9

log = logging.getLogger(__name__)


def multiply_adds(network):
    """Multiply-adds of one 32×32 image through a backbone, forward; a training step takes three times as many.

    Parameters
    ----------
    network : Module
        (N, 3, 32, 32) → (N, d). It is neither run nor changed.

    Returns
    -------
    int
    """
    network = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 32, 32, device="meta"))
    return counter.get_total_flops() // 2


def choose(wish, device, network):
    """Choose how to compute a network: what is wished, or by device and network alone, never by timing.

    Parameters
    ----------
    wish : {"auto", "none", "compile", "graphs"}
    device : torch.device
    network : Module
        The backbone.

    Returns
    -------
    {"none", "compile", "graphs"}
        On a CPU ``auto`` is ``none``: compiling takes longer than a laptop's training.
    """
    if wish != "auto":
        return wish
    if device.type != "cuda":
        return "none"
    return "graphs" if multiply_adds(network) < SHORT_KERNELS else "compile"


def accelerated(model, kind, images, precision):
    """Compile a model, or fall back to it as it is, with the reason in the log.

    It is tried at once, forward and backward, on images of the shape that training has, so that
    it fails here or not at all. Parameters and statistics of the model stay as they are.

    Parameters
    ----------
    model : Classifier
        Or what `team.Team.spread` makes of one.
    kind : {"none", "compile", "graphs"}
    images : Tensor of float32, shape (N, 3, 32, 32)
        Network input like that of a step.
    precision : torch.dtype
        Of the backbone.

    Returns
    -------
    forward : callable
        The compiled model, which shares its parameters, or the model itself.
    kind : str
        What it is: ``none`` after a fall-back.
    """
    if kind == "none":
        return model, kind
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        # no mode that tunes kernels by timing them: the same run would differ from machine to machine
        compiled = torch.compile(model, mode="reduce-overhead" if kind == "graphs" else "default", dynamic=False)
        model.train()
        for _ in range(3):  # CUDA graphs: warm up, record, replay
            model.zero_grad()
            with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
                logits = compiled(images)
            logits.sum().backward()
    except Exception as error:  # whatever a compiler, its C compiler or driver may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("the network is not compiled, training goes on without (%s): %s", kind, reason)
        return model, "none"
    finally:
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
        model.zero_grad()
    return compiled, kind
