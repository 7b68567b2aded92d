"""Data sets with masks: every layout is read as its authors wrote it, and what is missing or wrong is named."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tlkit_masks
from tlkit.errors import DataError, DataMissing, ImageError, RecipeError
from tlkit.plugin import IGNORED, DataFiles, Dataset, Images, MaskCoding, MaskFile
from tlkit.plugin import calling as calls
from tlkit.recipe import parsing
from tlkit.sources import mask_files

SIZE = (6, 8)  # height and width


def read(name: str, place: Path, **options: object) -> tuple[Images, DataFiles]:
    dataset: Dataset = getattr(tlkit_masks, name)
    checked = parsing.options(dataset.options, {"path": str(place), **options}, place="data.options")
    found = calls.call(dataset.find, place, checked)
    assert isinstance(found, DataFiles)
    images = calls.call(dataset.read, found, checked)
    assert isinstance(images, Images)
    return images, found


def masks(images: Images, split: str = "train") -> list[list[list[int]]]:
    classes = len(images.classes)
    return [mask_files.read(each, classes=classes).tolist() for each in images.splits[split].targets]


def names(images: Images, split: str) -> list[str]:
    return [Path(str(file)).name for file in images.splits[split].files]


def save(path: Path, values: object = 0, *, mode: str = "L", size: tuple[int, int] = SIZE) -> None:
    """Write an image of one value, or of an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.broadcast_to(np.asarray(values, np.uint8), (*size, 3) if mode == "RGB" else size)
    image = Image.fromarray(pixels, mode)
    if path.suffix == ".gz":
        image.save(path.with_suffix(""))
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
        path.with_suffix("").unlink()
    else:
        image.save(path)


def left_half(value: int) -> np.ndarray:
    return np.where(np.arange(SIZE[1]) < 4, value, 0).astype(np.uint8) * np.ones((SIZE[0], 1), np.uint8)


HALF = [[1] * 4 + [0] * 4] * SIZE[0]


def of_drive(place: Path) -> None:
    for part, number in (("training", 21), ("test", 1)):
        save(place / part / "images" / f"{number:02}_{part}.tif", 90, mode="RGB")
        save(place / part / "1st_manual" / f"{number:02}_manual1.gif", left_half(255))
        save(
            place / part / "mask" / f"{number:02}_{part}_mask.gif",
            np.where(np.arange(SIZE[0])[:, None] > 0, 255, 0) * np.ones(SIZE),
        )
    save(place / "test/2nd_manual/01_manual2.gif", np.where(left_half(1) > 0, 253, 3))


def of_stare(place: Path) -> None:
    disc = np.zeros((*SIZE, 3), np.uint8)
    disc[1:5, 2:7] = 200
    disc[3, 4] = 0  # dark, and inside
    for number in (1, 2, 3):
        save(place / "stare-images" / f"im000{number}.ppm.gz", disc, mode="RGB")
    for number in (2, 3):
        save(place / "labels-ah" / f"im000{number}.ah.ppm.gz", left_half(255))


def of_chase(place: Path) -> None:
    for name in ("01L", "01R", "02L"):
        save(place / f"Image_{name}.jpg", 90, mode="RGB")
        save(place / f"Image_{name}_1stHO.png", left_half(1))


def of_hrf(place: Path) -> None:
    for number, kind in ((1, "h"), (2, "h"), (1, "g"), (2, "g"), (1, "dr"), (2, "dr")):
        save(place / "images" / f"0{number}_{kind}.{'JPG' if kind == 'dr' else 'jpg'}", 90, mode="RGB")
        save(place / "manual1" / f"0{number}_{kind}.tif", left_half(255))
        save(place / "mask" / f"0{number}_{kind}_mask.tif", 255)


def of_camvid(place: Path) -> None:
    for part in ("train", "val", "test"):
        save(place / part / "0001TP_006690.png", 90, mode="RGB")
        save(place / f"{part}annot" / "0001TP_006690.png", left_half(11))


def of_cityscapes(place: Path) -> None:
    for part in ("train", "val"):
        save(place / "leftImg8bit" / part / "ulm" / "ulm_0_1_leftImg8bit.png", 90, mode="RGB")
        save(place / "gtFine" / part / "ulm" / "ulm_0_1_gtFine_labelIds.png", left_half(33))


