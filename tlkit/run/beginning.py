"""Begin a run's folder, or set a run to what the last checkpoint in its folder holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tlkit import files
from tlkit.engine.learner import Learner
from tlkit.errors import RunFolderError
from tlkit.events import Epoch
from tlkit.plans.job_folders import is_kept
from tlkit.plans.jobs import Job
from tlkit.record import epoch_lines, run_files, run_folder
from tlkit.record.run_folder import RunResult
from tlkit.run import memory, run_description, torch_settings
from tlkit.run.checkpoint import Checkpoint
from tlkit.run.preparation import Prepared

_LOST = "nothing else holds what it held: move the run's folder away to train it anew"


@dataclass(frozen=True)
class Begun:
    """Where a run begins.

    Attributes:
        why_inexact: Why the same digest may not give the same bits here; "" where it does.
        seconds: That the epochs so far have taken.
        within: Seconds since then.
        scores: The best epoch so far.
        lines: The epochs so far, as metrics.jsonl holds them.
        said: What is said of a run that is continued.
        finished: It ended before, and only files of it are made again: its result stays until all of them are.
    """

    why_inexact: str
    seconds: float = 0.0
    within: float = 0.0
    scores: Epoch | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""
    finished: bool = False


def begin(
    prepared: Prepared, learner: Learner, checkpoint: Checkpoint, *, device: torch.device, pieces: int, damaged: Mapping[str, str],
    note: Callable[[str], None],
) -> Begun:  # fmt: skip
    """Write the files that a run begins with, or set the learner to what the last checkpoint holds.

    Args:
        prepared: The run, whose folder this process holds.
        learner: Trains it.
        checkpoint: Of the run.
        device: That training uses.
        pieces: Of a batch, which pass the network one after the other.
        damaged: Files that were written before, with what is wrong.
        note: Told of each of them.

    Raises:
        RunFolderError: the folder is of an older version, or what it holds cannot be continued from.
    """
    job, folder = prepared.job, prepared.job.folder
    checkpoint.refuse_older()
    description = run_description.resolved(prepared, device, pieces=pieces)
    why = torch_settings.why_inexact(device) or memory.why_inexact(pieces)
    _remove_strays(job)
    by_steps = prepared.plan.learns == "steps"
    if run_folder.states(folder) and (by_steps or (not damaged and is_kept(job))):
        before = _continued_from(job, description)
        why = run_description.why_inexact(before, description, job.result(), job) or why
        _note_damage(job, damaged, note)
        if before.get("pieces", 1) != pieces:
            run_folder.write_resolved(folder, before | {"pieces": pieces})
        return _resume(prepared, learner, checkpoint, why=why, damaged=damaged, note=note)
    _note_damage(job, damaged, note)
    files.make_folder(folder / run_folder.CHECKPOINT)
    run_description.write(prepared)
    run_folder.write_resolved(folder, description)
    epoch_lines.write(folder, [])
    return Begun(why)


def _remove_strays(job: Job) -> None:
    """Remove what a process left that was killed while it wrote; folders are the user's."""
    for stray in [*job.folder.glob(".*.*"), *(job.folder / run_folder.CHECKPOINT).glob(".*.*")]:
        if not stray.is_dir():
            stray.unlink()


def _continued_from(job: Job, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run resolved to when it began, where it can be continued.

    Raises:
        RunFolderError: it cannot.
    """
    path = job.folder / run_folder.RESOLVED
    if not os.path.lexists(path):
        raise RunFolderError(f"{path}: is missing.", _LOST)
    before = run_folder.resolved(job.folder)
    if wrong := run_description.damage(before, description):
        raise RunFolderError(
            f"{path}: is damaged: another {wrong} than this run has.", "move the run's folder away to train it anew"
        )
    if run_description.is_other_form(before, description):
        raise RunFolderError(
            f"{job.folder}: another process went on with this run meanwhile, in another form.", "apply it again"
        )
    result = job.result()
    if result is not None:
        _refuse_lost(job, result)
    return before


def _refuse_lost(job: Job, result: RunResult) -> None:
    """Refuse to continue on a file that nothing else holds, if it is not as it was written; checkpoints look at themselves."""
    lost = run_files.damaged(job.folder, result, [run_folder.RESOLVED], hashes=True)
    for name, why in lost.items():
        raise RunFolderError(f"{job.folder / name}: {run_files.in_words(why)}.", _LOST)


def _note_damage(job: Job, damaged: Mapping[str, str], note: Callable[[str], None]) -> None:
    for name, why in damaged.items():
        note(f"{job.label}: {name} {run_files.in_words(why)}; it is made again")


def _resume(
    prepared: Prepared, learner: Learner, checkpoint: Checkpoint, *, why: str, damaged: Mapping[str, str],
    note: Callable[[str], None],
) -> Begun:  # fmt: skip
    """Set everything to what the last checkpoint holds."""
    job, result = prepared.job, prepared.job.result()
    saved = checkpoint.resume_(note=note)
    run_description.write(prepared, keep_plan=run_folder.PLAN not in damaged)
    epoch_lines.write(job.folder, saved.lines)
    now = learner.progress
    where = f"in epoch {now.epochs + 1} after step {now.steps} of {learner.steps}" if now.steps else f"after epoch {now.epochs}"
    return Begun(
        why, saved.seconds, saved.within, saved.scores, saved.lines,
        said=f"{job.label}: continues {where}" + (f", not exactly: {why}" if why else ""),
        finished=result is not None and result.status == "finished",
    )  # fmt: skip
