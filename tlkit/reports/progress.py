"""Progress of training in a terminal: a bar with the time left, and a table with a row for each epoch.

The rule: the bar takes one line of 80 columns, whatever the numbers are.
"""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn

from tlkit import tasks
from tlkit.events import Elsewhere, Epoch, Metrics, Observer
from tlkit.record import selection
from tlkit.reports import elsewhere
from tlkit.reports.plain_text import plain
from tlkit.reports.time_left import TimeLeft
from tlkit.units import clock, size

_NAME = 24  # characters of a file's name beside a bar
_OFTEN = 0.1  # seconds between two moves of its bar, as rich draws it: https brings 16 KB at a time, and a move takes 0.1 ms
_NARROW, _WIDE = 9, 18  # columns of a run's table: with seconds and a mark they take less than 80 characters


class TerminalObserver(Observer):
    """Shows a run on a console; without a terminal behind it, only lines.

    Args:
        console: Usually of stderr.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"), TextColumn("{task.fields[shown]}"), BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}"),
            console=console, transient=True, expand=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._counting: TaskID | None = None
        self._file: Task | None = None
        self._moved = -math.inf
        self._epochs, self._steps, self._evaluations, self._images = 0, 0, 0, 0
        self._heading, self._header, self._best, self._rate = "", False, "", 0.0
        self._metric = selection.USUAL
        self._left, self._training_began = TimeLeft(epochs=0), 0.0
        self._elsewhere = elsewhere.ElsewhereRows(self._progress)

    def __enter__(self) -> TerminalObserver:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(plain(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def downloading(self, name: str, came: int, whole: int | None) -> bool:
        """Move the bar of a file: bytes, bytes per second, time left. It begins at what came before, and goes with the last byte."""
        if not self._progress.live.is_started or not self._console.is_terminal:
            return False
        if self._file is None and came != whole:
            shown = escape(plain(name if len(name) <= _NAME else f"{name[: _NAME - 2]}.."))
            added = self._progress.add_task(shown, total=whole, completed=came, shown="", left="")
            self._file, self._moved = next(task for task in self._progress.tasks if task.id == added), -math.inf
        if self._file is not None and came == whole:
            self._progress.remove_task(self._file.id)
            self._file = None
        elif self._file is not None and self._progress.get_time() - self._moved >= _OFTEN:
            self._moved = self._progress.get_time()
            self._progress.update(self._file.id, completed=came, total=whole)
            rate, seconds = self._file.speed, self._file.time_remaining
            shown = f"{size(came)}{f' of {size(whole)}' if whole else ''}{f' {size(round(rate))}/s' if rate else ''}"
            left = "" if seconds is None else f"{clock(seconds)} left"
            self._progress.update(self._file.id, shown=shown, left=left)
        return True

    def decoding(self, done: int, total: int) -> None:
        """Move the bar of images."""
        self._count("reading images", done, total)

    def storing(self, done: int, total: int) -> None:
        """Move the bar of the fixed prefix; training begins after it."""
        self._count("fixed prefix", done, total)
        self._training_began = time.perf_counter()

    def testing_rates(self, done: int, total: int) -> None:
        """Move the bar of a range test."""
        self._count("range test", done, total, unit="steps")

    def _count(self, what: str, done: int, total: int, *, unit: str = "images") -> None:
        if self._counting is None:
            self._counting = self._progress.add_task(what, total=total, shown="", left="")
        self._progress.update(self._counting, completed=done, total=total, shown=f"{done:,}/{total:,} {unit}")
        if done == total:
            self._progress.remove_task(self._counting)
            self._counting = None

    def judged_by(self, metric: str) -> None:
        """Remember the metric of the run's table."""
        self._metric = metric

    def begin(self, label: str, *, epochs: int, done: int, steps: int, evaluations: int, images: int) -> None:
        """Print the run's name, if an epoch is left whose row comes below it, and show its bar."""
        self._epochs, self._steps, self._evaluations, self._images = epochs, steps, evaluations, images
        metric = tasks.metric_label(self._metric)
        self._heading, self._header, self._best, self._rate = f"{label}: {metric} (loss) after each epoch", False, "", 0.0
        self._left = TimeLeft(epochs=epochs - done)
        if done < epochs:
            self._tell_heading()
        total = epochs * (steps + evaluations)
        self._task = self._progress.add_task(
            "", total=total, completed=done * (steps + evaluations), shown=f"epoch {min(done + 1, epochs)}/{epochs}", left=""
        )

    def _tell_heading(self) -> None:
        if self._heading:
            self.note(self._heading)
        self._heading = ""

    def epoch_begins(self, epoch: int) -> None:
        """Start the clock of the epoch."""
        self._training_began = time.perf_counter()
        self._left.begin_epoch(self._training_began)

    def step(self, epoch: int, step: int) -> None:
        """Move the bar: epoch, training step, training images per second, best score so far, time left of the run."""
        self._rate = step * self._images / max(time.perf_counter() - self._training_began, 1e-9)
        self._move(epoch, step, f"step {step}/{self._steps}")

    def evaluation(self, epoch: int, batch: int) -> None:
        """Move the bar; the images per second stay those of training."""
        self._move(epoch, self._steps + batch, f"evaluating {batch}/{self._evaluations}")

    def _move(self, epoch: int, done: int, what: str) -> None:
        if self._task is None:
            return
        whole = self._steps + self._evaluations
        left = self._left.seconds(done / whole, time.perf_counter())
        self._progress.update(
            self._task,
            completed=(epoch - 1) * whole + done,
            shown=f"epoch {epoch}/{self._epochs} {what} {self._rate:,.0f} images/s{self._best}",
            left=f"{clock(left)} left",
        )

    def epoch(self, epoch: Epoch) -> None:
        """Print a row of the run's table, before the first one its header."""
        parts = {"train": epoch.train, "validation": epoch.validation, "test": epoch.test}
        known = {name: found for name, found in parts.items() if found is not None}
        if not self._header:
            self._tell_heading()
            names = "".join(f"{name:<{_WIDE}}" for name in known)
            self.note(f"  {'epoch':<{_NARROW}}{names}seconds")
            self._header = True
        scores = "".join(f"{_metrics(found, self._metric):<{_WIDE}}" for found in known.values())
        best = "  best" if epoch.best and epoch.validation is not None else ""
        self.note(f"  {f'{epoch.epoch}/{self._epochs}':<{_NARROW}}{scores}{epoch.seconds:.1f}{best}")
        if best and epoch.validation is not None:
            score = _score(epoch.validation, self._metric)
            self._best = f" best {score}" if score else ""
        self._left.end_epoch(time.perf_counter())

    def end(self, label: str) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def elsewhere(self, run: Elsewhere) -> None:
        """Show the runs that are carried out elsewhere in rows; without a terminal, print a line for each epoch."""
        if self._console.is_terminal:
            self._elsewhere.show(run)
        elif text := elsewhere.line(run):
            self.note(text)


def _metrics(metrics: Metrics, by: str) -> str:
    """The metric, or another of these images, and the loss."""
    loss = metrics["loss"]
    return f"{_score(metrics, by)} ({f'{loss:.3f}' if loss < 1000 else f'{loss:.3g}'})".lstrip()


def _score(metrics: Metrics, by: str) -> str:
    """The metric's value; where these images do not have it, another with its name; "" of training batches, which have accuracy alone."""
    known = tasks.shown_by(metrics, by)
    return selection.value(metrics, known) if known in ("", by) else selection.shown(metrics, known)
