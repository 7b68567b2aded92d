"""Recipes: the bytes of a file, and its tables."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from random import Random
from typing import Any

import tomli_w

from benchmarks.fuzz import mutations
from benchmarks.fuzz.trying import Attempt
from tlkit.plans import resolve, search_plan
from tlkit.recipe.parsing import build
from tlkit.sources.places import Places

_FOLDER = Path(__file__).parents[2] / "recipes"
_ARMS = 3  # tables of arms of a recipe that is changed: one of fifteen arms takes the time of ten others
_SETTINGS = (
    "schedule.epochs=2",
    "freeze.backbone=true",
    "seeds=[0, 1]",
    "lr_groups.head=0.1",
    "a.b=1",
    "data.options={}",
    "arms.x.y=1",
)


def prepare(folder: Path) -> Attempt:
    """Return what reads a wrong recipe and resolves its arms, as `tlkit validate` does."""
    texts = [path.read_bytes() for path in sorted(_FOLDER.glob("*.toml"))]
    texts = [text for text in texts if text.count(b"[arms.") <= _ARMS]
    tables = [tomllib.loads(text.decode()) for text in texts]
    keys = sorted(set(_names(json.loads((_FOLDER / "recipe.schema.json").read_text()))) | {"", "a.b", "layer4.0", "stem"})
    values = (*mutations.ODD, *_leaves(tables))
    path = folder / "recipe.toml"

    def attempt(number: int, draw: Random) -> None:
        if number % 3 == 0:
            path.write_bytes(mutations.of_bytes(draw.choice(texts), draw))
        else:
            changed = mutations.of_tables(draw.choice(tables), draw, keys=keys, values=values)
            try:
                path.write_text(tomli_w.dumps(changed), encoding="utf-8", errors="surrogatepass")
            except TypeError:  # a value that TOML cannot hold: Python's own caller may give it
                build(changed, where="recipe.toml")
                return
        settings = draw.sample(_SETTINGS, k=draw.choice((0, 0, 0, 1, 2)))
        read, _ = resolve.load(path, settings, Places(recipe=folder))
        search_plan.planned(read)

    return attempt


def _names(schema: Any) -> list[str]:
    """Return every name of a key in a JSON schema."""
    if isinstance(schema, dict):
        mine = list(schema.get("properties", {})) if isinstance(schema.get("properties"), dict) else []
        return mine + [name for each in schema.values() for name in _names(each)]
    return [name for each in schema for name in _names(each)] if isinstance(schema, list) else []


def _leaves(tables: Any) -> list[object]:
    """Return the values of the shipped recipes."""
    inner = tables.values() if isinstance(tables, dict) else tables
    found: list[object] = []
    for each in inner:
        found += _leaves(each) if isinstance(each, (dict, list)) else [each]
    return found
