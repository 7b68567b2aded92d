"""TOML text to a `Recipe`: merging arms, --set, and every problem at once in words.

The rule: a problem is reported where the person wrote it, once, however many arms share it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tlkit.errors import Interim, RecipeError, TlkitError, nearest
from tlkit.recipe import MAPS, ONLY_ARM, Arm, Header, Recipe

_HEADER = tuple(Header.model_fields)


@dataclass(frozen=True)
class Setting:
    """One --set: a dotted key as its parts, and a value."""

    path: tuple[str, ...]
    value: Any


def read(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: The TOML file.
        settings: "key=value" each, applied to every arm, or "arms.NAME.key=value" to one.

    Raises:
        RecipeError: with every problem found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TlkitError(f"{path}: there is no such recipe.", "tlkit init FOLDER writes one for a folder of images") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TlkitError(f"{path}: cannot be read: {error}") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TlkitError(f"{path}: is not TOML: {error}") from error
    return build(tables, where=str(path), settings=[parse_setting(setting) for setting in settings])


def build(tables: Mapping[str, Any], *, where: str, settings: Sequence[Setting] = ()) -> Recipe:
    """Make a recipe from its tables.

    Args:
        tables: As tomllib reads them.
        where: Begins every message, usually the file.
        settings: Applied after the arms are merged.

    Raises:
        RecipeError: with every problem found.
    """
    base: dict[str, Any] = copy.deepcopy(dict(tables))
    overrides = base.pop("arms", {})
    if not isinstance(overrides, dict) or not all(isinstance(arm, dict) for arm in overrides.values()):
        raise TlkitError(f"{where}: arms: is {overrides!r}.", "write a table per arm, [arms.NAME]")
    header = {key: base.pop(key) for key in _HEADER if key in base}
    arms = {name: _merge(base, arm) for name, arm in overrides.items()} or {ONLY_ARM: base}
    problems = [TlkitError(f"{where}: {problem}", *hints) for problem, *hints in _apply(settings, header, arms)]
    checked: dict[str, Arm] = {}
    found: dict[str, TlkitError] = {}
    for error in _errors(Header, header):
        _collect(found, error, where=where, prefix="")
    for name, arm in arms.items():
        try:
            checked[name] = Arm.model_validate(arm)
        except ValidationError as error:
            own = overrides.get(name, {})
            for line in error.errors():
                prefix = f"arms.{name}." if _wrote(own, line["loc"]) else ""
                _collect(found, line, where=where, prefix=prefix)
            if (rest := _without(arm, error)) is not None:
                checked[name] = rest
    problems += found.values()
    try:
        recipe = Recipe(**(header if not problems else _STAND_IN), arms=checked)
    except ValidationError as error:  # names of arms
        for line in error.errors():
            _collect(found, line, where=where, prefix="")
        raise RecipeError(problems or found.values()) from error
    if problems:
        raise Interim(problems, recipe if checked else None)
    return recipe


# Header of a recipe that is only looked at for more problems.
_STAND_IN = {"format": 1, "name": "x"}


def _without(arm: Mapping[str, Any], error: ValidationError) -> Arm | None:
    """Return an arm without the keys that are wrong, where it can stand without them."""
    rest = copy.deepcopy(dict(arm))
    for line in error.errors():
        *parents, last = _place(line["loc"]) or ("",)
        table: Any = rest
        for part in parents:
            table = table.get(part) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.pop(last, None)
    try:
        return Arm.model_validate(rest)
    except ValidationError:
        return None


def options(model: type[BaseModel] | None, values: Mapping[str, Any], *, place: str) -> BaseModel | None:
    """Check a plugin's own options against its model.

    Args:
        model: The plugin's, or None where it has no options.
        values: From the recipe.
        place: "data.options", for the messages.

    Raises:
        RecipeError: with every problem found.
    """
    if model is None:
        if values:
            raise RecipeError([TlkitError(f"{place}: this plugin has no options, and the recipe gives {', '.join(values)}.")])
        return None
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found: list[TlkitError] = []
        for line in error.errors():
            problem, *hints = _words(line, model)
            found.append(TlkitError(f"{'.'.join([place, *map(_quoted, line['loc'])])}: {problem}", *hints))
        raise RecipeError(found) from error


def digest(arm: Arm, content: Mapping[str, str]) -> str:
    """Return the sha256, in hex, of what determines a run: the arm without paths, and the content of data and weights.

    Args:
        arm: With its plugin options' defaults filled.
        content: sha256 per thing that the arm names: its data, its weights.
    """
    tables = arm.model_dump(mode="json")
    tables["data"]["options"].pop("path", None)
    if "weights" in content:
        tables["backbone"].pop("weights")  # a file or a run: its content counts, not where it lies
    text = json.dumps({"arm": tables, "content": dict(content)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def parse_setting(text: str) -> Setting:
    """Read "key.path=value"; a value that is not TOML is taken as a string.

    Raises:
        TlkitError: there is no key or no "=".
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TlkitError(f"--set {text}: is not key=value.", "for instance --set schedule.epochs=2")
    try:
        nested: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        raise TlkitError(
            f"--set {text}: {key!r} is not a key: {error}.", "quote a module path: 'freeze.\"layer4.0\"=true'"
        ) from error
    path = []
    while isinstance(nested, dict):
        part, nested = next(iter(nested.items()))
        path.append(part)
    try:
        return Setting(tuple(path), tomllib.loads(f"value = {value}")["value"])
    except tomllib.TOMLDecodeError:
        return Setting(tuple(path), value.strip())


