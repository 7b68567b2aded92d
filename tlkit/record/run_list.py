"""Every run below a folder, those of older versions of a recipe too, and in which keys they differ. Imports no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tlkit.errors import RunFolderError, RunLocked
from tlkit.record import results, run_differences, run_files, run_folder, run_lock, run_status
from tlkit.record.run_folder import RunResult


@dataclass(frozen=True)
class ListedRun:
    """A run.

    Attributes:
        folder: Its folder.
        result: What it says, and that it is interrupted where its process was killed; None where that cannot be read.
        superseded: Whether the recipe, as it was last applied, has another run in its place.
        bytes: Size of its files.
        written: When its result was last written, seconds since 1970.
        keys: Of its recipe, with the digests of its inputs.
        differs: Those of `keys` in which runs of the same recipe and arm differ; None where it lacks such a key.
        error: Why something cannot be read, or which file of a finished run is missing or has another size; "" if everything is there.
        heard: When a run that is not known to have ended gave its last sign, seconds since 1970; None where its process is one of this machine.
    """

    folder: Path
    result: RunResult | None
    superseded: bool
    bytes: int
    written: float
    keys: Mapping[str, object] = field(default_factory=dict)
    differs: Mapping[str, object] = field(default_factory=dict)
    error: str = ""
    heard: float | None = None


def below(folder: Path) -> list[ListedRun]:
    """Return every run in a folder and below it, by recipe, arm and seed, the newest last.

    Raises:
        RunFolderError: there is no such folder.
    """
    if os.path.isfile(folder):
        raise RunFolderError(
            f"{folder}: is a file, not a folder of runs.",
            "apply writes runs into runs, or into the folder that its --runs names",
        )
    if not folder.is_dir():
        raise RunFolderError(
            f"{folder}: there is no such folder.", "apply writes runs into runs, or into the folder that its --runs names"
        )
    superseded_in = cache(_superseded_in)  # of each recipe once, however many runs it has
    runs = [_listed(path, superseded=path.name in superseded_in(path.parent)) for path in _folders(folder)]
    runs.sort(key=_order)
    arms: dict[tuple[Path, str], list[ListedRun]] = {}
    for run in runs:
        if run.result is not None:
            arms.setdefault((run.folder.parent, run.result.arm), []).append(run)
    differing = {arm: _differing(each) for arm, each in arms.items()}
    return [
        replace(run, differs={key: run.keys.get(key) for key in differing[run.folder.parent, run.result.arm]})
        if run.result
        else run
        for run in runs
    ]


def remove(run: ListedRun) -> str:
    """Remove a superseded run from disk.

    Returns:
        Why it was left; "" if it is gone.
    """
    try:
        with run_lock.locked(run.folder):
            if run.folder.name not in _superseded_in(run.folder.parent):  # the recipe was changed back meanwhile
                return "is no longer superseded"
            shutil.rmtree(run.folder)
        results.forget(run.folder.parent)
    except RunLocked:
        return "another process is running it"
    except OSError as error:
        return f"cannot be removed: {error.strerror or error}"
    return ""


def _folders(folder: Path) -> Iterator[Path]:
    for path, names, files in os.walk(folder):
        if run_folder.RECIPE in files and run_folder.RESULT in files:
            names.clear()  # a run holds no other run
            yield Path(path)


def _listed(folder: Path, *, superseded: bool) -> ListedRun:
    result, heard, keys, error = None, None, dict[str, object](), ""
    try:
        result = run_status.read(folder)
        heard = run_status.last_sign(folder) if result is not None and result.status == "running" else None
        keys = run_differences.keys(folder)
        if result is not None and result.status == "finished":
            error = _damage(folder, run_files.damaged(folder, result))
    except RunFolderError as found:
        error = str(found).splitlines()[0]
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return ListedRun(
        folder, result, superseded, sum(sizes), (folder / run_folder.RESULT).stat().st_mtime, keys, error=error, heard=heard
    )


def _damage(folder: Path, found: Mapping[str, str]) -> str:
    """Say which files of a run are missing or have another size; "" where none has."""
    for name, why in found.items():
        others = (
            f", as are {len(found) - 1} other files" if len(found) > 2 else ", as is another file" if len(found) > 1 else ""
        )
        return f"{folder / name}: {run_files.in_words(why)}{others}."
    return ""


def _superseded_in(recipe_folder: Path) -> frozenset[str]:
    """Return the names of the superseded runs of a recipe."""
    record = results.read(recipe_folder)
    named = None if record is None else record.get("superseded")
    return frozenset(name for name in named if isinstance(name, str)) if isinstance(named, list) else frozenset()


def _differing(runs: Sequence[ListedRun]) -> list[str]:
    """Return the keys whose values are not the same in all runs."""
    first = runs[0].keys
    return [
        key
        for key in dict.fromkeys(key for each in runs for key in each.keys)
        if any(each.keys.get(key) != first.get(key) for each in runs)
    ]


def _order(run: ListedRun) -> tuple[str, str, int, int, float]:
    if run.result is None:
        return (str(run.folder.parent), "", 0, 0, run.written)
    return (str(run.folder.parent), run.result.arm, run.result.seed, run.result.fold or 0, run.written)
