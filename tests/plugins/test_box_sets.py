"""Data sets of boxes: the same pictures in three layouts, and what is wrong in files is named with its path."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlkit import tasks
from tlkit.errors import DataError, DataMissing, TlkitError
from tlkit.plugin import Boxes, DataFiles, Dataset, Images, call, registry
from tlkit.recipe import parsing
from tlkit.sources import datasets
from tlkit_boxes.yaml_names import names_in

SIZE = (40, 60)  # height and width
CLASSES = ("cat", "dog")
# of each picture: class, left, top, right, bottom
WANTED = {"a": [(0, 4, 6, 20, 30), (1, 30, 0, 60, 40)], "b": [(1, 0, 10, 9, 22)], "c": []}
COCO = ("train.json", "test.json")


def found(name: str, folder: Path, **options: object) -> tuple[DataFiles, Images]:
    dataset = registry.get(Dataset, name)
    checked = parsing.options(dataset.options, options, place="data.options")
    files = call(dataset.find, folder, checked)
    images = call(dataset.read, files, checked)
    for split in images.splits.values():
        assert tasks.get("point_detection").targets.problem(split.targets, len(images.classes)) == ()
    return files, images


def rows(images: Images, part: str) -> dict[str, list[tuple[float, ...]]]:
    split = images.splits[part]
    return {
        path.stem: [(int(label), *corners) for label, corners in zip(each.classes, each.corners.tolist(), strict=True)]
        for path, each in zip(split.files, split.targets, strict=True)
    }


def pictures(folder: Path, names: str = "abc") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.png")


def coco(folder: Path, **changes: object) -> dict[str, Any]:
    """Write the pictures with COCO's JSON, where some keys of annotation 1 may be others; return the file's content."""
    pictures(folder / "images")
    annotations = [
        {"id": number, "image_id": 10 + "abc".index(name), "category_id": (7, 3)[1 - box[0]], "iscrowd": 0,
         "bbox": [box[1], box[2], box[3] - box[1], box[4] - box[2]]}
        for number, (name, box) in enumerate(((name, box) for name, boxes in WANTED.items() for box in boxes), start=1)
    ]  # fmt: skip
    annotations[0] |= changes
    held = {
        "images": [{"id": 10 + at, "file_name": f"{name}.png", "width": 60, "height": 40} for at, name in enumerate("abc")],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    for name in COCO:
        (folder / name).write_text(json.dumps(held))
    return held


def test_coco_is_read_by_the_numbers_of_its_categories(tmp_path: Path) -> None:
    held = coco(tmp_path, iscrowd=1)
    files, images = found("coco", tmp_path, train=COCO[0], test=COCO[1])
    assert images.classes == CLASSES
    assert rows(images, "test") == {name: [tuple(map(float, box)) for box in boxes] for name, boxes in WANTED.items()}
    first = images.splits["train"].targets[0]
    assert first.ignored.tolist() == [True, False]
    assert {each.room for each in images.splits["train"].targets} == {2}
    assert {path.name for path in files.files} == {"a.png", "b.png", "c.png", *COCO}
    del held["annotations"]
    _, alone = found("coco", tmp_path, train=COCO[0], test="", test_fraction=0.3)
    assert {name: len(split.targets) for name, split in alone.splits.items()} == {"train": 2, "test": 1}
    assert alone.test_held_out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"bbox": [50, 5, 20, 10]},
            r"train.json: annotation 1 of a.png: is outside of the picture, which is 60 x 40: left 50, top 5, right 70",
        ),
        ({"bbox": [5, 5, 0, 10]}, "annotation 1 of a.png: has no area: left 5, top 5, right 5"),
        ({"bbox": [5, 5, 1e-9, 10]}, r"train.json: annotation 1 of a.png: has no area: left 5, top 5, right 5"),
        ({"category_id": 4}, 'annotation 1 of a.png: the class "category 4" is none of cat, dog'),
        ({"image_id": 99}, "train.json: annotation 1 of image 99: there is no such image"),
    ],
)
def test_a_box_that_cannot_be_learned_is_named_or_left_out(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    coco(tmp_path, **changes)
    with pytest.raises(DataError, match=words):
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    _, images = found("coco", tmp_path, train=COCO[0], test=COCO[1], bad_boxes="skip")
    assert rows(images, "train")["a"] == [(1, 30, 0, 60, 40)]
    (said,) = images.remarks
    assert said.startswith('bad_boxes = "skip" leaves out 2 of 6 boxes, the first is ')
    assert re.search(words, said)


def test_damaged_coco_is_named(tmp_path: Path) -> None:
    held = coco(tmp_path)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"images/b.png.*: there is no such picture"):
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    Image.new("RGB", (61, 40)).save(tmp_path / "images" / "b.png")
    with pytest.raises(DataError, match=r"b.png: is 61 x 40, and .*train.json says 60 x 40"):
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    for text, words in (("{", "is no JSON"), ("[]", "is no COCO JSON"), (json.dumps(held | {"images": [{}]}), "images.0.id")):
        (tmp_path / COCO[1]).write_text(text)
        with pytest.raises(DataError, match=words):
            found("coco", tmp_path, train=COCO[0], test=COCO[1])
    with pytest.raises(DataMissing, match=r"instances_train2017.json: there is no such file"):
        found("coco", tmp_path)
    with pytest.raises(DataMissing, match=r'(?s)instances_val2017.json: there is no such file.*"" holds some of the training'):
        found("coco", tmp_path, train=COCO[0])


def test_coco_of_doubled_numbers_or_of_parts_of_the_picture_is_never_learned_in_silence(tmp_path: Path) -> None:
    held = coco(tmp_path)
    small = [each | {"bbox": [0.1, 0.2, 0.3, 0.4]} for each in held["annotations"]]
    for changes, words in (
        ({"categories": [{"id": 7, "name": "dog"}, {"id": 7, "name": "cat"}]}, "two categories have the id 7: dog, cat"),
        ({"categories": []}, "has no categories"),
        ({"annotations": small}, "annotation 1 of a.png: is no larger than a pixel, and neither is any other box"),
    ):
        (tmp_path / COCO[0]).write_text(json.dumps(held | changes))
        with pytest.raises(DataError, match=words):
            found("coco", tmp_path, train=COCO[0], test="")


def test_coco_whose_boxes_are_corners_is_told_as_that_also_where_they_are_left_out(tmp_path: Path) -> None:
    held = coco(tmp_path)
    for each in held["annotations"]:
        left, top, width, height = each["bbox"]
        each["bbox"] = [left, top, left + width, top + height]
    (tmp_path / COCO[0]).write_text(json.dumps(held))
    said = (
        "boxes reach out of their picture, and as left, top, right, bottom all lie in it; COCO's are left, top, width, height"
    )
    with pytest.raises(DataError, match=said):
        found("coco", tmp_path, train=COCO[0], test="")
    files, _ = found("coco", tmp_path, train=COCO[0], test="", bad_boxes="skip")
    assert [said in each for each in files.remarks] == [True]
    held["annotations"][0]["bbox"] = [5, 5, 4, 4]
    (tmp_path / COCO[0]).write_text(json.dumps(held))
    assert not found("coco", tmp_path, train=COCO[0], test="", bad_boxes="skip")[0].remarks, "some are no corners"


def test_a_picture_whose_name_is_spelt_otherwise_is_named(tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "B.PNG")
    with pytest.raises(DataError, match=r'there is "B.PNG" in that folder, spelt otherwise'):
        found("coco", tmp_path, train=COCO[0], test=COCO[1])


def test_files_without_a_picture_to_train_on_are_named(tmp_path: Path) -> None:
    held = coco(tmp_path)
    (tmp_path / COCO[0]).write_text(json.dumps(held | {"images": [], "annotations": []}))
    with pytest.raises(DataError, match=r"train.json: has no picture to train on"):
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    twice = [{"id": at, "file_name": "a.png", "width": 60, "height": 40} for at in (1, 2)]
    (tmp_path / COCO[0]).write_text(json.dumps(held | {"images": twice, "annotations": []}))
    with pytest.raises(DataError, match=r"train.json: lists a picture twice: a.png"):
        found("coco", tmp_path, train=COCO[0], test="")
    crowds = [each | {"iscrowd": 1} for each in held["annotations"]]
    (tmp_path / COCO[0]).write_text(json.dumps(held | {"annotations": crowds}))
    with pytest.raises(DataError, match=r"train.json: no training picture has a box that can be learned"):
        found("coco", tmp_path, train=COCO[0], test=COCO[1])

    place = tmp_path / "voc"
    voc(place)
    lists = place / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, text in (("train", ""), ("val", "a\n")):
        (lists / f"{name}.txt").write_text(text)
    with pytest.raises(DataError, match=r"Main/train.txt: has no picture to train on"):
        found("voc", place, classes=["cat", "dog"])

    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "yolo" / part / kind).mkdir(parents=True)
    pictures(tmp_path / "yolo" / "val" / "images")
    with pytest.raises(DataError, match=r"train/images: has no picture to train on"):
        found("yolo", tmp_path / "yolo", classes=["cat"])


def voc(folder: Path) -> Path:
    """Write the pictures with Pascal VOC's XML; return the folder of these."""
    pictures(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for name, boxes in WANTED.items():
        objects = "".join(
            f"<object><name>{CLASSES[label]}</name><difficult>{label}</difficult><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for label, left, top, right, bottom in boxes
        )
        text = f"<annotation><size><width>60</width><height>40</height></size>{objects}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    return folder / "Annotations"


def test_voc_counts_pixels_from_1_and_has_official_lists(tmp_path: Path) -> None:
    place = tmp_path / "VOCdevkit" / "VOC2012"
    place.mkdir(parents=True)
    voc(place)
    lists = place / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\nc\n")
    _, images = found("voc", tmp_path)
    assert images.classes.index("cat") == 7
    assert rows(images, "train") == {"a": [(7, 4, 6, 20, 30), (11, 30, 0, 60, 40)]}
    assert images.splits["train"].targets[0].ignored.tolist() == [False, True]
    assert rows(images, "test") == {"b": [(11, 0, 10, 9, 22)], "c": []}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation>", "a.xml: is no XML of Pascal VOC"),
        ("<annotation></annotation>", "a.xml: is no XML of Pascal VOC: has no size/height"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "defines entities"),
    ],
)
def test_damaged_voc_is_named(tmp_path: Path, text: str, words: str) -> None:
    (voc(tmp_path) / "a.xml").write_text(text)
    with pytest.raises(DataError, match=words):
        found("voc", tmp_path, classes=["cat", "dog"])
    (tmp_path / "Annotations" / "a.xml").unlink()
    with pytest.raises(DataError, match=r"a.png: has no boxes; there is no .*a.xml"):
        found("voc", tmp_path, classes=["cat", "dog"])


