"""Kinds of values in params.yaml, each with the bounds beyond which a value is surely a mistake."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from icelib.checks import comparable

LARGEST = 1e9  # of a hyper-parameter: its square is still a float32
SEEDS = 2**63  # torch cannot take much larger ones

Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Epochs = Annotated[int, Field(gt=0, le=100_000)]
Batch = Annotated[int, Field(gt=0, le=1_000_000)]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
# of what becomes part of a path or of a command: no folder, nothing hidden, nothing that a shell would read
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$", max_length=64)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _number_or_word(value):
    if isinstance(value, str):
        return value
    # a NaN is not within the bounds either
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"expected a finite number or a word, and no number beyond ±{LARGEST:.0e}")
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
Seed = Annotated[str, Field(max_length=19), AfterValidator(_seed)]


class Strict(BaseModel):
    """A part of params.yaml in which no key is unknown and no type is guessed; it cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
