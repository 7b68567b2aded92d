"""Compute the digest of a run from its arm's settings and from the content of its data and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tlkit.recipe import defaults
from tlkit.recipe.recipe import Arm


def digest_of(arm: Arm, content: Mapping[str, str], *, folds: int | None = None) -> str:
    """Return a run's digest: a sha256, in hex, of everything that determines its result.

    It covers the settings that differ from `tlkit.recipe.defaults`, and the content of data and weights. Paths do not count.

    Args:
        arm: The arm, with the defaults of its plugins' options filled in.
        content: The sha256 of each input that the arm names: its data, its weights.
        folds: Number of folds of the cross-validation, if there is one. All folds have one digest, as all seeds have.
    """
    tables = arm.model_dump(mode="json")
    unlabelled = tables["data"]["unlabelled"]
    for table in (tables["data"], *tables["also"].values(), *([] if unlabelled is None else [unlabelled])):
        table["options"].pop("path", None)
    changes = defaults.differences(tables)
    if "weights" in content:
        del changes["backbone"]["weights"]  # a file or a run: its content counts, not where it lies
    whole: dict[str, object] = {"version": defaults.VERSION, "arm": changes, "content": dict(content)}
    if folds is not None:  # the digest of a recipe without cross-validation stays as it is
        whole["folds"] = folds
        if _has_own_tables(tables["data"]):  # folds that were trained when these were divided too are of other images
            whole["divided"] = "train"
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _has_own_tables(data: Mapping[str, Any]) -> bool:
    """Return whether tables alone say which images of a CSV data set are validation and test images."""
    options = data["options"]
    if data["name"] != "csv" or options.get("split"):
        return False
    return bool(options.get("test_file") or options.get("validation_file"))
