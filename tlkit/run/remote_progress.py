"""How far runs are that are carried out elsewhere, as their folders tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tlkit import tasks
from tlkit.events import Elsewhere
from tlkit.record import epoch_lines, run_folder

_ASK = 1.0  # seconds between two looks


@dataclass
class RemoteProgress:
    """Tells what becomes of runs, by a look at the files of all of them once a second.

    Attributes:
        tell: Told of a run when it waits, begins, has saved an epoch, and ends.
    """

    tell: Callable[[Elsewhere], None]
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _last: float = 0.0

    def add(self, label: str, folder: Path, *, epochs: int, by: str) -> None:
        """Watch a run, which waits to be carried out; `by` is the metric that its epochs are shown by, as `Task.judged_by` gives it."""
        known = len(epoch_lines.read(folder))
        self._watched[label] = _Watched(label, folder, epochs, by, known, _size(folder), _changed(folder))
        self.tell(self._watched[label].told())

    def look(self) -> None:
        """Tell what is new, unless the last look was a moment ago."""
        if time.monotonic() - self._last < _ASK:
            return
        self._last = time.monotonic()
        for each in self._watched.values():
            for told in each.news():
                self.tell(told)

    def end(self, label: str, state: Literal["finished", "stopped", "failed", "locked"]) -> None:
        """Tell how a run ended, and watch it no more."""
        each = self._watched.pop(label)
        for told in each.news():
            self.tell(told)
        each.state = state
        self.tell(each.told())


@dataclass
class _Watched:
    """A run that is watched, and what was last seen of it."""

    label: str
    folder: Path
    epochs: int
    by: str  # the metric that its epochs are shown by
    known: int  # epochs
    size: int  # of metrics.jsonl
    changed: int  # when result.json was written
    state: Literal["waiting", "running", "finished", "stopped", "failed", "locked"] = "waiting"

    def news(self) -> list[Elsewhere]:
        """Return what was not told yet."""
        found = []
        if self.state == "waiting" and _changed(self.folder) != self.changed:
            self.state = "running"
            found.append(self.told())
        size = _size(self.folder)
        if size == self.size:
            return found
        self.size = size
        for line in epoch_lines.read(self.folder)[self.known :]:
            self.known += 1
            part = "validation" if line["validation"] else "train"
            names = ("loss", tasks.shown_by(line[part], self.by))
            shown = {name: line[part][name] for name in names if name}
            found.append(self.told({f"{part} {tasks.metric_label(name)}": value for name, value in shown.items()}))
        return found

    def told(self, scores: dict[str, float] | None = None) -> Elsewhere:
        return Elsewhere(self.label, self.state, self.known, self.epochs, scores or {})


def _size(folder: Path) -> int:
    path = folder / run_folder.METRICS
    return path.stat().st_size if path.is_file() else 0


def _changed(folder: Path) -> int:
    path = folder / run_folder.RESULT
    return path.stat().st_mtime_ns if path.is_file() else 0
