"""Turn the errors that pydantic finds in a recipe or in a plugin's options into messages.

The rule: a message names the key as the user would write it, and its hint says which value would be right.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tlkit.errors import nearest
from tlkit.recipe import augmentations, other_names
from tlkit.recipe.recipe import MAPS, Arm, Header

NAMING = "letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder"
Said = tuple[str, tuple[str, ...]]  # the place of a problem; the problem and its hints
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key that TOML takes without quotes
_AUGMENT, _INPUT = ("data", "augment"), ("backbone", "input")
_WEIGHTS = ("loss", "class_weights")
_TABLE = {"model_type", "dict_type", "model_attributes_type"}  # pydantic's kinds of "not a table"


def errors(model: type[BaseModel], tables: Mapping[str, Any]) -> list[ErrorDetails]:
    """Return the errors that a model finds in tables; none if they are right."""
    try:
        model.model_validate(tables)
    except ValidationError as error:
        return error.errors()
    return []


def place(line: ErrorDetails) -> tuple[int | str, ...]:
    """Return the keys that lead to a problem, without the tags of unions that pydantic puts between them."""
    loc = line["loc"]
    if len(loc) > 1 and loc[0] in ("optimizer", "schedule"):
        loc = (loc[0], *loc[2:])
    if len(loc) > 3 and loc[:2] == _AUGMENT:
        loc = (*loc[:3], *loc[4:])
    if len(loc) > 2 and loc[0] in MAPS:
        loc = (*loc[:2], *loc[3:])
    if len(loc) > 2 and loc[:2] in (_INPUT, _WEIGHTS):
        loc = (*loc[:2], *loc[3:])
    return tuple(part for part in loc if part not in ("=count", "=auto", "=side", "=pair"))


def dotted(*parts: int | str) -> str:
    """Join keys with dots as in TOML; quote the keys that need quotes."""
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in map(str, parts))


def shown(value: object) -> str:
    """Return a value as text, as a user would write it; cut it after 60 characters."""
    text = str(value) if isinstance(value, float) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def words(line: ErrorDetails, root: type[BaseModel], *, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a message for an error: (problem, hint, ...).

    Args:
        line: From pydantic.
        root: The model that was validated: `Header`, `Arm`, or a plugin's options.
        beside: Keys that may stand beside the root's own in what the person wrote.
    """
    kind, value, context, loc = line["type"], line["input"], line.get("ctx", {}), line["loc"]
    if root is Arm and loc[:2] == _AUGMENT and len(loc) == 3:
        return _no_such_augmentation(value)
    if kind == "extra_forbidden":
        return _no_such_key(loc, root, beside)
    if kind == "missing":
        return ("is missing.", _meaning(loc, root))
    if kind == "value_error":
        return (f"{context['error']}.",)
    if kind == "greater_than" and root is Arm and loc[0] == "lr_groups" and value == 0:
        fix = f"to freeze it: {dotted('freeze', loc[1])} = true"
        return ("the rate is 0, which would still cost gradients and move BatchNorm.", fix)
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        name = str(context["tag"])
        return (f"there is no {loc[0]} {shown(name)}.", f"{loc[0]}s: {', '.join(tags)}", nearest(name, tags))
    if kind == "list_type":
        return _no_list(loc, value, _meaning(loc, root))
    if kind == "literal_error":
        return _no_such_choice(value, str(context["expected"]), _meaning(loc, root))
    if kind == "string_pattern_mismatch" and root in (Arm, Header):
        return (f"is {shown(value)}.", NAMING)
    if kind == "bool_type" and root is Arm and loc[0] == "freeze":
        return (f"is {shown(value)}.", "true, false, or { epochs = N }")
    return (f"is {shown(value)}, but {_should(line)}.", _meaning(loc, root))


def say(line: ErrorDetails, root: type[BaseModel]) -> Said:
    """Return the place and the message of an error."""
    return dotted(*place(line)), words(line, root)


