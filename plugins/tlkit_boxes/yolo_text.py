"""YOLO's text files: one for each picture, with a line "class x y width height" of each object, the middle and size as parts of the picture's.

The layouts, of which the first has its test set split off:

    images/NAME.jpg, labels/NAME.txt
    train/images/NAME.jpg, train/labels/NAME.txt        and so val and test, however these are written
    images/train/NAME.jpg, labels/train/NAME.txt        likewise
"""

from __future__ import annotations

import json
from pathlib import Path

from tlkit.errors import DataError, first_few
from tlkit.plugin import DataFiles, Images
from tlkit_boxes import YoloOptions, pictures
from tlkit_boxes.pictures import Box, Parts, Picture
from tlkit_boxes.yaml_names import names_in
from tlkit_folder import layout

_IMAGES, _LABELS = "images", "labels"
_NAMES = ("classes.txt", "obj.names")
_VALUES = 5  # of a line


def find(folder: Path, options: YoloOptions) -> DataFiles:
    """Return every picture, and the text files that there are; a picture without one has no objects.

    Raises:
        DataMissing: there is no picture.
        DataError: a text file has no picture, or no file says the names of the classes.
    """
    pairs = [pair for each in _pairs(folder).values() for pair in each]
    named = [] if options.classes is not None else [_names_file(folder)]
    texts = [text for _, text in pairs if text.is_file()]
    empty = len(pairs) - len(texts)
    remarks = [f"no text file, so no object: {empty:,} of {len(pairs):,} pictures"] if empty else []
    return pictures.found(folder, [picture for picture, _ in pairs], [*texts, *named], remarks=remarks)


def read(files: DataFiles, options: YoloOptions) -> Images:
    """Return the splits.

    Raises:
        DataError: a line is none of an object, a box cannot be learned, or there is no train folder.
    """
    classes = options.classes or [line for _, line in pictures.lines_of(_names_file(files.root))]
    if len(set(classes)) < len(classes):
        raise DataError(f"{_names_file(files.root)}: names a class twice.")
    parts: Parts = {part: [_picture(*pair, classes) for pair in pairs] for part, pairs in _pairs(files.root).items()}
    if "train" not in parts:
        raise DataError(
            f"{files.root}: has {' and '.join(parts)} but no train folder.", "name the training pictures' folder train"
        )
    listed = next(images for part, images, _ in _places(files.root) if part == "train")
    return pictures.images(parts, classes, listed=listed, test_fraction=options.test_fraction, skip=options.bad_boxes == "skip")


def _names_file(folder: Path) -> Path:
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    named = next((names for file in sorted(folder.glob("*.y*ml")) if (names := _offered(file))), None)
    raise DataError(
        f"{folder}: has no {' or '.join(_NAMES)}, and so no names of classes.",
        'data.options.classes = ["cat", "dog"], by their numbers'
        if named is None
        else f"data.options.classes = {json.dumps(named, ensure_ascii=False)}, as the .yaml file there has them, which is not read",
    )


def _offered(file: Path) -> list[str]:
    """Return the names of classes of a .yaml file, for a hint; none where it cannot be read."""
    try:
        return names_in(pictures.text_of(file))
    except DataError:
        return []


def _pairs(folder: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Return each picture and the text file that it may have, by split."""
    found: dict[str, list[tuple[Path, Path]]] = {}
    for part, images, labels in _places(folder):
        mine = [(path, labels / path.relative_to(images).with_suffix(".txt")) for path in pictures.files_in(images)]
        known = {text for _, text in mine}
        strays = [text for text in sorted(labels.rglob("*.txt")) if text not in known and text.name not in _NAMES]
        if strays:
            raise DataError(
                f"{first_few(map(str, strays))}: has no picture in {images}.", "a picture has the name of its text file"
            )
        found.setdefault(part, []).extend(mine)
    return found


def _places(folder: Path) -> list[tuple[str, Path, Path]]:
    """Return the split, the folder of pictures and that of text files, of each split in order."""
    images, labels = folder / _IMAGES, folder / _LABELS
    if images.is_dir() and labels.is_dir():
        inside = layout.split_folders(images)
        return [(role, images / name, labels / name) for name, role in inside.items()] or [("train", images, labels)]
    parts = layout.split_folders(folder).items() if folder.is_dir() else ()
    split = [
        (role, folder / name / _IMAGES, folder / name / _LABELS) for name, role in parts if (folder / name / _IMAGES).is_dir()
    ]
    if split:
        return split
    raise DataError(f"{folder}: has no {_IMAGES} and {_LABELS} in it, nor in folders train, val and test.")


def _picture(path: Path, text: Path, classes: list[str]) -> Picture:
    boxes = [_box(text, number, line, classes) for number, line in pictures.lines_of(text)] if text.is_file() else []
    return Picture(path, text, boxes, relative=True)


def _box(text: Path, number: int, line: str, classes: list[str]) -> Box:
    try:
        label, x, y, width, height = line.split()
        place = int(label)
        across, down, wide, high = (float(value) for value in (x, y, width, height))
    except ValueError as error:
        raise DataError(
            f"{text}: line {number}: is {line[:60]!r}, not a class and {_VALUES - 1} numbers.",
            "class x y width height, parts of 1",
        ) from error
    name = classes[place] if 0 <= place < len(classes) else f"number {place}"
    sides = (across - wide / 2, down - high / 2, across + wide / 2, down + high / 2)
    return Box(sides, name, False, f"line {number}")
