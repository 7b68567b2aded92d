"""Recognize folders of pictures with masks or boxes, which are no folders of classes, and say what reads them. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from PIL import Image

from tlkit.advice import other_files
from tlkit.errors import DataError
from tlkit.plugin import image_kinds

_IMAGES = "images"
_KINDS = (_IMAGES, "masks", "labels")
_SPLITS = ("train", "training", "val", "valid", "validation", "test")
_LOOKED = 1_000  # entries of a folder
_PEEK = 1 << 16  # bytes of a file
_TEXTS = 3  # text files that are tried
_VALUES = 5  # of a line of YOLO: class, x, y, width, height
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_CLASSES = 'classes = ["cat", "dog"]'


def refuse(folder: Path, *, classes: DataError | None = None) -> None:
    """Refuse a folder of pictures with masks or boxes, or one inside of such a folder.

    Args:
        folder: As the user names it.
        classes: What is wrong with it as a folder of classes, which may be what matters; it becomes a hint.

    Raises:
        DataError: it is one.
    """
    whole = folder.resolve()
    above = [each for each in list(whole.parents)[:2] if whole.relative_to(each).parts[0].lower() in _KINDS]
    for problem in _problems(folder, above if not _has_classes(folder) else [], broken=classes is not None):
        if problem is not None:
            raise DataError(
                problem.problem, *problem.hints, f"as a folder of classes: {classes.problem}" if classes is not None else ""
            ) from classes


def _problems(folder: Path, above: Iterable[Path], *, broken: bool) -> Iterator[DataError | None]:
    """Yield what is said of a folder and of those above it, and of other files in one that is broken as a folder of classes."""
    yield from (_problem(place) for place in (folder, *above))
    meant = (name for name in _folders(folder) if not name.lower().startswith(_SPLITS))
    with_pictures = sum(bool(_names(folder / name, image_kinds.SUFFIXES)) for name in meant)
    if broken:
        yield other_files.metadata(folder)
    if broken and with_pictures < 2:  # else it is meant as one of classes
        yield other_files.problem(folder)


def _has_classes(folder: Path) -> bool:
    """Return whether pictures lie in sub-folders that are no splits, or in sub-folders of splits."""
    for name in _folders(folder):
        places = [folder / name]
        if name.lower().rstrip("0123456789") in _SPLITS:
            places = [folder / name / each for each in _folders(folder / name)]
        if any(_names(place, image_kinds.SUFFIXES) for place in places):
            return True
    return False


def _problem(folder: Path) -> DataError | None:
    """Return what is said of a folder of such a layout, alone or below the folders of splits; None where it has none."""
    for place in (folder, *(folder / name for name in _folders(folder))):
        kinds = _kinds(place)
        if kinds >= {_IMAGES, "masks"}:
            what = "holds pictures in images and masks of them in masks, which are no classes"
            return _error(folder, what, "segmentation_folder", f"classes = {_values(place)}", head="unet")
        if kinds >= {_IMAGES, "labels"} and (any(place.glob("labels/*.txt")) or any(place.glob("labels/*/*.txt"))):
            named = any((folder / name).is_file() for name in ("classes.txt", "obj.names"))
            what = "holds pictures in images and YOLO's boxes of them in labels, which are no classes"
            return _error(folder, what, "yolo", "" if named else _CLASSES)
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
    options = f'path = "{folder}"{options and ", "}{options}'
    begin = [] if head != "fcos" else ["a recipe to begin with: tlkit init --from emoji_boxes"]
    return DataError(
        f"{folder}: {what}.",
        f'a recipe reads it with data = {{ name = "{name}", options = {{ {options} }} }} and head.kind = "{head}": docs/data.md',
        *begin,
    )


def _values(place: Path) -> str:
    """Return the classes of masks as a recipe says them: a list, or with 255 as the value of the second, where a mask shows 0 and 255."""
    with suppress(OSError, ValueError), Image.open(min(place.glob("masks/**/*.png"))) as mask:
        counts = mask.convert("L").histogram() if mask.mode in ("1", "L") else []
        if [value for value, count in enumerate(counts) if count] == [0, 255]:
            return "{ ground = 0, thing = 255 }"
    return '["ground", "thing"]'


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


def _names(folder: Path, suffix: str | tuple[str, ...]) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.name.lower().endswith(suffix) and entry.is_file())


def _is_yolo(folder: Path) -> bool:
    """Return whether text files of YOLO lie beside their pictures: "class x y width height"; that of a picture without objects is empty."""
    beside = (path for name in _names(folder, ".txt") if _has_picture(path := folder / name))
    held = (text for path in beside if (text := _beginning(path).strip()))
    for text in islice(held, _TEXTS):
        try:
            first = text.decode().split("\n")[0].split()
            return len(first) == _VALUES and all(0 <= float(value) <= 1 for value in first[1:])
        except ValueError:
            continue
    return False


def _has_picture(text: Path) -> bool:
    return any(text.with_suffix(suffix).is_file() for suffix in _PICTURES)


def _beginning(path: Path) -> bytes:
    """Return the first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_PEEK)
    except OSError:
        return b""


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file begins or ends with keys of COCO's, and has boxes: captions have none."""
    try:
        with path.open("rb") as file:
            found = file.read(_PEEK)
            file.seek(-min(_PEEK, path.stat().st_size), os.SEEK_END)
            found += file.read(_PEEK)
    except OSError:
        return False
    return b'"bbox"' in found and (b'"file_name"' in found or b'"image_id"' in found)
