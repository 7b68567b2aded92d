"""Observers of a run: one that keeps what it is told, and two that stop the run."""

import signal

from tlkit.events import Epoch, Observer


class Notes(Observer):
    """Keeps the lines that a user should know."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Stops(Notes):
    """Stops a run by Ctrl-C when its first epoch is saved."""

    def epoch(self, epoch: Epoch) -> None:
        raise KeyboardInterrupt


class SignalAfter(Notes):
    """Sends this process a signal when an epoch is saved, or in the middle of one."""

    def __init__(self, epoch: int, *, step: int | None = None, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__()
        self._at, self._number = (epoch, step), number

    def epoch(self, epoch: Epoch) -> None:
        if self._at == (epoch.epoch, None):
            signal.raise_signal(self._number)

    def step(self, epoch: int, step: int) -> None:
        if self._at == (epoch, step):
            signal.raise_signal(self._number)
