"""What `Model.predict` returns: probabilities as a numpy array that knows its class names."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import TlkitError
from tlkit.tasks import multi_label


class Predictions(np.ndarray[Any, np.dtype[np.float32]]):
    """Class probabilities (N, classes) float32, of masks (N, classes, H, W); every function of numpy takes it.

    It is a subclass of numpy's array, so that `np.argmax(p, axis=1)`, `p.argmax(1)`, `p[0]` and `p > 0.5` work as with Keras.

    Attributes:
        class_names: In the order of the columns.
        several: An image may have any number of classes.

    Examples:
        >>> import numpy as np, tlkit
        >>> model = tlkit.Model("cifar_resnet20", classes=["cat", "dog"], image_size=32, device="cpu")
        >>> found = model.predict(np.zeros((3, 32, 32, 3), np.uint8))
        >>> found.shape
        (3, 2)
        >>> set(found.labels) <= {"cat", "dog"}
        True
        >>> [len(ranked) for ranked in found.top(1)]
        [1, 1, 1]
    """

    class_names: tuple[str, ...]
    several: bool

    def __new__(cls, rows: NDArray[np.float32], class_names: tuple[str, ...], *, several: bool = False) -> Predictions:
        """Return a view of rows (N, classes)."""
        made = np.asarray(rows).view(cls)
        made.class_names, made.several = class_names, several
        return made

    def __array_finalize__(self, made_from: object) -> None:
        self.class_names = getattr(made_from, "class_names", ())
        self.several = getattr(made_from, "several", False)

    def __reduce__(self) -> Any:  # numpy's own leaves out the names
        return partial(Predictions, several=self.several), (np.asarray(self), self.class_names)

    @property
    def labels(self) -> list[Any]:
        """The most probable class of each image; where an image may have several, a list of those above 0.5."""
        rows = self._rows()
        if self.several:
            return [[self.class_names[index] for index in np.flatnonzero(row > multi_label.THRESHOLD)] for row in rows]
        return [self.class_names[index] for index in rows.argmax(axis=1)]

    def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
        """Return the k most probable classes of each image with their probabilities, the highest first."""
        if not isinstance(k, int) or k < 1:
            raise TlkitError(f"top: k is {k!r}.", "a whole number, at least 1")
        ranked = [(row, np.argsort(-row, kind="stable")[:k]) for row in self._rows()]
        return [[(self.class_names[index], float(row[index])) for index in order] for row, order in ranked]

    def _rows(self) -> NDArray[np.float32]:
        rows = np.atleast_2d(np.asarray(self))
        if rows.ndim != 2 or rows.shape[1] != len(self.class_names):
            shape = tuple(self.shape)
            if self.ndim > 2 and shape[-3] == len(self.class_names):
                raise TlkitError(
                    f"predictions: are of shape {shape}, a probability of each class for every pixel; labels and top are of whole pictures.",
                    f"predictions.argmax({self.ndim - 3}), the class number of each pixel",
                )
            raise TlkitError(
                f"predictions: are of shape {shape}, which is not one number for each of {len(self.class_names)} classes.",
                "labels and top are of whole rows: model.predict(x).labels",
            )
        return rows
