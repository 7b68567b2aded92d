"""Find images that are unlike all others, by the distance to their nearest neighbours.

Source: Tukey 1977, "Exploratory Data Analysis": a value is far out that lies three times the interquartile range above the upper
quartile. Logarithms are compared, since distances are skewed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST = 30  # images among which one can be called unlike the others
_RANGES = 3.0
_LEAST = 1e-6


def outliers(cosines: NDArray[np.float32]) -> list[tuple[int, float]]:
    """Return the rows that are far out with their distance as a multiple of the median, the farthest first.

    Args:
        cosines: Of the embeddings of each image's nearest others (n, k).
    """
    distances = np.maximum(1.0 - cosines.astype(np.float64).mean(1), _LEAST)
    logs = np.log(distances)
    lower, upper = np.percentile(logs, (25, 75))
    far = np.flatnonzero(logs > upper + _RANGES * max(upper - lower, 0.05))
    median = float(np.median(distances))
    return sorted(((row, float(distances[row]) / median) for row in far.tolist()), key=lambda pair: -pair[1])
