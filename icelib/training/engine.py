"""One network, its optimiser and its data, advanced epoch by epoch."""

import copy
import inspect
import math

import numpy as np
import torch

from icelib import heads, metrics, models, scores
from icelib.config.schema import GIVEN
from icelib.methods import METHODS
from icelib.training.batches import Images
from icelib.util import machine
from icelib.util.errors import DivergedError

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)  # of the score, for each epoch
CHECK_EVERY = 25  # steps between looks at the losses on a CPU; a GPU would have to wait for each
START = 1000  # known images by which the head of a network from scratch starts


class Engine:
    """A network, its optimiser and its data, advanced one epoch at a time.

    Every random choice of an epoch follows from the seed and the epoch's number alone, so that an
    interrupted run needs no state of random generators.

    Parameters
    ----------
    run : runs.Run
    data : dict of str to Tensor
        The training part of a task.
    classes : int
        K.
    device : torch.device
    parent : Classifier, optional
        The plain network that a fine-tuned one starts from.

    Raises
    ------
    ValueError
        As `models.build`.
    """

    def __init__(self, run, data, classes, device, parent=None):
        self.run, self.device = run, device
        machine.configure(device)
        self.method = METHODS[run.method]
        self.wanted = set(GIVEN) & set(inspect.signature(self.method.loss).parameters)
        self.precision = machine.choose_precision(run.schedule.precision, device)
        self.known = Images(data["known"], device)
        self.labels = data["labels"].to(device)
        self.outliers = Images(data["outliers"], device) if self.method.outliers else None
        self.known_batch = min(run.schedule.known_batch, len(self.known))
        self.steps = len(self.known) // self.known_batch
        self.images_per_epoch = self.steps * (self.known_batch + (run.schedule.outlier_batch if self.outliers else 0))
        torch.manual_seed(run.seed)
        model = models.build(run.network, run.shape.model_dump(), self.method.head, classes, run.head)
        self.model = model.to(device, memory_format=torch.channels_last)
        self._start(parent, data)
        self.optimizer, self.last_loss = self._optimizer(), None
        self.backbone = self.model.backbone
        if run.compile:  # no mode that tunes kernels by timing them: the same run would differ from machine to machine
            self.backbone = torch.compile(self.model.backbone, dynamic=False)

    def _start(self, parent, data):
        """Take over the plain network's backbone and linear head; start a Gaussian one from features."""
        head = self.model.head
        if parent is not None:
            self.model.backbone.load_state_dict(parent.backbone.state_dict())
            if hasattr(head, "start_from"):
                head.start_from(parent.head)
            elif isinstance(head, heads.LinearHead):
                head.load_state_dict(parent.head.state_dict())
        if hasattr(head, "start"):
            known = data["known"]
            z = models.predict(parent, known, torch.float32, features=True) if parent else self._untrained(known)
            start = head.estimate if self.run.schedule.gaussian_head == "estimate" else head.start
            start(z, self.labels[: len(z)])

    @torch.no_grad()
    def _untrained(self, images):
        """Features (N, d) of the first `START` images with the statistics of their batch, as in training."""
        x = models.normalize(images[:START].to(self.device)).to(memory_format=torch.channels_last)
        with torch.random.fork_rng():  # dropout draws; on a copy, since running statistics change
            return copy.deepcopy(self.model.backbone).train()(x).float()

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

    def epoch(self, number, watch=lambda step, loss: None):
        """Train for one epoch (numbered from 0); return the mean of each loss term, by name, over steps.

        `watch` is called after each step with the number of steps done and the last loss that was looked at.

        Raises
        ------
        DivergedError
            At a loss that is not finite, when it is next looked for: see `CHECK_EVERY`.
        """
        generator = torch.Generator(self.device).manual_seed(_mix(self.run.seed, number))
        torch.manual_seed(_mix(self.run.seed, number) + 1)  # of dropout
        schedule = self.run.schedule
        known = self.known.order(self.steps, self.known_batch, generator)
        outliers = [None] * self.steps
        if self.outliers:
            outliers = self.outliers.order(self.steps, schedule.outlier_batch * self.method.pool, generator)
        seen = []
        for step in range(self.steps):
            terms = self.step(known[step], outliers[step], (number + step / self.steps) / schedule.epochs, generator)
            seen.append(torch.stack(list(terms.values())))
            if (self.device.type == "cpu" and (step + 1) % CHECK_EVERY == 0) or step + 1 == self.steps:
                means = self._checked(number, list(terms), seen)
                self.last_loss = float(means[-1].sum())
            watch(step + 1, self.last_loss)
        return dict(zip(terms, means.mean(0).tolist(), strict=True))

    def step(self, index, outlier_index, progress, generator):
        """Take one step of the optimiser; return the detached loss terms.

        `index` and `outlier_index` (None without outliers) are rows of what the images' `order` returned, `progress`
        is the share of all steps that are done.
        """
        self.model.train()
        self.optimizer.zero_grad()
        x = self.known.augmented(index, generator)
        if outlier_index is not None:
            # one pass over known and outlier images, so that both share batch statistics
            x = torch.cat([x, self.outliers.augmented(outlier_index, generator)])
        x, labels = models.normalize(x), self.labels[index.to(self.device, non_blocking=True)]
        if self.method.prepare:
            known, outliers = x.split([len(index), len(x) - len(index)])
            outliers = self.method.prepare(known, labels, outliers, model=self.model, generator=generator)
            x = torch.cat([known, outliers])
        x = x.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            z = self.backbone(x)
        z = z.float()  # squared distances need more digits than bfloat16 has
        logits, count = self.model.head(z), len(index)
        given = dict(zip(GIVEN, (z[:count], z[count:], progress)))
        given = {key: given[key] for key in self.wanted}
        terms = self.method.loss(logits[:count], labels, logits[count:], **self.run.loss, **given)
        terms = terms if isinstance(terms, dict) else {"loss": terms}
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.run.schedule.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.run.schedule.learning_rate * learning_rate_factor(self.run.schedule, progress)
        self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}

    def _checked(self, number, names, seen):
        """Stack the terms of all steps (steps, terms), or raise where one is not finite."""
        values = torch.stack(seen)
        bad = (~values.isfinite()).any(1).nonzero()
        if len(bad):
            first = int(bad[0])
            terms = ", ".join(f"{name} = {float(value):g}" for name, value in zip(names, values[first], strict=True))
            raise DivergedError(
                f"run {self.run.name}: loss is not finite at epoch {number + 1} of {self.run.schedule.epochs}, "
                f"step {first + 1} of {self.steps}: {terms}; try a smaller learning rate, weight or clip"
            )
        return values

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


