"""Pictures of bright shapes on dark noise, with a mask for each: a data set of files whose path is an option."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Dataset, Images, MaskFile, Options, Split, registry

CLASSES = ("ground", "square", "bar")
SIZE = (30, 44)  # height and width of most pictures

RECIPE = """\
format = 1
name = "shapes"
[backbone]
name = "toy"
weights = "none"
[head]
kind = "fcn"
[data]
name = "shapes"
batch_size = 4
options = { path = "data" }
[lr_groups]
backbone = 3e-2
head = 3e-2
[schedule]
epochs = 3
"""


class ShapesOptions(Options):
    path: str
    classes: int = 2


def find(folder: Path, options: ShapesOptions) -> DataFiles:
    return DataFiles(folder, tuple(sorted(folder.rglob("*.png"))))


def read(found: DataFiles, options: ShapesOptions) -> Images:
    splits = {}
    for name in ("train", "validation", "test"):
        files = tuple(sorted((found.root / name / "images").glob("*.png")))
        masks = np.empty(len(files), object)
        masks[:] = [MaskFile(found.root / name / "masks" / file.name) for file in files]
        if not files:
            raise DataError(f"{found.root}: has no {name}.")
        splits[name] = Split(masks, files=files)
    return Images(CLASSES[: options.classes], splits)


DATA = Dataset(read=f"{__name__}:read", find=f"{__name__}:find", options=ShapesOptions, summary="shapes")


def picture(draw: np.random.Generator, size: tuple[int, int] = SIZE, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) and its mask (H, W): a bright square, and of three classes a bar of another colour."""
    pixels = draw.integers(0, 90, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    top, left = (int(draw.integers(0, side - 12)) for side in size)
    mask[top : top + 12, left : left + 12] = 1
    if classes == 3:
        row = int(draw.integers(0, size[0] - 5))
        mask[row : row + 5] = 2
    pixels[mask == 1] += np.array([140, 140, 140], np.uint8)
    pixels[mask == 2] += np.array([0, 140, 0], np.uint8)
    return pixels, mask


def write(folder: Path, *, classes: int = 2, counts: tuple[int, int, int] = (8, 4, 4)) -> None:
    """Write training, validation and test pictures, the last of each part smaller than the others."""
    draw = np.random.default_rng(0)
    for part, count in zip(("train", "validation", "test"), counts, strict=True):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for index in range(count):
            size = (24, 36) if index == count - 1 else SIZE
            pixels, mask = picture(draw, size, classes=classes)
            Image.fromarray(pixels).save(folder / part / "images" / f"{index}.png")
            Image.fromarray(mask).save(folder / part / "masks" / f"{index}.png")


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the data set."""
    found = registry.scan()
    mine = registry.Entry("tlkit.datasets", "shapes", f"{__name__}:DATA", "shapes", "1.0")
    monkeypatch.setattr(registry, "scan", lambda: replace(found, entries=(*found.entries, mine)))


def recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the data set, and write it and its recipe into a folder; return the recipe."""
    install(monkeypatch)
    write(folder / "data")
    (folder / "r.toml").write_text(RECIPE)
    return folder / "r.toml"
