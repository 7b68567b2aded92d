"""How large a picture is, and what it is scaled by: a factor, or until its field of view has a diameter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlkit.engine.images import extents
from tlkit.engine.images.geometry import canvas_geometry
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.pictures import Pictures
from tlkit.errors import ImageError
from tlkit.plugin import IGNORED, IMAGENET, MaskFile, Split
from tlkit.recipe.tables import DataTable
from tlkit.sources import scaling

TABLE = DataTable(name="x", scale_to={"field_of_view": 40})
GEOMETRY = canvas_geometry((64, 64), IMAGENET, TABLE)


def retina(diameter: int, size: tuple[int, int]) -> np.ndarray:
    """A bright disc in the middle of darkness with a little noise."""
    down, across = np.indices(size)
    disc = np.hypot(down - (size[0] - 1) / 2, across - (size[1] - 1) / 2) <= diameter / 2
    noise = np.random.default_rng(0).integers(0, 8, (*size, 3), dtype=np.uint8)
    return np.where(disc[..., None], np.array([180, 90, 40], np.uint8), noise)


@pytest.mark.parametrize(("diameter", "size"), [(80, (100, 120)), (160, (170, 200)), (120, (100, 140))])
def test_the_diameter_of_a_field_of_view_is_measured(diameter: int, size: tuple[int, int]) -> None:
    found = scaling.diameter(Image.fromarray(retina(diameter, size)))
    assert found == pytest.approx(diameter, rel=0.03), "also of a disc that the picture cuts off"


def test_a_dark_picture_has_no_field_of_view() -> None:
    with pytest.raises(ImageError, match="is dark everywhere"):
        scaling.diameter(Image.new("RGB", (20, 20)))


def test_picture_and_mask_are_scaled_alike(tmp_path: Path) -> None:
    files, masks = [], np.empty(2, object)
    for place, (diameter, size) in enumerate([(80, (100, 120)), (160, (170, 200))]):
        pixels = retina(diameter, size)
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
        Image.fromarray((pixels[..., 0] > 100).astype(np.uint8)).save(tmp_path / f"{place}-mask.png")
        files.append(tmp_path / f"{place}.png")
        masks[place] = MaskFile(tmp_path / f"{place}-mask.png")
    split = Split(masks, files=tuple(files))
    sizes = extents.sizes(split, GEOMETRY)
    assert sizes == pytest.approx(np.array([[50, 60], [42.5, 50]]), abs=2)
    pictures = Pictures(split, GEOMETRY)
    both = np.arange(2)
    beside = Masks(pictures, classes=2, ignore=IGNORED)
    for each in (pictures, beside):
        assert each.prepare(both, progress=lambda done, total: None) == {}
    found, known = pictures.get(both), beside.of(both)
    for place, (height, width) in enumerate(sizes.tolist()):
        assert (known[place, height:] == IGNORED).all()
        assert (known[place, :, width:] == IGNORED).all()
        disc = known[place] == 1
        assert 2 * (float(disc.sum()) / np.pi) ** 0.5 == pytest.approx(40, rel=0.04)
        assert float((disc == (found[place, ..., 0] > 100))[:height, :width].float().mean()) > 0.97
    assert torch.equal(beside.of(both), Masks(pictures, classes=2, ignore=IGNORED).of(both)), "stored or decoded now"


def test_a_mask_of_the_field_of_view_says_the_factor_where_there_is_one(tmp_path: Path) -> None:
    """The picture is bright in a disc of 80 pixels, and its mask says that the camera saw one of 100: the factor is 0.4, not 0.5."""
    Image.fromarray(retina(80, (110, 120))).save(tmp_path / "p.png")
    Image.fromarray((retina(80, (110, 120))[..., 0] > 100).astype(np.uint8)).save(tmp_path / "m.png")
    masks = np.empty(1, object)
    pictures = []
    for seen in (100, 50):
        Image.fromarray((retina(seen, (110, 120))[..., 0] > 100).astype(np.uint8) * 255).save(tmp_path / f"{seen}.png")
        masks[0] = MaskFile(tmp_path / "m.png", field_of_view=tmp_path / f"{seen}.png")
        split = Split(masks.copy(), files=(tmp_path / "p.png",))
        pictures.append(Pictures(split, GEOMETRY))
    one, other = pictures
    assert extents.sizes(one.split, GEOMETRY).tolist() == [[44, 48]]
    assert one.prepare(np.arange(1), progress=lambda done, total: None) == {}
    disc = one.get(np.arange(1))[0, :44, :48, 0] > 100
    assert 2 * (float(disc.sum()) / np.pi) ** 0.5 == pytest.approx(0.4 * 80, rel=0.04)
    mask = Masks(one, classes=2, ignore=IGNORED).of(np.arange(1))[0]
    assert int((mask == 1).sum()) == pytest.approx(int(disc.sum()), rel=0.03)
    assert not np.array_equal(one.keys(np.arange(1)), other.keys(np.arange(1))), "what is stored is of this mask"


def test_a_field_of_view_is_measured_in_the_picture_as_it_is_decoded(tmp_path: Path) -> None:
    """Of 16 bits, dim: everything but the disc is nearly black only after its range is brought to 0 to 255."""
    pixels = np.where(retina(80, (100, 120))[..., 0] > 100, 60_000, 3_000).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    split = Split(np.zeros(1, np.int64), files=(tmp_path / "p.png",))
    assert extents.sizes(split, GEOMETRY).tolist() == [[50, 60]]
