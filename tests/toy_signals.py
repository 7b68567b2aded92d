"""An observer that stops a run with a signal."""

import signal

from tlkit.events import Epoch, Observer


class SignalAfter(Observer):
    """Sends this process a signal when an epoch is saved, or in the middle of one."""

    def __init__(self, epoch: int, *, step: int | None = None, number: signal.Signals = signal.SIGTERM) -> None:
        self._at, self._number = (epoch, step), number
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, epoch: Epoch) -> None:
        if self._at == (epoch.epoch, None):
            signal.raise_signal(self._number)

    def step(self, epoch: int, step: int) -> None:
        if self._at == (epoch, step):
            signal.raise_signal(self._number)