def of_voc(place: Path) -> None:
    inside = place / "VOCdevkit/VOC2012"
    (inside / "ImageSets/Segmentation").mkdir(parents=True)
    for part, name in (("train", "2007_1"), ("val", "2007_2")):
        (inside / "ImageSets/Segmentation" / f"{part}.txt").write_text(f"{name}\n")
        save(inside / "JPEGImages" / f"{name}.jpg", 90, mode="RGB")
        palette = Image.fromarray(np.where(left_half(1) > 0, 20, 255).astype(np.uint8), "P")
        palette.putpalette([each for value in range(256) for each in (value, 255 - value, 7)])
        (inside / "SegmentationClass").mkdir(exist_ok=True)
        palette.save(inside / "SegmentationClass" / f"{name}.png")


def of_pets(place: Path) -> None:
    for part, name in (("trainval", "beagle_1"), ("test", "Birman_2")):
        save(place / "images" / f"{name}.jpg", 90, mode="RGB")
        save(place / "annotations/trimaps" / f"{name}.png", np.where(left_half(1) > 0, 1, 3))
        (place / "annotations" / f"{part}.txt").write_text(f"{name} 1 2 3\n")


I = IGNORED  # noqa: E741  # in tables of masks a letter is what can be read
LAYOUTS = {
    "drive": (of_drive, {}, {"train": ["21_training.tif"], "test": ["01_test.tif"]}, [[I] * 8, *HALF[1:]]),
    "stare": (
        of_stare, {"train": 1}, {"train": ["im0002.ppm.gz"], "test": ["im0003.ppm.gz"]},
        [[I] * 8, *[[I, I, 1, 1, 0, 0, 0, I]] * 4, [I] * 8],
    ),
    "chasedb1": (of_chase, {"train": 2}, {"train": ["Image_01L.jpg", "Image_01R.jpg"], "test": ["Image_02L.jpg"]}, HALF),
    "hrf": (
        of_hrf, {"train": 1},
        {"train": ["01_h.jpg", "01_g.jpg", "01_dr.JPG"], "test": ["02_h.jpg", "02_g.jpg", "02_dr.JPG"]}, HALF,
    ),
    "camvid": (of_camvid, {}, {part: ["0001TP_006690.png"] for part in ("train", "validation", "test")}, [[I] * 4 + [0] * 4] * 6),
    "cityscapes": (
        of_cityscapes, {}, {part: ["ulm_0_1_leftImg8bit.png"] for part in ("train", "test")}, [[18] * 4 + [I] * 4] * 6,
    ),
    "voc_segmentation": (of_voc, {}, {"train": ["2007_1.jpg"], "test": ["2007_2.jpg"]}, [[20] * 4 + [I] * 4] * 6),
    "oxford_pets_segmentation": (of_pets, {}, {"train": ["beagle_1.jpg"], "test": ["Birman_2.jpg"]}, [[1] * 4 + [I] * 4] * 6),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_set_is_read_in_its_official_layout(name: str, tmp_path: Path) -> None:
    write, options, expected, mask = LAYOUTS[name]
    inside = tmp_path / (getattr(tlkit_masks, name).subfolder if name in ("drive", "stare", "chasedb1", "hrf") else "")
    write(inside)
    images, found = read(name, tmp_path, **options)
    assert {split: names(images, split) for split in images.splits} == expected
    assert masks(images)[0] == mask
    assert all(file.is_file() for file in found.files)
    assert hash(found)  # what is read is remembered by it
    assert len(images.classes) == getattr(tlkit_masks, name).classes


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_empty_folder_has_no_published_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="has no"):
        read(name, tmp_path)


def test_the_second_observer_of_drive_draws_in_other_values(tmp_path: Path) -> None:
    of_drive(tmp_path)
    images, _ = read("drive", tmp_path, observer=2)
    assert masks(images, "test")[0] == [[I] * 8, *HALF[1:]]


def test_a_picture_without_a_mask_and_a_training_set_of_all_are_named(tmp_path: Path) -> None:
    of_chase(tmp_path)
    with pytest.raises(DataError, match="train is 3, and there are 3 pictures"):
        read("chasedb1", tmp_path, train=3)
    (tmp_path / "Image_01R_1stHO.png").unlink()
    with pytest.raises(DataError, match=r"Image_01R\.jpg: has no mask; there is no .*Image_01R_1stHO\.png"):
        read("chasedb1", tmp_path, train=2)


