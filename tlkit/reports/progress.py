"""Progress of training in a terminal: a bar with the time left, and a table with a row for each epoch."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tlkit.events import Epoch, Metrics, Observer

_NARROW, _WIDE = 9, 18  # columns of a run's table: with seconds and a mark they take less than 80 characters


class TerminalObserver(Observer):
    """Shows a run on a console; without a terminal behind it, only lines.

    Args:
        console: Usually of stderr.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(compact=True), TextColumn("left"),
            console=console, transient=True, expand=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._counting: TaskID | None = None
        self._epochs, self._steps, self._images, self._header, self._best = 0, 0, 0, False, ""
        self._epoch_began = time.perf_counter()

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

    def begin(self, label: str, *, epochs: int, done: int, steps: int, images: int) -> None:
        """Print the run's name and show its bar."""
        self._epochs, self._steps, self._images, self._header = epochs, steps, images, False
        self._best, self._epoch_began = "", time.perf_counter()
        self.note(f"{label}: accuracy (loss) after each epoch")
        self._task = self._progress.add_task(
            "", total=epochs * steps, completed=done * steps, shown=f"epoch {done + 1}/{epochs}"
        )

    def step(self, epoch: int, step: int) -> None:
        """Move the bar: epoch, batch (training, then evaluation), images per second, best accuracy so far."""
        if self._task is None:
            return
        rate = step * self._images / max(time.perf_counter() - self._epoch_began, 1e-9)
        shown = f"epoch {epoch}/{self._epochs} batch {step}/{self._steps} {rate:,.0f} images/s{self._best}"
        self._progress.update(self._task, completed=(epoch - 1) * self._steps + step, shown=shown)

    def epoch(self, epoch: Epoch) -> None:
        """Print a row of the run's table, before the first one its header."""
        parts = {"train": epoch.train, "validation": epoch.validation, "test": epoch.test}
        known = {name: found for name, found in parts.items() if found is not None}
        if not self._header:
            names = "".join(f"{name:<{_WIDE}}" for name in known)
            self.note(f"  {'epoch':<{_NARROW}}{names}seconds")
            self._header = True
        scores = "".join(f"{_metrics(found):<{_WIDE}}" for found in known.values())
        best = "  best" if epoch.best and epoch.validation is not None else ""
        self.note(f"  {f'{epoch.epoch}/{self._epochs}':<{_NARROW}}{scores}{epoch.seconds:.1f}{best}")
        if best and epoch.validation is not None:
            self._best = f" best {epoch.validation['accuracy']:.1%}"
        self._epoch_began = time.perf_counter()

    def end(self, label: str) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _metrics(metrics: Metrics) -> str:
    loss = metrics["loss"]
    return f"{metrics['accuracy']:.1%} ({f'{loss:.3f}' if loss < 1000 else f'{loss:.3g}'})"
