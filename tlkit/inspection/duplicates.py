"""Find images that are there twice: of identical files or pixels, or near duplicates, as after resizing, compression or mirroring.

The rule: embeddings propose a near duplicate, and the pictures themselves confirm it. A network calls two photographs of one kind of
bee alike; they are duplicates only if the pictures agree, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tlkit.inspection.neighbours import Rows

Keys = NDArray[np.uint8]  # (n, 16), digests of images
Pictures = Callable[[Rows], NDArray[np.generic]]  # rows -> (n, H, W, channels)
Edges = list[tuple[int, int, float]]  # two rows, the smaller first, and the cosine of their embeddings

_SIDE = 16  # pixels of the pictures that are compared
# Least cosine of the embeddings, and least correlation of the pictures, of near duplicates; one of these is enough. Small pictures of
# clothes, compressed and resized, have cosines down to 0.59 and correlations from 0.99; other pairs of them hardly ever have both.
_BOUNDS = ((0.5, 0.99), (0.9, 0.95))
_NOISE = 1.0  # grey levels; differences below it are none
_BATCH = 256  # pictures that are shrunk, and pairs that are compared, at a time


def groups(kinds: Sequence[Keys]) -> NDArray[np.int64]:
    """Return a number (n,) for each image that identical images share.

    Args:
        kinds: Of each kind of digest an array (n, 16); images are identical where one kind agrees.
    """
    count = len(kinds[0])
    edges = []
    for keys in kinds:
        _, first, inverse = np.unique(
            np.ascontiguousarray(keys).view(f"S{keys.shape[1]}").reshape(-1), return_index=True, return_inverse=True
        )
        edges.append((first[inverse.reshape(-1)], np.arange(count)))
    return joined(count, np.concatenate([each[0] for each in edges]), np.concatenate([each[1] for each in edges]))


def joined(count: int, first: Rows, second: Rows) -> NDArray[np.int64]:
    """Return a number (count,) for each image that images share which pairs, directly or over others, join."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def exact(group: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return a pair for each image that is identical to an earlier one: the first of its group, and itself."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    firsts = first[inverse.reshape(-1)]
    later = np.flatnonzero(firsts != np.arange(len(group)))
    return list(zip(firsts[later].tolist(), later.tolist(), strict=True))


def near(rows: Rows, cosines: NDArray[np.float32], group: NDArray[np.int64], pictures: Pictures) -> Edges:
    """Return pairs of near duplicates, one for each two groups of identical images.

    Args:
        rows: The nearest others of each image (n, k), the nearest first.
        cosines: Of their embeddings (n, k).
        group: From `groups`.
        pictures: Returns pictures.
    """
    mine, place = np.nonzero(cosines >= min(cosine for cosine, _ in _BOUNDS))
    found: dict[tuple[int, int], tuple[int, int, float]] = {}
    for one, other, cosine in zip(mine.tolist(), rows[mine, place].tolist(), cosines[mine, place].tolist(), strict=True):
        first, second = sorted((one, other))
        low, high = sorted((int(group[first]), int(group[second])))
        if low != high:
            found.setdefault((low, high), (first, second, min(float(cosine), 1.0)))
    candidates = sorted(found.values())
    agreements = _agreements(np.array([each[:2] for each in candidates], np.int64).reshape(-1, 2), pictures)
    return [
        each
        for each, alike in zip(candidates, agreements, strict=True)
        if any(each[2] >= cosine and alike >= least for cosine, least in _BOUNDS)
    ]


def _agreements(pairs: Rows, pictures: Pictures) -> list[float]:
    """Return the agreement of the pictures of each pair (n, 2); each picture is read and shrunk once."""
    shown, places = np.unique(pairs, return_inverse=True)
    small = [shrunk(pictures(some)).astype(np.float32) for some in _batches(shown)]
    every, sides = np.concatenate(small) if small else np.zeros(0), places.reshape(pairs.shape)
    return [
        alike for some in _batches(sides) for alike in agreement(*(every[side].astype(np.float64) for side in some.T)).tolist()
    ]


def _batches(rows: Rows) -> list[Rows]:
    return [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]


def shrunk(pictures: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return pictures (n, H, W, channels) at 16 x 16 pixels: the mean over each field, in grey levels of 0 to 255."""
    values: NDArray[np.float64] = pictures.astype(np.float64)
    if pictures.dtype != np.uint8:  # bands of any unit
        low, high = values.min(initial=0.0), values.max(initial=1.0)
        values = (values - low) * (255 / max(high - low, 1e-12))
    count, height, width, channels = values.shape
    down = _fields(height) @ values.reshape(count, height, width * channels)  # (n, 16, W * channels)
    across: NDArray[np.float64] = _fields(width) @ down.reshape(count * _SIDE, width, channels)
    return across.reshape(count, _SIDE, _SIDE, channels)


def _fields(length: int) -> NDArray[np.float64]:
    """Return the share (16, length) of each pixel in the mean over each of 16 equal fields; one may lie in two."""
    edges = np.linspace(0, length, _SIDE + 1)
    pixels = np.arange(length)
    inside = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    found: NDArray[np.float64] = np.maximum(inside, 0.0) * (_SIDE / length)
    return found


def agreement(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation (n,) of pictures, of one of them mirrored where that is greater; brightness and contrast do not count."""
    one, other = (each - each.mean((1, 2, 3), keepdims=True) for each in (first, second))
    noise = _NOISE**2 * int(np.prod(one.shape[1:]))
    powers = np.sqrt((_product(one, one) + noise) * (_product(other, other) + noise))
    found: NDArray[np.float64] = (np.maximum(_product(one, other), _product(one, other[:, :, ::-1])) + noise) / powers
    return found


def _product(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.einsum("nhwc,nhwc->n", one, other)
    return found