def said(root: type[BaseModel], tables: Mapping[str, Any]) -> set[Said]:
    """Return the places and messages of all errors that a model finds in tables."""
    return {say(line, root) for line in errors(root, tables)}


def _no_such_key(loc: tuple[int | str, ...], root: type[BaseModel], beside: Sequence[str]) -> tuple[str, ...]:
    model = _model(loc[:-1], root)
    if root in (Arm, Header) and (elsewhere := other_names.hint(loc)):
        return ("there is no such key.", elsewhere)
    keys = [*(beside if len(loc) == 1 else ()), *(model.model_fields if model is not None else ())]
    quoted = ""
    if root is Arm and loc[0] in MAPS:
        quoted = f"a module path is one quoted key: {dotted(loc[0], f'{loc[1]}.{loc[-1]}')}"
    return ("there is no such key.", f"keys: {', '.join(keys)}", nearest(str(loc[-1]), keys), quoted)


def _no_list(loc: tuple[int | str, ...], value: object, meaning: str) -> tuple[str, ...]:
    """Return the message for a value that should be a list, with an example of the list."""
    item = value
    if loc == _AUGMENT and isinstance(value, str):
        names = typing.get_args(augmentations.Name)
        item = next(iter(get_close_matches(value, names, n=1, cutoff=0.5)), value)
    example = f"{loc[-1]} = [{shown(item)}]" if not isinstance(value, dict) else f"{loc[-1]} = [{{ ... }}]"
    return (f"is {shown(value)}, but should be a list.", f"for instance {example}", meaning)


def _no_such_choice(value: object, expected: str, meaning: str) -> tuple[str, ...]:
    choices = re.findall(r"'([^']*)'", expected)
    if len(choices) < 2:
        return (f"is {shown(value)}.", meaning)
    listed = ", ".join(f'"{choice}"' for choice in choices)
    return (f"is {shown(value)}.", f"one of: {listed}", nearest(str(value), choices))


def _no_such_augmentation(item: object) -> tuple[str, ...]:
    """Return the message for an item of data.augment that is not an augmentation."""
    names = typing.get_args(augmentations.Name)
    listed = f"augmentations: {', '.join(names)}"
    if not isinstance(item, str | dict):
        return (f"is {shown(item)}, but should be a name, or a table with a name.", listed)
    if isinstance(item, dict) and "name" not in item:
        return (f"is {shown(item)}, and has no name.", listed)
    name = item["name"] if isinstance(item, dict) else item
    return (f"there is no augmentation {shown(name)}.", listed, nearest(str(name), names))


def _should(line: ErrorDetails) -> str:
    if line["type"] in _TABLE:
        return "should be a table"
    if line["type"] == "too_short":
        return f"should hold at least {line['ctx']['min_length']}"
    message = line["msg"].removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _meaning(loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    """Return the description of the field at a place, "" if it has none."""
    end = len(loc) - 1 if loc and isinstance(loc[-1], str) and not loc[-1].startswith("=") else len(loc) - 2
    model = _model(loc[:end], root) if end >= 0 else None
    field = model.model_fields.get(str(loc[end])) if model is not None else None
    return str(field.description or "") if field is not None else ""


def _model(loc: tuple[int | str, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model at a place in pydantic's form, or None if there is not exactly one."""
    found: list[type[BaseModel]] = [root]
    for part in loc:
        if isinstance(part, int):  # an item of a list is what the list is made of
            continue
        if len(found) > 1:  # a union of tables: the step is its tag
            found = [model for model in found if _tag(model) == part]
        elif part != "=table":
            field = found[0].model_fields.get(str(part)) if found else None
            # A key of a map (freeze, lr_groups) is no field; the model stays the map's.
            found = _models(field.annotation) if field is not None else found
    return found[0] if len(found) == 1 else None


def _tag(model: type[BaseModel]) -> str:
    choices = typing.get_args(model.model_fields["name"].annotation) if "name" in model.model_fields else ()
    return str(choices[0]) if choices else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models(inner)]
