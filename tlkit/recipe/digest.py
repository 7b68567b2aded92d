"""Compute the digest of a run from its arm's settings and from the content of its data and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tlkit.recipe import defaults
from tlkit.recipe.recipe import Arm


def digest_of(
    arm: Arm, content: Mapping[str, str], *, folds: int | None = None, versions: Mapping[str, str] | None = None
) -> str:
    """Return a run's digest: a sha256, in hex, of everything that determines its result.

    It covers the settings that differ from `tlkit.recipe.defaults`, and the content of data and weights. Paths do not count.

    Args:
        arm: The arm, with the defaults of its plugins' options filled in.
        content: The sha256 of each input that the arm names: its data, its weights.
        folds: Number of folds of the cross-validation, if there is one. All folds have one digest, as all seeds have.
        versions: The version of each data set whose plugin declares one, by its key in `content`; {} leaves the digest as it is.
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
    for key, version in (versions or {}).items():
        whole["divided" if key == "data" else f"divided.{key}"] = version  # named after the first version that there was
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