def yolo(folder: Path) -> Path:
    """Write the pictures with YOLO's text files; return the folder of these."""
    pictures(folder / "images")
    (folder / "labels").mkdir()
    for name, boxes in WANTED.items():
        lines = [
            f"{label} {(left + right) / 120} {(top + bottom) / 80} {(right - left) / 60} {(bottom - top) / 40}"
            for label, left, top, right, bottom in boxes
        ]
        if lines:
            (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))
    return folder / "labels"


def test_yolo_has_parts_of_the_picture_and_pictures_without_a_file_are_empty(tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    files, images = found("yolo", tmp_path)
    read = rows(images, "train") | rows(images, "test")
    assert {name: [pytest.approx(box, abs=1e-4) for box in boxes] for name, boxes in read.items()} == dict(WANTED)
    assert files.remarks == ("no text file, so no object: 1 of 3 pictures",)
    assert isinstance(images.splits["train"].targets[0], Boxes)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.1", "a.txt: line 1: is '0 0.5 0.5 0.1', not a class and 4 numbers"),
        ("0 0.5 0.5 nan 0.1", "a side is no number"),
        ("2 0.5 0.5 0.1 0.1", 'a.txt: line 1 of a.png: the class "number 2" is none of cat, dog'),
        ("0 0.9 0.5 0.5 0.1", "a.txt: line 1 of a.png: is outside of the picture"),
        ("0 50 30 20 12", "these are larger, as pixels are"),
    ],
)
def test_a_line_of_yolo_that_is_no_object_is_named(tmp_path: Path, line: str, words: str) -> None:
    (yolo(tmp_path) / "a.txt").write_text(line)
    with pytest.raises(DataError, match=words):
        found("yolo", tmp_path, classes=["cat", "dog"])


