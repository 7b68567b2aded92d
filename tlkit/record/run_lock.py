"""The lock of a run's folder: one process writes a run at a time, and who holds it is told. Imports no torch.

The rule: a lock of this machine is its process's as long as that lives. One of another machine is taken over after two minutes without a
sign of its process, which then finds out before it writes again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tlkit import files
from tlkit.errors import RunLocked
from tlkit.record import file_lock, lock_holder
from tlkit.record.lock_holder import Holder

LOCK, HOLDER = ".lock", ".holder"
_HEIR = "end that process; nothing was changed"
_WAIT = "wait for it, or stop it; nothing was changed"


@dataclass(frozen=True)
class HeldRun:
    """A run's folder that this process has locked.

    Attributes:
        before: How the process ended that had locked it and could not give it up; "" where there was none.
    """

    before: str
    _mine: Holder
    _path: Path

    def refuse_lost(self) -> None:
        """Refuse to go on where another process has taken the run over.

        Raises:
            RunLocked: with who did.
        """
        holder = lock_holder.read(self._path)
        if holder is not None and holder != self._mine:
            raise RunLocked(
                f"{self._path.parent}: {holder} has taken this over, since this process gave no sign for "
                f"{lock_holder.SILENCE:.0f} s.",
                "let that one go on; what this process had saved is kept",
            )


@contextlib.contextmanager
def locked(
    folder: Path, *, name: str = LOCK, doing: str = "running this", note: Callable[[str], None] = lambda text: None,
    watch: Callable[[], None] = lambda: None,
) -> Iterator[HeldRun]:  # fmt: skip
    """Lock a run's folder against other processes; create it if it is missing.

    Args:
        folder: Of the run.
        name: Of the lock's file.
        doing: What others are told that this process does.
        note: Told if a process of another machine is waited for.
        watch: Called meanwhile; may raise to stop.

    Raises:
        RunLocked: another process holds it.
        OSError: the folder cannot be written.
    """
    from filelock import Timeout

    files.make_folder(folder)
    path, said = folder / name, folder / f"{name.removesuffix('lock')}holder"
    held_by = RunLocked(f"{folder}: another process is {doing}{lock_holder.words(said)}.", _WAIT)

    def refuse_alive() -> None:
        """Refuse a holder that may live."""
        holder = lock_holder.read(said)
        if lock_holder.has_heirs(said):
            raise RunLocked(
                f"{folder}: {holder} was killed, and a process that it had started keeps its lock.", _HEIR
            ) from None
        if holder is None or holder.is_here:
            raise held_by from None
        note(f"{folder}: {holder} has locked this; its lock counts no more if {lock_holder.SILENCE:.0f} s bring no sign of it")
        if not lock_holder.is_silent(said, watch=watch):
            raise held_by from None

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock.held(path, timeout=file_lock.MOMENT))
        except Timeout:
            refuse_alive()
            file_lock.break_(path)
            try:
                stack.enter_context(file_lock.held(path, timeout=file_lock.MOMENT))
            except Timeout:  # a third process was faster
                raise held_by from None
        else:
            left = lock_holder.read(said)
            if left is not None and not left.is_here:  # not every file system tells other machines of a lock
                refuse_alive()
        left = lock_holder.read(said)
        mine = stack.enter_context(lock_holder.said(said))
        yield HeldRun("" if left is None else left.end(), mine, said)
