"""The JSON Schema of a recipe file, for editors.

Plugin names and plugin options stay open in it, so it does not depend on what is installed.
"""

from __future__ import annotations

import json
from typing import Any

from tlkit.recipe.recipe import Arm, Header
from tlkit.recipe.tables import LONGEST, NAME


def text() -> str:
    """Return the schema as it lies in recipes/recipe.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """Return the schema of a recipe file: a header, one arm's tables, and arms that change some of them."""
    arm = Arm.model_json_schema(ref_template="#/$defs/{model}")
    header = Header.model_json_schema()
    tables: dict[str, Any] = arm.pop("$defs")
    partial = {key: _partial(value) for key, value in arm["properties"].items()}
    tables |= {f"{name}InArm": _without_required(table) for name, table in tables.items() if name in _TABLES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tlkit recipe",
        "description": "An arm may leave out what the recipe's own tables say; arms together must be complete.",
        "type": "object",
        "additionalProperties": False,
        "required": header["required"],
        "properties": {
            **header["properties"],
            **partial,
            "arms": {
                "type": "object",
                "description": "each is the recipe with these tables changed; freeze and lr_groups are replaced whole",
                "propertyNames": {"pattern": NAME, "maxLength": LONGEST},
                "additionalProperties": {"type": "object", "additionalProperties": False, "properties": partial},
            },
        },
        "$defs": {name: table for name, table in tables.items() if name not in _TABLES},
    }


# Tables that an arm may give in part.
_TABLES = (
    "BackboneTable",
    "HeadTable",
    "DataTable",
    "Sgd",
    "Adam",
    "AdamW",
    "Constant",
    "Step",
    "Cosine",
    "OneCycle",
    "EarlyStopping",
)


def _partial(value: dict[str, Any]) -> dict[str, Any]:
    """Point a property at the partial form of its table."""
    text = json.dumps(value)
    for name in _TABLES:
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{name}InArm"')
    changed: dict[str, Any] = json.loads(text)
    changed.pop("discriminator", None)
    if "oneOf" in changed:  # without its name a partial table may be one of several
        changed["anyOf"] = changed.pop("oneOf")
    return changed


def _without_required(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "required"}
