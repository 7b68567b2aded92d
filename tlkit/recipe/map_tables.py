"""The maps [freeze] and [lr_groups]: from a part of the network to a value. `tlkit.recipe.maps` applies them to parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import ErrorDetails, InitErrorDetails

from tlkit.recipe.messages import dotted, problem, shown, unchanged, words
from tlkit.recipe.table import LARGEST, Table, chosen_by


class Until(Table):
    """A part that is frozen for the first epochs and trained after them."""

    epochs: int = Field(ge=1, description="number of epochs for which the part stays frozen")

    @classmethod
    def _elsewhere(cls, key: str) -> str:
        return ""


class Rate(Table):
    """Peak learning rate of a part of the network, and optimizer settings for this part alone."""

    lr: float = Field(gt=0, le=LARGEST, description="peak learning rate")
    weight_decay: float | None = Field(
        default=None, ge=0, le=LARGEST, description="weight decay of this part. Default: optimizer.weight_decay"
    )
    momentum: float | None = Field(
        default=None, ge=0, lt=1, description="momentum of this part, sgd only. Default: optimizer.momentum"
    )

    @classmethod
    def _elsewhere(cls, key: str) -> str:
        return ""


def _freeze_value(value: object) -> bool | Until:
    if isinstance(value, dict | Until):
        return Until.model_validate(value)
    if isinstance(value, bool):
        return value
    raise problem(f"is {shown(value)}.", "true, false, or { epochs = N }")


_PositiveRate = Annotated[float, Field(gt=0, le=LARGEST)]
_RATE: TypeAdapter[float] = TypeAdapter(_PositiveRate, config=Table.model_config)


def _rate_value(value: object) -> float | Rate:
    if isinstance(value, dict | Rate):
        return Rate.model_validate(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _RATE.validate_python(value)
    raise problem(f"is {shown(value)}, but should be a valid number.", "1e-3, or { lr = 1e-3, weight_decay = 0.01 }")


FreezeValue = Annotated[bool | Until, chosen_by(_freeze_value)]
RateValue = Annotated[_PositiveRate | Rate, chosen_by(_rate_value)]


def _naming_part(table: str) -> WrapValidator:
    """Return a validator of a whole map, which adds the hints that name the part of the network."""

    def check(value: object, inner: ValidatorFunctionWrapHandler) -> object:
        try:
            return inner(value)
        except ValidationError as error:
            lines = [_with_part(table, each) for each in error.errors()]
            raise ValidationError.from_exception_data(table, lines) from None

    return WrapValidator(check)


def _with_part(table: str, line: ErrorDetails) -> InitErrorDetails:
    loc, told = line["loc"], None
    if line["type"] == "extra_forbidden" and len(loc) == 2:
        path = dotted(table, f"{loc[0]}.{loc[1]}")
        told = problem(*words(line, Table), f"a module path is one quoted key: {path}", kind=line["type"])
    elif line["type"] == "greater_than" and line["input"] == 0 and loc[1:] in ((), ("lr",)):
        fix = f"to freeze it: {dotted('freeze', loc[0])} = true"
        told = problem("the rate is 0, which would still cost gradients and move BatchNorm.", fix)
    return unchanged(line) if told is None else InitErrorDetails(type=told, loc=loc, input=line["input"])


FreezeMap = Annotated[dict[str, FreezeValue], _naming_part("freeze")]
RateMap = Annotated[dict[str, RateValue], _naming_part("lr_groups")]
