"""How far the search of a recipe is, and the runs of its best trial. Imports neither torch nor Optuna."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tlkit.errors import TlkitError
from tlkit.plans import job_folders, jobs, resolve, search_plan
from tlkit.plans.jobs import Job
from tlkit.plans.search_plan import SearchPlan
from tlkit.recipe import search_space as space
from tlkit.recipe.recipe import Recipe
from tlkit.record import search_record
from tlkit.record.run_folder import Coordinates
from tlkit.record.search_record import SearchRecord
from tlkit.sources.places import Places


@dataclass(frozen=True)
class Searching:
    """The search of a recipe.

    Attributes:
        recipe: The recipe.
        plan: What it tries.
        places: Where relative paths begin.
        runs: Folder for run folders.
        where: Begins every message, usually the recipe's file.
        study: A digest of what makes trials comparable: the arm as written, its data and weights, seed, metric and space.
    """

    recipe: Recipe
    plan: SearchPlan
    places: Places
    runs: Path
    where: str
    study: str

    @property
    def folder(self) -> Path:
        """The recipe's folder."""
        return self.runs / self.recipe.name

    def record(self) -> SearchRecord | None:
        """Return what it found so far."""
        return search_record.read(self.folder, self.study)

    def is_done(self) -> bool:
        """Return whether all trials are done, and the best is trained with all seeds."""
        record = self.record()
        return record is not None and self.has_enough(record) and job_folders.finished(self.best_jobs(record))

    def has_enough(self, record: SearchRecord) -> bool:
        """Return whether no trial is to begin."""
        late = self.plan.timeout is not None and record.seconds >= self.plan.timeout
        return len(record.trials) >= self.plan.trials or record.exhausted or late

    def best_jobs(self, record: SearchRecord | None) -> tuple[Job, ...]:
        """Return the runs of the best trial with all seeds; none while none is known, or where that is the recipe as written.

        Args:
            record: What was found so far.
        """
        if record is None or not record.best:
            return ()
        return self.jobs_of(record.trials[record.best].values)

    def jobs_of(self, values: space.Values) -> tuple[Job, ...]:
        """Return the runs of a trial with all seeds."""
        return self._jobs(values, self.recipe.seeds)

    def best_folders(self) -> dict[Coordinates, Path]:
        """Return the folders of the runs of the best trial, under the name that results show them by."""
        found = self.best_jobs(self.record())
        return {(self.plan.best_name, job.seed, job.fold): job.folder for job in found}

    def job(self, values: space.Values) -> Job:
        """Return a trial's run.

        Raises:
            RecipeError: the recipe refuses its values.
            ValidationError: likewise.
        """
        (job,) = self._jobs(values, [self.plan.seed])
        return job

    def _jobs(self, values: space.Values, seeds: Sequence[int]) -> tuple[Job, ...]:
        arm = space.arm_of(self.plan.base, self.plan.parameters, values)
        resolved = resolve.resolve_arm(arm, name=self.plan.arm, recipe=self.recipe.name, places=self.places, where=self.where)
        return tuple(jobs.plan_job(resolved, seed, self.places, runs=self.runs, where=self.where) for seed in seeds)


def find(recipe: Recipe, wanted: Sequence[Job], places: Places, *, runs: Path, where: str) -> Searching | None:
    """Return the search of a recipe, or None: it has none, or the arm of it is not wanted.

    Args:
        recipe: As read and checked.
        wanted: The runs that are applied.
        places: Where relative paths begin.
        runs: Folder for run folders.
        where: Begins every message, usually the recipe's file.
    """
    plan = search_plan.planned(recipe)
    first = next((job for job in wanted if plan is not None and (job.resolved.name, job.seed) == (plan.arm, plan.seed)), None)
    if plan is None or first is None:
        return None
    parameters = [{name: value for name, value in asdict(each).items() if name != "path"} for each in plan.parameters]
    about = [first.digest, plan.seed, plan.metric, parameters]
    study = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return Searching(recipe, plan, places, runs, where, study)


def refuse_missing(sampler: str) -> None:
    """Refuse where a library is not installed that a search needs.

    Raises:
        TlkitError: with what to install.
    """
    needed = ["optuna", *(["cmaes"] if sampler == "cmaes" else [])]
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        raise TlkitError(f"search: needs {' and '.join(absent)}, which is not installed.", "pip install 'tlkit[search]'")
