"""The schema of params.yaml: every number that a person may want to change, with its bounds."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from icelib import heads, scores
from icelib.checks import check_parameters, hint, pick_function, unique
from icelib.divisions import Task
from icelib.kinds import Batch, Changes, Epochs, Name, NonNegative, Positive, Seed, Share, Strict, Value
from icelib.methods import METHODS


def _depth(least, step):
    """The rule of `icelib.models`, which a network would ask for only when it is built."""

    def check(depth):
        if depth < least or (depth - 4) % step:
            raise ValueError(f"expected {step}n + 4: {least}, {least + step}, {least + 2 * step}, …")
        return depth

    return Annotated[int, Field(le=2000), AfterValidator(check)]


class WideResNetShape(Strict):
    """Shape of a wide residual network, see `models.WideResNet`."""

    depth: _depth(10, 6)
    widen: Annotated[int, Field(gt=0, le=100)]
    stem: Literal["basic", "strided"] = "basic"
    dropout: Share = 0.0


class DenseNetShape(Strict):
    """Shape of a densely connected network, see `models.DenseNet`."""

    depth: _depth(7, 3)
    growth: Annotated[int, Field(gt=0, le=1000)]
    stem: Literal["basic", "strided"] = "basic"
    dropout: Share = 0.0


class Networks(Strict):
    """The backbones of a scale."""

    wideresnet: WideResNetShape
    densenet: DenseNetShape | None = None


class Schedule(Strict):
    """How a network is optimised; the same for every method of a protocol."""

    start: Literal["random", "plain"] = "random"  # weights: drawn, or those of the plain network
    gaussian_head: Literal["random", "estimate"] = "random"  # drawn, or estimated from features at the start
    epochs: Epochs
    known_batch: Batch
    outlier_batch: Batch
    learning_rate: Positive
    shape: Literal["steps", "cosine", "onecycle"]
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = []  # of "steps", as shares of the training
    momentum: Share
    weight_decay: NonNegative
    clip: Positive  # largest norm of the gradient
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    snapshots: Epochs = 10  # states to keep on the way, evenly spaced, beside the one at the start

    @model_validator(mode="after")
    def _features_to_estimate_from_are_trained(self):
        if (self.start, self.gaussian_head) == ("random", "estimate"):
            raise ValueError(
                "gaussian_head = 'estimate' with start = 'random': expected start = 'plain', or 'random' for both"
            )
        return self

    @property
    def kept_epochs(self):
        """Numbers of finished epochs after which the network is kept, from 0, the start, to the last."""
        return sorted({round(i * self.epochs / self.snapshots) for i in range(self.snapshots + 1)})


def _check_change(place, schedule, change):
    """Raise ValueError if what a candidate changes in a schedule is not allowed there."""
    if "start" in change:  # a run's parent goes by its protocol
        raise ValueError(f"{place}: start = {change['start']!r}: expected no start; it is the protocol's")
    values = schedule.model_dump()
    try:
        Schedule(**values | {key: value for key, value in change.items() if key in values})
    except ValidationError as error:
        found = error.errors()[0]
        what = f"{'.'.join(map(str, found['loc']))} = {found['input']!r}: " if found["loc"] else ""
        raise ValueError(f"{place}: {what}{found['msg'].removeprefix('Value error, ')}") from None


class Detectors(Strict):
    """Parameters of ODIN; the other post-hoc detectors have pytorch-ood's, see `icelib.posthoc`."""

    odin_temperature: Positive
    odin_noise: NonNegative  # of pixels in 0…1
    own: list[str] = []  # functions of `icelib.scores`, beside the post-hoc detectors

    @model_validator(mode="after")
    def _scores_exist(self):
        unique("own", self.own)
        for name in self.own:
            pick_function(scores, name)
        return self


class OwnMethod(Strict):
    """A method that the paper does not have: the loss of that name in `icelib.losses`."""

    head: Literal[tuple(heads.HEADS)]
    score: str  # in `icelib.scores`
    title: str


class Sweep(Strict):
    """Trainings that differ in one or two values and are compared on validation images."""

    title: str
    method: str
    protocol: str
    # as train.METHOD; a copy of its own, since what is in use there is chosen from the sweep
    base: dict[str, Value]
    # of the base or of the protocol
    values: Annotated[Changes, Field(min_length=1)]


class Candidates(Strict):
    """Values of a variant's loss and head that are compared before it is trained with several seeds."""

    base: dict[str, Value]
    values: Changes  # without any, the base is what is trained


class Beyond(Strict):
    """Variants of ICE and what they are compared with, see `icelib.beyond`."""

    seeds: Annotated[list[Seed], Field(min_length=2)]  # an interval needs two
    confirmation: Annotated[list[Seed], Field(min_length=2)]  # for ICE and the variant that the others choose
    candidates: dict[Name, Candidates]

    @model_validator(mode="after")
    def _seeds_are_different(self):
        unique("seeds and confirmation", [*self.seeds, *self.confirmation])
        return self

    @model_validator(mode="after")
    def _candidates_are_right(self):
        for name, about in self.candidates.items():
            if name not in METHODS:
                raise ValueError(f"candidates.{name}: no such method{hint(name, METHODS)}")
            for change in about.values or [{}]:
                check_parameters(name, about.base | change, f"candidates.{name}")
        return self


class Scale(Strict):
    """One block of params.yaml: the whole experiment at one size."""

    known: dict[Name, Task]
    networks: Networks
    protocols: dict[Name, Schedule]
    train: dict[str, dict[str, Value]]
    detectors: Detectors
    sweeps: dict[Name, Sweep] = {}
    beyond: Beyond | None = None
    bootstrap: Annotated[int, Field(gt=0, le=1_000_000)]  # redrawn samples behind an interval

    @model_validator(mode="after")
    def _parts_are_played_once(self):
        parts = [task.plays for task in self.known.values()]
        if len(parts) != len(set(parts)):
            raise ValueError(f"known: two tasks play the same part ({parts}); expected one task for each `plays`")
        return self

    @model_validator(mode="after")
    def _protocols_start_where_runs_do(self):
        for name, start in (("scratch", "random"), ("finetune", "plain")):
            found = self.protocols[name].start if name in self.protocols else start
            if found != start:
                raise ValueError(
                    f"protocols.{name}.start = {found!r}: expected {start!r}, as runs of this protocol start"
                )
        return self

    @model_validator(mode="after")
    def _methods_have_their_parameters(self):
        for method, values in self.train.items():
            if method not in METHODS:
                raise ValueError(f"train.{method}: no such method{hint(method, METHODS)}")
            check_parameters(method, values)
        for name, task in self.known.items():
            for method, values in task.train.items():
                if method not in self.train:
                    raise ValueError(f"known.{name}.train.{method}: no such method{hint(method, self.train)}")
                check_parameters(method, self.train[method] | values)
        return self

    @model_validator(mode="after")
    def _sweeps_change_what_there_is(self):
        for name, sweep in self.sweeps.items():
            for key, known in (("method", METHODS), ("protocol", self.protocols)):
                word = getattr(sweep, key)
                if word not in known:
                    raise ValueError(f"sweeps.{name}.{key} = {word!r}: no such {key}{hint(word, known)}")
            if sweep.method not in self.train:
                raise ValueError(f"sweeps.{name}.method = {sweep.method!r}: train.{sweep.method} is missing")
            for change in sweep.values:
                _check_change(f"sweeps.{name}.values", self.protocols[sweep.protocol], change)
                own = {key: value for key, value in change.items() if key not in Schedule.model_fields}
                check_parameters(sweep.method, sweep.base | own, f"sweeps.{name}")
        return self
