"""The base class of every table of a recipe, and values that are one of several tables."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_core import PydanticKnownError

from tlkit.errors import nearest
from tlkit.plugin.options import Options
from tlkit.recipe import messages, other_names
from tlkit.recipe.messages import problem, shown

LARGEST = 1e38  # largest learning rate or weight decay; both become float32, whose largest number is 3.4e38


class Table(Options):
    """A table of a recipe: unknown keys, NaN and silent conversions are errors, and it writes the messages of its own keys."""

    @model_validator(mode="wrap")
    @classmethod
    def _say(cls, tables: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(tables)
        except ValidationError as error:
            raise messages.of_table(error, cls, elsewhere=cls._elsewhere) from None

    @classmethod
    def _elsewhere(cls, key: str) -> str:
        """Return where the setting belongs that another framework calls `key`; "" where that is not known."""
        return other_names.hint(key)


def chosen_by(check: Callable[[object], object]) -> WrapValidator:
    """Return a validator of a value of one of several types, for which `check` chooses the type and raises that type's errors.

    pydantic itself would name every type in the error of a union, and put names of types into its place. The union that is annotated
    with this serializes the value and makes its JSON Schema.
    """

    def instead(value: object, union: ValidatorFunctionWrapHandler) -> object:
        return check(value)

    return WrapValidator(instead)


def names(tables: object) -> dict[str, type[Table]]:
    """Return the tables of a union, each with its own literal as `name`, by this name."""
    return {str(typing.get_args(table.model_fields["name"].annotation)[0]): table for table in typing.get_args(tables)}


def by_name(what: str, tables: object) -> WrapValidator:
    """Return a validator of a table whose `name` decides which of several tables it is: see `chosen_by`.

    Args:
        what: A table of these, in messages: "optimizer".
        tables: A union of them: see `names`.
    """
    known = names(tables)
    listed = f"{what}s: {', '.join(known)}"

    def check(value: object) -> Table:
        if isinstance(value, Table) and type(value) in known.values():
            return value
        if not isinstance(value, dict):
            raise PydanticKnownError("dict_type")
        if "name" not in value:
            raise problem(f"is {shown(value)}, and has no name.", listed)
        name = value["name"]
        if not isinstance(name, str) or name not in known:
            raise problem(f"there is no {what} {shown(name)}.", listed, nearest(str(name), known))
        return known[name].model_validate(value)

    return chosen_by(check)