def of_folder(place: Path, parts: tuple[str, ...] = ("",), count: int = 5, value: int = 1) -> None:
    for part in parts:
        for index in range(count):
            save(place / part / "images" / f"{index}.jpg", 90, mode="RGB")
            save(place / part / "masks" / f"{index}.png", left_half(value))


CLASSES = ["ground", "thing"]


def test_folders_of_pictures_and_masks_are_split_by_name(tmp_path: Path) -> None:
    of_folder(tmp_path)
    images, _ = read("segmentation_folder", tmp_path, classes=CLASSES)
    assert len(images.splits["train"].files) == 4
    assert len(images.splits["test"].files) == 1
    assert masks(images) == [HALF] * 4


def test_a_folder_in_the_place_of_a_picture_is_called_one(tmp_path: Path) -> None:
    of_folder(tmp_path)
    (tmp_path / "images/4.jpg").unlink()
    (tmp_path / "images/4.jpg").mkdir()
    _, found = read("segmentation_folder", tmp_path, classes=CLASSES)
    mask, picture = tmp_path / "masks/4.png", tmp_path / "images/4.jpg"
    assert found.remarks == (f"1 mask has no picture: {mask}", f"{picture} is a folder and no picture")


@pytest.mark.parametrize("above", [True, False])
def test_folders_of_splits_lie_above_or_below(above: bool, tmp_path: Path) -> None:
    if above:
        of_folder(tmp_path, ("train", "val", "test"))
    else:
        for part in ("train", "val", "test"):
            for index in range(5):
                save(tmp_path / "images" / part / f"{index}.jpg", 90, mode="RGB")
                save(tmp_path / "masks" / part / f"{index}.png", left_half(1))
    images, _ = read("segmentation_folder", tmp_path, classes=CLASSES)
    assert {split: len(each.files) for split, each in images.splits.items()} == {"train": 5, "validation": 5, "test": 5}


def test_classes_may_be_named_by_values_and_by_colours(tmp_path: Path) -> None:
    of_folder(tmp_path / "values", value=255)
    images, _ = read("segmentation_folder", tmp_path / "values", classes={"ground": 0, "thing": 255})
    assert masks(images)[0] == HALF
    of_folder(tmp_path / "colours")
    for path in (tmp_path / "colours/masks").iterdir():
        save(path, np.stack([left_half(128), left_half(64), left_half(128)], 2), mode="RGB")
    images, _ = read("segmentation_folder", tmp_path / "colours", classes={"ground": "#000000", "thing": "#804080"})
    assert masks(images)[0] == HALF
    assert images.classes == ("ground", "thing")


def test_polygons_of_labelme_are_drawn_in_their_order(tmp_path: Path) -> None:
    shapes = [
        {"label": "thing", "shape_type": "polygon", "points": [[0, 0], [3, 0], [3, 5], [0, 5]]},
        {"label": "hole", "shape_type": "rectangle", "points": [[1, 3], [0, 2]]},
    ]
    for index in range(2):
        save(tmp_path / f"images/{index}.jpg", 90, mode="RGB")
        content = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes}
        (tmp_path / f"images/{index}.json").write_text(json.dumps(content))
    images, _ = read("segmentation_folder", tmp_path, classes=["ground", "thing", "hole"], masks="images")
    hole = [[2, 2, 1, 1, 0, 0, 0, 0]] * 2
    assert masks(images)[0] == [*HALF[:2], *hole, *HALF[:2]]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"label": "car", "points": [[0, 0], [1, 0], [1, 1]]}, 'a shape "car", which is no class'),
        ({"label": "thing", "points": [[0, 0], [1, 0]]}, "a polygon of 2 points, which covers no area"),
        ({"label": "thing", "shape_type": "linestrip", "points": [[0, 0], [1, 0], [1, 1]]}, "a linestrip of 3 points"),
        ({"label": "thing", "points": [[0, float("nan")], [1, 0], [1, 1]]}, "a point is not finite"),
        ({"points": []}, "is no file of polygons"),
    ],
)
def test_a_shape_that_is_none_is_named(shape: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"imageHeight": 6, "imageWidth": 8, "shapes": [shape]}))
    with pytest.raises(ImageError, match=said):
        mask_files.read(MaskFile(path, MaskCoding(shapes={"ground": 0, "thing": 1})), classes=2)


