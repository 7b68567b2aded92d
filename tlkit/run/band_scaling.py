"""Measure the mean and the standard deviation of each band over the training images.

The rule: the images that are trained on say it, decoded and brought to size, without augmentation; no validation or test image does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tlkit.engine.images.parts import Evaluated, Part
from tlkit.plugin import Convention
from tlkit.run.decoding import Decoded

_CHUNK = 16  # images at a time: 40 MB of 13 bands of float32 at 224 pixels
_DIGITS = 9  # significant ones that are kept, as many as a float32 has: what is written to resolved.toml is what is used


def settle(
    decoded: Decoded, convention: Convention, *, spread: float, note: Callable[[str], None]
) -> tuple[Decoded, Convention]:
    """Return a job's images with the preprocessing that they get, and this preprocessing; what it says already is kept.

    Args:
        decoded: The images.
        convention: The preprocessing, of bands perhaps without mean and std.
        spread: Standard deviation that each band gets in the network's input; see `preprocessing.spread`.
        note: Told which bands have one value everywhere.
    """
    if convention.channels == "bands" and not convention.mean:
        mean, deviation = measured(decoded.training)
        constant = np.flatnonzero(deviation == 0) + 1
        if len(constant):
            shown = ", ".join(map(str, constant.tolist()))
            note(f"band {shown} has one value in all training images; it is used without scaling")
        std = np.where(deviation == 0, 1.0, deviation / spread)
        convention = replace(convention, mean=_rounded(mean), std=_rounded(std))
    given = {name: replace(part, convention=convention) for name, part in decoded.evaluated.parts.items()}
    also = {name: replace(part, convention=convention) for name, part in decoded.evaluated.also.items()}
    target = decoded.evaluated.target
    if target is not None:
        target = replace(target, part=replace(target.part, convention=convention))
    evaluated = Evaluated(given.get("validation"), given.get("test"), also, target)
    return replace(decoded, training=replace(decoded.training, convention=convention), evaluated=evaluated), convention


def measured(part: Part) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation (bands,) of every pixel of a part's images.

    Chunks are joined as in Chan, Golub & LeVeque 1983, so that a large mean costs no digits of a small deviation.
    """
    bands = part.pictures.geometry.shape[2]
    count, mean, squares = 0, np.zeros(bands), np.zeros(bands)
    for start in range(0, len(part.indices), _CHUNK):
        chunk = part.pictures.get(part.indices[start : start + _CHUNK]).numpy().reshape(-1, bands).astype(np.float64)
        own = chunk.mean(0)
        apart, total = own - mean, count + len(chunk)
        squares += ((chunk - own) ** 2).sum(0) + apart**2 * (count * len(chunk) / total)
        mean += apart * (len(chunk) / total)
        count = total
    return mean, np.sqrt(squares / max(count, 1))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
