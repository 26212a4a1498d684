"""The schema of params.yaml: every number that a person may want to change, with its bounds.

A bound is where a value is surely a mistake. What is declared here is checked before anything is computed; what a
value refers to (a task, a method, a data set) has to be there.
"""

import difflib
import functools
import inspect
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from icelib import heads
from icelib.config.published import PUBLISHED
from icelib.methods import METHODS

LARGEST = 1e9  # of a hyper-parameter: its square is still a float32
SEEDS = 2**63  # torch cannot take much larger ones


def hint(word, known):
    """End of a message about an unknown word: the one that was meant, or all there are."""
    known = sorted(map(str, known))  # a key of YAML may be a number
    close = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f"; expected one of {known}"


def as_number(value):
    """End of a message about a word that was meant as a number: YAML takes 1e-3 for a word."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    text = f"{number:.15f}".rstrip("0").removesuffix(".")
    return f"; without quotes or exponent: {text}" if math.isfinite(number) else ""


def _unique(names):
    for name in names or []:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is listed twice")
    return names


def _number_or_word(value):
    if isinstance(value, str):
        return value
    # a NaN is not within the bounds either
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"expected a finite number or a word, and no number beyond ±{LARGEST:.0e}")
    return value


def _one_of(known):
    def check(word):
        if word not in known:
            raise ValueError(f"no such name{hint(word, known)}")
        return word

    return Annotated[str, AfterValidator(check)]


def _count_or(word):
    def check(value):
        if value != word and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST):
            raise ValueError(f"expected {word!r} or a whole number from 1 to {LARGEST:,.0f}")
        return value

    return Annotated[Any, BeforeValidator(check)]


def _depth(least, step):
    """The rule of `icelib.models`, which a network would ask for only when it is built."""

    def check(depth):
        if depth < least or (depth - 4) % step:
            raise ValueError(f"expected {step}n + 4: {least}, {least + step}, {least + 2 * step}, …")
        return depth

    return Annotated[int, Field(le=2000), AfterValidator(check)]


Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Epochs = Annotated[int, Field(gt=0, le=100_000)]
Batch = Annotated[int, Field(gt=0, le=1_000_000)]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
# of what becomes part of a path, of a command or of a key in dvc.yaml: nothing hidden, no folder, no dot, nothing
# that a shell would read
Name = Annotated[str, Field(pattern=r"^\w[\w+-]*$", max_length=64)]
Names = Annotated[list[Name], AfterValidator(_unique)]
Value = Annotated[Any, BeforeValidator(_number_or_word)]  # of a hyper-parameter
Values = dict[str, Value]
Classes = Annotated[list[str | int], Field(min_length=1), AfterValidator(_unique)]  # by name or number
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=SEEDS)]], Field(min_length=1), AfterValidator(_unique)]


def rule(check):
    """Make a method, which raises ValueError, a check of the whole part, once each of its values is right."""

    @functools.wraps(check)
    def checked(self):
        check(self)
        return self

    return model_validator(mode="after")(checked)


class Strict(BaseModel):
    """A part of params.yaml in which no key is unknown and no type is guessed; it cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(Strict):
    """A part of a data set: one of its splits, some of its classes, all but some, or all."""

    set: Name
    split: str | None = None  # may be left out where there is only one
    classes: Classes | None = None
    exclude: Classes | None = None  # in place of `classes`: all but these
    per_class: Count | None = None  # at most so many images of each class, drawn once

    @rule
    def _classes_are_told_once(self):
        if self.classes and self.exclude:
            raise ValueError(f"classes = {self.classes} and exclude = {self.exclude}: expected one of them at most")

    @rule
    def _names_are_those_of_the_set(self):
        splits, names = PUBLISHED.get(self.set, ((), ()))
        if splits and self.split not in (splits if splits[1:] else (None, *splits)):
            raise ValueError(f"split = {self.split!r} of {self.set!r}{hint(self.split, splits)}")
        for name in [*(self.classes or []), *(self.exclude or [])]:
            if names and name not in names and name not in range(len(names)):
                raise ValueError(f"{name!r} is no class of {self.set!r}{hint(name, names)}")

    def named(self, classes):
        """Give classes by their names where these are known: a class may be given by its number, too."""
        names = PUBLISHED[self.set].classes if self.set in PUBLISHED else ()
        return [names[x] if isinstance(x, int) and 0 <= x < len(names) else x for x in classes or []]

    @property
    def labels(self):
        """The classes, as `named` has them; None if they are all, or all but some of names that are not known here."""
        if self.exclude and self.set in PUBLISHED and PUBLISHED[self.set].classes:
            return [name for name in PUBLISHED[self.set].classes if name not in self.named(self.exclude)]
        return self.named(self.classes) or None

    @property
    def source(self):
        """Set and split, also where the split is left out because there is only one."""
        splits = PUBLISHED[self.set].splits if self.set in PUBLISHED else ("all",)
        return self.set, self.split or splits[0]

    def shared(self, other):
        """List the classes that another part has too: of another set none are known to be the same."""
        if self.set != other.set:
            return []
        if self.labels is None or other.labels is None:
            left_out = [*(self.exclude or []), *(other.exclude or [])]
            return [name for name in self.labels or other.labels or ["all"] if name not in left_out]
        return [name for name in self.labels if name in other.labels]


