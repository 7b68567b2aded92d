"""Try ways to train, as short real runs: successive halving over growing parts of the training images, within measured seconds.

The rule: validation images decide. The runs get no test images at all, and a run that is there is never trained again.

Source of the halving: Jamieson & Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from tlkit import tasks
from tlkit.advice.arms import Way
from tlkit.advice.budget import Budget
from tlkit.engine.images.parts import Library
from tlkit.errors import Interrupted, RecipeError, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.plans import jobs, resolve
from tlkit.plans.jobs import Job
from tlkit.plugin import Images
from tlkit.recipe.recipe import Arm
from tlkit.record import run_folder
from tlkit.record.advice import Trial
from tlkit.record.run_folder import RunResult
from tlkit.run import execution, preparation
from tlkit.sources.places import Places
from tlkit.tasks import Task

RUNGS = (0.25, 0.5, 1.0)  # parts of the training images of the whole run that trials have
HELD_OUT = (
    0.3  # of the training images, that judge trials where the data set has no validation images: more than a run would spare
)
_EPOCHS = 6  # of a trial, at least; more where these are few steps, but no more than a whole run has
_STEPS = 100  # that a new head and a network need to get somewhere
_KEPT = 0.5  # of the ways, from one rung to the next
_FEWEST = 2  # ways that go on
_RATES = (0.3, 3.0)  # times the usual rates, of the best way that takes steps
_STEP = 3.0  # a training step, in forward passes
_OVERHEAD = 5.0  # seconds of a trial beside its images


@dataclass
class Trials:
    """Trials of one network.

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
        forward: Seconds of a forward pass of one image.
        budget: The time that is left.
        device: The device that trains.
        observer: Receives the progress.
        watch: Called between batches; may raise to stop.
        notes: What was left out, and why.
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
    forward: float
    budget: Budget
    device: torch.device
    observer: Observer
    watch: Callable[[], None]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        splits = {name: split for name, split in self.images.splits.items() if name != "test"}
        self._images = Images(self.images.classes, splits)
        self.ways: list[Way] = []
        self._library = Library(self._images, note=self.observer.note)
        self._slower = {True: 1.0, False: 1.0}  # than expected, of the last trial that was solved, or took steps

    def halve(self, ways: Sequence[Way]) -> list[Trial]:
        """Try all ways on few images, and the better ones on more; return the trials of ways that did not fail, the furthest last.

        The best way that takes steps goes on beside the best that takes none, because few images favour the latter.

        Args:
            ways: The plain default first.
        """
        found: list[Trial] = []
        ways = self.ways = list(ways)
        for rung, part in enumerate(RUNGS):
            mine: list[Trial] = []
            for way in ways:
                self.watch()
                if (trial := self._try(way, rung, part)) is not None:
                    mine.append(trial)
            found += mine
            mine.sort(key=lambda trial: (-trial.accuracy, trial.seconds))
            best_of_each = [next((trial for trial in mine if trial.solved is solved), None) for solved in (True, False)]
            going_on = [*mine[: max(_FEWEST, round(_KEPT * len(mine)))], *filter(None, best_of_each)]
            kept = {trial.name for trial in going_on}
            ways = [way for way in ways if way.name in kept]
            if not ways:
                break
            if rung == 0:
                ways += self._other_rates(ways, mine)
        names = {way.name for way in self.ways}
        return [trial for trial in found if trial.name in names]

    def _other_rates(self, ways: Sequence[Way], trials: Sequence[Trial]) -> list[Way]:
        """Return the best way that takes steps with other rates: similar images want small ones."""
        best = next((trial.name for trial in trials if not trial.solved), "")
        new = [way.faster(factor) for way in ways if way.name == best for factor in _RATES]
        self.ways += new
        return new

    def _try(self, way: Way, rung: int, part: float) -> Trial | None:
        """Carry one trial out, or find its run; None where it cannot be, or there is no time."""
        held_out = 0.0 if self.own else HELD_OUT
        count = max(round((1 - held_out) * part * self.train), 2 * len(self.images.classes))
        split = {"train": count} if self.own else {"train": count, "validation": held_out}
        try:
            epochs = self._epochs(way, count)
            job = self._job(way, way.at(split=split, epochs=epochs))
        except (RecipeError, ValidationError) as error:
            problem = error.problems[0].problem if isinstance(error, RecipeError) else str(error.errors()[0]["msg"])
            self.notes.append(f"{way.name} is not tried: {problem}")
            return None
        done = job.result()
        if done is None or done.status != "finished":
            usual = _OVERHEAD + self._passes(way, count, epochs) * self.forward
            expected = usual * self._slower[way.solved]
            if expected > self.budget.left:
                self.notes.append(
                    f"{way.name} on {count:,} images is not tried: about {expected:.0f} s, and {self.budget.left:.0f} s are left"
                )
                return None
            self.observer.note(f"trying {way.name} on {count:,} images")
            done = self._carry_out(way, job, usual)
        if done is None or done.validation is None:
            return None
        return Trial(
            name=way.name, what=way.what, rung=rung, images=count, epochs=done.epochs,
            accuracy=measure(done.validation, tasks.get(job.resolved.head.task)),
            judged=self._judged(job), seconds=done.seconds, folder=str(job.folder), solved=way.solved,
        )  # fmt: skip

    def _job(self, way: Way, tables: Mapping[str, Any]) -> Job:
        kept = {name: table for name, table in tables.items() if name not in ("also", "early_stopping")}
        arm = Arm.model_validate(kept)
        resolved = resolve.resolve_arm(arm, name=way.name, recipe=self.recipe, places=self.places, where=self.where)
        return jobs.plan_job(resolved, self.seed, self.places, runs=self.runs, where=self.where)

    def _passes(self, way: Way, images: int, epochs: int) -> float:
        """Return about how many forward passes of one image a trial takes."""
        splits = self._images.splits
        judged = len(splits["validation"].targets) if self.own else HELD_OUT * len(splits["train"].targets)
        return images + judged if way.solved else epochs * (_STEP * images + judged)

    def _epochs(self, way: Way, images: int) -> int:
        size = way.tables["data"].get("batch_size", 32)
        steps = max(images // (size if isinstance(size, int) else 32), 1)
        return min(self.epochs, max(_EPOCHS, math.ceil(_STEPS / steps)))

    def _carry_out(self, way: Way, job: Job, usual: float) -> RunResult | None:
        began = time.monotonic()
        try:
            prepared = preparation.prepare(
                job, library=self._library, images=self._images, device=self.device, observer=self.observer, watch=self.watch
            )

            def late(lines: Sequence[Mapping[str, Any]]) -> bool:
                return self.budget.left <= 0

            done = execution.execute(
                prepared, device=self.device, observer=_Quiet(self.observer), watch=self.watch, gives_up=late
            )
        except Interrupted:
            raise
        except TlkitError as error:
            self.notes.append(f"{way.name} failed: {error.problem}")
            self.ways = [each for each in self.ways if each is not way]  # what fails on more images is not proposed
            return None
        self._slower[way.solved] = (time.monotonic() - began) / usual
        if done.status != "finished":
            self.notes.append(f"{way.name} was stopped after {done.epochs} epochs: there was no time for more")
            return None
        return done

    def _judged(self, job: Job) -> int:
        record = json.loads((job.folder / run_folder.SPLIT).read_text(encoding="utf-8"))
        return int(record["validation"]["count"])


def measure(validation: Mapping[str, float], task: Task) -> float:
    """Return what ways are compared by, 0 to 1: accuracy, or the task's own metric where an image may have several classes.

    Accuracy counts every class of every image there, and is high for a network that finds none.

    Args:
        validation: Metrics of the validation images.
        task: Of the head.
    """
    return float(validation.get("accuracy" if task.targets.one_class else task.select_by, 0.0))


class _Quiet(Observer):
    """Passes progress on, and none of the table of epochs."""

    def __init__(self, observer: Observer) -> None:
        self.storing = observer.storing  # type: ignore[method-assign]  # it is passed on as it is
        self.decoding = observer.decoding  # type: ignore[method-assign]  # likewise

    def epoch(self, epoch: Epoch) -> None:
        """Say nothing."""
