"""Read the runs that a report shows, and group them by arm."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import RunFolderError
from tlkit.plans import plan_json
from tlkit.plans.plan import Plan
from tlkit.record import (
    arm_differences,
    calibration,
    epoch_lines,
    evaluations,
    predictions,
    report_data,
    results,
    run_files,
    run_folder,
    run_status,
    selection,
)
from tlkit.record.calibration import Calibrated
from tlkit.record.predictions import Answers
from tlkit.record.report_data import ReportData
from tlkit.record.run_folder import RunResult

# Files of a run that a report reads; one that the run never wrote is left out, one that is damaged or missing is refused.
_READ = (
    run_folder.PLAN,
    run_folder.METRICS,
    run_folder.EVALUATION,
    run_folder.RECIPE,
    run_folder.RESOLVED,
    predictions.FILE,
    report_data.FILE,
)


@dataclass(frozen=True)
class ShownRun:
    """A run that a report shows.

    Attributes:
        arm: Name of its arm in the results of its recipe, where the best trial of a search has one of its own.
    """

    folder: Path
    result: RunResult
    plan: Plan
    metrics: Sequence[Mapping[str, Any]]
    arm: str

    @property
    def split(self) -> str:
        """The held-out images that scores are of: test images, or validation images where there are none."""
        return "test" if self.result.test is not None else "validation"

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores of the best epoch on these images."""
        return self.result.test or self.result.validation or {}

    @property
    def train_accuracy(self) -> float | None:
        """Accuracy on training images without augmentation in the best epoch where it is known, else the mean over the batches."""
        line = next((line for line in self.metrics if line["epoch"] == self.result.best_epoch), None)
        if line is not None and line.get("train_evaluated"):
            return float(line["train_evaluated"]["accuracy"])
        return None if self.result.train is None else self.result.train["accuracy"]

    @cached_property
    def answers(self) -> Answers | None:
        """Which of the held-out images are right; None where an image has several labels."""
        return predictions.answers(self.folder, self.split)

    @property
    def target(self) -> str:
        """The target of [adapt]; "" where the run has none."""
        return "" if self.result.adapt is None else str(self.result.adapt["target"])

    @cached_property
    def compared(self) -> Answers | None:
        """Which images are right of those that arms are compared on, as in result.json; None where an image has several labels."""
        split = arm_differences.compared_split(self.result.adapt, tested=self.result.test is not None)
        return predictions.answers(self.folder, split)

    @cached_property
    def calibrated(self) -> Calibrated | None:
        """How well the probabilities fit; None where an image has several labels."""
        with contextlib.suppress(RunFolderError):
            every = predictions.load(self.folder)
            mine, validation = every.part(self.split), every.part("validation")
            if not len(mine.index) or mine.label.ndim != 1:
                return None
            fitted = None
            if self.split != "validation" and len(validation.index):
                fitted = validation.logits, validation.label
            return calibration.calibrated((mine.logits, mine.label), fitted)
        return None

    @cached_property
    def data(self) -> ReportData:
        """What the run kept to be shown; empty where it kept nothing."""
        return report_data.load(self.folder) or ReportData()

    @cached_property
    def evaluation(self) -> Mapping[str, Any]:
        """What happened to every class of the held-out images; empty where that is not known."""
        return evaluations.load(self.folder, self.split)

    def text(self, name: str) -> str:
        """Return a file of the run as text; "" where it is missing."""
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


@dataclass(frozen=True)
class ShownArm:
    """The runs of one arm.

    Attributes:
        name: Of the arm, after its recipe's where the report shows several recipes. Where it shows several versions of an arm, the
            digest of its runs or their folder is in the name.
        runs: One for each seed and fold, in order.
    """

    name: str
    runs: Sequence[ShownRun]

    @property
    def first(self) -> ShownRun:
        """The run whose pictures are shown."""
        return self.runs[0]

    @property
    def folds(self) -> int | None:
        """Number of folds of the cross-validation; None without."""
        return self.first.plan.folds

    @property
    def worth(self) -> float:
        """Mean score on the validation images, or of the target, by which arms are ranked; without such, minus infinity."""
        known = [selection.worth(found, run.result.select_by)[0] for run in self.runs if (found := run.result.decisive)]
        return sum(known) / len(known) if known else -np.inf

    def summary(self, metric: str) -> Mapping[str, Any] | None:
        """Return mean, low, high and n of a metric over the runs; low and high are None for fewer than three."""
        found = results.over_runs([dict(run.scores) for run in self.runs], self.folds)
        known: Mapping[str, Any] | None = found.get(metric)
        return known


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the folders of finished runs: of a run's folder itself, of a recipe's folder those of its last apply.

    Raises:
        RunFolderError: a path is no such folder, or holds no finished run.
    """
    found: list[Path] = []
    for path in paths:
        if run_folder.is_run(path):
            found.append(path)
            continue
        record = results.read(path) if path.is_dir() else None
        if record is None:
            raise RunFolderError(f"{path}: is not the folder of a run, nor of a recipe.", "runs/NAME, or a folder in it")
        found += [path / run["folder"] for arm in record["arms"].values() for run in run_folder.runs_of(arm)]
    return list(dict.fromkeys(found))


def left_out(folders: Sequence[Path]) -> list[str]:
    """Return a line for each run that is not finished."""
    lines = []
    for folder in folders:
        result = run_status.read(folder) if folder.is_dir() else None
        if result is None:
            lines.append(f"{folder.name}: has no result")
        elif result.status != "finished":
            label = run_folder.label(result.arm, result.seed, result.fold)
            lines.append(f"{label}: {result.status}" + (f": {result.error}" if result.error else ""))
    return lines


def read(folders: Sequence[Path]) -> list[ShownRun]:
    """Read runs; those that are not finished are left out.

    Raises:
        RunFolderError: a file of a finished run is not as it was written, or its plan is of another version.
    """
    runs, names = [], {parent: _arms(parent) for parent in {folder.parent for folder in folders}}
    for folder in folders:
        result = run_folder.read(folder) if folder.is_dir() else None
        if result is None or result.status != "finished" or result.best_epoch is None:
            continue
        arm = names[folder.parent].get(folder.name, result.arm)
        run_files.check(folder, _READ)
        runs.append(ShownRun(folder, result, _plan(folder / run_folder.PLAN), epoch_lines.read(folder), arm))
    return runs


def _arms(recipe_folder: Path) -> dict[str, str]:
    """Return the name of the arm of each run folder that a recipe's results tell of."""
    record = results.read(recipe_folder) or {"arms": {}}
    return {run["folder"]: name for name, arm in record["arms"].items() for run in run_folder.runs_of(arm)}


