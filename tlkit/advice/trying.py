"""Try ways to train, as short real runs: successive halving over growing parts of the training images, within measured seconds.

The rule: validation images decide. The runs get no test images at all, and a run that is there is never trained again.

Source of the halving: Jamieson & Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tlkit import tasks
from tlkit.advice import remote_trying, stopping, trial_rates
from tlkit.advice.arms import Way
from tlkit.advice.budget import Budget, Deadline
from tlkit.advice.trial_sizes import TrialSizes
from tlkit.engine.images.library import Library
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, NotCarriedOut, OutOfTime, RecipeError, RunLocked, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.plans import dataset_images, job_folders, jobs, resolve
from tlkit.plans.jobs import Job
from tlkit.plugin import Images
from tlkit.recipe import messages
from tlkit.recipe.recipe import Arm
from tlkit.record import predictions, run_folder, statistics
from tlkit.record.advice import Trial
from tlkit.record.run_folder import RunResult
from tlkit.run import execution, preparation
from tlkit.run.preparation import Prepared
from tlkit.run.remote_jobs import Elsewhere
from tlkit.sources.places import Places

RUNGS = (0.25, 0.5, 1.0)  # parts of the training images of the whole run that trials have
_RATES = (0.3, 3.0)  # times the usual rates, of the best way that takes steps
# Of the time that a rung begins with, so much must be left when these begin:
_OTHERS = 0.6  # ways to train other networks than the first one, on the first rung
_VARIANTS = 0.5  # other rates and no momentum, on the second: the last rung has twice its images


@dataclass
class Trials:
    """Trials of ways to train, most of them of one network.

    Attributes:
        images: The data set; its test images are left out.
        train: Training images of the whole run.
        epochs: Of the whole run, where it takes steps.
        own: The data set has validation images of its own.
        seed: Of the runs.
        recipe: Name of the recipe that the runs belong to.
        runs: Folder of the run folders.
        places: Where to look for images and weights.
        where: Begins every message.
        forward: Seconds of a forward pass of one image, of each network by its name in a way; "" is the first one.
        budget: The time that is left.
        runtime: Where they are trained.
        notes: What was left out, and why.
        place: Carries out the trials of a rung side by side; None for this process, one after the other.
    """

    images: Images
    train: int
    epochs: int
    own: bool
    seed: int
    recipe: str
    runs: Path
    places: Places
    where: str
    forward: Mapping[str, float]
    budget: Budget
    runtime: Runtime
    notes: list[str] = field(default_factory=list)
    place: Elsewhere | None = None

    def __post_init__(self) -> None:
        self._images = dataset_images.without_test(self.images)
        self.sizes = TrialSizes(self._images, self.train, self.epochs, self.own, self.forward)
        # What was wrong with trials of this rung that were carried out elsewhere, by their ways; None for nothing.
        self._elsewhere: dict[str, TlkitError | None] = {}
        self.ways: list[Way] = []
        self._library = Library(self._images, note=self.runtime.observer.note)
        self._slower = {True: 1.0, False: 1.0}  # than expected, of the last trial that was solved, or took steps

    def halve(self, ways: Sequence[Way]) -> list[Trial]:
        """Try all ways on few images, and the better ones on more; return the trials of ways that did not fail, the furthest last.

        Args:
            ways: The plain default first.
        """
        found: list[Trial] = []
        ways = self.ways = list(ways)
        variants: list[Way] = []
        for rung, part in enumerate(RUNGS):
            mine: list[Trial] = []
            begun = self.budget.left
            self._side_by_side(ways, part)
            for way in ways:
                self.runtime.watch()
                share = _OTHERS if rung == 0 and way.network else _VARIANTS if rung == 1 and way in variants else 0.0
                if way.name not in self._elsewhere and self.budget.left < share * begun:
                    self.notes.append(f"{way.name} is not tried: the time that is left is for {ways[0].name} and its like")
                    continue
                needed = stopping.needed(mine, ways=len(ways), last=rung == len(RUNGS) - 1)
                if (trial := self._try(way, rung, part, needed=needed)) is not None:
                    mine.append(trial)
            found += mine
            mine.sort(key=lambda trial: (-trial.accuracy, trial.seconds))
            kept = {trial.name for trial in stopping.going_on(mine)}
            ways = [way for way in ways if way.name in kept]
            if not ways:
                break
            if rung == 0:
                variants = self._variants(ways, mine)
                ways += variants
        names = {way.name for way in self.ways}
        return [trial for trial in found if trial.name in names]

    def _variants(self, ways: Sequence[Way], trials: Sequence[Trial]) -> list[Way]:
        """Return the best way that takes steps with other rates and without momentum: similar images want little of both."""
        name = next((trial.name for trial in trials if not trial.solved), "")
        best = next((way for way in ways if way.name == name), None)
        if best is None:
            return []
        rates = self._tested_rates(best)
        tested = [] if rates is None else [best.with_rates(rates)]
        new = [*tested, best.without_momentum(), *(way.without_momentum() for way in tested), *map(best.faster, _RATES)]
        self.ways += new
        return new

    def _tested_rates(self, way: Way) -> Mapping[str, float] | None:
        """Return the rates that a range test suggests for a way, on the images of its first trial; None where there is no time, or none."""
        count = self.sizes.count(RUNGS[0])
        expected = trial_rates.usual(self.sizes.batch(way), self.sizes.forward_of(way)) * self._slower[False]
        found, why_not = trial_rates.tested(
            lambda: self._planned(way, count), way.name, prepare=self._prepared, seed=self.seed, expected=expected,
            budget=self.budget, runtime=self.runtime,
        )  # fmt: skip
        self.notes += [why_not] if why_not else []
        return found or None

    def _try(self, way: Way, rung: int, part: float, *, needed: float) -> Trial | None:
        """Carry one trial out, or find its run; None where it cannot be, or there is no time.

        Args:
            way: What is tried.
            rung: From 0.
            part: Of the training images.
            needed: Accuracy without which it is stopped as soon as that is out of its reach.
        """
        count = self.sizes.count(part)
        try:
            job = self._planned(way, count)
        except (RecipeError, ValidationError) as error:
            self.notes.append(f"{way.name} is not tried: {messages.first(error)}")
            return None
        done = job.result()
        if way.name in self._elsewhere:
            done = self._became(way, done, self._elsewhere.pop(way.name))
        elif done is None or not (job_folders.is_done(job, done) or self._stays_stopped(job, done, needed)):
            usual = self.sizes.seconds(way, count)
            expected = usual * self._slower[way.solved]
            if expected > self.budget.left:
                self.notes.append(
                    f"{way.name} on {count:,} images is not tried: about {expected:.0f} s, and {self.budget.left:.0f} s are left"
                )
                return None
            self.runtime.observer.note(f"trying {way.name} on {count:,} images")
            done = self._carry_out(way, job, usual, needed)
        if done is None or done.validation is None:
            return None
        ending = None if done.status == "finished" else stopping.ending_of(job.folder)
        if done.status != "finished" and ending is None:
            return None
        task, judged = tasks.get(job.resolved.head.task), self._judged(job)
        accuracy = stopping.measure(done.validation, task)
        return Trial(
            name=way.name, what=way.what, rung=rung, images=count, epochs=done.epochs, accuracy=accuracy,
            error=statistics.accuracy_error(accuracy, judged) if task.targets.one_class else self._ranking_error(job), judged=judged,
            seconds=done.seconds, folder=str(job.folder), solved=way.solved, ending=ending,
        )  # fmt: skip

    def _side_by_side(self, ways: Sequence[Way], part: float) -> None:
        """Let the executor carry out what a rung lacks; none of it is stopped for what another one reached."""
        if self.place is None:
            return
        count, lacking = self.sizes.count(part), dict[str, Job]()
        for way in ways:
            with contextlib.suppress(RecipeError, ValidationError):  # it is told when its turn comes
                job = self._planned(way, count)
                done = job.result()
                if done is not None and job_folders.is_done(job, done):
                    continue
                if self.sizes.seconds(way, count) * self._slower[way.solved] <= self.budget.left:
                    lacking[way.name] = job
        self._elsewhere = remote_trying.carry_out_all(
            lacking,
            self.place,
            partial(self._prepared, runtime=self.runtime),
            budget=self.budget,
            runtime=self.runtime,
        )

    def _became(self, way: Way, done: RunResult | None, error: TlkitError | None) -> RunResult | None:
        """Return what became of a trial that was carried out elsewhere."""
        if isinstance(error, NotCarriedOut | RunLocked):
            self.notes.append(f"{way.name} is not tried: {error.problem.removeprefix(f'{way.name}: ')}")
            return None
        if error is not None:
            self._fail(way, error)
            return None
        if done is None or done.status != "finished":
            self._out_of_time(way, 0 if done is None else done.epochs)
        return done

    def _planned(self, way: Way, count: int) -> Job:
        """Return the run that tries a way on so many images.

        Raises:
            RecipeError: it is no recipe.
            ValidationError: likewise.
        """
        return self._job(way, way.at(split=self.sizes.split(count), epochs=self.sizes.epochs_of(way, count)))

    def _fail(self, way: Way, error: TlkitError) -> None:
        """Propose a way no more: what fails on some images fails on more."""
        self.notes.append(f"{way.name} failed: {error.problem.removeprefix(f'{way.name}: ')}")
        self.ways = [each for each in self.ways if each is not way]

    def _stays_stopped(self, job: Job, done: RunResult, needed: float) -> bool:
        """Return whether a run that was stopped before its last epoch would be stopped again."""
        if done.status != "pruned" or done.digest != job.digest or not job_folders.is_kept(job):
            return False
        ending = stopping.ending_of(job.folder)
        return ending is not None and ending.interval[1] < needed

    def _job(self, way: Way, tables: Mapping[str, Any]) -> Job:
        kept = {name: table for name, table in tables.items() if name not in ("also", "adapt", "early_stopping")}
        arm = Arm.model_validate(kept)
        resolved = resolve.resolve_arm(arm, name=way.name, recipe=self.recipe, places=self.places, where=self.where)
        return jobs.plan_job(resolved, self.seed, self.places, runs=self.runs, where=self.where)

    def _carry_out(self, way: Way, job: Job, usual: float, needed: float) -> RunResult | None:
        began = self.budget.clock()
        runtime = replace(self.runtime, watch=Deadline(self.budget, self.runtime.watch))
        try:
            prepared = self._prepared(job, runtime)

            def gives_up(lines: Sequence[Mapping[str, Any]]) -> bool:
                ending = stopping.ending(lines, prepared.plan)
                return self.budget.left <= 0 or (ending is not None and ending.interval[1] < needed)

            done = execution.execute(prepared, replace(runtime, observer=_Quiet(runtime.observer)), gives_up=gives_up)
        except OutOfTime:
            stopped = job.result()
            self._out_of_time(way, 0 if stopped is None else stopped.epochs)
            return stopped
        except Interrupted:
            raise
        except TlkitError as error:
            self._fail(way, error)
            return None
        if done.status == "finished":
            self._slower[way.solved] = (self.budget.clock() - began) / usual
        elif self.budget.left <= 0:
            self._out_of_time(way, done.epochs)
        return done

    def _out_of_time(self, way: Way, epochs: int) -> None:
        self.notes.append(
            f"{way.name} was stopped after {epochs} epoch{'' if epochs == 1 else 's'}: there was no time for more"
        )

    def _prepared(self, job: Job, runtime: Runtime) -> Prepared:
        return preparation.prepare(job, runtime, library=self._library)

    def _ranking_error(self, job: Job) -> float:
        """Return the standard error of the mean AUROC on the validation images."""
        known = predictions.load(job.folder).part("validation")
        found = statistics.auroc(known.logits, known.label)[1]
        return found if math.isfinite(found) else statistics.accuracy_error(0.5, len(known.index))

    def _judged(self, job: Job) -> int:
        record = json.loads((job.folder / run_folder.SPLIT).read_text(encoding="utf-8"))
        return int(record["validation"]["count"])


class _Quiet(Observer):
    """Passes progress on, and none of the table of epochs."""

    def __init__(self, observer: Observer) -> None:
        self.storing = observer.storing  # type: ignore[method-assign]  # it is passed on as it is
        self.decoding = observer.decoding  # type: ignore[method-assign]  # likewise

    def epoch(self, epoch: Epoch) -> None:
        """Say nothing."""
