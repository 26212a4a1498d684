"""One network, its optimiser and its data, advanced epoch by epoch."""

import contextlib
import math
import os

import numpy as np
import torch
from tqdm import tqdm as standard_tqdm
from tqdm.auto import tqdm

from icelib import acceleration, batches, hardware, heads, models
from icelib.errors import DivergedError, StoppedError
from icelib.methods import METHODS
from icelib.team import ALONE

CHECK_EVERY = 25  # steps between looks at the losses on a CPU; a GPU would have to wait for each


class Engine:
    """A network, its optimiser and its data, advanced one epoch at a time.

    Every random choice of an epoch follows from the seed and the epoch's number alone (dropout's also
    from that of the process), so that an interrupted run needs no state of random generators.

    Parameters
    ----------
    run : params.Run
    data : dict of str to Tensor
        The training part of a task.
    classes : int
        K.
    device : torch.device
    parent : Classifier, optional
        The plain network that a fine-tuned one starts from.
    wish : {"auto", "none", "compile", "graphs"}
        How to compute the network, see `acceleration.choose`.
    team : Team
        The processes that train it together; each draws the same batches and takes its share.

    Raises
    ------
    ValueError
        As `models.build`, or if there are fewer known images than processes.
    """

    def __init__(self, run, data, classes, device, parent=None, wish="auto", team=ALONE):
        self.run, self.device, self.team = run, device, team
        self.stopping = False
        hardware.configure(device)
        self.method = METHODS[run.method]
        self.precision = hardware.choose_precision(run.schedule.precision, device)
        self.known = batches.hold(data["known"], device, team.part)
        self.labels = data["labels"].to(device)
        self.outliers = batches.hold(data["outliers"], device, team.part) if self.method.outliers else None
        self.known_batch = min(run.schedule.known_batch, len(self.known) // team.size * team.size)
        if not self.known_batch:
            raise ValueError(f"run {run.name}: {len(self.known)} known images for devices = {team.size}; expected more")
        self.steps = len(self.known) // self.known_batch
        self.images_per_epoch = self.steps * (self.known_batch + (run.schedule.outlier_batch if self.outliers else 0))
        torch.manual_seed(run.seed)
        model = models.build(run.network, run.shape.model_dump(), self.method.head, classes, run.head)
        self.model = model.to(device, memory_format=torch.channels_last)
        if parent is not None:
            self._start_from(parent, data)
        self.optimizer = self._optimizer()
        size = (self.known_batch + (run.schedule.outlier_batch if self.outliers else 0)) // team.size
        kind = acceleration.choose(wish, device, self.model.backbone)
        if kind == "graphs" and team.size > 1:
            kind = "compile"  # a CUDA graph replays kernels alone, and gradients are averaged in between
        example = torch.zeros(size if kind != "none" else 0, 3, 32, 32, device=device)
        example = example.to(memory_format=torch.channels_last)
        self.forward, self.acceleration = acceleration.accelerated(
            team.spread(self.model, device), kind, example, self.precision
        )

    def _start_from(self, parent, data):
        """Take over the plain network's backbone, and its head or an estimate from its features."""
        self.model.backbone.load_state_dict(parent.backbone.state_dict())
        if isinstance(self.model.head, heads.LinearHead):
            self.model.head.load_state_dict(parent.head.state_dict())
        elif self.run.schedule.gaussian_head == "estimate":
            z = batches.predict(parent, data["known"], torch.float32, features=True)  # (N, d)
            self.model.head.estimate(z, self.labels)

    def _optimizer(self):
        schedule, head = self.run.schedule, self.model.head
        # decay would pull the Gaussian head's means and covariance, which are no weights, to zero
        free = list(head.parameters()) if isinstance(head, heads.GaussianHead) else []
        decayed = [p for p in self.model.parameters() if not any(p is q for q in free)]
        groups = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
        return torch.optim.SGD(
            groups,
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            nesterov=schedule.momentum > 0,
            fused=self.device.type == "cuda",
        )

    def epoch(self, number):
        """Train for one epoch (numbered from 0); return the mean of each loss term, by name, over steps and team.

        A process alone waits for its GPU only at the end of the epoch, and at its start if images are streamed.

        Raises
        ------
        DivergedError
            At a loss that is not finite, when it is next looked for: see `CHECK_EVERY`.
        StoppedError
            After the step at which `stop` was called in any process of the team.
        """
        generator = torch.Generator(self.device).manual_seed(_mix(self.run.seed, number))
        torch.manual_seed(_mix(self.run.seed, number) + 1 + self.team.rank)  # of dropout
        schedule = self.run.schedule
        known = self.known.order(self.steps, self.known_batch, generator)
        outliers = [None] * self.steps
        if self.outliers:
            outliers = self.outliers.order(self.steps, schedule.outlier_batch, generator)
        seen = []
        with _progress(self.run, number, self.steps, self.team.leads) as bar:
            for step in range(self.steps):
                factor = learning_rate_factor(schedule, (number + step / self.steps) / schedule.epochs)
                terms = self.step(known[step], outliers[step], schedule.learning_rate * factor, generator)
                names = list(terms)
                seen.append(torch.stack(list(terms.values())))
                bar.update()
                looks = self.device.type == "cpu" and (step + 1) % CHECK_EVERY == 0
                if looks or step + 1 == self.steps:
                    means = self._checked(number, names, seen)
                    bar.set_postfix_str(f"loss {means[-1].sum():.3f}", refresh=False)
                if self.team.any(self.stopping):
                    raise StoppedError(
                        f"run {self.run.name} was told to stop: it ended after step {step + 1} of {self.steps} of "
                        f"epoch {number + 1} of {schedule.epochs}; the same command goes on from the end of epoch {number}"
                    )
        return dict(zip(names, means.mean(0).tolist(), strict=True))

    def stop(self):
        """Let `epoch` end after the step at hand."""
        self.stopping = True

    def step(self, index, outlier_index, learning_rate, generator):
        """Take one step of the optimiser; return the detached loss terms of this process's share.

        Shares are of equal size, so for a loss that is a mean over samples, the mean of their losses and
        gradients is that of the whole batch. Gradients are clipped after they were averaged.
        `index` and `outlier_index` (None without outliers) are rows of what the images' `order` returned.
        """
        self.model.train()
        self.optimizer.zero_grad()
        x = self.known.augmented(index, generator)
        if outlier_index is not None:
            # one pass over known and outlier images, so that both share batch statistics
            x = torch.cat([x, self.outliers.augmented(outlier_index, generator)])
        x = models.normalize(x).to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits = self.forward(x)
        own = index[batches.share(len(index), self.team.part)]
        labels = self.labels[own.to(self.device, non_blocking=True)]
        terms = self.method.loss(logits[: len(own)], labels, logits[len(own) :], **self.run.loss)
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.run.schedule.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}

    def _checked(self, number, names, seen):
        """Average the terms over the team, so that all its processes diverge together: (steps, terms)."""
        means = self.team.mean(torch.stack(seen))
        bad = (~means.isfinite()).any(1).nonzero()
        if len(bad):
            first = int(bad[0])
            terms = ", ".join(f"{name} = {float(value):g}" for name, value in zip(names, means[first], strict=True))
            raise DivergedError(
                f"run {self.run.name}: loss is not finite at epoch {number + 1} of {self.run.schedule.epochs}, "
                f"step {first + 1} of {self.steps}: {terms}; try a smaller learning rate, weight or clip"
            )
        return means

    def state(self):
        """Tensors by name from which training can go on: weights and momenta."""
        momenta = {
            f"momentum.{name}": self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.model.named_parameters()
            if "momentum_buffer" in self.optimizer.state[parameter]
        }
        return {f"model.{name}": value for name, value in self.model.state_dict().items()} | momenta

    def load_state(self, state):
        """Take over what `state` returned."""
        self.model.load_state_dict(
            {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        )
        for name, parameter in self.model.named_parameters():
            if f"momentum.{name}" in state:
                momentum = torch.empty_like(parameter).copy_(state[f"momentum.{name}"])
                self.optimizer.state[parameter]["momentum_buffer"] = momentum


def learning_rate_factor(schedule, progress):
    """Learning rate as a share of the initial (one-cycle: largest) one.

    Parameters
    ----------
    schedule : schema.Schedule
    progress : float
        Share of all steps that are done, in 0…1.

    Returns
    -------
    float
        ``steps``: a tenth after each milestone. ``cosine``: (1 + cos π progress)/2.
        ``onecycle``: up linearly over the first quarter, then down linearly to zero.
    """
    if schedule.shape == "steps":
        return 0.1 ** sum(progress >= milestone for milestone in schedule.milestones)
    if schedule.shape == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return min(progress / 0.25, (1 - progress) / 0.75)


@contextlib.contextmanager
def _progress(run, number, steps, shown):
    """Progress bar of an epoch: in the terminal that a pipeline names, else where output goes."""
    options = {"total": steps, "desc": f"{run.name} epoch {number + 1}/{run.schedule.epochs}", "mininterval": 0.5}
    options["disable"] = not shown
    terminal = os.environ.get("ICELIB_TERMINAL")
    if terminal is None:
        with tqdm(leave=False, **options) as bar:
            yield bar
    else:
        with open(terminal or os.devnull, "w") as stream, standard_tqdm(file=stream, **options) as bar:
            yield bar


def _mix(seed, epoch):
    """A different seed for every pair: seeds and epochs beside each other share no random numbers."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
