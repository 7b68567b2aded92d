"""Masks move with their pictures: by the same draws, to the same places, and without a new value."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from tlkit.engine.augment import elastic
from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.masks import augment_masks
from tlkit.engine.augment.parameters import parameters
from tlkit.plugin import IGNORED
from tlkit.recipe import augmentations

IMAGES = np.arange(6)
CASES = {
    "crop": ["random_crop"],
    "padded crop": [{"name": "random_crop", "padding": 5}],
    "flips and quarters": ["random_crop", "hflip", "vflip", {"name": "rotate", "steps": 90}],
    "colours leave masks": ["random_crop", "color_jitter", {"name": "random_erasing", "p": 1.0}, "hflip"],
}


def masks() -> torch.Tensor:
    return torch.randint(0, 2, (6, 30, 44), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("case", CASES)
def test_every_pixel_of_a_mask_goes_where_that_of_its_picture_goes(case: str) -> None:
    tables, known = augmentations.read(CASES[case]), masks()
    moved = augment_masks(known, tables, Draws(3, 2, IMAGES), size=(16, 16))
    geometric = [each for each in tables if each.name not in ("color_jitter", "random_erasing")]
    pictures = (known[..., None] * 100).expand(-1, -1, -1, 3).contiguous()
    wanted = augment(pictures, geometric, size=(16, 16), seed=3, epoch=2, images=IMAGES, fill=(IGNORED,) * 3)[..., 0]
    assert torch.equal(torch.where(moved == IGNORED, moved, moved * 100), wanted)
    assert not torch.equal(moved, augment_masks(known, tables, Draws(3, 3, IMAGES), size=(16, 16))), "another epoch"


@pytest.mark.parametrize(
    "table",
    [
        {"name": "rotate", "degrees": 40.0},
        {"name": "random_resized_crop", "scale": [0.2, 0.6]},
        {"name": "elastic", "pixels": 5.0},
    ],
)
def test_between_pixels_a_mask_takes_the_nearest(table: dict[str, object]) -> None:
    known = torch.zeros(6, 64, 64, dtype=torch.uint8)
    known[:, 10:40, 20:50] = 1
    tables = augmentations.read([table])
    moved = augment_masks(known, tables, Draws(0, 0, IMAGES), size=(64, 64))
    assert set(moved.unique().tolist()) <= {0, 1, IGNORED}
    pictures = (known[..., None] * 200).expand(-1, -1, -1, 3).contiguous()
    soft = augment(pictures, tables, size=(64, 64), seed=0, epoch=0, images=IMAGES, fill=(0, 0, 0))[..., 0]
    inside, outside = soft == 200, soft == 0
    assert (moved[inside] == 1).all(), "where the picture is the square alone, so is the mask"
    assert (moved[outside] != 1).all()
    assert float((moved == 1).float().mean()) == pytest.approx(float(soft.float().mean()) / 200, rel=0.03)


def test_crops_are_taken_from_what_pictures_cover() -> None:
    known = torch.full((6, 30, 44), IGNORED, dtype=torch.uint8)
    known[:, :20, :25] = 0
    extents = np.tile([20, 25], (6, 1))
    for epoch in range(20):
        draws = Draws(0, epoch, IMAGES)
        moved = augment_masks(known, augmentations.read(["random_crop"]), draws, size=(16, 16), extents=extents)
        assert (moved == 0).all()


def test_windows_have_the_shape_of_the_input_and_a_part_of_what_each_picture_covers() -> None:
    """A canvas of another shape, of which pictures cover parts of several shapes: as torchvision draws from each picture alone."""
    extents = np.array([[120, 80], [60, 150], [30, 30]])
    (table,) = augmentations.read([{"name": "random_resized_crop", "scale": [0.25, 0.25], "ratio": [1.0, 1.0]}])
    draws = Draws(0, 0, np.arange(3))
    (drawn,) = parameters([table], draws, held=(120, 400), size=(16, 16), shapes=None, extents=extents)
    assert drawn["height"].tolist() == drawn["width"].tolist(), "square, as the input"
    assert drawn["height"].tolist() == [49, 47, 15], "half of the root of 120 * 80, 60 * 150, 30 * 30"
    assert (drawn["top"] + drawn["height"] <= extents[:, 0]).all()
    assert (drawn["left"] + drawn["width"] <= extents[:, 1]).all()


def test_elastic_moves_pixels_by_a_smooth_field_of_the_drawn_shifts() -> None:
    (table,) = augmentations.read([{"name": "elastic", "pixels": 4.0, "points": 2}])
    many = Draws(0, 0, np.arange(4000))
    by = elastic.shifts(table, many)
    assert by.shape == (4000, 2, 2, 2)
    assert float(by.std()) == pytest.approx(4.0, rel=0.03)
    assert float(np.abs(by.mean((0, 2, 3))).max()) < 0.15
    by = np.full((1, 2, 2, 2), 0.0, np.float32)
    by[:, 0], by[:, 1] = 3.0, -2.0  # every point alike: the whole picture is shifted
    picture = torch.arange(20 * 30, dtype=torch.float32).reshape(1, 20, 30, 1)
    found = elastic.moved(picture, torch.from_numpy(by), torch.tensor([-1.0]))
    wanted = ndimage.shift(picture[0, :, :, 0].numpy(), (-3, 2), order=1, cval=-1.0)
    np.testing.assert_allclose(found[0, :, :, 0].numpy(), wanted, atol=0.01)