class Outliers(Part):
    """A set of test outliers, and the set of the paper's Table 1 beside which it stands."""

    plays: Literal["iSUN", "Places365", "Textures", "LSUN", "SVHN", "CIFAR100", "CIFAR10"] | None = None


class Known(Strict):
    """The known set; class i is the i-th one that is named, in both parts."""

    train: Part
    test: Part

    @rule
    def _labels_are_the_same(self):
        trained, tested = self.train.labels, self.test.labels
        same_set = self.train.set == self.test.set  # of two sets one may name its classes and the other number them
        agree = (trained is None) == (tested is None) and len(trained or []) == len(tested or [])
        if trained is None:  # of names that are not known here
            agree = agree and self.train.exclude == self.test.exclude
        for a, b in zip(trained or [], tested or []):
            agree = agree and (a == b or (not same_set and type(a) is not type(b)))
        if not agree:
            wanted = f"those of train.classes, in their order, which numbers the labels: {self.train.classes}"
            raise ValueError(f"test.classes = {self.test.classes}: expected {wanted}")

    @rule
    def _test_images_are_others(self):
        if self.train.source == self.test.source:
            found = f"test.set = {self.test.set!r}, test.split = {self.test.split!r}"
            raise ValueError(f"{found}: expected another set or split than that of train, whose images are trained on")


RESERVED = {"known", "labels", "near", "far"}  # in task, score and result files, beside the names of outlier sets


