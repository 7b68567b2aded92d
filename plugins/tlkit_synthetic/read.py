"""Make the synthetic pictures from the options alone.

Templates, training and test images draw from streams of their own, so the test set stays when only `train` changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tlkit.plugin import DataFiles, Images, Split
from tlkit_synthetic import SyntheticOptions

_GRID = 4  # a template has this many random points per side, so it is smooth and survives cropping and resizing
_CHUNK = 2**18  # values made at once: 1 MiB as floats, so that the passes over them stay in a processor's cache


def synthetic(found: DataFiles, options: SyntheticOptions | None = None) -> Images:
    """Return balanced classes as pixels (N, size, size, 3) uint8: the template of a class plus noise, "train" and "test".

    The same options give the same bytes with the same release of numpy.
    """
    options = options or SyntheticOptions()
    templates = _templates(options, np.random.default_rng([options.seed, 0]))
    return Images(
        classes=tuple(f"class{label:0{len(str(options.classes - 1))}d}" for label in range(options.classes)),
        splits={
            "train": _split(options.train, templates, options.noise, np.random.default_rng([options.seed, 1])),
            "test": _split(options.test, templates, options.noise, np.random.default_rng([options.seed, 2])),
        },
    )


def _templates(options: SyntheticOptions, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return one random grid per class, interpolated linearly to (classes, size, size, 3), 0 to 1."""
    points = rng.random((options.classes, _GRID, _GRID, 3), dtype=np.float32)
    weights = _interpolation(options.size)  # (size, grid)
    templates: NDArray[np.float32] = np.einsum("yi,xj,kijc->kyxc", weights, weights, points, optimize=True)
    return templates


def _interpolation(size: int) -> NDArray[np.float32]:
    """Return the weights (size, grid) of linear interpolation; each row sums to 1."""
    position = np.linspace(0, _GRID - 1, size, dtype=np.float32)
    distance = np.abs(position[:, None] - np.arange(_GRID, dtype=np.float32)[None, :])
    weights: NDArray[np.float32] = np.clip(1 - distance, 0, 1)
    return weights


def _split(count: int, templates: NDArray[np.float32], noise: float, rng: np.random.Generator) -> Split:
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(templates))
    pixels = np.empty((count, *templates.shape[1:]), np.uint8)
    step = max(1, _CHUNK // templates[0].size)
    for start in range(0, count, step):
        chosen = templates[labels[start : start + step]]
        values = rng.standard_normal(chosen.shape, dtype=np.float32)
        values *= np.float32(noise)
        values += chosen
        np.clip(values, 0, 1, out=values)
        values *= 255
        pixels[start : start + step] = np.rint(values, out=values)
    return Split(targets=labels, pixels=pixels)
