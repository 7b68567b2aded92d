"""How far runs are that are carried out elsewhere, as their folders tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlkit.record import run_folder

_ASK = 1.0  # seconds between two looks


@dataclass
class RemoteProgress:
    """Tells of each epoch that a run saved, by a look at the files of all runs once a second.

    Attributes:
        folders: Of the runs, by their labels.
        epochs: Of their schedules, by the same.
        say: Told a line.
    """

    folders: Mapping[str, Path]
    epochs: Mapping[str, int]
    say: Callable[[str], None]
    _told: dict[str, int] = field(default_factory=dict)  # epochs
    _sizes: dict[str, int] = field(default_factory=dict)  # of metrics.jsonl, when it was last read
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._told = {label: len(run_folder.metrics(folder)) for label, folder in self.folders.items()}

    def look(self) -> None:
        """Tell what is new, unless the last look was a moment ago."""
        if time.monotonic() - self._last < _ASK:
            return
        self._last = time.monotonic()
        for label, folder in self.folders.items():
            path = folder / run_folder.METRICS
            size = path.stat().st_size if path.is_file() else 0
            if size != self._sizes.get(label):
                self._sizes[label] = size
                self._tell(label)

    def _tell(self, label: str) -> None:
        lines = run_folder.metrics(self.folders[label])
        for line in lines[self._told[label] :]:
            part = "validation" if line["validation"] else "train"
            scores = ", ".join(f"{part} {name} {line[part][name]:.4g}" for name in ("loss", "accuracy") if name in line[part])
            self.say(f"{label}: epoch {line['epoch']} of {self.epochs[label]}: {scores}")
        self._told[label] = max(self._told[label], len(lines))
