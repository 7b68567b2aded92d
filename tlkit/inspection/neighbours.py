"""The nearest images of each image, by the cosine of their embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (n, f), each of length 1
Rows = NDArray[np.int64]
_BLOCK = 64 << 20  # bytes of cosines at a time
_NONE = -2.0  # less than any cosine


def unit(embeddings: NDArray[np.float32]) -> Vectors:
    """Return embeddings (n, f) less their mean, each of length 1; one that is the mean itself stays 0.

    Features behind a ReLU all point into one quadrant, so without the mean even unlike images have a cosine near 1.
    """
    wide = embeddings.astype(np.float64)
    centred = wide - wide.mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    least = 1e-6 * max(float(np.abs(wide).max(initial=0.0)), 1e-30)
    found: Vectors = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > least).astype(np.float32)
    return found


def nearest(vectors: Vectors, count: int, *, groups: Rows | None = None) -> tuple[Rows, NDArray[np.float32]]:
    """Return the nearest others of each image, the nearest first.

    Args:
        vectors: From `unit`.
        count: How many, fewer than there are images.
        groups: Images of one number (n,) are no neighbours; where there are fewer others, some stand last, with a cosine of -2.

    Returns:
        Their rows (n, count), and the cosines (n, count).
    """
    total = len(vectors)
    rows, cosines = np.zeros((total, count), np.int64), np.zeros((total, count), np.float32)
    size = max(1, _BLOCK // (4 * total))
    for start in range(0, total, size):
        block = vectors[start : start + size] @ vectors.T  # (size, n)
        mine = np.arange(len(block))
        block[mine, start + mine] = _NONE  # an image is not its own neighbour
        if groups is not None:
            block[groups[start : start + size, None] == groups] = _NONE
        near = np.argpartition(-block, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(block, near, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[start : start + size] = np.take_along_axis(near, order, axis=1)
        cosines[start : start + size] = np.take_along_axis(values, order, axis=1)
    return rows, cosines
