"""Callbacks: objects with some of the method names that Keras's callbacks have.

Called are on_train_begin, on_train_end, on_epoch_begin, on_epoch_end, on_train_batch_begin and on_train_batch_end, the last two
also under Keras's short names on_batch_begin and on_batch_end. Epochs and batches count from 0, as in Keras. The logs of
on_epoch_end are those of `History.history`; the logs of on_batch_end hold the step, and the mean loss of the epoch so far as it was
last read from the device: on the CPU at every step, on a GPU at every 50th.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.errors import RunFailed, TlkitError, reason
from tlkit.events import Epoch, Observer
from tlkit.model.history import logs_of

_NAMES = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end",
          "on_train_batch_begin", "on_train_batch_end")  # fmt: skip


class CallbackFailed(RunFailed):
    """A callback raised; what was trained until then is kept."""


class Callbacks(Observer):
    """Tells callbacks what happens, and passes everything on to what shows it.

    Args:
        callbacks: Objects with some of Keras's method names.
        model: That each gets as its attribute `model`.
        shown: Told of everything too.
        steps: Training steps of an epoch.

    Raises:
        TlkitError: one of them has none of the names.
    """

    def __init__(self, callbacks: Sequence[object], *, model: object, shown: Observer, steps: int, epochs: int) -> None:
        self._callbacks = list(callbacks)
        self._shown = shown
        self._steps = steps
        self._loss: dict[str, float] = {}
        self.note = shown.note  # type: ignore[method-assign]  # passed on as it is
        self.decoding = shown.decoding  # type: ignore[method-assign]  # it is passed on as it is
        self.storing = shown.storing  # type: ignore[method-assign]  # it is passed on as it is
        for callback in self._callbacks:
            if hasattr(callback, "set_params"):
                callback.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
            if hasattr(callback, "set_model"):
                callback.set_model(model)
            else:
                callback.model = model  # type: ignore[attr-defined]  # as Keras does

    def train_begins(self) -> None:
        """Training is about to begin."""
        self._call("on_train_begin", {})

    def train_ends(self, last: Epoch | None) -> None:
        """Training is over."""
        self._call("on_train_end", {} if last is None else logs_of(last))

    def judged_by(self, metric: str) -> None:
        """Pass it on."""
        self._shown.judged_by(metric)

    def begin(self, label: str, *, epochs: int, done: int, steps: int, evaluations: int, images: int) -> None:
        """Pass it on."""
        self._shown.begin(label, epochs=epochs, done=done, steps=steps, evaluations=evaluations, images=images)

    def end(self, label: str) -> None:
        """Pass it on."""
        self._shown.end(label)

    def epoch_begins(self, epoch: int) -> None:
        """Tell of an epoch and of its first batch."""
        self._loss = {}
        self._shown.epoch_begins(epoch)
        self._call("on_epoch_begin", epoch - 1, {})
        self._call_batch("begin", 0, {"step": 0})

    def loss(self, epoch: int, step: int, loss: float) -> None:
        """Remember the loss for the logs of the batches to come."""
        self._loss = {"loss": loss}
        self._shown.loss(epoch, step, loss)

    def step(self, epoch: int, step: int) -> None:
        """Tell of the end of a batch, and of the next."""
        self._shown.step(epoch, step)
        self._call_batch("end", step - 1, {"step": step - 1, **self._loss})
        if step < self._steps:
            self._call_batch("begin", step, {"step": step})

    def evaluation(self, epoch: int, batch: int) -> None:
        """Pass it on."""
        self._shown.evaluation(epoch, batch)

    def epoch(self, epoch: Epoch) -> None:
        """Tell of an epoch's end."""
        self._shown.epoch(epoch)
        self._call("on_epoch_end", epoch.epoch - 1, logs_of(epoch))

    def _call_batch(self, end: str, batch: int, logs: dict[str, float]) -> None:
        """Call the long name, or where a callback has none the short one: Keras's base class passes the long one on."""
        for callback in self._callbacks:
            long = f"on_train_batch_{end}"
            _call(callback, long if hasattr(callback, long) else f"on_batch_{end}", batch, dict(logs))

    def _call(self, name: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            _call(callback, name, *arguments)


def checked(callbacks: object) -> list[object]:
    """Return callbacks as a list; one alone is one.

    Raises:
        TlkitError: one of them has none of Keras's method names.
    """
    if callbacks is None:
        return []
    listed = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    for callback in listed:
        if isinstance(callback, type) or not any(hasattr(callback, name) for name in _NAMES):
            what = (
                f"the class {callback.__name__}"
                if isinstance(callback, type)
                else f"an object of type {type(callback).__name__}"
            )
            raise TlkitError(
                f"Model.fit: callbacks: {what} is no callback.", f"an object with one of the methods {', '.join(_NAMES)}"
            )
    return listed


def _call(callback: object, name: str, *arguments: Any) -> None:
    method = getattr(callback, name, None)
    if method is None:
        return
    try:
        method(*arguments)
    except Exception as error:
        raise CallbackFailed(
            f"callbacks: {type(callback).__name__}.{name} raised {reason(error).rstrip('.')}.",
            *(error.hints if isinstance(error, TlkitError) else ()),
            "training ended there; model.history has the epochs until then",
        ) from error
