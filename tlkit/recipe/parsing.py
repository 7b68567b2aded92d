"""Read a recipe file, merge its arms, apply --set, and report all problems together.

The rule: each problem is reported once, at the place where the user wrote it, even if several arms have it.
"""

from __future__ import annotations

import copy
import os
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tlkit.errors import MOST_CHECKED, RecipeError, TlkitError, first_few, in_setting, nearest, option, setting
from tlkit.plugin import image_kinds
from tlkit.recipe import other_names, shipped_recipes
from tlkit.recipe.merging import merge, names_first, set_
from tlkit.recipe.messages import Said, dotted, errors, no_such_key, said, shown, words
from tlkit.recipe.recipe import FORMAT, MAPS, ONLY_ARM, UNKNOWN, Arm, Header, Recipe
from tlkit.recipe.settings import Setting, parse_setting, read_toml
from tlkit.recipe.tables import LONGEST, NAME, NAMING

_HEADER = tuple(Header.model_fields)
_TOP = (*_HEADER, "arms")  # keys of a recipe that no arm has


def read(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: The TOML file.
        settings: "key=value" each, applied to every arm, or "arms.NAME.key=value" to one.

    Raises:
        RecipeError: with every problem found.
    """
    if os.path.isfile(path) and image_kinds.kind_of_suffix(path.suffix.lower()) is image_kinds.Kind.IMAGE:
        raise TlkitError(
            f"{path}: is a picture, not a recipe.",
            "a recipe is a TOML file; tlkit init, inspect and advise take a folder of images",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")  # with a byte order mark or without
    except (FileNotFoundError, NotADirectoryError):
        raise TlkitError(
            f"{path}: there is no such recipe.",
            *shipped_recipes.hint(path.name),
            "tlkit init FOLDER writes one for a folder of images",
        ) from None
    except IsADirectoryError:
        raise TlkitError(
            f"{path}: is a folder, not a recipe.", f"tlkit init {shlex.quote(str(path))} writes one for a folder of images"
        ) from None
    except UnicodeDecodeError:
        raise TlkitError(
            f"{path}: is not a recipe: it is not text in UTF-8.", "a recipe is a TOML file; save it as UTF-8"
        ) from None
    except OSError as error:
        raise TlkitError(f"{path}: cannot be read: {error.strerror or error}.") from error
    try:
        tables = read_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise TlkitError(f"{path}: is not TOML: {error}.", _about_backslashes(text, str(error))) from error
    if not tables:
        raise TlkitError(f"{path}: is empty, not a recipe.", "tlkit init FOLDER writes one for a folder of images")
    return build(tables, where=str(path), settings=[parse_setting(setting) for setting in settings])


def _about_backslashes(text: str, error: str) -> str:
    """Return a hint where the wrong line has a backslash in double quotes, as a path of Windows; else ""."""
    found = re.search(r"at line (\d+)", error)
    line = text.splitlines()[int(found[1]) - 1] if found and int(found[1]) <= len(text.splitlines()) else ""
    path = re.search(r'"([^"]*\\[^"]*)"', line)
    return f"in double quotes a backslash begins an escape; write '{path[1]}' in single quotes, or with /" if path else ""


def build(tables: Mapping[str, Any], *, where: str, settings: Sequence[Setting] = ()) -> Recipe:
    """Build a recipe from its tables.

    Args:
        tables: The tables, as tomllib returns them.
        where: Begins every message, usually the file.
        settings: Applied after the arms are merged.

    Raises:
        RecipeError: with every problem found.
    """
    base: dict[str, Any] = copy.deepcopy(dict(tables))
    problems = _Problems(where)
    overrides = _overrides(base.pop("arms", {}), problems)
    header = {key: base.pop(key) for key in _HEADER if key in base}
    arms = {name: merge(base, arm) for name, arm in overrides.items()} or {ONLY_ARM: base}
    written = {"": said(Header, header) | said(Arm, base)}
    before = {name: dict(arm) for name, arm in arms.items()}
    _apply(settings, header, arms, problems)
    for line in errors(Header, header):
        problems.add_line(line, Header, written, arm="")
    _check_baseline(header, arms, problems, given=any(setting.path == ("baseline",) for setting in settings))
    _check_ensemble(header, arms, problems, given=any(setting.path[0] == "ensemble" for setting in settings))
    checked: dict[str, Arm] = {}
    for name, arm in arms.items():
        if len(problems.found) >= MOST_CHECKED:
            break
        lines, at = errors(Arm, arm), f"{dotted('arms', name)}."
        if lines:
            written[at] = said(Arm, before[name])
        for line in lines:
            problems.add_line(line, Arm, written, arm=at)
        rest = _without(arm, lines) if lines else Arm.model_validate(arm)
        if rest is not None:
            checked[name] = rest
    if problems.found:
        stand_in = Recipe.model_construct(format=FORMAT, name="x", arms=checked)
        raise RecipeError(problems.found.values(), rest=stand_in if checked else None)
    return Recipe(**header, arms=checked)


def options(model: type[BaseModel] | None, values: Mapping[str, Any], *, place: str) -> BaseModel | None:
    """Check a plugin's options, and return them as its model.

    Args:
        model: The plugin's model of its options, or None if it has no options.
        values: The options in the recipe.
        place: The table's name in messages, for instance "data.options".

    Raises:
        RecipeError: with every problem found.
    """
    if model is None:
        if values:
            problem = f"{place}: this plugin has no options, and is given {first_few(values)}."
            fix = f"{option('data')} names the folder of its files" if place == "data.options" and "path" in values else ""
            raise RecipeError([TlkitError(problem, fix)])
        return None
    found = []
    for line in errors(model, values):
        problem, *hints = words(line, model)
        found.append(TlkitError(f"{'.'.join([place, *map(dotted, line['loc'])])}: {problem}", *hints))
    if found:
        raise RecipeError(found)
    return model.model_validate(dict(values))


class _Problems:
    """Collect problems, each one once, with the place where the user wrote it."""

    def __init__(self, where: str) -> None:
        self.found: dict[str, TlkitError] = {}
        self._where = where

    def add(self, at: str, problem: str, *hints: str) -> None:
        self.found.setdefault(f"{at}: {problem}", TlkitError(f"{self._where}: {at}: {problem}", *hints))

    def add_line(self, line: ErrorDetails, root: type[BaseModel], written: Mapping[str, set[Said]], *, arm: str) -> None:
        """Add a problem that pydantic found.

        Args:
            line: From pydantic.
            root: The model that was validated.
            written: What is wrong without --set: under "" in the recipe's own tables, under "arms.NAME." in an arm.
            arm: "arms.NAME." of the arm that was validated.
        """
        at, told = dotted(*line["loc"]), words(line, root)
        if arm and (at, told) in written[arm] and (at, told) not in written[""]:
            self.add(f"{arm}{at}", *told)
            return
        if line["type"] == "extra_forbidden" and len(line["loc"]) == 1:  # a key of the recipe itself, which has more keys
            told = no_such_key(at, (*_TOP, *root.model_fields), other_names.hint(at))
        self.add(at if (at, words(line, root)) in written[""] else in_setting(at), *told)


def _overrides(arms: object, problems: _Problems) -> dict[str, dict[str, Any]]:
    """Return the arms that are tables; add a problem for every other."""
    if not isinstance(arms, dict):
        problems.add("arms", f"is {shown(arms)}, but should be a table.", "write a table per arm, [arms.NAME]")
        return {}
    for name, arm in arms.items():
        if not isinstance(arm, dict):
            problems.add(dotted("arms", name), f"is {shown(arm)}, but should be a table.", f"[{dotted('arms', name)}]")
        if not re.fullmatch(NAME, name) or len(name) > LONGEST:
            problems.add(dotted("arms", name), "is not a name for an arm.", f"{NAMING}, at most {LONGEST} characters")
    return {name: arm for name, arm in arms.items() if isinstance(arm, dict)}


def _check_baseline(header: Mapping[str, Any], arms: Mapping[str, Any], problems: _Problems, *, given: bool) -> None:
    """Add a problem where the baseline is no arm; `given` says that it comes from a setting."""
    name = header.get("baseline")
    if isinstance(name, str) and name not in arms:
        at = in_setting("baseline") if given else "baseline"
        problems.add(at, f"there is no arm {shown(name)}.", f"arms: {first_few(arms, 20)}", nearest(name, arms))


def _check_ensemble(header: Mapping[str, Any], arms: Mapping[str, Any], problems: _Problems, *, given: bool) -> None:
    """Add the problems of [ensemble] with the arms and seeds; what is wrong in itself is said already."""
    try:
        checked = Header.model_validate(header)
    except ValidationError:
        return
    folds = checked.cross_validation.folds if checked.cross_validation is not None else None
    for each in checked.ensemble.problems(arms, seeds=len(checked.seeds), folds=folds) if checked.ensemble is not None else ():
        at, _, what = each.problem.partition(": ")
        problems.add(in_setting(at) if given else at, what, *each.hints)


def _without(arm: Mapping[str, Any], lines: Sequence[ErrorDetails]) -> Arm | None:
    """Return an arm without its wrong keys, so that the rest can be checked; None if no arm can be made from the rest.

    Without the table of its target [adapt] would be wrong too, and is left out with it.
    """
    rest = copy.deepcopy(dict(arm))
    _leave_out_(rest, lines)
    unnamed = [table for table in _STAND_INS if "name" not in rest.get(table, {})]
    for table, keys in _STAND_INS.items():
        rest[table] = keys | rest.get(table, {})
    _leave_out_(rest, errors(Arm, rest))  # a table that needs the wrong key, or a key that goes by it
    if _lost_target(arm, rest):
        rest.pop("adapt", None)
    try:
        made = Arm.model_validate(rest)
    except ValidationError:
        return None
    return made.model_copy(update={table: getattr(made, table).model_copy(update={"name": UNKNOWN}) for table in unnamed})


def _leave_out_(rest: dict[str, Any], lines: Sequence[ErrorDetails]) -> None:
    """Remove the wrong keys of an arm, and tables that lack a key, except for those that get a stand-in for it."""
    for line in lines:
        at = tuple(map(str, line["loc"]))
        if line["type"] == "missing":
            at = at[:-1] if at[0] not in _STAND_INS or len(at) > 2 else ()
        if at:
            _drop(rest, at)


def _lost_target(arm: Mapping[str, Any], rest: Mapping[str, Any]) -> bool:
    """Return whether the table of the target of [adapt] is among what was left out as wrong."""
    adapt, also = arm.get("adapt"), arm.get("also")
    target = adapt.get("target") if isinstance(adapt, dict) else None
    if not isinstance(target, str) or also is None:
        return False
    return (not isinstance(also, dict) or target in also) and target not in rest.get("also", {})


# The keys that every arm needs, with values that take the place of missing ones.
_STAND_INS = {"backbone": {"name": "x", "weights": "none"}, "data": {"name": "x"}}


def _drop(tables: dict[str, Any], at: Sequence[str]) -> None:
    """Remove one wrong key. In the two maps a correct value replaces it: a gap there would cause another message."""
    if at[0] in MAPS:
        keys = [at[1]] if len(at) > 1 else ["backbone", "head"]
        old = tables[at[0]] if len(at) > 1 else {}
        tables[at[0]] = old | {key: key != "head" if at[0] == "freeze" else 1.0 for key in keys}
        return
    here = tables
    for part in at[:-1]:
        if not isinstance(here.get(part), dict):
            here.pop(part, None)
            return
        here = here[part]
    here.pop(at[-1], None)


def _apply(settings: Sequence[Setting], header: dict[str, Any], arms: dict[str, dict[str, Any]], problems: _Problems) -> None:
    """Apply the --set options in order, to the head of the recipe or to its arms."""
    for given in names_first(settings):
        path, targets = given.path, list(arms.values())
        if path[0] == "arms":
            at = in_setting(dotted(*path))
            if len(path) > 1 and path[1] not in arms:
                problems.add(at, f"there is no arm {shown(path[1])}.", f"arms: {first_few(arms, 20)}", nearest(path[1], arms))
                continue
            if len(path) < 3:
                problems.add(at, "names no key of an arm.", setting("arms.NAME.key=value"))
                continue
            if path[2] in _HEADER:
                whole = setting(f"{dotted(*path[2:])}={shown(given.value)}")
                problems.add(at, f"{path[2]} stands at the head of a recipe, for all of its arms.", whole)
                continue
            path, targets = path[2:], [arms[path[1]]]
        elif path[0] in _HEADER:
            targets = [header]
        for target in targets:
            set_(target, path, given.value)
