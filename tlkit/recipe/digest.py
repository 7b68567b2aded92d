"""The digest of a run: what it differs from the frozen defaults in, and the content of its data and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tlkit.recipe import defaults
from tlkit.recipe.recipe import Arm


def digest_of(arm: Arm, content: Mapping[str, str]) -> str:
    """Return the sha256, in hex, of what determines a run.

    It covers what differs from the defaults in `tlkit.recipe.defaults`, and the content of data and weights. Paths are left out.

    Args:
        arm: With its plugin options' defaults filled.
        content: sha256 per thing that the arm names: its data, its weights.
    """
    tables = arm.model_dump(mode="json")
    for table in (tables["data"], *tables["also"].values()):
        table["options"].pop("path", None)
    told = defaults.differences(tables)
    if "weights" in content:
        del told["backbone"]["weights"]  # a file or a run: its content counts, not where it lies
    whole = {"version": defaults.VERSION, "arm": told, "content": dict(content)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
