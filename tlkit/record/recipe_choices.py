"""What was decided once for all arms of a recipe, kept beside its runs in choices.json. Imports no torch.

The rule: a decision holds for every arm that it was made for, and for arms and seeds that a recipe has beside one of those. A recipe of
which no arm is as before gets a decision of its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tlkit import files
from tlkit.errors import RunFolderError
from tlkit.record import file_lock
from tlkit.record.formats import SharedFormats, SharedPrecision, SharedPrefix, WhenTested

CHOICES = "choices.json"
_KEPT = "kept since this recipe was first applied"


class _Decision(BaseModel):
    """What was decided, and the digests of the settings of the arms for which it was."""

    model_config = ConfigDict(frozen=True)

    precision: SharedPrecision | None = None
    prefixes: tuple[SharedPrefix, ...] = ()
    tested: WhenTested | None = None
    arms: frozenset[str]

    @property
    def formats(self) -> SharedFormats:
        return SharedFormats(self.precision, self.prefixes)


class _Decisions(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    decisions: tuple[_Decision, ...] = ()


@dataclass(frozen=True)
class SharedChoices:
    """What all arms of a recipe share.

    Attributes:
        formats: Of those that leave the precision to tlkit.
        tested: When test images are evaluated; None where the recipe says it.
    """

    formats: SharedFormats = field(default_factory=SharedFormats)
    tested: WhenTested | None = None


def find(recipe_folder: Path, arms: Collection[str]) -> SharedChoices:
    """Return what was decided for a recipe that has one of these arms.

    Args:
        recipe_folder: runs/<recipe>.
        arms: Digests of the settings of its arms.

    Raises:
        RunFolderError: the file is damaged.
    """
    found = _of(_read(recipe_folder / CHOICES), arms)
    if found is None:
        return SharedChoices()
    step = found.precision and replace(found.precision, reason=f"{_KEPT}: {found.precision.reason}")
    prefixes = tuple(replace(each, reason=f"{_KEPT}: {each.reason}") for each in found.prefixes)
    tested = found.tested and replace(found.tested, reason=f"{_KEPT}: {found.tested.reason}")
    return SharedChoices(SharedFormats(step, prefixes), tested)


def keep(recipe_folder: Path, arms: Collection[str], shared: SharedChoices) -> SharedChoices:
    """Write what was decided for a recipe; where another process was first, what that one decided counts.

    Returns:
        What counts.

    Raises:
        RunFolderError: the file is damaged.
        OSError: it cannot be written.
    """
    files.make_folder(recipe_folder)
    with file_lock.held(recipe_folder / ".lock"):
        files.remove_unfinished(recipe_folder / CHOICES)
        before = _read(recipe_folder / CHOICES)
        known = _of(before, arms) or _Decision(arms=frozenset())
        mine = known.formats
        new = (each for each in shared.formats.prefixes if mine.prefix(each.network, each.stages) is None)
        now = _Decision(
            precision=mine.step or shared.formats.step,
            prefixes=(*mine.prefixes, *new),
            tested=known.tested or shared.tested,
            arms=known.arms | set(arms),
        )
        if now != known:
            after = _Decisions(decisions=(*(each for each in before.decisions if each is not known), now))
            record = after.model_dump(mode="json")
            for decision in record["decisions"]:
                decision["arms"].sort()
            files.replace(recipe_folder / CHOICES, json.dumps(record, indent=2) + "\n")
    return SharedChoices(now.formats, now.tested)


def _of(record: _Decisions, arms: Collection[str]) -> _Decision | None:
    return next((each for each in reversed(record.decisions) if not each.arms.isdisjoint(arms)), None)


def _read(path: Path) -> _Decisions:
    try:
        return _Decisions.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):  # what writes there says that the folder is a file
        return _Decisions()
    except (OSError, ValidationError) as error:
        raise RunFolderError(
            f"{path}: is damaged.", "remove it: what all arms of this recipe share is then decided anew"
        ) from error
