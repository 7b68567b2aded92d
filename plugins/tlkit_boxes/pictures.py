"""Pictures with their boxes, checked, as a data set hands them over. What a layout is, is in the other modules.

The rule: a box that cannot be learned is never changed in silence. It is named with its file, or left out and counted where the options
say so; a box is only clipped where it leaves its picture by less than a pixel, as rounded numbers do.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, DataMissing, ImageError, first_few, nearest
from tlkit.plugin import Boxes, DataFiles, Images, Split, boxed, hold_out, image_kinds
from tlkit.reading import size_of, spelt_otherwise

_ROUNDED = 1.0  # pixels by which a box may leave its picture
_PARTS = 2.0  # a box whose sides are further out than this has no parts of a picture, 0 to 1
_ATTRIBUTES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Box:
    """A box as a file has it.

    Attributes:
        sides: Left, top, right and bottom, pixels; with `relative` parts of the picture's width and height.
        name: Its class.
        ignored: It is a crowd, or too hard.
        where: What the file calls it: "annotation 7".
    """

    sides: tuple[float, float, float, float]
    name: str
    ignored: bool
    where: str


@dataclass(frozen=True)
class Picture:
    """A picture and its boxes as the files have them.

    Attributes:
        path: The picture.
        listed: The file that has its boxes.
        boxes: They.
        size: Height and width that the file says; None where it says none.
        relative: Sides are parts of the picture's, not pixels.
    """

    path: Path
    listed: Path
    boxes: Sequence[Box] = field(default_factory=tuple)
    size: tuple[int, int] | None = None
    relative: bool = False


Parts = Mapping[str, Sequence[Picture]]  # "train", and where there are any "validation" and "test"


def found(root: Path, pictures: Sequence[Path], beside: Iterable[Path], *, remarks: Iterable[str] = ()) -> DataFiles:
    """Return every file that determines the images: pictures, and the files that have their boxes.

    Raises:
        DataMissing: there is no picture.
        DataError: a picture is not there.
    """
    if not pictures:
        raise DataMissing(f"{root}: has no pictures of this data set.")
    absent = [path for path in pictures if not path.is_file()]
    if absent:
        raise DataError(
            f"{first_few(str(path) for path in absent)}: there is no such picture, and boxes of it are listed.",
            spelt_otherwise(absent[0]),
        )
    return DataFiles(root, (*pictures, *beside), remarks=tuple(remarks))


def images(
    parts: Parts, classes: Sequence[str], *, listed: Path, test_fraction: float, skip: bool, strays: Sequence[str] = ()
) -> Images:
    """Return the splits; where there are training pictures alone, those whose names have the smallest SHA-256 are the test set.

    Args:
        parts: The pictures.
        classes: Names in the order of their numbers.
        listed: The file or folder that says which pictures are trained on.
        test_fraction: Part of the pictures that is tested then.
        skip: Leave boxes out that cannot be learned; `Images.remarks` says how many.
        strays: Says of each box of no picture where it is; these are left out before.

    Raises:
        DataError: a box cannot be learned, a picture has another size than its file says, or there is one alone, or none to train on.
    """
    if not parts["train"]:
        raise DataError(f"{listed}: has no picture to train on.")
    _refuse_parts(parts)
    alone = [name for name, each in parts.items() if each] == ["train"]
    if alone:
        parts = _divided(parts["train"], test_fraction)
    elif "test" not in parts and "validation" in parts:
        parts = {"train": parts["train"], "test": parts["validation"]}
    numbers = {name: number for number, name in enumerate(classes)}
    left_out, count = list(strays), len(strays) + sum(len(each.boxes) for pictures in parts.values() for each in pictures)
    made = {
        name: [_boxes(each, numbers, left_out if skip else None) for each in pictures]
        for name, pictures in parts.items()
        if pictures
    }
    if all(each.ignored.all() for each in made["train"]):
        raise DataError(f"{listed}: no training picture has a box that can be learned.")
    targets = boxed(made)
    splits = {name: Split(targets[name], files=tuple(each.path for each in parts[name])) for name in made}
    remarks = [
        f'bad_boxes = "skip" leaves out {len(left_out):,} of {count:,} boxes, the first is {each}' for each in left_out[:1]
    ]
    return Images(tuple(classes), splits, test_held_out=alone, remarks=tuple(remarks))


def files_in(folder: Path) -> list[Path]:
    """Return the image files in a folder and below it by path; hidden ones are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in image_kinds.SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def text_of(path: Path) -> str:
    """Return the text of a file.

    Raises:
        DataMissing: there is no such file.
        DataError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataMissing(f"{path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def json_of(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        DataError: it holds none.
    """
    try:
        held: object = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: is no JSON: {error}.") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of more digits than Python converts, or objects in objects without end
        raise DataError(f"{path}: cannot be read: it is nested too deeply, or a number has thousands of digits.") from error
    return held


