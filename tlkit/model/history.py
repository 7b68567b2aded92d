"""What `Model.fit` returns: every epoch's figures, also under Keras's names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from tlkit import units
from tlkit.events import Epoch
from tlkit.reports import tables
from tlkit.reports.html import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History(Sequence[Epoch]):
    """The epochs of one call of `fit`, in order.

    Attributes:
        epochs: One record an epoch.
        best_epoch: The epoch whose weights the model has, from 1.
        stopped: Why training ended before its last epoch; "" where it did not.

    Examples:
        >>> import tlkit
        >>> model = tlkit.Model("cifar_resnet20", classes=4, image_size=32, device="cpu")
        >>> model.compile(optimizer="sgd", lr=0.01)
        >>> data = {"classes": 4, "train": 64, "test": 16}
        >>> history = model.fit("synthetic", options=data, epochs=2, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'loss', 'lr', 'val_accuracy', 'val_loss']
        >>> [epoch.epoch for epoch in history]
        [1, 2]
    """

    def __init__(self, epochs: Sequence[Epoch], *, stopped: str = "") -> None:
        self.epochs = tuple(epochs)
        self.best_epoch = max((epoch.epoch for epoch in epochs if epoch.best), default=0)
        self.stopped = stopped

    @property
    def history(self) -> dict[str, list[float]]:
        """Every figure by Keras's name, a list over epochs: loss, accuracy, val_loss, val_accuracy, lr, ..."""
        rows = [logs_of(epoch) for epoch in self.epochs]
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}

    @property
    def epoch(self) -> list[int]:
        """Numbers of the epochs, from 0 as in Keras."""
        return list(range(len(self.epochs)))

    def plot(self) -> Figure:
        """Return a picture of loss and accuracy per epoch, of training and validation images; a notebook shows it."""
        from tlkit.reports import curves

        return curves.figure([("fit", [epoch.record() for epoch in self.epochs])], held_out="validation")

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    @overload
    def __getitem__(self, index: int) -> Epoch: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Epoch, ...]: ...

    def __getitem__(self, index: int | slice) -> Epoch | tuple[Epoch, ...]:
        return self.epochs[index]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        best = next((epoch for epoch in self.epochs if epoch.epoch == self.best_epoch), None)
        scores = "" if best is None or best.validation is None else f", val_accuracy {best.validation['accuracy']:.4f}"
        return f"History({units.counted(len(self.epochs), 'epoch')}, best {self.best_epoch}{scores})"

    def _repr_html_(self) -> str:
        return html(tables.epochs(self.epochs))


def logs_of(epoch: Epoch) -> dict[str, float]:
    """Return an epoch's figures under the names that Keras's logs have."""
    logs = dict(epoch.train)
    if epoch.validation is not None:
        logs |= {f"val_{name}": value for name, value in epoch.validation.items() if name in ("loss", "accuracy")}
    return logs | ({"lr": max(epoch.lr.values())} if epoch.lr else {})
