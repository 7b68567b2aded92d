"""The geometry of a picture: torchvision's resize and crop, Pillow's padding, and what a recipe's keys make of it."""

import resource
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from test_decode import NOISE, RNG, array
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from tlkit.engine.images import decode
from tlkit.engine.images.geometry import Geometry, crop_geometry, evaluation_geometry, fitted, window_geometry
from tlkit.engine.images.normalisation import normalise
from tlkit.plugin import CAFFE, IMAGENET, Convention
from tlkit.recipe.tables import DataTable

DATA = DataTable(name="any")
FILTERS = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


@pytest.mark.parametrize("resize", FILTERS)
@pytest.mark.parametrize("short_side", [(32, 28), (33, 28), (24, 24), (20, 17), (15, 15)])
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (41, 41), (20, 91), (15, 16), (33, 32), (7, 5)])
def test_resize_and_crop_are_torchvisions(shape: tuple[int, int], short_side: tuple[int, int], resize: str) -> None:
    short, side = short_side
    image = Image.fromarray(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8))
    resized = functional.resize(image, [short], interpolation=FILTERS[resize])
    expected = array(functional.center_crop(resized, [side]))
    mine = fitted(image, Geometry((side, side), (short, short), resize))
    assert mine.shape == (side, side, 3)
    np.testing.assert_array_equal(mine, expected)


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    image = Image.fromarray(NOISE[:32, :32])
    np.testing.assert_array_equal(fitted(image, Geometry((32, 32), (32, 32), "bicubic")), NOISE[:32, :32])


@pytest.mark.parametrize(
    ("size", "crop", "short"), [(224, 0.875, 256), (224, 224 / 232, 232), (32, 1.0, 32), (299, 0.875, 342), (16, 1.0, 16)]
)
def test_evaluation_resizes_to_image_size_over_crop(size: int, crop: float, short: int) -> None:
    convention = Convention(mean=IMAGENET.mean, std=IMAGENET.std, crop=crop, resize="bicubic")
    made = evaluation_geometry((size, size), convention, DATA)
    assert made == Geometry((size, size), (short, short), "bicubic")


@pytest.mark.parametrize(("size", "short"), [(224, 256), (32, 37), (28, 32)])
def test_a_random_crop_has_room_of_256_for_224(size: int, short: int) -> None:
    assert crop_geometry((size, size), IMAGENET, DATA) == Geometry((short, short), (short, short), "bilinear")


@pytest.mark.parametrize(("crop", "short"), [(1.0, 224), (0.8, 280), (0.875, 256), (None, 256)])
def test_a_random_crop_takes_pictures_of_the_scale_that_is_evaluated(crop: float | None, short: int) -> None:
    table = DataTable(name="any", crop=crop)
    convention = replace(IMAGENET, crop=0.95 if crop is None else crop)
    made = crop_geometry((224, 224), convention, table)
    assert made.size == made.resized == (short, short)
    if crop is not None:
        assert evaluation_geometry((224, 224), convention, table).resized == made.resized


