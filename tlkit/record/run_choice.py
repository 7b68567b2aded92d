"""Choose one run of a recipe's folder, for commands that use a run. Imports no torch.

The rule: validation scores choose among all finished runs, and test scores never do. Where there is nothing to choose by, the message
asks for a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tlkit.errors import RunFolderError, first_few, option
from tlkit.record import run_files, run_folder, selection
from tlkit.record.run_folder import RunResult


@dataclass(frozen=True)
class Choice:
    """A run, and why it was taken.

    Attributes:
        folder: The run's.
        why: In words, with the runs that were passed over; "" where there was nothing to choose.
    """

    folder: Path
    why: str = ""


@dataclass(frozen=True)
class _Run:
    folder: Path
    result: RunResult

    @property
    def written(self) -> int:
        """When it ended."""
        return (self.folder / run_folder.RESULT).stat().st_mtime_ns

    @property
    def finished(self) -> bool:
        """Whether it ended and wrote its weights; they may be missing since."""
        wrote = run_folder.WEIGHTS in self.result.files or (self.folder / run_folder.WEIGHTS).is_file()
        return self.result.status == "finished" and wrote

    def scores(self, by: str) -> Mapping[str, float] | None:
        """Return the scores that a metric is looked up in; None where the run has none."""
        return selection.decisive(self.result.validation, self.result.target, by)

    @property
    def trained_on(self) -> object:
        """What a score is a score of: the content of the images, and their classes."""
        return run_folder.inputs(self.folder).get("data"), run_folder.resolved(self.folder).get("classes")


def named(run: Path, runs: Path) -> Path:
    """Return the folder that a RUN argument of the command line names.

    Args:
        run: A folder, or the name of a recipe. A folder without runs, such as the images that the recipe is named after, is not meant
            where there is a recipe of that name.
        runs: Folder for run folders.
    """
    below = runs / run
    return below if not holds_runs(run) and os.path.isdir(below) else run


def holds_runs(path: Path) -> bool:
    """Return whether a path is the folder of a run, or of a recipe that has one."""
    return os.path.isdir(path) and any(
        next(path.glob(f"{each}{name}"), None) is not None
        for each in ("", "*/")
        for name in (run_folder.RESULT, run_folder.RESOLVED)
    )


def choose(path: Path, arm: str | None = None) -> Choice:
    """Return the run that a RUN argument means.

    Args:
        path: A run's folder, or a recipe's folder: then the finished run with the best validation score, of those with the images
            of the newest: by the metric that its runs were selected by, or by accuracy where they differ, then by loss. With
            cross-validation the first fold of the arm with the best mean over its folds.
        arm: Only runs of this arm.

    Raises:
        RunFolderError: there is no such folder, no such run in it, no validation score to choose by, or the run's weights are missing.
    """
    if os.path.isfile(path):  # unlike Path.is_file it answers for a name that no file can have
        what = "a recipe, not the folder of its runs" if path.suffix == ".toml" else "a file, not a run's folder"
        raise RunFolderError(f"{path}: is {what}.", "a run's folder, or a recipe's: runs/NAME")
    if not os.path.isdir(path):
        raise RunFolderError(f"{path}: there is no such run folder.", "a run's folder, or a recipe's: runs/NAME")
    if run_folder.is_run(path):
        return Choice(_named(path, arm))
    finished, unreadable = _finished(path, arm)
    newest = max(finished, key=lambda each: each.written)
    same = [each for each in finished if each.trained_on == newest.trained_on]
    by = selection.shared(each.result.select_by for each in same if each.result.decisive)
    validated = [each for each in same if each.scores(by)]
    if len(same) == 1:
        best, why = newest, "the only finished run" + (" on the newest images" if len(finished) > 1 else "")
    elif not validated:
        raise _no_scores(path, same)
    elif any(each.result.fold is not None for each in validated):
        best, why = _of_folds(validated, by)
    else:
        best = max(validated, key=lambda each: selection.worth(each.scores(by), by))
        of = "the target" if by in selection.WITHOUT_LABELS else "validation"
        why = f"the best of {len(validated)} finished runs by {of} ({selection.shown(best.scores(by) or {}, by)})"
        why += _other_arm(validated, best, by)
    passed_over = {
        "on other images": [each.folder for each in finished if each not in same],
        "without validation scores": [each.folder for each in same if each not in validated and each is not best],
        "cannot be read": unreadable,
    }
    if not (best.folder / run_folder.WEIGHTS).is_file():
        run_files.check(best.folder, [run_folder.WEIGHTS])
    others = ", ".join(
        f"{first_few(folder.name for folder in folders)} ({what})" for what, folders in passed_over.items() if folders
    )
    if others:
        return Choice(best.folder, f"{why}; passed over: {others}")
    return Choice(best.folder, why if len(finished) > 1 else "")


def _of_folds(runs: Sequence[_Run], by: str) -> tuple[_Run, str]:
    """Return the first fold of the best arm, and why: folds have different validation images, so their scores rank arms alone."""
    arms: dict[tuple[str, bool], list[_Run]] = {}
    for each in runs:
        arms.setdefault((each.result.arm, each.result.fold is None), []).append(each)

    best = min(
        max(arms.values(), key=lambda own: _mean_worth(own, by)), key=lambda each: (each.result.fold or 0, each.result.seed)
    )
    label = run_folder.label(best.result.arm, best.result.seed, best.result.fold)
    ranked = f"; the arm is the best of {len(arms)} by its mean over folds" if len(arms) > 1 else ""
    return best, f"{label}, the first of its folds, which have different images, so none of them is the best{ranked}"


def _other_arm(runs: Sequence[_Run], best: _Run, by: str) -> str:
    """Say which arm has a better mean over its seeds than the arm of the best run, as a report ranks arms; "" where none has."""
    arms: dict[str, list[_Run]] = {}
    for each in runs:
        arms.setdefault(each.result.arm, []).append(each)
    for arm, own in arms.items():  # of several versions of an arm the newest
        now = max(own, key=lambda each: each.written).result.digest
        arms[arm] = [each for each in own if each.result.digest == now]
    means = {arm: _mean_worth(own, by) for arm, own in arms.items()}
    first, mine = max(means, key=lambda arm: means[arm]), best.result.arm
    if means[first] <= means[mine] or all(len(own) == 1 for own in arms.values()):
        return ""
    scores = {arm: [(each.scores(by) or {}).get(by) for each in arms[arm]] for arm in (first, mine)}
    known = {arm: [value for value in own if value is not None] for arm, own in scores.items()}
    values = [selection.shown({by: fmean(known[arm])} if None not in scores[arm] else {}, by) for arm in (first, mine)]
    return f"; by the mean over seeds arm {first} is better than {mine} ({values[0]}, {values[1]}): {option('arm', first)}"


def _mean_worth(runs: Iterable[_Run], by: str) -> list[float]:
    worths = [selection.worth(each.scores(by), by) for each in runs]
    return [fmean(values) for values in zip(*worths, strict=True)]


def _named(path: Path, arm: str | None) -> Path:
    """Return a run's own folder, if it can be used."""
    result = run_folder.read(path)
    if result is None and (path / run_folder.WEIGHTS).is_file():
        raise RunFolderError(f"{path / run_folder.RESULT}: is missing.", "apply its recipe again to make it again")
    if result is None or not (path / run_folder.WEIGHTS).is_file():
        run_files.check(path, [run_folder.WEIGHTS])
        raise RunFolderError(f"{path}: this run has no weights yet.", "apply its recipe again to finish it")
    if arm not in (None, result.arm):
        raise RunFolderError(f'{path}: is a run of arm "{result.arm}", not of "{arm}".', f"leave {option('arm')} out")
    return path