def validate(model, score, data, precision):
    """Measure accuracy and detection on validation images.

    Parameters
    ----------
    model : Classifier
    score : callable
        Logits (N, K) to one value per sample, of `icelib.scores` or a user's.
    data : dict of str to Tensor
        The validation part of a task.
    precision : torch.dtype

    Returns
    -------
    dict
        ``accuracy``; ``validation``: for each kind of outlier the `metrics.NAMES`; ``score_quantiles``: for these
        and known images the `QUANTILES` of the score (for ICE, exp of them is the confidence).

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    logits, values = {}, {}
    for name, images in data.items():
        if name != "labels":
            z = models.predict(model, images, precision, features=True)
            logits[name] = models.logits(model, z)
            values[name] = scores.apply(score, logits[name], z).cpu().numpy()
    predicted = logits["known"].argmax(1).cpu()
    return {
        "accuracy": metrics.accuracy_score(data["labels"].cpu(), predicted),
        "validation": {
            name: metrics.detection_metrics(values["known"], x) for name, x in values.items() if name != "known"
        },
        "score_quantiles": {name: np.quantile(x, QUANTILES).tolist() for name, x in values.items()},
    }


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


def _mix(seed, epoch):
    """A different seed for every pair: seeds and epochs beside each other share no random numbers."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