class Task(Strict):
    """What is known, which outliers are trained on, and which ones are tested on."""

    title: str
    plays: Literal["CIFAR10", "CIFAR100"]  # the block of the paper's tables that it fills
    known: Known
    auxiliary: Part
    auxiliary_validation: Classes | None = None  # of the auxiliary ones: outliers to validate on, never trained on
    validation_share: Annotated[float, Field(gt=0, le=0.5)]  # of the known images; without such classes of both
    outliers: Annotated[dict[Name, Outliers], Field(min_length=1)]
    near: Names  # outlier sets that resemble known classes
    far: Names  # those that Table 2 averages over; sets in neither list are shown and enter no mean
    outlier_images: _count_or("all")  # of each outlier set, drawn once
    images: dict[Name, _count_or("all")] = {}  # in place of it, for a set
    train: dict[str, Values] = {}  # values by method in place of those of `train`

    @rule
    def _names_are_those_of_outliers(self):
        for name in sorted(RESERVED & set(self.outliers)):
            raise ValueError(f"outliers.{name}: this name has a meaning of its own in result files; choose another")
        for what in ("near", "far", "images"):
            for name in getattr(self, what):
                if name not in self.outliers:
                    raise ValueError(f"{what} names {name!r}, which is not in outliers{hint(name, self.outliers)}")
        if both := sorted(set(self.near) & set(self.far)):
            raise ValueError(f"near and far both name {both[0]!r}; expected each set in one of them at most")

    @rule
    def _outliers_are_not_known(self):
        parts = {"auxiliary": self.auxiliary} | {f"outliers.{name}": part for name, part in self.outliers.items()}
        for place, part in parts.items():
            for known in (self.known.train, self.known.test):
                if shared := part.shared(known):
                    found = part.classes or (f"all but {part.exclude}" if part.exclude else "all")
                    found = f"{place}.classes = {found} of {part.set!r}"
                    raise ValueError(f"{found}: expected none that is known, such as {shared[0]!r}")
        for name in self.near:
            shared = self.outliers[name].shared(self.auxiliary)
            if shared and self.outliers[name].source == self.auxiliary.source:
                raise ValueError(f"outliers.{name}: {shared[0]!r} is of the auxiliary images; expected other near ones")

    @rule
    def _some_auxiliary_classes_are_trained_on(self):
        held, there = self.auxiliary.named(self.auxiliary_validation), self.auxiliary.labels
        for name in held:
            if name in self.auxiliary.named(self.auxiliary.exclude) or (there and name not in there):
                raise ValueError(f"auxiliary_validation names {name!r}, which is not among the auxiliary classes")
        if there and set(there) == set(held):
            raise ValueError(f"auxiliary_validation = {held}: expected to leave some auxiliary classes to train on")

    @property
    def parts(self):
        """All parts of data sets that the task is made of."""
        return [self.known.train, self.known.test, self.auxiliary, *self.outliers.values()]


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
    """The backbones."""

    wideresnet: WideResNetShape
    densenet: DenseNetShape | None = None


class Schedule(Strict):
    """How a network is optimised; the same for every method of a protocol."""

    start: Literal["random", "plain"] = "random"  # weights: drawn, or those of the plain network from scratch
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

    @rule
    def _features_to_estimate_from_are_trained(self):
        if (self.start, self.gaussian_head) == ("random", "estimate"):
            found = "gaussian_head = 'estimate' with start = 'random'"
            raise ValueError(f"{found}: expected start = 'plain', or 'random' for both")

    @rule
    def _steps_have_milestones(self):
        if self.shape == "steps" and not self.milestones:
            expected = "shares of the training, such as [0.5, 0.75], with shape 'steps'"
            raise ValueError(f"milestones = []: expected {expected}")

    @property
    def kept_epochs(self):
        """Numbers of finished epochs after which the network is kept, from 0, the start, to the last."""
        return sorted({round(i * self.epochs / self.snapshots) for i in range(self.snapshots + 1)})


class Protocol(Schedule):
    """A schedule, and what methods have with it."""

    train: dict[str, Values] = {}  # values by method in place of those of `train`; a task's take precedence

    @property
    def schedule(self):
        """The schedule alone: values of one method are no part of what another follows from."""
        return Schedule(**self.model_dump(exclude={"train"}))


class Group(Strict):
    """Runs: every method of a list, with every seed."""

    task: Name
    network: _one_of(Networks.model_fields)
    protocol: Name
    methods: Annotated[list[_one_of(METHODS)], Field(min_length=1), AfterValidator(_unique)]


