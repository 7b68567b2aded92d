"""Find runs that an arm made before, by what their folders say. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tlkit.errors import TlkitError, first_few
from tlkit.plans import job_inputs
from tlkit.plans.jobs import Job, folds_of
from tlkit.plans.resolved import Resolved
from tlkit.recipe.digest import digest_of
from tlkit.recipe.recipe import Recipe
from tlkit.record import run_folder
from tlkit.record.run_folder import Coordinates

# What a person calls an input of `Job.inputs`; the others are images of [also].
_INPUTS = {
    "data": "the images", "data.listed": "the images that the data set lists", "weights": "the weights", "input": "the preprocessing of the weights",
    "data.unlabelled": "the images without labels", "weights_as": "the way in which the weights are read",
}  # fmt: skip


def changed_since(job: Job) -> str:
    """Say why a job is a new run although its recipe was run before: which of its inputs changed since; "" where that is not so."""
    if job.folder.is_dir():
        return ""
    known = list(_with_settings(job.resolved, job.folder.parent, job.seed, job.fold))
    if not known:
        return ""
    _, folder, inputs = max(known, key=lambda each: each[0])
    changed = [name for name in job.inputs if job.inputs[name] != inputs.get(name)]
    what = first_few(_INPUTS.get(name, f"the images of {name.removesuffix('.listed')}") for name in changed)
    return f"{job.label}: {what} changed since {folder}, so this is a new run"


def finished(recipe: Recipe, arms: Mapping[str, Resolved], *, runs: Path) -> dict[Coordinates, Path]:
    """Return the newest finished run of each seed and fold of arms whose data or weights are not here now.

    Args:
        recipe: The recipe.
        arms: These arms.
        runs: Folder for run folders.
    """
    found: dict[Coordinates, Path] = {}
    for name, resolved in arms.items():
        for seed in recipe.seeds:
            for fold in folds_of(recipe.folds):
                known = [
                    (written, folder)
                    for written, folder, _ in _with_settings(resolved, runs / recipe.name, seed, fold)
                    if (result := run_folder.read(folder)) is not None and result.status == "finished"
                ]
                if known:
                    found[name, seed, fold] = max(known)[1]
    return found


def _with_settings(
    resolved: Resolved, recipe_folder: Path, seed: int, fold: int | None
) -> Iterator[tuple[float, Path, Mapping[str, str]]]:
    """Yield the runs of an arm with its settings as they are now: when each was written, its folder, and its inputs."""
    beginning = run_folder.name_of(resolved.name, seed, fold, digest="")
    versions = job_inputs.versions(resolved)
    for result in recipe_folder.glob(f"{beginning}*/{run_folder.RESULT}"):
        with contextlib.suppress(TlkitError, OSError):
            record = run_folder.resolved(result.parent)
            inputs = record.get("inputs")
            if not isinstance(inputs, dict):
                continue
            if record.get("digest") == digest_of(resolved.arm, inputs, folds=resolved.folds, versions=versions):
                yield result.stat().st_mtime, result.parent, inputs
