"""Pictures of bands as satellites take them: 64 x 64 pixels, uint16 reflectances times 10,000, labels that only an infrared band tells."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

# Mean reflectances of Sentinel-2's 13 bands over Europe, times 10,000, in the order of EuroSAT: Helber et al. 2019, arXiv:1709.00029.
LEVELS = (1354, 1118, 1042, 947, 1199, 2000, 2369, 2296, 732, 12, 1820, 1118, 2594)
BLUE_GREEN_RED = (1, 2, 3)
INFRARED = 7  # band 8
CLASSES = ("barley", "rape", "wheat")


def pictures(
    count: int, *, seed: int = 0, size: int = 64, levels: tuple[int, ...] = LEVELS
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return pictures (count, size, size, bands) and labels.

    Fields of random brightness, the same in all bands up to noise; in the infrared band stripes of one of three directions.
    """
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    fields = np.kron(draw.uniform(0.6, 1.4, (count, 4, 4)), np.ones((size // 4, size // 4)))[..., None]
    bands = np.array(levels) * fields * draw.normal(1, 0.05, (count, size, size, len(levels)))
    down, across = np.indices((size, size))
    phase = draw.uniform(0, 8, (count, 1, 1))
    ways = (down[None] + phase, across[None] + phase, down[None] + across[None] + phase)
    stripes = np.stack([np.sin(way * (2 * np.pi / 8)) for way in ways])  # (3, count, size, size)
    bands[..., INFRARED] *= 1 + 0.3 * stripes[labels, np.arange(count)]
    return np.clip(bands, 0, 65535).round().astype(np.uint16), labels


def folder(path: Path, arrays: NDArray[np.generic], labels: NDArray[np.int64], *, suffix: str = ".npy") -> Path:
    """Write pictures as files in a folder for each class."""
    for index, (array, label) in enumerate(zip(arrays, labels.tolist(), strict=True)):
        file = path / CLASSES[label] / f"{index:04d}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            np.save(file, array)
        else:
            tifffile.imwrite(file, array.transpose(2, 0, 1), photometric="minisblack")
    return path