class Sweep(Strict):
    """Trainings that differ in one or two values and are compared on validation images."""

    title: str
    method: _one_of(METHODS)
    task: Name
    network: _one_of(Networks.model_fields)
    protocol: Name
    seeds: Seeds | None = None  # by default the first of `seeds`
    base: Values  # as train.METHOD; a copy of its own, since what is in use there is chosen from the sweep
    values: Annotated[list[Values], Field(min_length=1), AfterValidator(_unique)]  # of the base or of the protocol

    @rule
    def _candidates_can_be_compared(self):
        for change in self.values:
            if list(change) != list(self.values[0]):
                found = f"{list(change)} beside {list(self.values[0])}"
                raise ValueError(f"values: {found}; expected the same keys in the same order")
            if "start" in change:  # a run's parent goes by its protocol
                raise ValueError("values: start is the protocol's; expected other keys")


class Detectors(Strict):
    """Parameters of ODIN; the other post-hoc detectors have pytorch-ood's, see `icelib.evaluation.detectors`."""

    odin_temperature: Positive
    odin_noise: NonNegative  # of pixels in 0…1


class Parallel(Strict):
    """How trainings and evaluations are spread, see `icelib.training.parallel`."""

    jobs: _count_or("auto") = "auto"  # processes at a time; auto: one for each core, or one on a GPU
    backend: Literal["loky", "dask"] = "loky"
    address: str | None = None  # of a scheduler of Dask; without it a cluster is started on this machine


class OwnDataSet(Strict):
    """A data set of the user's: an ``.npz`` or a folder of images."""

    path: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None  # of the file


class Params(Strict):
    """The whole of params.yaml: one scale."""

    scale: Name  # parts results/, figures/ and reports/
    seeds: Seeds
    threads: Annotated[int, Field(ge=1, le=1024)]  # of one training: it changes digits
    compile: bool  # networks by torch.compile: it changes digits
    parallel: Parallel = Parallel()
    datasets: Annotated[list[_one_of(PUBLISHED)], AfterValidator(_unique)]
    own_datasets: dict[Name, OwnDataSet]
    recorded: Names = []  # scales of recorded/ whose reports are made beside this one's
    tasks: dict[Name, Task]
    networks: Networks
    protocols: dict[Name, Protocol]
    train: dict[_one_of(METHODS), Values]
    runs: Annotated[list[Group], Field(min_length=1)]
    sweeps: dict[Name, Sweep]
    detectors: Detectors
    bootstrap: Annotated[int, Field(gt=0, le=1_000_000)]  # redrawn samples behind an interval over images

    @rule
    def _recorded_scales_are_others(self):
        if self.scale in self.recorded:  # its reports would be written over those of this one
            raise ValueError(f"recorded = {self.recorded}: {self.scale!r} is this file's own scale; expected others")

    @rule
    def _sets_in_use_are_prepared(self):
        for name in self.own_datasets:
            if name in PUBLISHED:
                raise ValueError(f"own_datasets.{name}: this is the name of a published set; choose another")
        there = [*self.datasets, *self.own_datasets]
        for task, about in self.tasks.items():
            for name in (part.set for part in about.parts if part.set not in there):
                found = f"tasks.{task} uses {name!r}, which is in neither datasets nor own_datasets"
                raise ValueError(f"{found}{hint(name, there)}")

    @rule
    def _parts_are_played_once(self):
        parts = [task.plays for task in self.tasks.values()]
        if len(parts) != len(set(parts)):
            raise ValueError(f"tasks: two play the same part ({parts}); expected one task for each `plays`")

    @rule
    def _protocols_start_where_runs_do(self):
        if "scratch" in self.protocols and self.protocols["scratch"].start != "random":
            raise ValueError("protocols.scratch.start = 'plain': expected 'random', since plain networks start there")

    @rule
    def _methods_have_their_parameters(self):
        for method, values in self.train.items():
            check_parameters(method, values, f"train.{method}")
        own = {f"protocols.{name}.train": part.train for name, part in self.protocols.items()}
        own |= {f"tasks.{name}.train": part.train for name, part in self.tasks.items()}
        for place, methods in own.items():
            for method, values in methods.items():
                if method not in self.train:
                    raise ValueError(f"{place}.{method}: no such method{hint(method, self.train)}")
                check_parameters(method, self.train[method] | values, f"{place}.{method}")

    @rule
    def _runs_refer_to_what_there_is(self):
        seen = {}
        for number, group in enumerate(self.runs):
            place = f"runs[{number}]"
            self._check_place(place, group)
            for method in group.methods:
                self._check_method(f"{place}.methods names {method!r}", method)
                key = (group.task, group.network, group.protocol, method)
                if key in seen:
                    raise ValueError(f"{seen[key]} and {place} declare {'-'.join(key)} twice")
                seen[key] = place

    @rule
    def _sweeps_refer_to_what_there_is(self):
        for name, sweep in self.sweeps.items():
            place = f"sweeps.{name}"
            self._check_place(place, sweep)
            self._check_method(f"{place}.method = {sweep.method!r}", sweep.method)
            schedule = self.protocols[sweep.protocol].schedule.model_dump()
            for change in sweep.values:
                own = {key: value for key, value in change.items() if key not in schedule}
                check_parameters(sweep.method, sweep.base | own, place)
                Schedule(**schedule | {key: value for key, value in change.items() if key in schedule})

    def _check_method(self, place, method):
        if method not in self.train:
            raise ValueError(f"{place}: train.{method} is missing; add its values there")

    def _check_place(self, place, part):
        networks = [name for name, shape in self.networks if shape]
        for key, known in (("task", self.tasks), ("network", networks), ("protocol", self.protocols)):
            if (word := getattr(part, key)) not in known:
                raise ValueError(f"{place}.{key} = {word!r}: no such {key}{hint(word, known)}")
        if self.protocols[part.protocol].start == "plain" and "scratch" not in self.protocols:
            found = f"{place}.protocol = {part.protocol!r} starts from a plain network"
            raise ValueError(f"{found}: protocols.scratch is missing")


