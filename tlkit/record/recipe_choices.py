"""What was decided once for all arms of a recipe, kept beside its runs in choices.json. Imports no torch.

The rule: a decision holds for every arm that it was made for, and for arms and seeds that a recipe has beside one of those. A recipe of
which no arm is as before gets a decision of its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from tlkit import files
from tlkit.errors import RunFolderError
from tlkit.record.formats import Precision, SharedPrecision

CHOICES = "choices.json"


class _Decision(BaseModel):
    """A precision, why, and the digests of the settings of the arms that have it."""

    model_config = ConfigDict(frozen=True)

    precision: Precision
    reason: str
    arms: frozenset[str]


class _Decisions(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    decisions: tuple[_Decision, ...] = ()


def find(recipe_folder: Path, arms: Collection[str]) -> SharedPrecision | None:
    """Return what was decided for a recipe that has one of these arms; None where nothing was.

    Args:
        recipe_folder: runs/<recipe>.
        arms: Digests of the settings of the arms that leave the precision to tlkit.

    Raises:
        RunFolderError: the file is damaged.
    """
    found = _of(_read(recipe_folder / CHOICES), arms)
    if found is None:
        return None
    return SharedPrecision(found.precision, f"kept since this recipe was first applied: {found.reason}")


def keep(recipe_folder: Path, arms: Collection[str], shared: SharedPrecision) -> SharedPrecision:
    """Write what was decided for a recipe; where another process was first, what that one decided counts.

    Returns:
        What counts.

    Raises:
        RunFolderError: the file is damaged.
        OSError: it cannot be written.
    """
    recipe_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(recipe_folder / ".lock", timeout=60):
        before = _read(recipe_folder / CHOICES)
        known = _of(before, arms)
        if known is not None and known.arms >= set(arms):
            return SharedPrecision(known.precision, known.reason)
        mine = known or _Decision(precision=shared.precision, reason=shared.reason, arms=frozenset())
        now = mine.model_copy(update={"arms": mine.arms | set(arms)})
        after = _Decisions(decisions=(*(each for each in before.decisions if each is not known), now))
        record = after.model_dump(mode="json")
        for decision in record["decisions"]:
            decision["arms"].sort()
        files.replace(recipe_folder / CHOICES, json.dumps(record, indent=2) + "\n")
    return SharedPrecision(now.precision, now.reason)


def _of(record: _Decisions, arms: Collection[str]) -> _Decision | None:
    return next((each for each in reversed(record.decisions) if not each.arms.isdisjoint(arms)), None)


def _read(path: Path) -> _Decisions:
    try:
        return _Decisions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _Decisions()
    except ValidationError as error:
        raise RunFolderError(
            f"{path}: is damaged.", "remove it: the precision of this recipe's arms is then decided anew"
        ) from error