def test_text_files_without_a_picture_and_folders_without_names_are_named(tmp_path: Path) -> None:
    labels = yolo(tmp_path)
    with pytest.raises(DataError, match=r"has no classes.txt or obj.names"):
        found("yolo", tmp_path)
    (labels / "d.txt").write_text("")
    with pytest.raises(DataError, match=r"d.txt: has no picture"):
        found("yolo", tmp_path, classes=["cat", "dog"])
    with pytest.raises(TlkitError, match="has no images and labels"):
        found("yolo", tmp_path / "images", classes=["cat"])


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ("names: ['cat', \"big dog\"]  # two\n", '["cat", "big dog"]'),
        ("nc: 2\nnames:\n  0: cat\n  1: big dog # large\ntrain: a\n", '["cat", "big dog"]'),
        ("names:\n- cat\n- Hündin\n", '["cat", "Hündin"]'),
        ("names: {0: cat,\n  1: dog}\n", '["cat", "dog"]'),
        ("names: [\n", 'by their numbers'),
        ("\xff\n", 'by their numbers'),
    ],
)  # fmt: skip
def test_names_in_a_yaml_file_of_yolo_are_offered(tmp_path: Path, names: str, hint: str) -> None:
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(names, encoding="latin-1" if "\xff" in names else "utf-8")
    with pytest.raises(DataError, match=r"has no classes.txt or obj.names") as caught:
        found("yolo", tmp_path)
    assert hint in caught.value.hints[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names:\n  1: person\n  0: car\n", ["car", "person"]),
        ("names: {1: 'person', 0: car}\n", ["car", "person"]),
        ("names:\n  10: k\n" + "".join(f"  {number}: {name}\n" for number, name in enumerate("abcdefghij")), list("abcdefghijk")),
        ("names:\n  - person\n  # - bike\n\n  - 'a, b'\n  - car # 3\nnc: 3", ["person", "a, b", "car"]),
        ("names: [\n  cat,  # one, two\n  'dog',\n]\nnc: 2\n", ["cat", "dog"]),
        ("names:\n  1: cat\n  2: dog\n", []),
        ("names:\n  0: cat\n  0: dog\n", []),
        ("names: ['a, b', c]\n", []),
        ("names: ['it''s', c]\n", []),
        ("names: {cat: 0, dog: 1}\n", []),
        ("names:\n  - cat\n    of mine\n  - dog\n", []),
        ("names:\n  - &first cat\n  - *first\n", []),
        ("names:\n  0:\n  1: dog\n", []),
        ("names: []\n", []),
    ],
)  # fmt: skip
def test_names_of_yaml_are_in_the_order_of_their_numbers_or_not_offered(text: str, names: list[str]) -> None:
    assert names_in(text) == names