def loss_parameters(method):
    """Names of the keyword parameters that the loss of a method takes, but for what the engine gives it."""
    signature = inspect.signature(METHODS[method].loss).parameters
    return [key for key, p in signature.items() if p.kind is p.KEYWORD_ONLY and key not in GIVEN]


GIVEN = ("known_features", "outlier_features", "progress")  # keywords of a loss that the engine fills
ORDERED = (("margin_known", "margin_outlier"),)  # where a loss has both


def check_parameters(method, values, place):
    """Raise ValueError unless `values` are the parameters of a method's loss and head; `place` names them."""
    head = METHODS[method].head
    expected = [*loss_parameters(method), *heads.parameters(head)]
    factors = getattr(heads.HEADS.get(head, head), "factors", None)
    for key in values:
        if key not in expected:
            raise ValueError(f"{place}.{key}: no such parameter{hint(key, expected)}")
    for key in expected:
        wanted, right = _wanted(key, factors)
        if key not in values:
            raise ValueError(f"{place}.{key} is missing; expected {wanted}")
        if not right(values[key]):
            raise ValueError(f"{place}.{key} = {values[key]!r}: expected {wanted}{as_number(values[key])}")
    for smaller, larger in ORDERED:
        if smaller in values and larger in values and values[smaller] > values[larger]:
            found = f"{smaller} = {values[smaller]!r} with {larger} = {values[larger]!r}"
            raise ValueError(f"{place}.{found}: expected {smaller} ≤ {larger}")


def _wanted(key, factors):
    """What is expected of a parameter: in words, and as a function of its value."""
    if key == "factor" and factors:
        return f"one of {list(factors)}", lambda value: value in factors
    if key.split("_")[0] == "weight":
        return "a number ≥ 0", lambda value: not isinstance(value, str) and value >= 0
    if key in ("mean_scale", "distance", "separation"):
        return "a number > 0", lambda value: not isinstance(value, str) and value > 0
    return "a number", lambda value: not isinstance(value, str)
