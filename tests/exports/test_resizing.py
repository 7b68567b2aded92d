"""The graph's resize gives Pillow's bytes."""

import numpy as np
import pytest
import torch
from PIL import Image

from tlkit.engine.images.geometry import Geometry, fitted
from tlkit.exports.resizing import Resize

# Height and width: landscape, portrait, more than twice as tall as wide, of the result's own size, smaller, larger.
SIZES = [(37, 53), (53, 37), (100, 22), (120, 30), (12, 80), (16, 20), (20, 20), (8, 9), (333, 250)]


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_bytes_are_those_of_pillow(name: str, fit: str) -> None:
    resized = (20, 25) if fit == "crop" else (16, 20)
    geometry = Geometry((16, 20), resized, name, fit, (10, 200, 30) if fit == "pad" else None)
    generator, mine, theirs = np.random.default_rng(0), [], []
    for size in SIZES:
        picture = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        mine.append(Resize(geometry)(torch.from_numpy(picture)[None])[0].permute(1, 2, 0).numpy())
        theirs.append(fitted(Image.fromarray(picture), geometry).astype(float))
    off = np.abs(np.stack(mine) - np.stack(theirs))
    assert off.max() <= 1
    assert (off > 0).mean() <= 1e-3


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("values", ["uint8", "uint16", "float32"])
def test_bands_are_those_of_pillow(values: str, fit: str) -> None:
    resized = (20, 25) if fit == "crop" else (16, 20)
    padding = (10, 200, 30, 4, 5) if fit == "pad" else None
    geometry = Geometry((16, 20), resized, "bicubic", fit, padding, bands=5, values=values)
    generator = np.random.default_rng(0)
    for size in SIZES:
        bands = (generator.random((*size, 5)) * (255 if values == "uint8" else 9000)).astype(values)
        mine = Resize(geometry)(torch.from_numpy(bands)[None])[0].permute(1, 2, 0).numpy()
        off = np.abs(mine - fitted(bands, geometry).astype(float))
        assert off.max() <= (0.01 if values == "float32" else 1)
        assert (off > 0.01).mean() <= 1e-3


def test_a_picture_that_is_very_long_differs_by_one_level_at_most() -> None:
    """Pillow is given the middle of such a picture as a box of float32 numbers."""
    geometry = Geometry((16, 20), (20, 25), "bilinear")
    picture = np.random.default_rng(0).integers(0, 256, (8, 400, 3), dtype=np.uint8)
    mine = Resize(geometry)(torch.from_numpy(picture)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(mine - fitted(Image.fromarray(picture), geometry)).max() <= 1
