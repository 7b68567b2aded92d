"""Turn what pydantic refuses in a recipe or in a plugin's options into messages.

The rule: a message names the key as the user would write it, and its hint says which value would be right. A table of a recipe
writes the messages of its own keys (`of_table`), so the location of a problem is the path to its key and nothing else. A value that
may be of several types has a validator that chooses the type and raises `problem` itself.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from tlkit.errors import MOST_CHECKED, RecipeError, nearest

Said = tuple[str, tuple[str, ...]]  # the place of a problem; the problem and its hints
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key that TOML takes without quotes
_TABLE = {"model_type", "dict_type", "model_attributes_type"}  # pydantic's kinds of "not a table"
_PROBLEM, _HINTS = "problem", "hints"  # in the context of an error whose message is written


def problem(text: str, *hints: str, kind: str = "problem") -> PydanticCustomError:
    """Return an error for a validator to raise: what is wrong with a value, and what would be right.

    Args:
        text: Follows the key in the message: 'is "x", but should be a number.'
        hints: One line each. Without any, the table that has the key adds the key's description.
        kind: pydantic's kind of the error, where the error stands for one of pydantic's.
    """
    return PydanticCustomError(kind, "{problem}", {_PROBLEM: text, _HINTS: tuple(filter(None, hints))})


def of_table(error: ValidationError, table: type[BaseModel], *, elsewhere: typing.Callable[[str], str]) -> ValidationError:
    """Return a table's errors with the messages of its own keys written; those of tables inside it are written already.

    Args:
        error: What the table's validation raised.
        table: The class of the table.
        elsewhere: From a key that the table does not have to a hint where its setting belongs, "" where that is not known.
    """
    lines = error.errors()[:MOST_CHECKED]  # a message takes 1 ms, and 200,000 wrong keys took two minutes
    return ValidationError.from_exception_data(table.__name__, [_written(line, table, elsewhere) for line in lines])


def unchanged(line: ErrorDetails) -> InitErrorDetails:
    """Return an error as a validator raises it again."""
    context = line.get("ctx", {})
    if _HINTS in context:
        kind: str | PydanticCustomError = problem(context[_PROBLEM], *context[_HINTS], kind=line["type"])
        return InitErrorDetails(type=kind, loc=line["loc"], input=line["input"])
    return InitErrorDetails(type=line["type"], loc=line["loc"], input=line["input"], ctx=context)


def errors(model: type[BaseModel], tables: Mapping[str, Any]) -> list[ErrorDetails]:
    """Return the errors that a model finds in tables, 1,000 at most; none if they are right."""
    try:
        model.model_validate(tables)
    except ValidationError as error:
        return error.errors()[:MOST_CHECKED]
    return []


def dotted(*parts: int | str) -> str:
    """Join keys with dots as in TOML; quote the keys that need quotes."""
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in map(str, parts))


def shown(value: object) -> str:
    """Return a value as text, as a user would write it; cut it after 60 characters."""
    text = str(value) if isinstance(value, float) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def keys_of(table: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a table as a recipe writes them; a word that Python keeps for itself is another name in the class."""
    return tuple(field.alias or name for name, field in table.model_fields.items())


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field's type names: none for a number, several for a union of tables."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in models_in(inner)]


def words(line: ErrorDetails, root: type[BaseModel]) -> tuple[str, ...]:
    """Return a message for an error: (problem, hint, ...).

    Args:
        line: From pydantic.
        root: The model that was validated: a table, or a plugin's options.
    """
    context = line.get("ctx", {})
    if _HINTS in context:
        return (context[_PROBLEM], *context[_HINTS])
    owner, loc = _owner(line["loc"], root)
    kind, value, meaning = line["type"], line["input"], _meaning(loc, owner)
    if kind == "extra_forbidden":
        return no_such_key(str(loc[-1]), keys_of(owner) if owner is not None else ())
    if kind == "missing":
        return ("is missing.", meaning)
    if kind == "value_error":
        return (f"{context['error']}.",)
    if kind == "list_type":
        return no_list(str(loc[-1]), value, value, meaning)
    if kind == "literal_error":
        return no_such_choice(value, re.findall(r"'([^']*)'", str(context["expected"])), meaning)
    return (f"is {shown(value)}, but {_should(line)}.", meaning)


