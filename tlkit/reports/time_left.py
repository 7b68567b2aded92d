"""Estimate the time that a run still needs, from the epochs that are done."""

from __future__ import annotations


class TimeLeft:
    """The time left of a run.

    In the first epoch its own speed counts. Later the mean of the finished epochs does, from the beginning of one to the
    beginning of the next, so that evaluating and saving are in it.

    Args:
        epochs: Number of epochs to train.
    """

    def __init__(self, *, epochs: int) -> None:
        self._epochs = epochs
        self._done = 0
        self._first: float | None = None  # when the first epoch began
        self._began = 0.0  # when this epoch began
        self._mean = 0.0  # seconds of an epoch

    def begin_epoch(self, now: float) -> None:
        """Note that an epoch begins."""
        if self._first is None:
            self._first = now
        self._began = now

    def end_epoch(self, now: float) -> None:
        """Note that an epoch is trained, evaluated and saved."""
        self._done += 1
        self._mean = (now - (self._first or 0.0)) / self._done

    def elapsed(self, now: float) -> float:
        """Return the seconds since this epoch began."""
        return now - self._began

    def seconds(self, part: float, now: float) -> float:
        """Return the seconds that the run still needs.

        Args:
            part: Part of this epoch's steps and evaluation batches that is done, more than 0, at most 1.
            now: The present time, in seconds.
        """
        mean = self._mean or self.elapsed(now) / part
        rest = self._epochs - self._done - 1
        return max(mean - self.elapsed(now), 0.0) + rest * mean
