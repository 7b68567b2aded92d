"""Masks lie on their pictures, whichever way a picture is stored, turned or scaled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlkit.engine.images import decode, extents
from tlkit.engine.images.geometry import Geometry, canvas_geometry
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.pictures import Pictures
from tlkit.errors import ImageError
from tlkit.plugin import IGNORED, IMAGENET, MaskFile, Split
from tlkit.recipe.tables import DataTable

ALL = np.array([0])
SIDE = np.zeros((40, 60), np.uint8)
SIDE[:, :20] = 1  # the left third of a picture is bright, and of class 1


def geometry(canvas: tuple[int, int], **data: object) -> Geometry:
    return canvas_geometry(canvas, IMAGENET, DataTable(name="any", **data))


def split_of(folder: Path, *, picture: str = "p.png", mask: str = "m.png", exif: int | None = None) -> Split:
    """A picture of a third that is bright, and its mask, both turned by the same EXIF orientation."""
    options = {}
    if exif is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = exif
    Image.fromarray(np.repeat(SIDE[..., None] * 200, 3, 2)).save(folder / picture, **options)
    Image.fromarray(SIDE).save(folder / mask, **options)
    return split_with(folder / mask, files=(folder / picture,))


def split_with(mask: Path, **pictures: object) -> Split:
    masks = np.empty(1, object)
    masks[0] = MaskFile(mask)
    return Split(masks, **pictures)


def refuse_other_places(pictures: Pictures) -> torch.Tensor:
    """Refuse a mask whose class 1 is not where its picture is bright; return it (H, W)."""
    masks = Masks(pictures, classes=2, ignore=IGNORED)
    for each in (pictures, masks):
        assert not each.prepare(ALL, progress=lambda done, total: None)
    mask, bright = masks.of(ALL)[0], pictures.get(ALL)[0, :, :, 0] > 150
    assert torch.equal((mask == 1) & (mask != IGNORED), bright)
    return mask


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("exif", [1, 3, 6])
def test_a_mask_is_turned_as_its_picture_is(tmp_path: Path, suffix: str, exif: int) -> None:
    split = split_of(tmp_path, picture=f"p.{suffix}", mask=f"m.{suffix}", exif=exif)
    (size,) = extents.sizes(split, geometry((64, 64))).tolist()
    assert size == ([60, 40] if exif == 6 else [40, 60])
    mask = refuse_other_places(Pictures(split, geometry((64, 64)), keep=False))
    assert int((mask != IGNORED).sum()) == 40 * 60


def test_a_large_photograph_is_scaled_by_the_factor_of_its_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG file of so many pixels is decoded at a reduced size for one size of all pictures, which a canvas is not."""
    monkeypatch.setattr(decode, "_LARGE", 1_000)
    Image.fromarray(np.repeat(SIDE[..., None] * 200, 3, 2)).resize((480, 320), Image.Resampling.NEAREST).save(
        tmp_path / "p.jpg"
    )
    Image.fromarray(SIDE).resize((480, 320), Image.Resampling.NEAREST).save(tmp_path / "m.png")
    split = split_with(tmp_path / "m.png", files=(tmp_path / "p.jpg",))
    refuse_other_places(Pictures(split, geometry((20, 32), scale_to=1 / 16), keep=False))


def test_pixels_of_the_canvas_s_size_are_scaled_all_the_same(tmp_path: Path) -> None:
    Image.fromarray(SIDE).save(tmp_path / "m.png")
    split = split_with(tmp_path / "m.png", pixels=np.repeat(SIDE[None, ..., None] * 200, 3, 3))
    mask = refuse_other_places(Pictures(split, geometry((40, 60), scale_to=0.9), keep=False))
    assert int((mask != IGNORED).sum()) == 36 * 54


def test_a_stored_mask_is_not_that_of_a_picture_of_another_size(tmp_path: Path) -> None:
    def prepared() -> dict[int, ImageError]:
        masks = Masks(Pictures(split, geometry((64, 64))), classes=2, ignore=IGNORED)
        return masks.prepare(ALL, progress=lambda done, total: None)

    split = split_of(tmp_path)
    assert not prepared()
    assert not prepared()
    Image.new("RGB", (30, 20)).save(tmp_path / "p.png")
    (error,) = prepared().values()
    assert "has 60 x 40 pixels, and its picture has 30 x 20" in str(error)
