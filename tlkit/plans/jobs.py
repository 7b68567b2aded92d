"""A recipe to the runs it means, each with its digest and folder. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from tlkit import file_digests, plugin
from tlkit.errors import RecipeError, TlkitError
from tlkit.plans import job_inputs
from tlkit.plans.resolved import Resolved
from tlkit.plans.unlabelled import NAME as UNLABELLED
from tlkit.plugin import DataFiles
from tlkit.recipe.digest import digest_of
from tlkit.recipe.domains import AlsoTable
from tlkit.recipe.recipe import Arm, Recipe
from tlkit.recipe.tables import DataTable
from tlkit.recipe.unlabelled import UnlabelledTable
from tlkit.record import run_folder
from tlkit.record.run_folder import RunResult
from tlkit.sources import weight_files
from tlkit.sources.places import Places

_Table = TypeVar("_Table", DataTable, AlsoTable, UnlabelledTable)


@dataclass(frozen=True)
class Job:
    """One run: an arm, a seed and, with cross-validation, a fold.

    Attributes:
        resolved: The arm.
        seed: One of the recipe's seeds.
        found: The files of each of its data sets, by the names of `Resolved.sources`.
        weights: Its weights file; None for random weights.
        digest: Of everything that determines it.
        folder: Where it is kept.
        base: Where the recipe's relative paths begin.
        content: A digest of its data's content.
        inputs: What its digest covers beside the arm: digests of its data and weights, and how they are read.
        fold: The fold that is tested, from 1; None without cross-validation.
        called: What messages call it; "" where that is the arm, the seed and the fold.
    """

    resolved: Resolved
    seed: int
    found: Mapping[str, DataFiles]
    weights: Path | None
    digest: str
    folder: Path
    base: Path
    content: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    fold: int | None = None
    called: str = ""

    @property
    def label(self) -> str:
        """Arm, seed and fold in words, or the call that trains it."""
        return self.called or run_folder.label(self.resolved.name, self.seed, self.fold)

    def result(self) -> RunResult | None:
        """Return what is on disk of it."""
        return run_folder.read(self.folder) if self.folder.is_dir() else None


def plan_jobs(
    recipe: Recipe, arms: Mapping[str, Resolved], places: Places, *, runs: Path, where: str, again: bool = False
) -> tuple[Job, ...]:
    """Find data and weights of every arm, downloading what is missing, and name every run.

    Args:
        recipe: As read.
        arms: Resolved.
        places: Where to look.
        runs: Folder below which the recipe's folder lies.
        where: Begins every message, usually the recipe's file.
        again: Hash data and weights, whatever is remembered of them; `places.notify` is told of a file that is another.

    Raises:
        RecipeError: of data and weights that cannot be had, each with every place that was looked in; no run was written.
    """
    jobs: list[Job] = []
    problems: dict[str, TlkitError] = {}
    content_of = cache(partial(file_digests.content, again=again, notify=places.notify))  # arms share files
    for resolved in arms.values():
        try:
            jobs += _jobs_of(resolved, recipe.seeds, folds_of(recipe.folds), places, runs=runs, content_of=content_of)
        except RecipeError as error:
            problems |= {str(problem): problem for problem in error.problems}
    if again and not problems:
        problems = {str(error): error for error in _changed(jobs)}
    if problems:
        raise RecipeError(problem.at(where) for problem in problems.values())
    return tuple(jobs)


def _changed(jobs: Sequence[Job]) -> Iterator[TlkitError]:
    """Read again the files of data sets of which a plugin remembers what is in them; yield what is another than remembered."""
    verified: set[tuple[str, tuple[Path, ...]]] = set()
    for job in jobs:
        for table, source in job.resolved.sources.items():
            dataset, found = source.dataset, job.found[table]
            if not dataset.verify or (dataset.verify, tuple(found.files)) in verified:
                continue
            verified.add((dataset.verify, tuple(found.files)))
            try:
                plugin.call(dataset.verify, found, source.options)
            except TlkitError as error:
                yield error


def plan_job(resolved: Resolved, seed: int, places: Places, *, runs: Path, where: str, fold: int | None = None) -> Job:
    """Find data and weights of one arm, and name its run of one seed and fold. The arguments are those of `plan_jobs`.

    Raises:
        RecipeError: of data and weights that cannot be had.
    """
    try:
        (job, *_) = _jobs_of(
            resolved, [seed], [fold], places, runs=runs, content_of=partial(file_digests.content, notify=places.notify)
        )
        return job
    except RecipeError as error:
        raise RecipeError(problem.at(where) for problem in error.problems) from error


def folds_of(folds: int | None) -> list[int | None]:
    """Return the number of each fold, from 1; one None without cross-validation."""
    return [None] if folds is None else [*range(1, folds + 1)]


def _jobs_of(
    resolved: Resolved, seeds: Sequence[int], folds: Sequence[int | None], places: Places, *,
    runs: Path, content_of: Callable[[tuple[Path, ...]], str],
) -> list[Job]:  # fmt: skip
    """Find data and weights of one arm, and name its runs.

    Raises:
        RecipeError: of data and weights that cannot be had.
    """
    job_inputs.refuse_own_run(resolved, places, runs=runs)
    inputs = job_inputs.find(resolved, places)
    content = job_inputs.content(resolved, inputs, content_of=content_of)
    if resolved.folds is not None and inputs.weights is not None:
        job_inputs.refuse_seen_images(resolved, inputs.data["data"], inputs.weights)
    digest = digest_of(resolved.arm, content, folds=resolved.folds, versions=job_inputs.versions(resolved))
    folder = partial(run_folder.folder_of, runs, recipe=resolved.recipe, arm=resolved.name, digest=digest)
    base, images = places.recipe.resolve(), content["data"]
    return [
        Job(resolved, seed, inputs.data, inputs.weights, digest, folder(seed=seed, fold=fold), base, images, content, fold)
        for seed in seeds
        for fold in folds
    ]


def settings(arms: Mapping[str, Resolved]) -> frozenset[str]:
    """Return the digests of what a recipe's arms say, without the content of data and weights."""
    return frozenset(digest_of(each.arm, {}) for each in arms.values())


