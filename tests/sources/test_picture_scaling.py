"""How large a picture is, and what it is scaled by: a factor, or until its field of view has a diameter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlkit.engine.images.geometry import canvas_geometry
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.pictures import Pictures
from tlkit.errors import ImageError
from tlkit.plugin import IGNORED, IMAGENET, MaskFile, Split
from tlkit.recipe.tables import DataTable
from tlkit.sources import scaling

TABLE = DataTable(name="x", scale_to={"field_of_view": 40})


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
    sizes = scaling.sizes(split, TABLE)
    assert sizes == pytest.approx(np.array([[50, 60], [42.5, 50]]), abs=2)
    pictures = Pictures(split, canvas_geometry((64, 64), IMAGENET, TABLE))
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
