"""Make the JSON Schema of a recipe file, which editors use to complete and check it.

It accepts any plugin name and any plugin options, so it does not depend on the installed plugins.
"""

from __future__ import annotations

import json
from typing import Any, get_args

from tlkit.recipe.optimizers import Optimizer
from tlkit.recipe.recipe import Arm, Header
from tlkit.recipe.schedules import Schedule
from tlkit.recipe.tables import LONGEST, NAME


def text() -> str:
    """Return the schema as text, exactly as in recipes/recipe.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """Return the schema of a recipe file: the keys at its head, the tables, and the arms that change some of them."""
    arm = Arm.model_json_schema(ref_template="#/$defs/{model}")
    header = Header.model_json_schema(ref_template="#/$defs/{model}")
    tables: dict[str, Any] = arm.pop("$defs") | header.pop("$defs")
    partial = {key: _partial(value) for key, value in arm["properties"].items()}
    tables |= {f"{name}InArm": _without_required(table) for name, table in tables.items() if name in _TABLES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tlkit recipe",
        "description": "A recipe of tlkit. An arm changes some of the recipe's own tables; merged with them, every arm must be complete.",
        "type": "object",
        "additionalProperties": False,
        "required": header["required"],
        "properties": {
            **header["properties"],
            **partial,
            "arms": {
                "type": "object",
                "description": "variants of the recipe. Each changes the tables that it gives; freeze and lr_groups are replaced as a whole, "
                "and so is a table that names another optimizer, schedule, head or data set",
                "propertyNames": {"pattern": NAME, "maxLength": LONGEST},
                "additionalProperties": {"type": "object", "additionalProperties": False, "properties": partial},
            },
        },
        "$defs": {name: table for name, table in tables.items() if name not in _TABLES},
    }


# Tables of which an arm may give only some keys.
_TABLES = (
    "BackboneTable",
    "HeadTable",
    "DataTable",
    *(table.__name__ for tables in (Optimizer, Schedule) for table in get_args(tables)),
    "EarlyStopping",
    "AdaptTable",
)


def _partial(value: dict[str, Any]) -> dict[str, Any]:
    """Return a property that refers to the partial form of its table, in which no key is required."""
    text = json.dumps(value)
    for name in _TABLES:
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{name}InArm"')
    changed: dict[str, Any] = json.loads(text)
    changed.pop("discriminator", None)
    if "oneOf" in changed:  # a partial table without its name fits several of them
        changed["anyOf"] = changed.pop("oneOf")
    return changed


def _without_required(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "required"}