def _merge(base: Mapping[str, Any], over: Mapping[str, Any], *, top: bool = True) -> dict[str, Any]:
    """Rule 7: an arm's maps replace, its other tables merge key by key."""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and not (top and key in MAPS):
            merged[key] = _merge(old, value, top=False)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _apply(settings: Iterable[Setting], header: dict[str, Any], arms: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Apply --set in order; return what could not be."""
    problems: list[tuple[str, ...]] = []
    for setting in settings:
        path, targets = setting.path, list(arms.values())
        if path[0] == "arms":
            if len(path) < 3 or path[1] not in arms:
                shown = ".".join(path)
                near = nearest(path[1], arms) if len(path) > 1 else ""
                problems.append((f"--set {shown}: names no arm.", f"arms: {', '.join(arms)}", near))
                continue
            path, targets = path[2:], [arms[path[1]]]
        elif path[0] in _HEADER:
            targets = [header]
        for target in targets:
            _put(target, path, setting.value)
    return problems


def _put(tables: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    nested = value
    for part in reversed(path[1:]):
        nested = {part: nested}
    deep = len(path) > 1
    if deep and path[0] in MAPS and isinstance(tables.get(path[0], {}), dict):
        tables[path[0]] = {**tables.get(path[0], {}), path[1]: nested[path[1]]}
    else:
        tables.update(_merge(tables, {path[0]: nested}))


def _errors(model: type[BaseModel], tables: Mapping[str, Any]) -> Sequence[Any]:
    try:
        model.model_validate(tables)
    except ValidationError as error:
        return error.errors()
    return ()


def _wrote(tables: Mapping[str, Any], loc: tuple[int | str, ...]) -> bool:
    """Whether an arm itself wrote the place that is wrong, or the table around it."""
    here: Any = tables
    parts = [part for part in _place(loc) if isinstance(part, str)]
    if not parts or parts[0] not in here:
        return False
    if parts[0] in MAPS:
        return True
    for part in parts:
        if not isinstance(here, Mapping):
            return True
        if part not in here:
            return False
        here = here[part]
    return True


def _place(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Drop the union tags that pydantic writes into a place."""
    if len(loc) > 1 and loc[0] in ("optimizer", "schedule"):
        loc = (loc[0], *loc[2:])
    return tuple(part for part in loc if not (isinstance(part, str) and part.startswith("=")))


def _collect(found: dict[str, TlkitError], line: Any, *, where: str, prefix: str) -> None:
    place = prefix + ".".join(_quoted(part) for part in _place(line["loc"]))
    problem, *hints = _words(line, Arm)
    start = f"{where}: {place}: " if place else f"{where}: "
    found.setdefault(f"{place}{problem}", TlkitError(f"{start}{problem}", *hints))


def _quoted(part: int | str) -> str:
    return f'"{part}"' if isinstance(part, str) and "." in part else str(part)


def _words(line: Any, root: type[BaseModel]) -> tuple[str, ...]:
    """Say in the house's words what pydantic found: (problem, hint, ...)."""
    kind, value, context, loc = line["type"], line["input"], line.get("ctx", {}), line["loc"]
    if kind == "extra_forbidden":
        keys = _keys(loc[:-1], root)
        return ("there is no such key.", f"keys: {', '.join(keys)}", nearest(str(loc[-1]), keys))
    if kind == "missing":
        return ("is missing.", _meaning(loc, root))
    if kind == "value_error":
        return (f"{context['error']}.",)
    if kind == "greater_than" and loc[0] == "lr_groups" and value == 0:
        return (
            "the rate is 0, which would still cost gradients and move BatchNorm.",
            f"to freeze it: freeze.{_quoted(loc[1])} = true",
        )
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return (
            f"there is no {loc[0]} {context['tag']!r}.",
            f"{loc[0]}s: {', '.join(tags)}",
            nearest(str(context["tag"]), tags),
        )
    if kind == "union_tag_not_found":
        return ("has no name.", f'say which, {loc[0]}.name = ".."')
    if kind == "literal_error":
        choices = str(context["expected"]).replace("'", '"')
        return (
            f"is {_shown(value)}.",
            f"one of: {choices}",
            nearest(str(value), choices.replace('"', "").replace(" or ", ", ").split(", ")),
        )
    if kind == "string_pattern_mismatch":
        return (
            f"is {_shown(value)}.",
            "letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder",
        )
    message = str(line["msg"]).removeprefix("Input ").replace("valid dictionary or instance of", "table:")
    return (f"is {_shown(value)}, but {message}.", _meaning(loc, root))


def _shown(value: object) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys(loc: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    model: Any = root
    keys = [*_HEADER, *Arm.model_fields, "arms"] if not loc and root is Arm else []
    for part in loc:
        model = _inner(model, part)
    return keys or (list(model.model_fields) if model is not None else [])


def _inner(model: Any, part: int | str) -> Any:
    """Return the model below one step of a pydantic place, where there is one."""
    if isinstance(model, list):  # a union of models: the step is its tag
        tagged = [m for m in model if part in (*typing.get_args(m.model_fields["name"].annotation),)] if part else []
        return tagged[0] if tagged else None
    if model is None:
        return None
    if part == "=table":
        return model
    field = model.model_fields.get(part)
    found = _models(field.annotation) if field is not None else [model]
    return found if len(found) > 1 and part in ("optimizer", "schedule") else (found[-1] if found else None)


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models(inner)]


def _meaning(loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    model: Any = Header if loc and loc[0] in _HEADER else root
    for part in loc[:-1]:
        model = _inner(model, part)
    field = model.model_fields.get(loc[-1]) if model is not None and not isinstance(model, list) else None
    if field is None:
        return ""
    return str(field.description or "")
