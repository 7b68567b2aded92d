"""Tell what a run is doing now: a process that was killed could not write that its run ended. Imports no torch.

The rule: a run whose process was one of this machine, and is gone, is interrupted. Of a process of another machine nobody here knows more
than when it gave its last sign.
"""

from __future__ import annotations

from pathlib import Path

from tlkit.record import lock_holder, run_folder, run_lock
from tlkit.record.run_folder import RunResult


def read(folder: Path) -> RunResult | None:
    """Read a run's result; where its process was killed, the status is "interrupted", not the "running" of its file.

    Raises:
        RunFolderError: as `run_folder.read`.
    """
    result = run_folder.read(folder)
    if (
        result is None
        or result.status != "running"
        or not lock_holder.is_gone(folder / run_lock.HOLDER, folder / run_lock.LOCK)
    ):
        return result
    return result.model_copy(update={"status": "interrupted"})


def last_sign(folder: Path) -> float | None:
    """Return when the process of a run gave its last sign, seconds since the epoch; None where it is one of this machine.

    Where nothing says whose process it is, as in a copy of the run, the last file that it wrote is its sign.
    """
    path = folder / run_lock.HOLDER
    holder = lock_holder.read(path)
    if holder is not None and holder.is_here:
        return None
    signs = (
        [path] if holder is not None else [folder / run_folder.RESULT, folder / run_folder.METRICS, *run_folder.states(folder)]
    )
    return max((each.stat().st_mtime for each in signs if each.is_file()), default=None)
