"""Which process carries out a run behind an address: it says so there, in a file of the run's folder.

The rule: the last process that began a run there sends it, and no other; one that was away meanwhile finds that out before it sends.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tlkit import plugin
from tlkit.errors import RunLocked
from tlkit.record import file_lock, lock_holder, run_lock
from tlkit.record.lock_holder import Holder

_HOLDER = ".holder"  # behind the address, in a run's folder: who began it last, and whether that has ended
_ENDED = " ended"  # behind what it says of the process
_FILES = "tlkit_shards.remote_files"


@dataclass(frozen=True)
class RemoteHolders:
    """The processes that carry out runs behind an address.

    Attributes:
        address: Of the folder for run folders.
        folder: Its copy.
        begun: Runs that this process began, with what it said of itself there.
    """

    address: str
    folder: Path
    begun: dict[str, Holder] = field(default_factory=dict)

    def begin(self, name: str) -> None:
        """Say behind the address that this process carries out a run from now on, whoever did before.

        Raises:
            DataError: the address does not answer, or refuses.
        """
        mine = lock_holder.this()
        self._say(name, mine)
        self.begun[name] = mine

    def end(self) -> None:
        """Say behind the address that this process has ended the runs that it began, and that nobody else began since.

        Raises:
            DataError: the address does not answer, or refuses.
        """
        for name, mine in self.begun.items():
            if self._holder(name) == (mine, False):
                self._say(name, mine, _ENDED)

    def refuse_other(self, name: str, *, unchanged: Callable[[], None]) -> None:
        """Refuse to send a run that another process carries out; begin it where one that is gone left it unsent in this copy.

        Args:
            name: Of the run's folder.
            unchanged: Raises RunLocked where the run changed there since it was fetched.

        Raises:
            DataError: the address does not answer, or refuses.
            RunLocked: another process carries it out, or it changed there.
        """
        holder, ended = self._holder(name)
        mine = self.begun.get(name)
        if mine is not None and holder not in (None, mine):
            raise RunLocked(
                f"{self.address}/{name}: {holder} has taken this over.",
                "let that one go on; what this process had sent before is kept",
            )
        if mine is None and holder is not None and not ended:
            self._begin_left(name, holder, unchanged)
        elif mine is None:
            unchanged()

    def _begin_left(self, name: str, holder: Holder, unchanged: Callable[[], None]) -> None:
        """Begin a run that a process has not ended; RunLocked where one of this machine carries it out, or it changed there."""
        from filelock import Timeout  # here, since the command line imports this at its start

        try:
            with file_lock.held(self.folder / name / run_lock.LOCK, timeout=file_lock.MOMENT):
                unchanged()
                self.begin(name)
        except Timeout:
            raise RunLocked(f"{self.address}/{name}: {holder} carries this out.", "let that one go on") from None

    def _holder(self, name: str) -> tuple[Holder | None, bool]:
        """Return who began a run last, where that is known, and whether it has ended."""
        text = cast(str, plugin.call(f"{_FILES}:text", f"{self.address}/{name}/{_HOLDER}"))
        return lock_holder.parsed(text), text.endswith(_ENDED)

    def _say(self, name: str, mine: Holder, more: str = "") -> None:
        path = self.folder / name / f".{secrets.token_hex(4)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lock_holder.text(mine) + more, encoding="utf-8")
        try:
            plugin.call(f"{_FILES}:send", path, f"{self.address}/{name}/{_HOLDER}")
        finally:
            path.unlink()
