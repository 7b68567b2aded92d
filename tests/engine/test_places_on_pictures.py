"""Boxes go where the pixels of their pictures go, by every augmentation that moves pixels."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.maps import maps_of, scaled_by
from tlkit.plugin import Boxes
from tlkit.recipe.augmentations import Augmentations
from tlkit.tasks.detection import batch, move

HELD, SIZE, IMAGES = (64, 64), (40, 40), 24
LISTS = {
    "crop": [{"name": "random_crop"}],
    "crop, padded, and flipped": [{"name": "random_crop", "padding": 5}, {"name": "hflip"}],
    "window": [{"name": "random_resized_crop", "scale": (0.6, 1.0)}, {"name": "vflip"}],
    "turned and flipped": [{"name": "rotate", "steps": 90}, {"name": "hflip"}, {"name": "vflip"}],
    "colour": [{"name": "color_jitter", "brightness": 0.0}],
}


@pytest.mark.parametrize("case", LISTS)
def test_a_box_is_where_its_pixels_went(case: str) -> None:
    tables = TypeAdapter(Augmentations).validate_python(LISTS[case])
    held = SIZE if "padded" in case or not any("crop" in each["name"] for each in LISTS[case]) else HELD
    draw, images = np.random.default_rng(0), np.arange(IMAGES)
    pictures = torch.zeros(IMAGES, *held, 3, dtype=torch.uint8)
    targets = np.empty(IMAGES, object)
    for index in range(IMAGES):
        top, left = (int(draw.integers(0, side - 18)) for side in held)
        pictures[index, top : top + 16, left : left + 12] = 255
        corners = np.array([[left, top, left + 12, top + 16]], np.float32)
        targets[index] = Boxes(held, corners, np.zeros(1, np.int64), np.zeros(1, bool))
    moved = augment(pictures, tables, size=SIZE, seed=3, epoch=2, images=images)
    maps = maps_of(scaled_by(1.0, IMAGES), tables, Draws(3, 2, images), held=held, size=SIZE)
    found = move(batch(targets), maps, SIZE)
    resized, seen = "resized" in str(LISTS[case]), 0
    for picture, (frame, box) in zip(moved, found, strict=True):
        bright = (picture[..., 0] > 127).numpy()
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        if box[4] < 0:  # less than a quarter is left
            assert bright.sum() <= 0.26 * 12 * 16 * (4 if resized else 1)
            continue
        seen += 1
        expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert box[:4].numpy() == pytest.approx(expected, abs=1.0 if resized else 0)
        assert (box[:2] >= frame[:2]).all()
        assert (box[2:4] <= frame[2:4]).all()
    assert seen > IMAGES // 3


def test_boxes_are_scaled_with_their_pictures_and_small_ones_stay() -> None:
    boxes = Boxes(
        (100, 200), np.array([[10, 20, 11, 21], [0, 0, 200, 100]], np.float32), np.array([1, 0]), np.array([True, False]), 3
    )
    targets = np.empty(1, object)
    targets[0] = boxes
    (rows,) = move(batch(targets), scaled_by(0.5, 1), (64, 128))
    assert rows.tolist() == [[0, 0, 100, 50, -2, 0], [5, 10, 5.5, 10.5, 1, 1], [0, 0, 100, 50, 0, 0], [0, 0, 0, 0, -1, 0]]
