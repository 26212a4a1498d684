"""The schema of params.yaml: every number that a person may want to change, checked before use."""

import difflib
import hashlib
import inspect
import json
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from icelib import paths
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


class Head(Strict):
    """Start values of the Gaussian head (eq. 0.11)."""

    mean_scale: Positive  # standard deviation of m's entries
    covariance_scale: Positive  # L starts as covariance_scale · sqrt(d) · I


class Scale(Strict):
    """One block of params.yaml: the whole experiment at one size."""

    known: dict[str, Task]
    networks: dict[str, Network]
    protocols: dict[str, Schedule]
    gaussian_head: Head
    train: dict[str, dict[str, Finite]]
    detectors: Detectors
    bootstrap: Count

    @model_validator(mode="after")
    def _methods_have_their_parameters(self):
        for method, values in self.train.items():
            if method not in METHODS:
                raise ValueError(f"train.{method}: no such method{_hint(method, METHODS)}")
            check_loss_parameters(method, values)
        return self


def check_loss_parameters(method, values):
    """Raise ValueError unless `values` are the keyword parameters that a method's loss takes."""
    expected = [name for name, p in inspect.signature(METHODS[method].loss).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for key in values:
        if key not in expected:
            raise ValueError(f"train.{method}.{key}: no such parameter{_hint(key, expected)}")
    for key in expected:
        if key not in values:
            raise ValueError(f"train.{method}.{key} is missing; expected a number")
    if "weight" in values and values["weight"] < 0:
        raise ValueError(f"train.{method}.weight = {values['weight']}: expected a number ≥ 0")


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


class Run(Strict):
    """One training run and all that determines its weights.

    The name ``known-network-protocol-method-seed`` is the name of its stage, checkpoint, score
    file and table row.
    """

    scale: str
    known: str
    network: str
    protocol: str
    method: str
    seed: int
    shape: Network
    schedule: Schedule
    head: Head
    loss: dict[str, float]

    @property
    def name(self):
        return "-".join([self.known, self.network, self.protocol, self.method, str(self.seed)])

    @property
    def digest(self):
        """Hash of the full configuration, which names the state of an unfinished run."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:16]


def load(path=None):
    """Read and check params.yaml.

    Returns
    -------
    Params

    Raises
    ------
    ValueError
        Names the file, the key, the value found and what was expected.
    """
    path = path or paths.PARAMS
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; run from a checkout of the project, or set ICELIB_ROOT to one") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{paths.relative(path)} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{paths.relative(path)}: expected a mapping of keys, found {type(content).__name__}")
    plain = {key: value for key, value in content.items() if key in Params.model_fields}
    blocks = {key: value for key, value in content.items() if key not in plain}
    for name in plain.get("scales") or []:
        if name not in blocks:
            raise ValueError(f"{paths.relative(path)}: scales names {name!r}, but there is no block {name!r}{_hint(name, blocks)}")
    try:
        return Params(**plain, blocks=blocks)
    except ValidationError as error:
        raise ValueError("\n".join(f"{paths.relative(path)}: {line}" for line in _lines(error))) from None


def run(scale, known, network, protocol, method, seed):
    """Look up one run in params.yaml.

    Parameters
    ----------
    scale, known, network, protocol, method : str
        Keys of params.yaml.
    seed : int or str
        Seed of the initial weights, the order of the images and their augmentation.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If a key is unknown, with the keys that there are.
    """
    params = load()
    block = _pick(params.blocks, scale, "scale")
    _pick(block.known, known, f"{scale}.known")
    if not str(seed).isdecimal():
        raise ValueError(f"seed is {seed!r}; expected a whole number ≥ 0")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}{_hint(method, METHODS)}")
    return Run(
        scale=scale,
        known=known,
        network=network,
        protocol=protocol,
        method=method,
        seed=int(seed),
        shape=_pick(block.networks, network, f"{scale}.networks"),
        schedule=_pick(block.protocols, protocol, f"{scale}.protocols"),
        head=block.gaussian_head,
        loss=_pick(block.train, method, f"{scale}.train"),
    )


def declared(scale):
    """List the runs of a scale that params.yaml declares, in table order."""
    params = load()
    return [
        run(scale, known, network, "scratch", method, seed)
        for known in params.known
        for network in params.networks
        for method in params.methods
        for seed in params.seeds
    ]


def task(scale, known):
    """Look up a task (known set with its outliers) in params.yaml."""
    return _pick(_pick(load().blocks, scale, "scale").known, known, f"{scale}.known")


def _pick(mapping, key, what):
    if key not in mapping:
        raise ValueError(f"unknown {what}: {key!r}{_hint(key, mapping)}")
    return mapping[key]


def _hint(word, known):
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else f"; expected one of {sorted(known)}"


def _lines(error):
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"] if part != "blocks")
        if item["type"] == "missing":
            yield f"{place} is missing"
        elif item["type"] == "extra_forbidden":
            yield f"{place}: no such key (found value {item['input']!r})"
        else:
            yield f"{place} = {item['input']!r}: {item['msg']}" if not isinstance(item["input"], dict) else f"{place}: {item['msg']}"