def _finished(path: Path, arm: str | None) -> tuple[list[_Run], list[Path]]:
    """Return the finished runs of a recipe's folder, of one arm or of all, and the folders of runs that cannot be read."""
    runs: list[_Run] = []
    errors: dict[Path, RunFolderError] = {}
    for file in sorted(path.glob(f"*/{run_folder.RESULT}")):
        try:
            result = run_folder.read(file.parent)
            if not (file.parent / run_folder.RESOLVED).is_file():
                run_files.check(file.parent, [run_folder.RESOLVED])
            run_folder.resolved(file.parent)
        except RunFolderError as error:
            errors[file.parent] = error
            continue
        if result is not None:
            runs.append(_Run(file.parent, result))
    done = [each for each in runs if each.finished]
    found = [each for each in done if arm in (None, each.result.arm)]
    if not found and (recipes := [each for each in errors if any(each.glob(f"*/{run_folder.RESOLVED}"))]):
        raise RunFolderError(f"{path}: holds recipes' folders, not runs.", f"name one: {first_few(map(str, recipes))}")
    if not found and errors:
        raise next(iter(errors.values()))
    if not found:
        arms = sorted({each.result.arm for each in done or runs})
        what = f'no finished run of arm "{arm}"' if arm else "no finished run"
        known = f"arms: {', '.join(arms)}" if arms else "apply the recipe first: tlkit apply RECIPE"
        raise RunFolderError(
            f"{path}: holds {what}.", known, *_stopped([each for each in runs if arm in (None, each.result.arm)])
        )
    return found, list(errors)


def _stopped(runs: Sequence[_Run]) -> list[str]:
    """Say which runs are not finished and can be used all the same, if their own folder is named."""
    usable = [each for each in runs if each.result.status != "finished" and (each.folder / run_folder.WEIGHTS).is_file()]
    return [
        f"stopped after epoch {each.result.epochs} of {run_folder.length(each.folder)}; its own folder can be used: {each.folder}"
        for each in usable
    ]


def _no_scores(path: Path, runs: Sequence[_Run]) -> RunFolderError:
    arms = dict.fromkeys(each.result.arm for each in runs)
    alone = [arm for arm in arms if sum(each.result.arm == arm for each in runs) == 1]
    return RunFolderError(
        f"{path}: has {len(runs)} finished runs and no validation scores to choose one by; test scores choose nothing.",
        f"name the run: {first_few(str(each.folder) for each in runs)}",
        f"or its arm: {option('arm', alone[0])}" if alone and len(arms) > 1 else "",
        "a recipe with data.split.validation = 0.1 has validation scores",
    )
