"""Draw images of each class from another data set. Imports no torch.

The rule: the images of a draw are among those of every larger draw, so that arms with more labels have those of arms with fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.sources.splits import Indices, drawn


def first_of_each(labels: NDArray[np.int64], classes: Sequence[str], count: int, *, seed: int, where: str) -> Indices:
    """Return the positions of so many images of each class that has any, ascending.

    Args:
        labels: (N,) of the images.
        classes: Their names.
        count: Images of each class.
        seed: The run's seed.
        where: Begins the message.

    Raises:
        DataError: a class has fewer images.
    """
    counts = np.bincount(labels, minlength=len(classes))
    few = np.flatnonzero((counts < count) & (counts > 0))
    if len(few):
        name, there = classes[int(few[0])], int(counts[few[0]])
        raise DataError(
            f"{where}: is {count}, and class {name} has {there} image{'' if there == 1 else 's'} there.", "fewer of each class"
        )
    chosen = [drawn(np.flatnonzero(labels == label), label, seed)[:count] for label in range(len(classes))]
    return np.sort(np.concatenate(chosen))
