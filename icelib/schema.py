"""The schema of params.yaml: every number that a person may want to change, with its bounds."""

import difflib
import inspect
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icelib.methods import METHODS

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(Strict):
    """A part of a data set: one of its splits, some of its classes or all."""

    set: str
    split: str | None = None  # may be left out where there is only one
    classes: list[str | int] | None = None


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
    outliers: dict[str, Part]
    mean_over: Annotated[list[str], Field(min_length=1)]  # the outlier sets that Table 2 averages over
    outlier_images: Count  # of each outlier set, drawn once

    @model_validator(mode="after")
    def _means_exist(self):
        for name in self.mean_over:
            if name not in self.outliers:
                raise ValueError(f"mean_over names {name!r}, which is not in outliers: {list(self.outliers)}")
        return self


class Network(Strict):
    """Shape of a backbone."""

    depth: Count
    widen: Count
    stem: Literal["basic", "strided"] = "basic"
    dropout: Share = 0.0


class Schedule(Strict):
    """How a network is optimised; the same for every method of a protocol."""

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


class Detectors(Strict):
    """Post-hoc detectors applied to the plain network."""

    odin_temperature: Positive
    odin_noise: NonNegative


class Scale(Strict):
    """One block of params.yaml: the whole experiment at one size."""

    known: dict[str, Task]
    networks: dict[str, Network]
    protocols: dict[str, Schedule]
    train: dict[str, dict[str, Finite]]
    detectors: Detectors
    bootstrap: Count

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
        return self


# Start values of the Gaussian head, see `models.GaussianHead`; the linear head has none.
HEAD_PARAMETERS = {"linear": (), "gaussian": ("mean_scale", "covariance_scale")}


def loss_parameters(method):
    """Names of the keyword parameters that a method's loss takes."""
    signature = inspect.signature(METHODS[method].loss)
    return tuple(name for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY)


def check_parameters(method, values):
    """Raise ValueError unless `values` are the parameters of a method's loss and head."""
    head = HEAD_PARAMETERS[METHODS[method].head]
    expected = loss_parameters(method) + head
    for key in values:
        if key not in expected:
            raise ValueError(f"train.{method}.{key}: no such parameter{hint(key, expected)}")
    for key in expected:
        if key not in values:
            raise ValueError(f"train.{method}.{key} is missing; expected a number")
    if values.get("weight", 0) < 0:
        raise ValueError(f"train.{method}.weight = {values['weight']}: expected a number ≥ 0")
    for key in head:
        if values[key] <= 0:
            raise ValueError(f"train.{method}.{key} = {values[key]}: expected a number > 0")


class Params(Strict):
    """The whole of params.yaml; scales are checked when they are used."""

    scales: list[str]
    known: list[str]
    networks: list[str]
    methods: list[str]
    seeds: list[str]
    datasets: list[str]
    own_datasets: dict[str, dict[str, str]]
    blocks: dict[str, Scale]


def hint(word, known):
    """End of a message about an unknown word: the one that was meant, or all there are."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else f"; expected one of {sorted(known)}"
