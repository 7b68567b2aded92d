"""Progress of runs that are carried out elsewhere: a row for each that runs, and how many wait and have ended."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.progress import Progress, TaskID

from tlkit.events import Elsewhere
from tlkit.units import clock


@dataclass
class ElsewhereRows:
    """The rows, which a terminal shows below what was printed.

    Attributes:
        progress: Shows them.
    """

    progress: Progress
    _states: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, _Row] = field(default_factory=dict)
    _all: TaskID | None = None

    def show(self, run: Elsewhere) -> None:
        """Show what became of a run."""
        self._states[run.label] = run.state
        if run.state == "running":
            self._move(run)
        elif run.label in self._rows:
            self.progress.remove_task(self._rows.pop(run.label).task)
        self._count()

    def _move(self, run: Elsewhere) -> None:
        if run.label not in self._rows:
            task = self.progress.add_task(run.label, total=run.epochs, shown="", left="")
            self._rows[run.label] = _Row(task, run.epoch, time.perf_counter())
        row = self._rows[run.label]
        scores = "".join(f" {name} {value:.4g}" for name, value in run.scores.items())
        done = run.epoch - row.first
        left = (time.perf_counter() - row.began) / done * (run.epochs - run.epoch) if done else None
        self.progress.update(
            row.task, completed=run.epoch, shown=f"epoch {run.epoch}/{run.epochs}{scores}",
            left="" if left is None else f"{clock(left)} left",
        )  # fmt: skip

    def _count(self) -> None:
        found = Counter(self._states.values())
        ended = len(self._states) - found["waiting"] - found["running"]
        if ended == len(self._states):
            if self._all is not None:
                self.progress.remove_task(self._all)
            self._all = None
            self._states.clear()
            return
        if self._all is None:
            self._all = self.progress.add_task("runs", total=None, shown="", left="")
        said = ", ".join(f"{count} {state}" for state, count in sorted(found.items(), key=lambda each: _ORDER.index(each[0])))
        self.progress.update(self._all, completed=ended, total=len(self._states), shown=said)


_ORDER = ("running", "waiting", "finished", "stopped", "failed", "locked")


@dataclass(frozen=True)
class _Row:
    """A row, with the epochs that were saved when it began to be shown, and the time then."""

    task: TaskID
    first: int
    began: float


def line(run: Elsewhere) -> str:
    """Return a line for an epoch that a run saved; "" where nothing was saved."""
    if not run.scores:
        return ""
    scores = ", ".join(f"{name} {value:.4g}" for name, value in run.scores.items())
    return f"{run.label}: epoch {run.epoch} of {run.epochs}: {scores}"
