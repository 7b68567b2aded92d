"""Data sets of pictures with masks: which files they find, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit import plugin
from tlkit.errors import DataError, DataMissing
from tlkit.plugin import Dataset, Images, registry
from tlkit.sources import mask_files


def picture(path: Path, *values: int) -> None:
    """Write a picture of 2 x 3 pixels, all of one value, or a mask of these values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), (2, 3))).save(path)


def read(kind: str, folder: Path, **options: object) -> Images:
    found = registry.get(Dataset, kind)
    assert found.options is not None
    chosen = found.options.model_validate(options)
    return plugin.call(found.read, plugin.call(found.find, folder, chosen), chosen)


def folder(path: Path, names: tuple[str, ...] = ("a", "b", "c"), *, suffix: str = "") -> Path:
    for name in names:
        picture(path / "images" / f"{name}.png", 90)
        picture(path / "masks" / f"{name}{suffix}.png", 0, 255)
        picture(path / "seen" / f"{name}.png", 255, 255, 0)
    return path


def test_masks_are_found_by_name_and_read_by_value(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        folder(tmp_path / part, suffix="_mask")
    options = {"classes": ["ground", "vessel"], "values": {"vessel": 255}, "suffix": "_mask", "field_of_view": "seen"}
    images = read("segmentation_folder", tmp_path, **options)
    assert images.classes == ("ground", "vessel")
    assert {name: len(split.targets) for name, split in images.splits.items()} == {"train": 3, "validation": 3, "test": 3}
    split = images.splits["train"]
    assert [Path(file).name for file in split.files] == ["a.png", "b.png", "c.png"]
    assert mask_files.read(split.targets[1], classes=2, size=(2, 3)).tolist() == [[0, 1, 255], [1, 0, 255]]


def test_pictures_to_test_on_are_held_out_by_group(tmp_path: Path) -> None:
    folder(tmp_path, ("a1", "a2", "b1", "b2", "c1"))
    images = read("segmentation_folder", tmp_path, classes=["ground", "vessel"], group="[a-z]", test_fraction=0.3)
    groups = {name: set(split.groups.tolist()) for name, split in images.splits.items() if split.groups is not None}
    assert images.test_held_out
    assert len(groups["test"]) == 1
    assert groups["train"] | groups["test"] == {"a", "b", "c"}
    assert not groups["train"] & groups["test"]


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("masks/b.png", r"images/b.png: has no mask in"),
        ("images/b.png", r"masks: has masks without a picture: b.png"),
        ("seen/b.png", r"images/b.png: has no field of view in"),
    ],
)
def test_what_has_no_partner_is_named(tmp_path: Path, gone: str, words: str) -> None:
    (folder(tmp_path) / gone).unlink()
    with pytest.raises(DataError, match=words):
        read("segmentation_folder", tmp_path, classes=["ground", "vessel"], field_of_view="seen")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"values": {"road": 3}}, "road is none of the classes"),
        ({"colours": {"vessel": "#ffffff"}}, "class ground has no colour"),
        ({"colours": {"vessel": "white", "ground": "#000000"}}, "white is no colour"),
        ({"group": "("}, "group is no regular expression"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read("segmentation_folder", tmp_path, classes=["ground", "vessel"], **options)


def test_drive_is_read_in_its_official_layout(tmp_path: Path) -> None:
    root = tmp_path / "DRIVE"
    for part, folder_, names in (("training", "training", ("21", "22")), ("test", "test", ("01",))):
        for name in names:
            picture(root / part / "images" / f"{name}_{folder_}.tif", 90)
            picture(root / part / "1st_manual" / f"{name}_manual1.gif", 0, 255)
            picture(root / part / "mask" / f"{name}_{folder_}_mask.gif", 0, 255, 255)
    images = read("drive", tmp_path)
    assert {name: len(split.targets) for name, split in images.splits.items()} == {"train": 2, "test": 1}
    assert mask_files.read(images.splits["test"].targets[0], classes=2).tolist() == [[255, 1, 0], [255, 0, 1]]
    (root / "test" / "mask" / "01_test_mask.gif").unlink()
    with pytest.raises(DataError, match=r"01_test_mask.gif: is not there"):
        read("drive", tmp_path)
    with pytest.raises(DataMissing):
        read("drive", root / "test")
