"""The run folders of jobs: where they are, and whether each holds a finished run with its files. Imports no torch.

The rule: whether a run is finished is known from its recipe and the content of its data and weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlkit.plans.jobs import Job
from tlkit.record import run_files, run_folder
from tlkit.record.run_folder import Coordinates, RunResult


def finished(jobs: Sequence[Job], *, again: bool = False) -> bool:
    """Whether every run is there, finished, with its files; all are read, so a damaged one is found before another trains.

    Args:
        jobs: The runs.
        again: Hash their files; else their sizes are compared.
    """
    results = [(job, job.result()) for job in jobs]
    return all(result is not None and is_done(job, result, hashes=again) for job, result in results)


def is_done(job: Job, result: RunResult, *, hashes: bool = False) -> bool:
    """Whether a result says that a job is finished, and its files are as they were written, by their sizes or by their hashes."""
    if result.status != "finished" or result.digest != job.digest or not is_kept(job):
        return False
    return not run_files.damaged(job.folder, result, hashes=hashes, again=hashes)


def is_kept(job: Job) -> bool:
    """Whether the network of a job's best epoch is there: its weights, and its head where that is solved."""
    needed = [run_folder.WEIGHTS, *([run_folder.SOLVED] if job.resolved.head.solve else [])]
    return all((job.folder / name).is_file() for name in needed)


def current(jobs: Sequence[Job]) -> dict[Coordinates, Path]:
    """Return the folder of each arm, seed and fold."""
    return {(job.resolved.name, job.seed, job.fold): job.folder for job in jobs}