def _plan(path: Path) -> Plan:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error}.", "apply the recipe again") from error
    try:
        return plan_json.from_json(text)
    except RunFolderError as error:
        raise RunFolderError(
            f"{path.parent}/{error.problem}",
            "its results stay valid; for a report, move that folder away and apply the recipe again",
        ) from error


def by_arm(runs: Sequence[ShownRun]) -> list[ShownArm]:
    """Group runs by recipe, arm, version and place, the best arm by validation first."""
    several = len({run.result.recipe for run in runs}) > 1
    grouped: dict[_Key, list[ShownRun]] = {}
    for run in runs:
        name = f"{run.result.recipe}: {run.arm}" if several else run.arm
        grouped.setdefault((name, run.result.digest[:8], str(run.folder.parent)), []).append(run)
    arms = [
        ShownArm(_name(key, grouped), sorted(mine, key=lambda run: (run.result.seed, run.result.fold or 0)))
        for key, mine in grouped.items()
    ]
    return sorted(arms, key=lambda arm: -arm.worth)


def arm_of(folder: Path) -> ShownArm | None:
    """Return the arm of a run: the run itself and those of its other seeds and folds; None where it is not finished."""
    record = results.read(folder.parent)
    folders = [folder]
    for arm in () if record is None else record["arms"].values():
        names = [run["folder"] for run in run_folder.runs_of(arm)]
        if folder.name in names:
            folders = [folder.parent / name for name in names]
    arms = by_arm(read(folders))
    return next((arm for arm in arms if any(run.folder == folder for run in arm.runs)), None)


def baseline(arms: Sequence[ShownArm]) -> str:
    """Return the name of the arm that the recipe compares the others with; "" where it names none, or the arms are not of one recipe."""
    record = _record(arms)
    known = [arm.name for arm in arms if record is not None and arm.first.arm == record.get("baseline")]
    return known[0] if len(known) == 1 else ""


def ensembles(arms: Sequence[ShownArm]) -> list[Mapping[str, Any]]:
    """Return the ensembles of the recipe that all shown runs are of; none where they are of several."""
    record = _record(arms)
    shown = {run.folder.name for arm in arms for run in arm.runs}
    known = [] if record is None else record.get("ensembles", [])
    return [each for each in known if all(shown.issuperset(run["members"]) for run in each["runs"])]


def of_recipe(arms: Sequence[ShownArm]) -> Mapping[str, Mapping[str, Any]]:
    """Return shown arms by name as the result.json of the recipe that all of them are of has them; none where they are of several."""
    record, names = _record(arms), {arm.first.arm for arm in arms}
    return {} if record is None else {name: arm for name, arm in record["arms"].items() if name in names}


def _record(arms: Sequence[ShownArm]) -> dict[str, Any] | None:
    """Return the result.json of the recipe that all shown runs are of; None where they are of several."""
    folders = {run.folder.parent for arm in arms for run in arm.runs}
    return results.read(folders.pop()) if len(folders) == 1 else None


_Key = tuple[str, str, str]  # name, digest and folder of an arm's runs


def _name(key: _Key, keys: Iterable[_Key]) -> str:
    """Return an arm's name, with the digest of its runs or their folder where another arm has the same name."""
    alike = [each for each in keys if each[0] == key[0]]
    words = [word for place, word in enumerate(key) if len({each[place] for each in alike}) > 1]
    return f"{key[0]} ({', '.join(words)})" if words else key[0]