def known_jobs(recipe: Recipe, arms: Mapping[str, Resolved], places: Places, *, runs: Path) -> tuple[Job, ...]:
    """Name the runs of arms that are not asked for; an arm whose data or weights are not here has none."""
    found: list[Job] = []
    for name, resolved in arms.items():
        with contextlib.suppress(TlkitError):
            found += plan_jobs(recipe, {name: resolved}, replace(places, offline=True), runs=runs, where="")
    return tuple(found)


def absolute_arm(job: Job) -> Arm:
    """Return a job's arm with its paths made absolute, so that a recipe of it can be applied from anywhere."""
    resolved, arm = job.resolved, job.resolved.arm
    also = {name: _placed(table, job, f"also.{name}") for name, table in arm.also.items()}
    unlabelled = arm.data.unlabelled and _placed(arm.data.unlabelled, job, UNLABELLED)
    data = _placed(arm.data, job, "data").model_copy(update={"unlabelled": unlabelled})
    backbone, value = arm.backbone, arm.backbone.weights
    if job.weights is not None and value not in resolved.backbone.weights:
        path = job.weights.resolve()
        key = weight_files.part(value, job.weights)
        where = (
            f"{weight_files.RUN}{path.parent}" if value.startswith(weight_files.RUN) else f"{path}#{key}" if key else str(path)
        )
        backbone = backbone.model_copy(update={"weights": where})
    return arm.model_copy(update={"data": data, "also": also, "backbone": backbone})


def _placed(table: _Table, job: Job, key: str) -> _Table:
    """Return the table of a data set with its option `path` made absolute, where the data set has one and it is no address."""
    source = job.resolved.sources.get(key)
    if source is None or source.options is None or "path" not in type(source.options).model_fields:
        return table
    path = str(table.options.get("path") or "")
    if "://" in path or not (path or source.dataset.find):
        return table
    return table.model_copy(update={"options": {**table.options, "path": str(job.found[key].root.resolve())}})
