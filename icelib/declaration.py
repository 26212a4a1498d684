"""The top of params.yaml: which runs and sweeps there are to be, at which scales, with which seeds."""

import itertools
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from icelib.acceleration import KINDS
from icelib.catalog import DATASETS
from icelib.checks import declare, hint, unique
from icelib.kinds import Name, Seed, Strict
from icelib.methods import METHODS
from icelib.schema import Networks, OwnMethod, Scale


def _one_of(known):
    def check(word):
        if word not in known:
            raise ValueError(f"expected one of {sorted(known)}")
        return word

    return AfterValidator(check)


SWEPT = "few"  # the task on which sweeps are run and variants compared


class Group(Strict):
    """Runs of all combinations of its lists: tasks, networks and methods."""

    known: list[Name]
    networks: list[Annotated[str, _one_of(Networks.model_fields)]]
    methods: list[Annotated[str, _one_of(METHODS)]]


class Groups(Strict):
    """The runs behind the paper's tables, grouped because no table is a full cross product."""

    few: Group
    densenet: Group
    many: Group
    finetune: Group


class OwnDataSet(Strict):
    """A data set of the user's: an ``.npz`` or a folder of images."""

    path: Annotated[str, Field(min_length=1)]


class Params(Strict):
    """The whole of params.yaml; of those in `scales` alone it is checked that their data sets are declared."""

    acceleration: Literal[KINDS] = "auto"  # how networks are computed on a GPU, see icelib.acceleration
    devices: Annotated[int, Field(ge=1, le=1024)] = 1  # that train one network together, see icelib.distributed
    # before what names them
    own_methods: Annotated[dict[Name, OwnMethod], AfterValidator(declare)] = {}
    scales: list[Name]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    known: list[Name]  # tasks to make
    runs: Groups
    sweeps: list[Name]
    beyond: list[Name]  # scales at which variants are compared
    variants: list[Name]  # of ICE, and methods of the paper beside them
    datasets: list[Name]
    own_datasets: dict[Name, OwnDataSet]
    blocks: dict[Name, Scale]

    @model_validator(mode="after")
    def _sets_can_be_prepared(self):
        for name in self.datasets:
            if name not in DATASETS:
                raise ValueError(f"datasets names {name!r}: no such data set{hint(name, DATASETS)}")
        for name in self.own_datasets:
            if name in DATASETS:
                raise ValueError(f"own_datasets.{name}: this is the name of a published set; choose another")
        return self

    @model_validator(mode="after")
    def _runs_have_their_tasks(self):
        for name, group in self.runs:
            for known in group.known:
                if known not in self.known:
                    raise ValueError(f"runs.{name}.known names {known!r}, which is not in known: {self.known}")
        return self

    @model_validator(mode="after")
    def _runs_are_declared_once(self):
        seen = {}
        for name, group in self.runs:
            for parts in itertools.product(group.known, group.networks, group.methods):
                key = (name == "finetune", *parts)
                if key in seen:
                    both = f"runs.{name}" if seen[key] == name else f"runs.{seen[key]} and runs.{name}"
                    raise ValueError(f"{both} declare {'-'.join(parts)} twice")
                seen[key] = name
        for _, known, network, _ in [key for key in seen if key[0]]:
            if (False, known, network, "plain") not in seen:
                raise ValueError(f"runs.finetune needs the plain run of {known}-{network}; add plain to another group")
        return self

    @model_validator(mode="after")
    def _sets_in_use_are_prepared(self):
        for scale in self.scales:
            tasks = [task for name, task in self.blocks[scale].known.items() if name in self.known]
            parts = [p for t in tasks for p in (t.known.train, t.known.test, t.auxiliary, *t.outliers.values())]
            used = list(dict.fromkeys(part.set for part in parts))
            missing = [name for name in used if name not in self.datasets and name not in self.own_datasets]
            if missing:
                raise ValueError(
                    f"{scale} uses data sets that are in neither datasets nor own_datasets: {', '.join(missing)}; "
                    f"all it uses: [{', '.join(used)}]"
                )
        return self

    @model_validator(mode="after")
    def _lists_name_what_there_is_once(self):
        for what in ("scales", "seeds", "known", "sweeps", "beyond", "variants", "datasets"):
            unique(what, getattr(self, what))
        for scale in self.scales:
            for name in self.sweeps:
                if name not in self.blocks[scale].sweeps:
                    raise ValueError(
                        f"sweeps names {name!r}, unknown to {scale}{hint(name, self.blocks[scale].sweeps)}"
                    )
        return self

    @model_validator(mode="after")
    def _variants_are_compared_with_ice(self):
        for scale in self.beyond:
            if scale not in self.scales:
                raise ValueError(f"beyond names {scale!r}, which is not in scales: {self.scales}")
            if self.blocks[scale].beyond is None:
                raise ValueError(f"{scale}.beyond is missing; expected seeds, confirmation and candidates")
            candidates = self.blocks[scale].beyond.candidates
            for name in self.variants:
                if name not in candidates:
                    raise ValueError(
                        f"variants names {name!r}, unknown to {scale}.beyond.candidates{hint(name, candidates)}"
                    )
        if self.beyond and "ice" not in self.variants:
            raise ValueError(f"variants = {self.variants}: expected ice among them, with which the others are compared")
        return self

    @model_validator(mode="after")
    def _sweeps_have_their_task(self):
        for what, scales in (("sweeps", self.scales if self.sweeps else []), ("beyond", self.beyond)):
            for scale in scales:
                if SWEPT not in self.known or SWEPT not in self.blocks[scale].known:
                    raise ValueError(
                        f"{what} needs the task {SWEPT!r}, in known and in {scale}.known; or set {what}: []"
                    )
        return self
