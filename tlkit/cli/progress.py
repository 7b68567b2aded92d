"""A run as it is watched in a terminal: bars with the time left, a line an epoch."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tlkit.events import Epoch, Metrics, Observer


class TerminalObserver(Observer):
    """Shows a run on a console; without a terminal behind it, only lines.

    Args:
        console: Usually of stderr.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"), TimeRemainingColumn(),
            TextColumn("left"), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._counting: TaskID | None = None
        self._label, self._epochs, self._steps = "", 0, 0
        self._began = time.perf_counter()

    def __enter__(self) -> TerminalObserver:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def decoding(self, done: int, total: int) -> None:
        """Move the bar of images."""
        self._count("reading images", done, total)

    def storing(self, done: int, total: int) -> None:
        """Move the bar of the fixed prefix."""
        self._count("fixed prefix", done, total)

    def _count(self, what: str, done: int, total: int) -> None:
        if self._counting is None:
            self._counting = self._progress.add_task(what, total=total, shown="")
        self._progress.update(self._counting, completed=done, total=total, shown=f"{done:,}/{total:,} images")
        if done == total:
            self._progress.remove_task(self._counting)
            self._counting = None

    def begin(self, label: str, *, epochs: int, done: int, steps: int) -> None:
        """Show the bar of a run."""
        self._label, self._epochs, self._steps = label, epochs, steps
        self._task = self._progress.add_task(
            label, total=epochs * steps, completed=done * steps, shown=f"epoch {done + 1}/{epochs}"
        )

    def step(self, epoch: int, step: int) -> None:
        """Move the bar."""
        if self._task is not None:
            done = (epoch - 1) * self._steps + step
            self._progress.update(self._task, completed=done, shown=f"epoch {epoch}/{self._epochs}")

    def epoch(self, epoch: Epoch) -> None:
        """Print an epoch's line."""
        scores = [
            f"{name} {_metrics(found)}"
            for name, found in (("train", epoch.train), ("validation", epoch.validation), ("test", epoch.test))
            if found is not None
        ]
        best = "  best" if epoch.best and epoch.validation is not None else ""
        self.note(f"{self._label}  epoch {epoch.epoch}/{self._epochs}  {'  '.join(scores)}  {epoch.seconds:.1f} s{best}")

    def end(self, label: str) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _metrics(metrics: Metrics) -> str:
    loss = metrics["loss"]
    return f"{metrics['accuracy']:.1%} ({f'{loss:.3f}' if loss < 1000 else f'{loss:.3g}'})"
