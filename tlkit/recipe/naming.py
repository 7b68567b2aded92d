"""Name the recipe in errors that arise where only its keys are known: while images are read, and while a network is planned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tlkit.errors import RecipeError, TlkitError
from tlkit.recipe.messages import keys_of
from tlkit.recipe.recipe import Arm, Header

_KEY = re.compile(rf"({'|'.join({*keys_of(Header), *keys_of(Arm)})})(\.[^:]+)?: ")


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
    return bool(where) and not error.problem.startswith(f"{where}: ") and _KEY.match(error.problem) is not None
