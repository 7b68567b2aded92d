"""Masks in files: what a pixel's value, colour or place in the field of view comes to, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit.errors import ImageError
from tlkit.plugin import IGNORED, MaskCoding, MaskFile
from tlkit.sources import mask_counts, mask_files

NUMBERS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)


def written(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    if mode == "P":
        image = Image.fromarray(pixels, "L")
        image = image.convert("P")
        image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
        image.putdata(pixels.flatten().tolist())
    image.save(path)
    return path


def test_values_are_class_numbers_and_255_is_ignored(tmp_path: Path) -> None:
    for mode in (None, "P"):
        found = mask_files.read(MaskFile(written(tmp_path / "m.png", NUMBERS, mode)), classes=3, size=(2, 3))
        assert found.dtype == np.uint8
        assert (found == NUMBERS).all(), mode


def test_colours_and_other_values_become_class_numbers(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142]], np.uint8)
    path = written(tmp_path / "c.png", colours[np.minimum(NUMBERS, 2)])
    coding = MaskCoding(colours={(0, 0, 0): 0, (128, 64, 128): 1}, rest=IGNORED)
    assert mask_files.read(MaskFile(path, coding), classes=2).tolist() == [[0, 1, 255], [255, 1, 255]]
    gif = written(tmp_path / "v.png", np.array([[3, 253]], np.uint8))
    assert mask_files.read(MaskFile(gif, MaskCoding(values={3: 0, 253: 1})), classes=2).tolist() == [[0, 1]]


def test_pixels_outside_the_field_of_view_are_ignored(tmp_path: Path) -> None:
    view = written(tmp_path / "view.png", np.array([[255, 255, 0], [255, 0, 255]], np.uint8))
    found = mask_files.read(MaskFile(written(tmp_path / "m.png", NUMBERS), field_of_view=view), classes=3)
    assert found.tolist() == [[0, 1, 255], [2, 255, 255]]


@pytest.mark.parametrize(
    ("pixels", "coding", "words"),
    [
        (NUMBERS, MaskCoding(), "m.png: holds the value 2, which is no class"),
        (NUMBERS, MaskCoding(values={0: 0, 1: 1}), "m.png: holds 2, which is no class"),
        (np.zeros((2, 4), np.uint8), MaskCoding(), "m.png: has 4 x 2 pixels, and its picture has 3 x 2"),
        (np.arange(18, dtype=np.uint8).reshape(2, 3, 3), MaskCoding(), "m.png: is a picture of colours"),
        (np.full((2, 3, 3), 9, np.uint8), MaskCoding(colours={(0, 0, 0): 0}), "m.png: holds #090909, which is no class"),
    ],
)
def test_what_is_no_mask_is_named_with_its_path(tmp_path: Path, pixels: np.ndarray, coding: MaskCoding, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        mask_files.read(MaskFile(written(tmp_path / "m.png", pixels), coding), classes=2, size=(2, 3))


def test_a_missing_mask_and_a_dark_field_of_view_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none.png: there is no such file"):
        mask_files.read(MaskFile(tmp_path / "none.png"), classes=2)
    dark = written(tmp_path / "dark.png", np.zeros((2, 3), np.uint8))
    mask = MaskFile(written(tmp_path / "m.png", NUMBERS), field_of_view=dark)
    with pytest.raises(ImageError, match=r"dark.png: is dark everywhere"):
        mask_files.read(mask, classes=3)


def test_the_digest_is_of_everything_that_determines_a_mask(tmp_path: Path) -> None:
    path = written(tmp_path / "m.png", NUMBERS)
    view = written(tmp_path / "view.png", np.full((2, 3), 255, np.uint8))
    masks = [MaskFile(path), MaskFile(path, MaskCoding(rest=0)), MaskFile(path, field_of_view=view)]
    assert len({mask_files.digest(mask) for mask in masks}) == 3
    assert mask_files.digest(masks[0]) == mask_files.digest(MaskFile(path))


def test_pixels_of_classes_are_counted_where_they_count(tmp_path: Path) -> None:
    view = written(tmp_path / "view.png", np.array([[255, 255, 0], [255, 0, 255]], np.uint8))
    whole, seen = MaskFile(written(tmp_path / "m.png", NUMBERS)), MaskFile(tmp_path / "m.png", field_of_view=view)
    gone = MaskFile(tmp_path / "gone.png")
    assert mask_counts.pixels([whole], classes=3, ignore=255) == (1, 2, 2)
    assert mask_counts.pixels([whole, seen, gone], classes=3, ignore=255) == (2, 3, 3)
    assert mask_counts.pixels([whole, seen], classes=3, ignore=0) == (0, 3, 3)
    written(tmp_path / "m.png", NUMBERS * 0)
    assert mask_counts.pixels([whole], classes=3, ignore=255) == (6, 0, 0), "another file, though of the same name"
    assert mask_counts.pixels([seen], classes=3, ignore=255) == (4, 0, 0)
