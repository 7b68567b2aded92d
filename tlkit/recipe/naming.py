"""Name the recipe in errors that arise where only its keys are known: while images are read, and while a network is planned."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import contextmanager

from tlkit.errors import RecipeError, TlkitError
from tlkit.recipe.messages import keys_of, models_in
from tlkit.recipe.recipe import Arm, Header
from tlkit.recipe.settings import path_of


@contextmanager
def named(where: str) -> Iterator[None]:
    """Let an error about a key of the recipe begin with the recipe; one about a file or a plugin stays as it is.

    Args:
        where: Usually the recipe's file; "" for none.
    """
    try:
        yield
    except RecipeError as error:
        if any(_lacks(each, where) for each in error.problems):
            raise RecipeError(each.at(where) if _lacks(each, where) else each for each in error.problems) from error
        raise
    except TlkitError as error:
        if _lacks(error, where):
            error.begin_with_(where)
        raise


def _lacks(error: TlkitError, where: str) -> bool:
    """Return whether an error begins with a key of the recipe."""
    place, colon, _ = error.problem.partition(": ")
    return bool(where and colon) and not error.problem.startswith(f"{where}: ") and _is_key(place)


def _is_key(place: str) -> bool:
    """Return whether a recipe can have a key; of data.csv its table has none such, so it is a file."""
    first, *inner = path_of(place) or ("",)
    field = (Header.model_fields | Arm.model_fields).get(first)
    if field is None or not inner:
        return field is not None
    if typing.get_origin(field.annotation) in (dict, list):  # names of the user's choice, or the items of a list
        return True
    return inner[0] in {key for table in models_in(field.annotation) for key in keys_of(table)}
