"""Merge an arm's tables, and `--set`, into the recipe's own tables.

The rule: [freeze] and [lr_groups] are replaced whole; a table whose keys depend on its `name` (or `kind`) is replaced whole when
another name is given; `{}` empties a table; all other tables merge key by key. Of [adapt] another method replaces the options alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from tlkit.recipe.domains import NONE
from tlkit.recipe.recipe import MAPS, USUAL
from tlkit.recipe.settings import Setting

# Of these keys of [data] a table that gives one replaces the other.
_SIZES = {"image_size", "image_sizes"}
_METHOD = "method"  # the key of [adapt] that decides which options it may have
# Table -> (the key that decides which other keys the table may have, the default value of that key).
TAGS = {
    "optimizer": ("name", USUAL["optimizer"]),
    "schedule": ("name", USUAL["schedule"]),
    "head": ("kind", "linear"),
    "data": ("name", None),
}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge an arm's tables into the recipe's own tables, and return the result.

    Args:
        base: The recipe's own tables.
        over: The arm's tables.
    """
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            old = _kept(key, old, value)
        keep = isinstance(value, dict) and isinstance(old, dict) and key not in MAPS and not _another(key, old, value)
        merged[key] = _merge_tables(old, value) if keep else copy.deepcopy(value)
    return merged


def set_(tables: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Apply one setting to an arm's merged tables. A key of [freeze] or [lr_groups] is added to the map.

    Args:
        tables: Changed in place.
        path: The parts of the dotted key.
        value: The value, as read from TOML.
    """
    nested = value
    for part in reversed(path[1:]):
        nested = {part: nested}
    if len(path) > 1 and path[0] in MAPS and isinstance(tables.get(path[0], {}), dict):
        old, new = tables.get(path[0], {}), nested[path[1]]
        both = len(path) > 2 and isinstance(old.get(path[1]), dict)  # a key of a part's own table, lr_groups.backbone.decay
        tables[path[0]] = {**old, path[1]: _merge_tables(old[path[1]], new) if both else new}
    else:
        tables.update(merge(tables, {path[0]: nested}))


def names_first(settings: Iterable[Setting]) -> list[Setting]:
    """Sort settings: those that name an optimizer, schedule, head, data set or method come first, since they can replace a table."""
    return sorted(settings, key=lambda setting: not _is_name(setting.path))


def _is_name(path: tuple[str, ...]) -> bool:
    path = path[2:] if path[0] == "arms" else path
    return path == ("adapt", _METHOD) or (len(path) == 2 and path[0] in TAGS and path[1] == TAGS[path[0]][0])


def _kept(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of an old table that a new one does not make meaningless: its sizes, or the options of another method."""
    gone: set[str] = set()
    if key == "data" and len(_SIZES & new.keys()) == 1:
        gone = _SIZES
    elif key == "adapt" and _METHOD in new and new[_METHOD] != old.get(_METHOD, NONE):
        gone = {"options"}
    return {name: each for name, each in old.items() if name not in gone}


def _another(table: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether a new table names another optimizer, schedule, head or data set than the old one."""
    if table not in TAGS:
        return False
    tag, usual = TAGS[table]
    return tag in new and new[tag] != old.get(tag, usual)


def _merge_tables(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables key by key, at any depth. An empty new table gives an empty table."""
    if not new:
        return {}
    merged = dict(old)
    for key, value in new.items():
        inner = merged.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        merged[key] = _merge_tables(inner, value) if both else copy.deepcopy(value)
    return merged