@pytest.mark.parametrize(
    ("size", "smallest", "originals", "expected"),
    [
        ((224, 224), 0.08, (3000, 4000), (792, 792)),  # 224 / sqrt(0.08)
        ((224, 224), 0.08, (375, 500), (375, 500)),
        ((224, 224), 0.08, (3000, 400), (792, 400)),
        ((224, 224), 0.25, None, (448, 448)),
        ((224, 224), 0.08, (32, 32), (32, 32)),
        ((96, 128), 1.0, (3000, 4000), (96, 128)),
    ],
)
def test_pictures_for_windows_are_as_large_as_the_smallest_needs(
    size: tuple[int, int], smallest: float, originals: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    made = window_geometry(size, IMAGENET, DATA, smallest=smallest, originals=originals)
    assert made == Geometry(expected, expected, "bilinear", "whole")


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_windows_of_a_fitted_picture_have_its_shape(fit: str) -> None:
    table = DataTable(name="any", fit=fit)
    made = window_geometry((100, 200), IMAGENET, table, smallest=0.25, originals=(300, 150))
    assert (made.fit, made.size) == (fit, (200, 400))
    small = window_geometry((100, 200), IMAGENET, table, smallest=0.25, originals=(50, 100))
    assert small.size == (50, 100)


# How a picture (height, width) is brought to 32 x 48 by each fit, by torchvision's and Pillow's own functions.
def cover(image: Image.Image, resize: str) -> np.ndarray:
    scale = max(37 / image.height, 55 / image.width)  # 32 and 48 over a crop of 0.875
    size = [max(37, int(image.height * scale + 1e-9)), max(55, int(image.width * scale + 1e-9))]
    return array(functional.center_crop(functional.resize(image, size, interpolation=FILTERS[resize]), [32, 48]))


def padded(image: Image.Image, resize: str) -> np.ndarray:
    method = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return array(ImageOps.pad(image, (48, 32), method[resize], color=(124, 116, 104)))


def squashed(image: Image.Image, resize: str) -> np.ndarray:
    return array(functional.resize(image, [32, 48], interpolation=FILTERS[resize]))


@pytest.mark.parametrize("resize", FILTERS)
@pytest.mark.parametrize("shape", [(40, 200), (200, 40), (64, 96), (41, 41), (20, 33)])
@pytest.mark.parametrize(("fit", "expected"), [("crop", cover), ("pad", padded), ("squash", squashed)])
def test_a_picture_of_any_shape_is_fitted_into_a_rectangle(
    fit: str, expected: Callable[[Image.Image, str], np.ndarray], shape: tuple[int, int], resize: str
) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8))
    convention = replace(IMAGENET, resize=resize)
    geometry = evaluation_geometry((32, 48), convention, DataTable(name="any", fit=fit))
    np.testing.assert_array_equal(decode.picture(array(image), geometry), expected(image, resize))


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_pad_and_squash_keep_the_whole_picture(fit: str) -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, :10], wide[:, -10:] = (255, 0, 0), (0, 0, 255)
    made = decode.picture(wide, evaluation_geometry((30, 30), IMAGENET, DataTable(name="any", fit=fit)))
    assert made[15, 0].tolist() == [255, 0, 0]
    assert made[15, -1].tolist() == [0, 0, 255]
    assert (made[0, 0].tolist() == [124, 116, 104]) == (fit == "pad")


@pytest.mark.parametrize("convention", [IMAGENET, CAFFE])
def test_the_border_is_nearly_zero_once_normalised(convention: Convention) -> None:
    geometry = evaluation_geometry((16, 64), convention, DataTable(name="any", fit="pad"))
    made = torch.from_numpy(decode.picture(NOISE, geometry).copy())[None]
    border = normalise(made, convention)[0, :, :, :3] / (convention.range / 255)
    assert border.abs().max() * min(convention.std) <= 0.5 + 1e-4


def test_a_thin_picture_is_one_pixel_thick_where_it_is_padded() -> None:
    geometry = evaluation_geometry((24, 24), IMAGENET, DataTable(name="any", fit="pad"))
    made = decode.picture(np.full((1, 300, 3), 255, np.uint8), geometry)
    assert (made == 255).all(axis=2).sum() == 24


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(20, 160), (331, 20), (11, 97), (1, 60)])
def test_a_thin_picture_is_what_a_resize_of_the_whole_would_give(shape: tuple[int, int], resize: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    whole = functional.resize(image, [16], interpolation=FILTERS[resize])
    expected = array(functional.center_crop(whole, [14])).astype(int)
    assert np.abs(fitted(image, Geometry((14, 14), (16, 16), resize)) - expected).max() <= 1


def test_a_line_of_pixels_takes_the_memory_of_the_square_that_is_kept() -> None:
    image = Image.new("RGB", (1, 30_000), "white")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (fitted(image, Geometry((224, 224), (224, 224), "bilinear")) == 255).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB; the whole would take 4.5 GB"


def test_the_options_of_the_data_set_reach_the_geometry() -> None:
    for value, expected in ((4095, (0.0, 4095.0)), ([-100, 300], (-100.0, 300.0)), (None, None)):
        table = DataTable(name="folder", options={} if value is None else {"range": value})
        assert evaluation_geometry((32, 32), IMAGENET, table).white == expected


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
@pytest.mark.parametrize("shrink", [1, 7, 16])
def test_a_shrunk_picture_is_reduced_and_enlarged(size: tuple[int, int], shrink: int) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8))
    usual = Geometry(size, size, "bilinear")
    small = [round(side * shrink / min(size)) for side in size]
    whole = Image.fromarray(fitted(image, usual))
    expected = functional.resize(functional.resize(whole, small), list(size))
    np.testing.assert_array_equal(fitted(image, replace(usual, shrink=shrink)), array(expected))


def test_a_picture_without_detail_is_shrunk_to_itself() -> None:
    image = Image.new("RGB", (40, 40), (10, 200, 90))
    assert (fitted(image, Geometry((32, 32), (32, 32), "bicubic", shrink=4)) == (10, 200, 90)).all()
