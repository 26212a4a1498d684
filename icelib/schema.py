"""The schema of params.yaml: every number that a person may want to change, with its bounds."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from icelib import heads, scores
from icelib.checks import check_parameters, comparable, hint, pick_function, unique
from icelib.methods import METHODS

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# of what becomes part of a path: no folder, nothing hidden
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$")]
Share = Annotated[float, Field(ge=0, lt=1)]
SEEDS = 2**63  # torch cannot take much larger ones


def _number_or_word(value):
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("expected a finite number or a word")
    return value


def _seed(text):
    if not text.isdecimal() or str(int(text)) != text:
        raise ValueError("expected a whole number ≥ 0 in quotes, without leading zeros")
    if int(text) >= SEEDS:
        raise ValueError("expected a seed below 2⁶³")
    return text


# of a hyper-parameter
Value = Annotated[Any, BeforeValidator(_number_or_word)]
# what candidates replace, one training each
Changes = Annotated[list[dict[str, Value]], AfterValidator(comparable)]
# in quotes, since DVC combines lists of words
Seed = Annotated[str, AfterValidator(_seed)]


class Strict(BaseModel):
    """A part of params.yaml in which no key is unknown and no type is guessed; it cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(Strict):
    """A part of a data set: one of its splits, some of its classes or all."""

    set: str
    split: str | None = None  # may be left out where there is only one
    classes: list[str | int] | None = None
    per_class: Count | None = None  # at most so many images of each class, drawn once


RESERVED = {"known", "labels", "mean"}  # in task, score and result files, beside the names of outlier sets


class Outliers(Part):
    """A set of test outliers, and the set of the paper's Table 1 beside which it stands."""

    plays: Literal["iSUN", "Places365", "Textures", "LSUN", "SVHN", "CIFAR100", "CIFAR10"] | None = None


class Known(Strict):
    """The known set; class i is the i-th one that is named, in both parts."""

    train: Part
    test: Part


class Task(Strict):
    """What is known, which outliers are trained on, and which ones are tested on."""

    title: str
    plays: Literal["CIFAR10", "CIFAR100"]  # the block of the paper's tables that it fills
    known: Known
    auxiliary: Part
    validation_share: Annotated[float, Field(gt=0, lt=1)]  # of the known and auxiliary images
    outliers: dict[Name, Outliers]
    mean_over: Annotated[list[str], Field(min_length=1)]  # the outlier sets that Table 2 averages over
    outlier_images: Count  # of each outlier set, drawn once
    train: dict[str, dict[str, Value]]  # values by method in place of those of the scale's `train`

    @model_validator(mode="after")
    def _outliers_have_names_of_their_own(self):
        for name in sorted(RESERVED & set(self.outliers)):
            raise ValueError(f"outliers.{name}: this name has a meaning of its own in result files; choose another")
        return self

    @model_validator(mode="after")
    def _means_exist(self):
        unique("mean_over", self.mean_over)
        for name in self.mean_over:
            if name not in self.outliers:
                raise ValueError(f"mean_over names {name!r}, which is not in outliers: {list(self.outliers)}")
        return self


class WideResNetShape(Strict):
    """Shape of a wide residual network, see `models.WideResNet`."""

    depth: Count
    widen: Count
    stem: Literal["basic", "strided"] = "basic"
    dropout: Share = 0.0


class DenseNetShape(Strict):
    """Shape of a densely connected network, see `models.DenseNet`."""

    depth: Count
    growth: Count
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
    epochs: Count
    known_batch: Count
    outlier_batch: Count
    learning_rate: Positive
    shape: Literal["steps", "cosine", "onecycle"]
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = []  # of "steps", as shares of the training
    momentum: Share
    weight_decay: NonNegative
    clip: Positive  # largest norm of the gradient
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    snapshots: Count = 10  # states to keep on the way, evenly spaced, beside the one at the start

    @property
    def kept_epochs(self):
        """Numbers of finished epochs after which the network is kept, from 0, the start, to the last."""
        return sorted({round(i * self.epochs / self.snapshots) for i in range(self.snapshots + 1)})


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
    protocols: dict[str, Schedule]
    train: dict[str, dict[str, Value]]
    detectors: Detectors
    sweeps: dict[Name, Sweep] = {}
    beyond: Beyond | None = None
    bootstrap: Count  # redrawn samples behind an interval

    @model_validator(mode="after")
    def _parts_are_played_once(self):
        parts = [task.plays for task in self.known.values()]
        if len(parts) != len(set(parts)):
            raise ValueError(f"known: two tasks play the same part ({parts}); expected one task for each `plays`")
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
                own = {key: value for key, value in change.items() if key not in Schedule.model_fields}
                check_parameters(sweep.method, sweep.base | own, f"sweeps.{name}")
        return self
