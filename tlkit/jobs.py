"""A recipe to the runs it means, each with its digest and folder. Imports no torch.

The rule: whether a run is finished is known from its recipe and the content of its data and weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit import files, reading, resolve, runfolder, sources
from tlkit.plugin import Found
from tlkit.recipe import Recipe
from tlkit.resolve import Resolved
from tlkit.runfolder import RunResult
from tlkit.sources import Places


@dataclass(frozen=True)
class Job:
    """One run: an arm and a seed.

    Attributes:
        resolved: The arm.
        seed: Of the run.
        found: Its data.
        weights: Its weights file; None for random weights.
        digest: Of everything that determines it.
        folder: Where it is kept.
    """

    resolved: Resolved
    seed: int
    found: Found
    weights: Path | None
    digest: str
    folder: Path

    @property
    def label(self) -> str:
        """Arm and seed in words."""
        return f"{self.resolved.name}, seed {self.seed}"

    def result(self) -> RunResult | None:
        """Return what is on disk of it."""
        return runfolder.read(self.folder) if self.folder.is_dir() else None


def plan_jobs(recipe: Recipe, arms: Mapping[str, Resolved], places: Places, *, runs: Path) -> tuple[Job, ...]:
    """Find data and weights of every arm, downloading what is missing, and name every run.

    Args:
        recipe: As read.
        arms: Resolved.
        places: Where to look.
        runs: Folder below which the recipe's folder lies.

    Raises:
        DataMissing, WeightsMissing: with every place that was looked in; nothing has been written.
    """
    jobs: list[Job] = []
    contents: dict[Path, str] = {}
    for resolved in arms.values():
        arm = resolved.arm
        found = sources.find_data(arm.data.name, resolved.dataset, resolved.data_options, places, fetch=True)
        weights = sources.find_weights(
            arm.backbone.weights, arm.backbone.name, resolved.backbone, places, fetch=True, run=resolve.find_run
        )
        content = {"data": sources.data_content(resolved.dataset, found)}
        if weights is not None:
            content["weights"] = contents.setdefault(weights, files.content([weights]))
        digest = reading.digest(arm, content)
        for seed in recipe.seeds:
            folder = runfolder.folder_of(runs, recipe=recipe.name, arm=resolved.name, seed=seed, digest=digest)
            jobs.append(Job(resolved, seed, found, weights, digest, folder))
    return tuple(jobs)


def finished(jobs: Sequence[Job]) -> bool:
    """Whether every run is there and finished."""
    return all(
        (result := job.result()) is not None and result.status == "finished" and result.digest == job.digest for job in jobs
    )


def current(jobs: Sequence[Job]) -> dict[tuple[str, int], Path]:
    """Return the folder of each (arm, seed)."""
    return {(job.resolved.name, job.seed): job.folder for job in jobs}
