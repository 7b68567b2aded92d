"""Ensembles of a recipe's runs: which runs each has, and ensembles.json, which holds their metrics. Imports no torch.

The rule: the file says which run folders it is of; where these are not the runs of the recipe any more, or one of them trains again, it is
computed again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tlkit import files
from tlkit.recipe.ensemble import Ensemble
from tlkit.record import run_folder
from tlkit.record.run_folder import Coordinates, Metrics

FILE = "ensembles.json"
FORMAT = 2


@dataclass(frozen=True)
class Group:
    """The members of an ensemble.

    Attributes:
        name: Of its arm, or of all of its arms.
        seed: That they have in common; None of an ensemble of seeds.
        fold: Likewise, with cross-validation.
        folders: Names of their run folders, in the order of the recipe.
    """

    name: str
    seed: int | None
    fold: int | None
    folders: tuple[str, ...]

    @property
    def weights(self) -> str:
        """Name of the file that keeps the mean of its members' weights."""
        of = self.name if self.seed is None else f"s{self.seed}"
        return f"soup-{of}{'' if self.fold is None else f'-f{self.fold}'}.safetensors"


@dataclass(frozen=True)
class Combined:
    """What an ensemble achieves.

    Attributes:
        group: Its members.
        used: Names of the run folders whose weights or probabilities are averaged, in the order in which they were chosen.
        validation: Its metrics on the validation images; None where its members have not the same ones.
        test: On the test images; None likewise, or where there are none.
        member_accuracy: The mean accuracy of its members on the test images; None likewise.
        why_none: Why there is no ensemble of these members; "" where there is one.
        failed: It could not be computed, as a file was damaged or images were not there: it is tried again.
        weights: Name of the file with the averaged weights, in the recipe's folder; "" where probabilities are averaged.
    """

    group: Group
    used: tuple[str, ...] = ()
    validation: Metrics | None = None
    test: Metrics | None = None
    member_accuracy: float | None = None
    why_none: str = ""
    failed: bool = False
    weights: str = ""


_ADAPTER = TypeAdapter(tuple[Combined, ...])


def groups(ensemble: Ensemble, current: Mapping[Coordinates, Path]) -> tuple[Group, ...]:
    """Return the ensembles all of whose members are finished.

    Args:
        ensemble: The recipe's table.
        current: Run folder of each run of the recipe.
    """
    finished = {key for key, folder in current.items() if _is_finished(folder)}
    arms = dict.fromkeys(arm for arm, _, _ in current)
    if not isinstance(ensemble.members, list):
        found = [(Group(arm, None, None, ()), [key for key in current if key[0] == arm]) for arm in arms]
    else:
        wanted = dict.fromkeys((seed, fold) for _, seed, fold in current)
        name = " + ".join(ensemble.members)
        found = [(Group(name, seed, fold, ()), [(arm, seed, fold) for arm in ensemble.members]) for seed, fold in wanted]
    return tuple(
        Group(group.name, group.seed, group.fold, tuple(current[key].name for key in keys))
        for group, keys in found
        if len(keys) > 1 and finished.issuperset(keys)
    )


def write(recipe_folder: Path, ensemble: Ensemble, combined: Sequence[Combined]) -> None:
    """Write what the ensembles of a recipe achieve.

    Raises:
        OSError: it cannot be written.
    """
    record = {"format": FORMAT, "average": ensemble.average, "ensembles": [asdict(each) for each in combined]}
    files.replace(recipe_folder / FILE, run_folder.text(record))


def read(recipe_folder: Path, ensemble: Ensemble, wanted: Sequence[Group]) -> tuple[Combined, ...]:
    """Return what these ensembles achieve, as far as the file says it."""
    average, combined = _load(recipe_folder)
    return tuple(each for each in combined if each.group in wanted) if average == ensemble.average else ()


def missing(recipe_folder: Path, ensemble: Ensemble, wanted: Sequence[Group]) -> tuple[Group, ...]:
    """Return those of some ensembles that the file does not tell of, that failed, or whose file of weights is not there."""
    done = {
        each.group
        for each in read(recipe_folder, ensemble, wanted)
        if not each.failed and (not each.weights or (recipe_folder / each.weights).is_file())
    }
    return tuple(group for group in wanted if group not in done)


def forget(recipe_folder: Path, run: str) -> None:
    """Remove the file if a run that trains again is a member of one of its ensembles, so that they are computed again.

    Args:
        recipe_folder: runs/<recipe>.
        run: Name of the run folder.

    Raises:
        OSError: it cannot be removed.
    """
    _, combined = _load(recipe_folder)
    if any(run in each.group.folders for each in combined):
        (recipe_folder / FILE).unlink(missing_ok=True)


def to_record(each: Combined) -> dict[str, object]:
    """Return an ensemble as result.json has it."""
    return {
        "seed": each.group.seed,
        "fold": each.group.fold,
        "members": list(each.group.folders),
        "used": list(each.used),
        "validation": each.validation,
        "test": each.test,
        "why_none": each.why_none,
    }


def _load(recipe_folder: Path) -> tuple[str, tuple[Combined, ...]]:
    """Return how the members in the file are averaged, and its ensembles; none where it is missing, damaged or of another version."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ValidationError, RecursionError):
        record = json.loads((recipe_folder / FILE).read_text(encoding="utf-8"))
        if record["format"] == FORMAT:
            return str(record["average"]), _ADAPTER.validate_json(json.dumps(record["ensembles"]))
    return "", ()


def _is_finished(folder: Path) -> bool:
    result = run_folder.read(folder) if folder.is_dir() else None
    return result is not None and result.status == "finished"
