"""Pictures of bands are resized, augmented and normalised band by band, as colours are."""

import numpy as np
import pytest
import torch
from PIL import Image

from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.batched import Batched, as_arrays
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.parameters import parameters
from tlkit.engine.images import originals
from tlkit.engine.images.geometry import Geometry, fitted
from tlkit.engine.images.normalisation import normalise
from tlkit.plugin import Convention
from tlkit.recipe import augmentations

DRAW = np.random.default_rng(0)
COLOURS = DRAW.integers(0, 256, (40, 60, 6), np.uint8)  # two colour pictures on each other
FITS = ("crop", "pad", "squash")
BANDS = Convention(mean=(500.0, 40.5), std=(100.0, 4.0), channels="bands", range=255.0, values="float32")


def geometry(fit: str, bands: int | None, values: str = "uint8", resize: str = "bilinear") -> Geometry:
    padding = None if fit != "pad" else (10, 20, 30) * ((bands or 3) // 3)
    return Geometry((24, 20), (27, 24) if fit == "crop" else (24, 20), resize, fit, padding, bands=bands, values=values)


@pytest.mark.parametrize("fit", FITS)
def test_bands_of_bytes_are_resized_as_the_colours_of_pillow(fit: str) -> None:
    made = fitted(COLOURS, geometry(fit, 6))
    for first in (0, 3):
        colour = fitted(Image.fromarray(np.ascontiguousarray(COLOURS[:, :, first : first + 3])), geometry(fit, None))
        np.testing.assert_array_equal(made[:, :, first : first + 3], colour)


@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_floats_are_resized_as_pillow_does_and_16_bits_are_rounded(resize: str) -> None:
    values = DRAW.normal(0, 1, (40, 60, 2)).astype(np.float32)
    words = DRAW.integers(0, 65536, (40, 60, 2)).astype(np.uint16)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    made, whole = (fitted(each, geometry("squash", 2, kind, resize)) for each, kind in ((values, "float32"), (words, "uint16")))
    assert (made.dtype, whole.dtype) == (np.float32, np.uint16)
    for band in range(2):
        expected = np.asarray(Image.fromarray(values[:, :, band]).resize((20, 24), filters[resize]))
        np.testing.assert_array_equal(made[:, :, band], expected)
        expected = np.asarray(Image.fromarray(words[:, :, band].astype(np.float32)).resize((20, 24), filters[resize]))
        np.testing.assert_array_equal(whole[:, :, band], np.clip(np.rint(expected), 0, 65535))


def test_bands_of_the_right_size_are_not_touched() -> None:
    for values in (COLOURS, COLOURS.astype(np.uint16) * 257, COLOURS.astype(np.float32) / 7):
        made = fitted(values, Geometry((40, 60), (40, 60), "bilinear", bands=6, values=values.dtype.name))
        np.testing.assert_array_equal(made, values)


@pytest.mark.parametrize("name", ["random_crop", "random_resized_crop", "hflip", "vflip", "rotate", "random_erasing"])
def test_bands_are_moved_as_colours_are(name: str) -> None:
    pictures = torch.from_numpy(DRAW.integers(0, 256, (5, 32, 32, 6), np.uint8))
    tables = augmentations.read([name if name != "random_erasing" else {"name": name, "p": 1.0}])
    fill = (3, 5, 7, 3, 5, 7)
    options = {"size": (24, 24) if "crop" in name else (32, 32), "seed": 0, "epoch": 1, "images": np.arange(5)}
    made = augment(pictures, tables, fill=fill, erase_with=fill, **options)
    floats = augment(pictures.float(), tables, fill=fill, erase_with=fill, **options)
    assert (made.dtype, floats.dtype) == (torch.uint8, torch.float32)
    assert (made.float() - floats).abs().max() <= 1.01  # bytes are rounded
    drawn = parameters(tables, Draws(0, 1, np.arange(5)), held=(32, 32), size=options["size"], shapes=None)
    batched = Batched(tables, held=(32, 32), size=options["size"], fill=fill, erase_with=fill, device=pictures.device)
    arrays = [as_arrays(table, each) for table, each in zip(tables, drawn, strict=True)]
    there = [{key: torch.from_numpy(array) for key, array in each.items()} for each in arrays]
    at_once = batched(pictures.float(), there, drawn)
    torch.testing.assert_close(at_once, floats, atol=1e-2, rtol=0)
    for first in (0, 3):
        colour = augment(pictures[..., first : first + 3], tables, fill=fill[:3], **options)
        if name == "random_erasing":  # noise there, the mean here
            erased = (made[..., first : first + 3] == torch.tensor(fill[:3], dtype=torch.uint8)).all(-1)
            assert erased.any()
            assert torch.equal(made[..., first : first + 3][~erased], colour[~erased])
        else:
            rounding = 1 if name == "random_resized_crop" else 0  # torch resizes bytes of more than four channels another way
            assert (made[..., first : first + 3].int() - colour).abs().max() <= rounding


def test_bands_are_normalised_in_the_units_of_their_files() -> None:
    pixels = torch.tensor(DRAW.uniform(0, 1000, (2, 4, 5, 2)).astype(np.float32))
    before = pixels.clone()
    expected = ((pixels.double() - torch.tensor([500.0, 40.5])) / torch.tensor([100.0, 4.0])).permute(0, 3, 1, 2)
    torch.testing.assert_close(normalise(pixels, BANDS), expected.float(), atol=1e-4, rtol=1e-5)
    assert torch.equal(pixels, before)


def test_the_same_bytes_of_another_type_or_shape_are_another_picture() -> None:
    words = COLOURS.view(np.uint16)
    digests = {originals.digest_of(each) for each in (COLOURS, words, COLOURS.reshape(60, 40, 6), COLOURS.reshape(40, 120, 3))}
    assert len(digests) == 4
    assert originals.digest_of(COLOURS[:, :, :3]) == originals.digest_of(np.asarray(Image.fromarray(COLOURS[:, :, :3].copy())))
