"""Random resized crops are taken from the whole original, as torchvision takes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from tlkit.engine.augment.augment import augment
from tlkit.engine.images import decode
from tlkit.engine.images.geometry import Geometry, fitted, window_geometry
from tlkit.engine.images.parts import TrainingPart
from tlkit.engine.images.pictures import Pictures
from tlkit.plans import dataset_facts, resolve
from tlkit.plugin import Convention, Split
from tlkit.recipe import augmentations
from tlkit.recipe.tables import DataTable
from tlkit.run import decoding
from tlkit.sources import image_files
from tlkit.sources.places import Places

PLAIN = Convention(mean=(0, 0, 0), std=(1, 1, 1), range=255)
OUT = 32


def quiet(done: int, total: int) -> None: ...


def ramp(width: int, height: int) -> np.ndarray:
    """(height, width, 3): red says how far right a pixel is, green how far down."""
    x, y = (np.arange(side) + 0.5 for side in (width, height))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.round(255 * x / width)[None, :], np.round(255 * y / height)[:, None]
    return picture


def seen(crops: np.ndarray) -> dict[str, np.ndarray]:
    """Windows of crops (n, OUT, OUT, 3) of a ramp, as parts of the original's sides: a line through each one's colours."""
    at = (np.arange(OUT) + 0.5) / OUT
    found = {}
    for name, side, channel, over in (("left", "width", 0, 1), ("top", "height", 1, 2)):
        lines = crops[..., channel].astype(float).mean(over) / 255  # (n, OUT)
        slope, start = np.polyfit(at[2:-2], lines[:, 2:-2].T, 1)
        found |= {name: start, side: slope}
    return found


@pytest.mark.parametrize(("width", "height"), [(1600, 800), (500, 375), (300, 900)])
def test_windows_have_torchvisions_distribution_over_the_original(width: int, height: int) -> None:
    count, (table,) = 800, augmentations.read(["random_resized_crop"])
    original = Image.fromarray(ramp(width, height))
    geometry = window_geometry((OUT, OUT), PLAIN, DataTable(name="any"), smallest=table.scale[0], originals=(height, width))
    stored = torch.tensor(fitted(original, geometry)).expand(count, -1, -1, -1)
    crops = augment(
        stored, [table], size=(OUT, OUT), seed=0, epoch=0, images=np.arange(count), shapes=np.full(count, width / height)
    )
    mine = seen(crops.numpy())
    torch.manual_seed(0)
    drawn = np.array([RandomResizedCrop.get_params(original, list(table.scale), list(table.ratio)) for _ in range(count)])
    top, left, tall, wide = drawn.T
    theirs = {"left": left / width, "width": wide / width, "top": top / height, "height": tall / height}
    for name, values in theirs.items():
        assert stats.ks_2samp(mine[name], values).pvalue > 0.01, name
    assert mine["left"].min() < 0.05
    assert (mine["left"] + mine["width"]).max() > 0.95
    aspect = (mine["width"] * width) / (mine["height"] * height)
    assert 0.70 < aspect.min() < 0.80
    assert 1.25 < aspect.max() < 1.42


def test_a_training_part_hands_over_each_pictures_own_shape(tmp_path: Path) -> None:
    """Of a wide, a tall and a square picture, a window of the whole area is the largest of the input's shape in it."""
    sizes = [(120, 60), (40, 80), (64, 64)]
    for number, size in enumerate(sizes):
        Image.fromarray(ramp(*size)).save(tmp_path / f"{number}.png")
    split = Split(np.zeros(3, np.int64), files=tuple(sorted(tmp_path.glob("*.png"))))
    tables = augmentations.read([{"name": "random_resized_crop", "scale": [1.0, 1.0], "ratio": [1.0, 1.0]}])
    pictures = Pictures(split, Geometry((64, 64), (64, 64), "bilinear", "whole"))
    assert not pictures.prepare(np.arange(3), progress=quiet)
    part = TrainingPart(pictures, np.arange(3), PLAIN, augment=tables, size=(OUT, OUT), seed=3)
    crops = part.inputs(np.arange(3), 0, torch.device("cpu")).permute(0, 2, 3, 1).numpy()
    windows = seen(crops)
    assert windows["width"] == pytest.approx([0.5, 1, 1], abs=0.03)
    assert windows["height"] == pytest.approx([1, 0.5, 1], abs=0.03)


def test_what_is_known_of_an_original_is_stored_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(ramp(50, 30))
    for name in ("a.png", "b.bmp", "c.tif"):
        picture.save(tmp_path / name)
    Image.fromarray(ramp(30, 50)).save(tmp_path / "d.png")
    files = tuple(sorted(tmp_path.glob("?.*")))
    split = Split(np.zeros(4, np.int64), files=files)
    first = Pictures(split, Geometry((8, 8), (8, 8), "bilinear"))
    assert not first.prepare(np.arange(4), progress=quiet)
    known = first.originals(np.arange(4))
    assert known["height"].tolist() == [30, 30, 30, 50]
    assert len({row.tobytes() for row in known["digest"]}) == 2
    array = Pictures(Split(np.zeros(1, np.int64), pixels=ramp(50, 30)[None]), Geometry((8, 8), (8, 8), "bilinear"))
    assert array.originals(np.arange(1))["digest"].tolist() == known["digest"][:1].tolist()
    monkeypatch.setattr(decode, "whole", lambda *_, **__: pytest.fail("was decoded again"))
    again = Pictures(split, Geometry((8, 8), (8, 8), "bilinear"))
    assert not again.prepare(np.arange(4), progress=quiet)
    assert (again.originals(np.arange(4)) == known).all()


def test_the_usual_size_of_files_is_turned_as_their_exif_says(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in range(10):
        Image.new("RGB", (90, 40)).save(tmp_path / f"{number}.jpg", exif=turned)
    Image.new("RGB", (800, 800)).save(tmp_path / "x.jpg")
    (tmp_path / "y.jpg").write_bytes(b"")
    assert image_files.usual_size(sorted(tmp_path.glob("*.jpg"))) == (90, 40)
    assert image_files.usual_size([tmp_path / "y.jpg"]) is None


def test_a_plan_counts_the_bytes_of_pictures_that_windows_are_taken_from(toy_recipe: Path) -> None:
    """Arrays of 16 pixels are kept as they are, though the smallest window of the input would need 57."""
    places = Places(recipe=toy_recipe.parent, offline=True)
    for named, side in (("random_resized_crop", 16), ("hflip", 16), ("random_crop", 18)):
        _, arms = resolve.load(toy_recipe, [f'data.augment=["{named}"]'], places)
        facts = dataset_facts.known(arms["main"], places, seed=0, classes=None)
        expected = 3 * (72 * side**2 + 48 * 16**2)
        assert decoding.pictures_bytes(arms["main"], facts) == expected
