"""The processes that train one network together, one on each device.

Each takes an equal share of every batch. Means over shares are averaged, and batch normalisation
sees the whole batch, so that a team takes the steps that one process would, to rounding and to what
dropout draws, where the loss is a mean over samples.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Team:
    """One process's view of its team; a team of one needs no communication.

    Parameters
    ----------
    rank : int
        Number of this process. The first one leads: it alone writes and shows progress.
    size : int
        Number of processes. If there are several, torch.distributed must be initialised.
    """

    def __init__(self, rank=0, size=1):
        self.rank, self.size = rank, size
        # of the host, so that words between the processes never wait for a GPU
        self.words = dist.new_group(backend="gloo") if size > 1 else None

    @property
    def leads(self):
        """Whether this process is the first one, which alone writes and shows progress."""
        return self.rank == 0

    @property
    def part(self):
        """Which of how many equal parts of a batch is this process's."""
        return self.rank, self.size

    def spread(self, model, device):
        """Return a module that computes `model` and averages its gradients over the team: alone, `model` itself.

        Parameters
        ----------
        model : Module
            Its batch norms are replaced in place by ones over the whole batch, of the same
            parameters and names, so that checkpoints are those of one process.
        device : torch.device
            Where it lies.
        """
        if self.size == 1:
            return model
        if device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        else:
            replace_batch_norm(model)
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def mean(self, values):
        """Average a tensor over the team; every process gets the same bits."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def any(self, flag):
        """Tell whether `flag` is true in any of the processes."""
        if self.size == 1:
            return flag
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX, self.words)
        return bool(found)

    def told(self, value):
        """Return the leader's `value`, anything that can be pickled, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.words)
        return box[0]


ALONE = Team()


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes: what SyncBatchNorm, for GPUs only, is on a CPU."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = wide.numel() // wide.shape[1] * dist.get_world_size()
        # deviations from the mean are squared, since E[x²] − E[x]² loses digits
        mean = _Sum.apply(wide.sum((0, 2, 3))) / count  # (C,)
        centred = wide - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over the team, whose gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(context, values):
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        return _Sum.forward(context, gradient)


def replace_batch_norm(model):
    """Replace each `BatchNorm2d` below a module by a `BatchNorm` that holds the same tensors."""
    for parent in list(model.modules()):
        for name, old in parent.named_children():
            if type(old) is nn.BatchNorm2d:
                new = BatchNorm(old.num_features, old.eps, old.momentum, device="meta")
                new._parameters.update(old._parameters)
                new._buffers.update(old._buffers)
                setattr(parent, name, new)
