"""Train an arm of a recipe with nothing stored before, and keep each epoch with the time at which it ended."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import tlkit
from tlkit.events import Epoch, Observer


@dataclass
class Trained:
    """A run while it trains, and after.

    Attributes:
        epochs: Each with the seconds from the call of `train` to its end.
        notes: What the run said of itself.
        complete: Whether it came to its end.
    """

    epochs: list[tuple[float, Epoch]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def test(self) -> list[float]:
        """The accuracy of the test images after each epoch."""
        return [epoch.test["accuracy"] for _, epoch in self.epochs if epoch.test is not None]


def train(recipe: Path, arm: str, *, settings: Sequence[str] = (), device: str = "auto", seconds: float = math.inf) -> Trained:
    """Train an arm, with a folder for its run and a cache of its own; nothing is downloaded.

    Args:
        recipe: Its file.
        arm: Its name.
        settings: "key=value".
        device: As `tlkit.apply` takes it.
        seconds: After which it stops: in the first epoch after twice as many.

    Raises:
        TlkitError: images or weights are missing, or the run failed.
        TimeoutError: the first epoch took too long.
    """
    watch = _Watch(seconds)
    with tempfile.TemporaryDirectory() as scratch, own_cache(Path(scratch) / "cache"):
        try:
            done = tlkit.apply(
                recipe, settings, arm=arm, runs=Path(scratch) / "runs", device=device, offline=True, observer=watch
            )
        except _OverError as error:
            if not watch.trained.epochs:
                raise TimeoutError(f"no epoch ended within {2 * seconds:.0f} s") from error
            return watch.trained
    if done.failures:
        raise done.failures[0]
    watch.trained.complete = True
    return watch.trained


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Let tlkit keep what it stores and measures in a folder."""
    with mock.patch.dict(os.environ, {"TLKIT_CACHE": str(folder)}):
        yield


class _OverError(Exception):
    """The time is over."""


class _Watch(Observer):
    """Keeps what a run tells, and stops it when the time is over: in the first epoch when it is over twice.

    Args:
        seconds: After which it stops.
    """

    def __init__(self, seconds: float) -> None:
        self.trained = Trained()
        self._began = time.perf_counter()
        self._seconds = seconds

    def note(self, text: str) -> None:
        self.trained.notes.append(text)

    def epoch(self, epoch: Epoch) -> None:
        self.trained.epochs.append((self._elapsed, epoch))
        self.step(epoch.epoch, 0)

    def step(self, epoch: int, step: int) -> None:
        if self._elapsed > self._seconds * (1 if self.trained.epochs else 2):
            raise _OverError

    @property
    def _elapsed(self) -> float:
        return time.perf_counter() - self._began