def _divided(pictures: Sequence[Picture], fraction: float) -> Parts:
    if len(pictures) < 2:
        raise DataError(f"{pictures[0].path}: is the only picture, and one more is needed to be tested.")
    tested = hold_out(["picture"] * len(pictures), [each.path.name for each in pictures], fraction)
    pairs = list(zip(pictures, tested, strict=True))
    if all(tested):
        raise DataError(
            f"{pictures[0].listed}: no test pictures can be held out: those of one name, as {pictures[0].path.name}, stay together.",
            "names that differ",
        )
    return {"train": [each for each, held in pairs if not held], "test": [each for each, held in pairs if held]}


def _boxes(picture: Picture, numbers: Mapping[str, int], left_out: list[str] | None) -> Boxes:
    """Return a picture's boxes in pixels; those that cannot be learned are left out, and told in `left_out`.

    Raises:
        DataError: the picture has another size than its file says, or, where `left_out` is None, a box cannot be learned.
    """
    try:
        height, width = size_of(picture.path)
    except ImageError:  # decoding names it
        return Boxes(picture.size or (1, 1), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    if picture.size not in (None, (height, width)):
        said = f"{picture.size[1]} x {picture.size[0]}" if picture.size else ""
        raise DataError(
            f"{picture.path}: is {width} x {height}, and {picture.listed} says {said}.",
            "boxes are of pictures as they are shown, turned as EXIF says",
        )
    kept = []
    for box in picture.boxes:
        unit = (width, height) if picture.relative else (1, 1)
        sides = np.array(box.sides, np.float64) * (*unit, *unit)
        clipped = sides.clip(0, (width, height, width, height)).astype(np.float32)
        wrong, hints = _problem(box, sides, clipped, (height, width), numbers, relative=picture.relative)
        said = f"{picture.listed}: {box.where} of {picture.path.name}: {wrong}"
        if wrong and left_out is None:
            raise DataError(
                f"{said}.",
                *hints,
                'data.options.bad_boxes = "skip" leaves such boxes out',
            )
        if wrong and left_out is not None:
            left_out.append(said)
        if not wrong:
            kept.append((clipped, numbers[box.name], box.ignored))
    return Boxes(
        (height, width),
        np.array([sides for sides, _, _ in kept], np.float32).reshape(-1, 4),
        np.array([number for _, number, _ in kept], np.int64),
        np.array([ignored for _, _, ignored in kept], bool),
    )


def _problem(
    box: Box, sides: NDArray[np.float64], clipped: NDArray[np.float32], size: tuple[int, int], numbers: Mapping[str, int],
    *, relative: bool,
) -> tuple[str, list[str]]:  # fmt: skip
    """Return what is wrong with a box, and hints; "" where nothing is.

    Args:
        box: The box.
        sides: Its sides, pixels.
        clipped: The same inside the picture, as they are kept.
        size: Height and width of the picture.
        numbers: Of the classes.
        relative: The file has parts of the picture, not pixels.
    """
    left, top, right, bottom = sides.tolist()
    shown = ", ".join(f"{name} {value:g}" for name, value in zip(_ATTRIBUTES, sides.tolist(), strict=True))
    if box.name not in numbers:
        return f'the class "{box.name}" is none of {first_few(numbers)}', [nearest(box.name, numbers)]
    if not np.isfinite(sides).all():
        return f"a side is no number: {shown}", []
    height, width = size
    outside = max(-left, -top, right - width, bottom - height)
    without = (clipped[2:] <= clipped[:2]).any()
    if right <= left or bottom <= top or (without and outside <= 0):
        return f"has no area: {shown}", []
    if outside > _ROUNDED or without:
        return f"is outside of the picture, which is {width} x {height}: {shown}", [_outside(box, relative=relative)]
    return "", []


def _outside(box: Box, *, relative: bool) -> str:
    """Return a hint on a box of parts of the picture that are probably pixels; "" on any other."""
    if relative and max(map(abs, box.sides)) > _PARTS:
        return "its numbers are parts of the picture's width and height, 0 to 1; these are larger, as pixels are"
    return ""


def _refuse_parts(parts: Parts) -> None:
    """Refuse boxes of which none is larger than a pixel: they are parts of the picture, where pixels are expected."""
    boxes = ((each, box) for each in parts["train"] if not each.relative for box in each.boxes)
    first = next(boxes, None)
    if first is None or any(not 0 <= side <= 1 for _, box in itertools.chain([first], boxes) for side in box.sides):
        return
    picture, box = first
    raise DataError(
        f"{picture.listed}: {box.where} of {picture.path.name}: is no larger than a pixel, and neither is any other box.",
        "boxes are in pixels here; these look like parts of the picture's width and height: multiply by them",
    )


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line of a file that is not empty."""
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()