@pytest.mark.parametrize("size", [(0, 8), (10**6, 10**6), ("a", 8)])
def test_a_size_that_polygons_cannot_have_is_named(size: tuple[object, object], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"imageHeight": size[0], "imageWidth": size[1], "shapes": []}))
    with pytest.raises(ImageError, match=r"a\.json: is "):
        mask_files.read(MaskFile(path, MaskCoding(shapes={"ground": 0})), classes=2)


def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="there is no such folder"):
        read("segmentation_folder", tmp_path / "none", classes=CLASSES)
    with pytest.raises(DataError, match="has no images and masks in it"):
        read("segmentation_folder", tmp_path, classes=CLASSES)
    of_folder(tmp_path, count=2)
    (tmp_path / "masks/1.png").rename(tmp_path / "masks/1_mask.png")
    with pytest.raises(DataError, match=r"images/1\.jpg: has no mask in"):
        read("segmentation_folder", tmp_path, classes=CLASSES)
    (tmp_path / "masks/0.png").rename(tmp_path / "masks/0_mask.png")
    _, found = read("segmentation_folder", tmp_path, classes=CLASSES, ending="_mask")
    assert len(found.files) == 4
    save(tmp_path / "masks/0_mask.gif", left_half(1))
    with pytest.raises(DataError, match=r"images/0\.jpg: has several masks"):
        read("segmentation_folder", tmp_path, classes=CLASSES, ending="_mask")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "a"], "names a class twice"),
        ({"a": 0, "b": 0}, "the same value or colour"),
        ({"a": 0, "b": "#ffffff"}, "some classes a value and others a colour"),
        (["a"], "2"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(classes: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        read("segmentation_folder", tmp_path, classes=classes)


def test_a_folder_of_fields_of_view_says_what_counts(tmp_path: Path) -> None:
    of_folder(tmp_path, count=2)
    for index in range(2):
        save(tmp_path / f"seen/{index}.png", np.where(np.arange(SIZE[0])[:, None] > 0, 255, 0) * np.ones(SIZE))
    images, _ = read("segmentation_folder", tmp_path, classes=CLASSES, field_of_view="seen")
    assert masks(images)[0] == [[I] * 8, *HALF[1:]]
    assert images.test_held_out
    (tmp_path / "seen/1.png").unlink()
    with pytest.raises(DataError, match=r"images/1\.jpg: has no field of view in"):
        read("segmentation_folder", tmp_path, classes=CLASSES, field_of_view="seen")


def test_a_value_that_is_no_class_may_be_ignored(tmp_path: Path) -> None:
    save(tmp_path / "a.png", left_half(255))
    mask = MaskFile(tmp_path / "a.png", MaskCoding({0: 1, 7: 0}))
    assert mask_files.read(mask, classes=2).tolist() == [[I] * 4 + [1] * 4] * 6
    with pytest.raises(ImageError, match="holds 255, which is no class"):
        mask_files.read(mask, classes=2, ignore=9)


def test_groups_stay_together(tmp_path: Path) -> None:
    for index in range(6):
        name = f"patient{index // 2}_{index}"
        save(tmp_path / f"images/{name}.jpg", 90, mode="RGB")
        save(tmp_path / f"masks/{name}.png", left_half(1))
    images, _ = read("segmentation_folder", tmp_path, classes=CLASSES, group="patient[0-9]+")
    sides = [{name.partition("_")[0] for name in names(images, split)} for split in ("train", "test")]
    assert not sides[0] & sides[1]
    with pytest.raises(RecipeError, match="group: is no regular expression: Possible nested set"):
        read("segmentation_folder", tmp_path, classes=CLASSES, group="[[a]")


def test_a_picture_that_is_no_archive_is_named(tmp_path: Path) -> None:
    of_stare(tmp_path)
    path = tmp_path / "stare-images/im0003.ppm.gz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"im0003\.ppm\.gz: cannot be unpacked"):
        read("stare", tmp_path, train=1)
