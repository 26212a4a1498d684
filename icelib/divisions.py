"""The schema of a task in params.yaml: which parts of data sets are known, trained on and tested on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icelib.catalog import DATASETS
from icelib.checks import unique
from icelib.kinds import Count, Name, Strict, Value


class Part(Strict):
    """A part of a data set: one of its splits, some of its classes or all."""

    set: Name
    split: str | None = None  # may be left out where there is only one
    classes: Annotated[list[str | int], Field(min_length=1)] | None = None
    per_class: Count | None = None  # at most so many images of each class, drawn once

    @model_validator(mode="after")
    def _classes_are_different(self):
        unique("classes", self.labels or [])
        return self

    @property
    def labels(self):
        """The classes, by their names where the catalog has them: a class may be given by its number, too."""
        names = DATASETS[self.set].classes if self.set in DATASETS else ()
        return self.classes and [names[x] if isinstance(x, int) and 0 <= x < len(names) else x for x in self.classes]

    @property
    def source(self):
        """Set and split, also where the split is left out because there is only one."""
        splits = list(DATASETS[self.set].images) if self.set in DATASETS else []
        return self.set, self.split or (splits[0] if splits else "all")

    def shared(self, other):
        """List the classes that another part has too: of another set none are known to be the same."""
        if self.set != other.set:
            return []
        if self.labels is None or other.labels is None:
            return self.labels or other.labels or ["all"]
        return [name for name in self.labels if name in other.labels]


RESERVED = {"known", "labels", "mean"}  # in task, score and result files, beside the names of outlier sets


class Outliers(Part):
    """A set of test outliers, and the set of the paper's Table 1 beside which it stands."""

    plays: Literal["iSUN", "Places365", "Textures", "LSUN", "SVHN", "CIFAR100", "CIFAR10"] | None = None


class Known(Strict):
    """The known set; class i is the i-th one that is named, in both parts."""

    train: Part
    test: Part

    @model_validator(mode="after")
    def _labels_are_the_same(self):
        trained, tested = self.train.labels, self.test.labels
        if (trained is None) != (tested is None) or not _agree(
            trained or [], tested or [], self.train.set == self.test.set
        ):
            raise ValueError(
                f"test.classes = {self.test.classes}: expected those of train.classes, in their order, which numbers the "
                f"labels: {self.train.classes}"
            )
        return self

    @model_validator(mode="after")
    def _test_images_are_others(self):
        if self.train.source == self.test.source:
            raise ValueError(
                f"test.set = {self.test.set!r}, test.split = {self.test.split!r}: expected another set or split than "
                "that of train, whose images are trained on"
            )
        return self


def _agree(trained, tested, same_set):
    """Whether labels mean the same; one set may name its classes and another number them, which is not compared."""
    return len(trained) == len(tested) and all(
        a == b or (not same_set and type(a) is not type(b)) for a, b in zip(trained, tested, strict=True)
    )


class Task(Strict):
    """What is known, which outliers are trained on, and which ones are tested on."""

    title: str
    plays: Literal["CIFAR10", "CIFAR100"]  # the block of the paper's tables that it fills
    known: Known
    auxiliary: Part
    validation_share: Annotated[float, Field(gt=0, le=0.5)]  # of the known and auxiliary images
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

    @model_validator(mode="after")
    def _outliers_are_not_known(self):
        parts = {"auxiliary": self.auxiliary} | {f"outliers.{name}": part for name, part in self.outliers.items()}
        for place, part in parts.items():
            for known in (self.known.train, self.known.test):
                if shared := part.shared(known):
                    found = "all" if part.classes is None else part.classes
                    raise ValueError(
                        f"{place}.classes = {found} of {part.set!r}: expected none that is known, such as {shared[0]!r}"
                    )
        return self
