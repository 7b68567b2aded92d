"""The maps [freeze] and [lr_groups]: from a part of the network to a value. `tlkit.recipe.maps` applies them to parameters."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails

from tlkit.recipe.messages import dotted, problem, shown, unchanged, words
from tlkit.recipe.table import LARGEST, Table, chosen_by

BACKBONE: Final = "backbone"  # the key of all stages
AUTO: Final = "auto"  # a rate that a range test chooses before training
Auto = Literal["auto"]


class _OfPart(Table):
    """A table of one part of the network: the settings of other frameworks have no place in it that a message could name."""

    @classmethod
    def _elsewhere(cls, key: str) -> str:
        return ""


class Until(_OfPart):
    """A part that is frozen for the first epochs and trained after them."""

    epochs: int = Field(ge=1, description="number of epochs for which the part stays frozen")


class Gradual(_OfPart):
    """A backbone of which one more stage trains every N epochs, from the last down; only the head trains in the first N."""

    gradual: int = Field(
        ge=1, description="number of epochs after which one more stage trains, from the last down; of `backbone` only"
    )


_PositiveRate = Annotated[float, Field(gt=0, le=LARGEST)]
_RATE: TypeAdapter[float] = TypeAdapter(_PositiveRate, config=Table.model_config)


def _number_or_auto(value: object) -> float | Auto:
    if value == AUTO:
        return AUTO
    if isinstance(value, str):
        raise problem(f"is {shown(value)}.", 'a number such as 1e-3, or "auto": a range test chooses it before training')
    return _RATE.validate_python(value)


class Rate(_OfPart):
    """Peak learning rate of a part of the network, and optimizer settings for this part alone."""

    lr: Annotated[_PositiveRate | Auto, chosen_by(_number_or_auto)] = Field(
        description='peak learning rate; "auto": a range test chooses it before training'
    )
    weight_decay: float | None = Field(
        default=None, ge=0, le=LARGEST, description="weight decay of this part. Default: optimizer.weight_decay"
    )
    momentum: float | None = Field(
        default=None, ge=0, lt=1, description="momentum of this part, sgd only. Default: optimizer.momentum"
    )
    decay: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="the last stage has the rate `lr`, and each stage before it this many times the rate of the next; of `backbone` only",
    )

    @model_validator(mode="after")
    def _has_a_rate_to_decay(self) -> Rate:
        if self.lr == AUTO and self.decay is not None:
            raise problem(
                'lr is "auto" and decay is given: a range test chooses one rate for all of the part.',
                "{ lr = 1e-3, decay = 0.65 }; tlkit rates suggests the number",
            )
        return self


class RateRange(_OfPart):
    """Peak learning rates of the backbone's stages from the first to the last, each the same factor above the one before."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: float = Field(
        alias="from", gt=0, le=LARGEST, description="peak learning rate of the first stage; of `backbone` only"
    )
    to: float = Field(gt=0, le=LARGEST, description="peak learning rate of the last stage, at least `from`; of `backbone` only")
    weight_decay: float | None = Field(
        default=None, ge=0, le=LARGEST, description="weight decay of the backbone. Default: optimizer.weight_decay"
    )
    momentum: float | None = Field(
        default=None, ge=0, lt=1, description="momentum of the backbone, sgd only. Default: optimizer.momentum"
    )

    @model_validator(mode="after")
    def _rises(self) -> RateRange:
        if self.from_ > self.to:
            raise problem(
                f"from is {shown(self.from_)} and to is {shown(self.to)}: the first stage would learn faster than the last.",
                f"{{ from = {shown(self.to)}, to = {shown(self.from_)} }}",
            )
        return self


def _freeze_value(value: object) -> bool | Until | Gradual:
    if isinstance(value, Gradual):
        return value
    if isinstance(value, dict) and "gradual" in value:
        return Gradual.model_validate(value)
    if isinstance(value, dict | Until):
        return Until.model_validate(value)
    if isinstance(value, bool):
        return value
    raise problem(f"is {shown(value)}.", "true, false, or { epochs = N }; of the backbone also { gradual = N }")


def _rate_value(value: object) -> float | Auto | Rate | RateRange:
    if isinstance(value, RateRange):
        return value
    if isinstance(value, dict) and ("from" in value or "to" in value):
        return RateRange.model_validate(value)
    if isinstance(value, dict | Rate):
        return Rate.model_validate(value)
    if value == AUTO:
        return AUTO
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _RATE.validate_python(value)
    raise problem(f"is {shown(value)}, but should be a valid number.", '1e-3, or { lr = 1e-3, weight_decay = 0.01 }, or "auto"')


FreezeValue = Annotated[bool | Until | Gradual, chosen_by(_freeze_value)]
RateValue = Annotated[_PositiveRate | Auto | Rate | RateRange, chosen_by(_rate_value)]


def _naming_part(table: str, value: object, inner: ValidatorFunctionWrapHandler) -> object:
    """Validate a whole map, and add the hints that name the part of the network."""
    try:
        return inner(value)
    except ValidationError as error:
        lines = [_with_part(table, each) for each in error.errors()]
        raise ValidationError.from_exception_data(table, lines) from None


def _with_part(table: str, line: ErrorDetails) -> InitErrorDetails:
    loc, told = line["loc"], None
    if line["type"] == "extra_forbidden" and len(loc) == 2:
        path = dotted(table, f"{loc[0]}.{loc[1]}")
        told = problem(*words(line, Table), f"a module path is one quoted key: {path}", kind=line["type"])
    elif line["type"] == "greater_than" and line["input"] == 0 and loc[1:] in ((), ("lr",)):
        fix = f"to freeze it: {dotted('freeze', loc[0])} = true"
        told = problem("the rate is 0, which would still cost gradients and move BatchNorm.", fix)
    return unchanged(line) if told is None else InitErrorDetails(type=told, loc=loc, input=line["input"])


def _of_all_stages(value: object) -> str:
    """Return the key of a value that says something of every stage; "" where it says the same of all of a part."""
    if isinstance(value, Gradual):
        return "gradual"
    if isinstance(value, RateRange):
        return "from"
    return "decay" if isinstance(value, Rate) and value.decay is not None else ""


def _only_of_the_backbone(table: str, parts: dict[str, Any]) -> dict[str, Any]:
    """Refuse, in a whole map, what runs over the stages where a key is not `backbone`."""
    wrong = [
        InitErrorDetails(
            type=problem(
                f"{part} is one part, and this runs over the stages of the backbone.",
                f"{table}.backbone = {{ {key} = .. }}",
            ),
            loc=(part, key),
            input=value,
        )
        for part, value in parts.items()
        if part != BACKBONE and (key := _of_all_stages(value))
    ]
    if wrong:
        raise ValidationError.from_exception_data(table, wrong)
    return parts


FreezeMap = Annotated[
    dict[str, FreezeValue],
    AfterValidator(partial(_only_of_the_backbone, "freeze")),
    WrapValidator(partial(_naming_part, "freeze")),
]
RateMap = Annotated[
    dict[str, RateValue],
    AfterValidator(partial(_only_of_the_backbone, "lr_groups")),
    WrapValidator(partial(_naming_part, "lr_groups")),
]
