"""Recognize folders of pictures with masks or boxes, which are no folders of classes, and say what reads them. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from tlkit.errors import DataError

_IMAGES = "images"
_KINDS = (_IMAGES, "masks", "labels")
_LOOKED = 1_000  # entries of a folder
_PEEK = 1 << 16  # bytes of a JSON file
_VALUES = 5  # of a line of YOLO: class, x, y, width, height
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_CLASSES = 'classes = ["cat", "dog"]'


def refuse(folder: Path) -> None:
    """Refuse a folder of pictures with masks or boxes, or one inside of such a folder.

    Raises:
        DataError: it is one.
    """
    whole = folder.resolve()
    above = [each for each in list(whole.parents)[:2] if whole.relative_to(each).parts[0].lower() in _KINDS]
    for place in (folder, *above):
        problem = _problem(place)
        if problem is not None:
            raise problem


def _problem(folder: Path) -> DataError | None:
    """Return what is said of a folder of such a layout, alone or below the folders of splits; None where it has none."""
    for place in (folder, *(folder / name for name in _folders(folder))):
        kinds = _kinds(place)
        if kinds >= {_IMAGES, "masks"}:
            what = "holds pictures in images and masks of them in masks, which are no classes"
            return _error(folder, what, "segmentation_folder", 'classes = ["ground", "thing"]', head="unet")
        if kinds >= {_IMAGES, "labels"} and (any(place.glob("labels/*.txt")) or any(place.glob("labels/*/*.txt"))):
            return _error(
                folder, "holds pictures in images and YOLO's boxes of them in labels, which are no classes", "yolo", _CLASSES
            )
        if kinds >= {"annotations", "jpegimages"}:
            return _error(place, "holds pictures in JPEGImages and Pascal VOC's boxes of them in Annotations", "voc", _CLASSES)
        if _is_yolo(place):
            return DataError(
                f"{place}: holds YOLO's text files beside the pictures, which are no classes.",
                "images/train/NAME.jpg and labels/train/NAME.txt, and so for val and test, are read by the data set yolo: docs/data.md",
            )
        for name in _names(place, ".json"):
            if _is_coco(place / name):
                whole = folder if place.name.lower() == "annotations" else place
                train = (place / name).relative_to(whole).as_posix()
                return _error(whole, f"holds COCO's boxes in {train}, and no classes", "coco", f'train = "{train}", test = ""')
    return None


def _error(folder: Path, what: str, name: str, options: str, *, head: str = "fcos") -> DataError:
    begin = [] if head != "fcos" else ["a recipe to begin with: tlkit init --from emoji_boxes"]
    return DataError(
        f"{folder}: {what}.",
        f'a recipe reads it with data = {{ name = "{name}", options = {{ path = "{folder}", {options} }} }} and head.kind = "{head}": docs/data.md',
        *begin,
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the first entries of a folder; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry, _ in zip(entries, range(_LOOKED), strict=False)]
    except OSError:
        return []


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def _kinds(folder: Path) -> set[str]:
    return {name.lower() for name in _folders(folder)}


def _names(folder: Path, suffix: str) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.name.lower().endswith(suffix) and entry.is_file())


def _is_yolo(folder: Path) -> bool:
    """Return whether text files of YOLO lie beside their pictures: "class x y width height"."""
    for name in _names(folder, ".txt")[:3]:
        path = folder / name
        if any(path.with_suffix(suffix).is_file() for suffix in _PICTURES):
            try:
                first = path.read_bytes()[:_PEEK].decode().split("\n")[0].split()
                return len(first) == _VALUES and all(0 <= float(value) <= 1 for value in first[1:])
            except (OSError, ValueError):
                continue
    return False


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file begins or ends with keys of COCO's."""
    try:
        with path.open("rb") as file:
            found = file.read(_PEEK)
            file.seek(-min(_PEEK, path.stat().st_size), os.SEEK_END)
            found += file.read(_PEEK)
    except OSError:
        return False
    return b'"file_name"' in found or (b'"image_id"' in found and b'"bbox"' in found)
