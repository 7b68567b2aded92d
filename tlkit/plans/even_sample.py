"""Some of many images, at even distances, where all would take too long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def positions(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of the positions 0 to count - 1, ascending: from the first to the last, at even distances.

    Args:
        count: Images. 0 or more.
        most: 1 or more.
    """
    return np.linspace(0, count - 1, num=min(most, count), dtype=np.int64)