def test_a_picture_of_coco_in_another_folder_is_looked_for(tmp_path: Path) -> None:
    held = coco(tmp_path)
    with_images = {**held, "images": [{**each, "file_name": f"images/{each['file_name']}"} for each in held["images"]]}
    for name in COCO:
        (tmp_path / name).write_text(json.dumps(with_images))
    with pytest.raises(DataError, match=r"there is no such picture") as caught:
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    assert caught.value.hints == (f'there is {tmp_path / "images/a.png"}: data.options.images = "."',)
    assert found("coco", tmp_path, train=COCO[0], test=COCO[1], images=".")
    for name in COCO:
        (tmp_path / name).write_text(json.dumps(held).replace('"file_name": "', '"file_name": "photos/'))
    with pytest.raises(DataError) as caught:
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    (said,) = caught.value.hints
    assert said == f'there is {tmp_path / "images/a.png"}, and its file_name is "photos/a.png": "a.png" without the folders'
    coco(tmp_path)
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(DataError) as caught:
        found("coco", tmp_path, train=COCO[0], test=COCO[1])
    assert caught.value.hints == (f'there is {tmp_path / "photos/a.png"}: data.options.images = "photos"',)


def test_a_single_class_is_enough(tmp_path: Path) -> None:
    (yolo(tmp_path) / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "labels" / "b.txt").write_text("")
    dataset = registry.get(Dataset, "yolo")
    options = parsing.options(dataset.options, {"classes": ["cat"]}, place="data.options")
    images = datasets.read_data(dataset, call(dataset.find, tmp_path, options), options)
    assert images.classes == ("cat",)
    assert np.sum([len(each.classes) for split in images.splits.values() for each in split.targets]) == 1