def first(error: RecipeError | ValidationError) -> str:
    """Return the first of the problems for which a recipe, or one of its tables, is refused."""
    return error.problems[0].problem if isinstance(error, RecipeError) else str(error.errors()[0]["msg"])


def said(root: type[BaseModel], tables: Mapping[str, Any]) -> set[Said]:
    """Return the places and messages of all errors that a model finds in tables."""
    return {(dotted(*line["loc"]), words(line, root)) for line in errors(root, tables)}


def no_such_key(key: str, keys: Sequence[str], elsewhere: str = "") -> tuple[str, ...]:
    """Return the message for a key that a table does not have: with the place of the setting, or the table's keys."""
    if elsewhere:
        return ("there is no such key.", elsewhere)
    return ("there is no such key.", f"keys: {', '.join(keys)}" if keys else "", nearest(key, keys))


def no_list(key: str, value: object, item: object, meaning: str) -> tuple[str, ...]:
    """Return the message for a value that should be a list, with an example of a list that holds `item`."""
    example = f"{key} = [{shown(item)}]" if not isinstance(item, dict) else f"{key} = [{{ ... }}]"
    return (f"is {shown(value)}, but should be a list.", f"for instance {example}", meaning)


def no_such_choice(value: object, choices: Sequence[str], meaning: str) -> tuple[str, ...]:
    """Return the message for a value that is none of a few texts."""
    if len(choices) < 2:
        return (f"is {shown(value)}.", meaning)
    listed = ", ".join(f'"{choice}"' for choice in choices)
    return (f"is {shown(value)}.", f"one of: {listed}", nearest(str(value), choices))


def _written(line: ErrorDetails, table: type[BaseModel], elsewhere: typing.Callable[[str], str]) -> InitErrorDetails:
    loc, context = line["loc"], line.get("ctx", {})
    if loc and loc[-1] == "[key]":  # pydantic's mark of a key that is wrong itself
        loc = loc[:-1]
    if line["type"] == "extra_forbidden" and _HINTS not in context:
        told = no_such_key(str(loc[-1]), keys_of(table), elsewhere(str(loc[-1])))
    else:
        told = words(line, table)
    if len(told) == 1 and line["type"] == "problem":
        told = (*told, _meaning(loc, table))
    return InitErrorDetails(type=problem(*told, kind=line["type"]), loc=loc, input=line["input"])


def _should(line: ErrorDetails) -> str:
    kind, context = line["type"], line.get("ctx", {})
    if kind in _TABLE:
        return "should be a table"
    if kind == "tuple_type":
        return "should be a list"
    if kind == "too_short":
        return f"should hold at least {context['min_length']}"
    if kind == "too_long":
        return f"should hold at most {context['max_length']}"
    message = line["msg"].removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _owner(loc: tuple[int | str, ...], root: type[BaseModel]) -> tuple[type[BaseModel] | None, tuple[int | str, ...]]:
    """Return the innermost model on the way to a place, and the rest of the way; None where several models may be there.

    Only a plugin's options lead through other models here: a table inside a table writes its messages itself.
    """
    owner, start = root, 0
    for index, part in enumerate(loc[:-1]):
        field = owner.model_fields.get(str(part))
        inner = models_in(field.annotation) if field is not None else []
        if len(inner) > 1:
            return None, loc[start:]
        if inner:
            owner, start = inner[0], index + 1
    return owner, loc[start:]


def _meaning(loc: tuple[int | str, ...], owner: type[BaseModel] | None) -> str:
    """Return the description of the field at a place or of the list at it, "" if it has none."""
    names = [part for part in loc if isinstance(part, str)]
    fields = {} if owner is None else dict(zip(keys_of(owner), owner.model_fields.values(), strict=True))
    field = fields.get(names[0]) if len(names) == 1 else None
    return str(field.description or "") if field is not None else ""
