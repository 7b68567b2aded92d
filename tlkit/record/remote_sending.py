"""Send runs to the folder behind an address: each with its checkpoints, and all at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tlkit.errors import DataError
from tlkit.record.remote_runs import RemoteRuns, name_of


def sending(kept: RemoteRuns | None, note: Callable[[str], None]) -> Callable[[Path], None]:
    """Return what sends a run's folder while it is trained; one that cannot be sent is sent with the next checkpoint.

    The first time it says behind the address that this process carries the run out. It raises RunLocked where another one has begun it since, or
    where the run changed there before it was begun.

    Args:
        kept: Where; None for nowhere.
        note: Told why it could not be sent.
    """

    def send(folder: Path) -> None:
        if kept is None:
            return
        name = name_of(folder)
        try:
            if name not in kept.holders.begun:
                kept.begin(name)
            kept.send(name)
        except DataError as error:
            note(f"not sent, and tried again later: {error.problem}")

    return send


@contextlib.contextmanager
def gathered(kept: RemoteRuns | None, name: str, note: Callable[[str], None]) -> Iterator[None]:
    """Send all that changed of a recipe's folder at the end, also where an error ends it.

    Raises:
        DataError: it cannot be sent. Where another error ended it, that one counts.
    """
    try:
        yield
    except BaseException:
        if kept is not None:
            try:
                _send_and_end(kept, name, note)
            except DataError as error:
                note(f"not sent, and tried again later: {error.problem}")
        raise
    if kept is not None:
        kept_back = _send_and_end(kept, name, note)
        what = f"holds the runs but {len(kept_back)}" if kept_back else "holds the runs"
        note(f"{kept.address}/{name}: {what}; a copy is {kept.folder / name}")


def _send_and_end(kept: RemoteRuns, name: str, note: Callable[[str], None]) -> tuple[str, ...]:
    """Send and end the runs; say and return why some were not sent."""
    kept_back = kept.send_all(name)
    for problem in kept_back:
        note(f"not sent: {problem}")
    kept.holders.end()
    return kept_back
