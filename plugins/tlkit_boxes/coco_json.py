"""COCO's JSON: images, annotations with a box [left, top, width, height] in pixels, and categories: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlkit.errors import DataError, DataMissing, first_few
from tlkit.plugin import DataFiles, Images
from tlkit_boxes import CocoOptions, pictures
from tlkit_boxes.pictures import Box, Picture

_PREFIX = "instances_"
_LOOKED = 200  # folders in which a picture is looked for that is not where it should be


class _Image(BaseModel):
    id: int
    file_name: str
    width: int
    height: int


class _Annotation(BaseModel):
    id: int = 0
    image_id: int
    category_id: int
    bbox: list[float] = Field(min_length=4, max_length=4)
    iscrowd: int = 0


class _Category(BaseModel):
    id: int
    name: str


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def find(folder: Path, options: CocoOptions) -> DataFiles:
    """Return the files of annotations, and every picture that they list.

    Raises:
        DataMissing: a file of annotations is not there.
        DataError: one is no JSON of this kind, or a picture is not there.
    """
    parts = _parts(folder, options)
    places = [(_folder(folder, name, options), image.file_name) for name, held in parts.values() for image in held.images]
    try:
        return pictures.found(
            folder, [place / name for place, name in places], [folder / name for name, _ in parts.values()],
            remarks=filter(None, (_as_corners(name, held) for name, held in parts.values())),
        )  # fmt: skip
    except DataMissing:
        raise
    except DataError as error:
        place, name = next((place, name) for place, name in places if not (place / name).is_file())
        raise DataError(error.problem, *error.hints, _lies_elsewhere(folder, place, name)) from error


def read(files: DataFiles, options: CocoOptions) -> Images:
    """Return the splits. Classes are the categories by their number; crowds are ignored.

    Raises:
        DataError: the files have other categories, or an annotation is of no picture.
    """
    parts = _parts(files.root, options)
    categories = {part: {each.id: each.name for each in held.categories} for part, (_, held) in parts.items()}
    classes = categories["train"]
    for part, mine in categories.items():
        if mine != classes:
            raise DataError(f"{files.root / parts[part][0]}: has other categories than {parts['train'][0]}.")
    for name, held in parts.values():
        _refuse_doubled_ids(files.root / name, held)
    if len(set(classes.values())) < len(classes):
        raise DataError(f"{files.root / parts['train'][0]}: two categories have one name.")
    strays: list[str] = []
    listed = {part: _pictures(files.root, name, held, classes, options, strays) for part, (name, held) in parts.items()}
    names = [classes[number] for number in sorted(classes)]
    train, skip = files.root / options.train, options.bad_boxes == "skip"
    try:
        return pictures.images(listed, names, listed=train, test_fraction=options.test_fraction, skip=skip, strays=strays)
    except DataError as error:
        raise DataError(error.problem, *(_as_corners(name, held) for name, held in parts.values()), *error.hints) from error


def _as_corners(name: str, held: _File) -> str:
    """Say that boxes of a file seem to be corners: some reach out of their picture, and all lie in it as corners; "" where not."""
    sizes = {image.id: (image.width, image.height) for image in held.images}
    boxes = [(each.bbox, *sizes[each.image_id]) for each in held.annotations if each.image_id in sizes]
    outside = sum(x + right > width or y + bottom > height for (x, y, right, bottom), width, height in boxes)
    if not outside or not all(x < right <= width and y < bottom <= height for (x, y, right, bottom), width, height in boxes):
        return ""
    return (
        f"{name}: {outside:,} of {len(boxes):,} boxes reach out of their picture, and as left, top, right, bottom all lie in it; "
        "COCO's are left, top, width, height"
    )


def _refuse_doubled_ids(path: Path, held: _File) -> None:
    """Refuse a file without categories, and one in which two have one number: the boxes of one would be the other's."""
    if not held.categories:
        raise DataError(f"{path}: has no categories.", '"categories": [{"id": 1, "name": "cat"}, ...]')
    count = Counter(each.id for each in held.categories)
    for number in (number for number, times in count.items() if times > 1):
        names = [each.name for each in held.categories if each.id == number]
        raise DataError(f"{path}: two categories have the id {number}: {first_few(names)}.", "each has its own")


def _parts(folder: Path, options: CocoOptions) -> dict[str, tuple[str, _File]]:
    """Return the name and the content of each split's file."""
    named = {"train": options.train, "validation": options.validation, "test": options.test}
    if options.test and not (folder / options.test).is_file() and (folder / options.train).is_file():
        raise DataMissing(
            f"{folder / options.test}: there is no such file.",
            'data.options.test names the file of the test pictures; "" holds some of the training pictures out',
        )
    return {part: (name, _file(folder / name)) for part, name in named.items() if name}


def _file(path: Path) -> _File:
    try:
        return _File.model_validate(pictures.json_of(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        why = f"{place}: {first['msg']}" if place else "it is no object"
        raise DataError(f"{path}: is no COCO JSON: {why}.", "an object with images, annotations and categories") from error


def _folder(folder: Path, name: str, options: CocoOptions) -> Path:
    """Return the folder of a split's pictures."""
    if options.images is not None:
        return folder / options.images
    places = [folder / Path(name).stem.removeprefix(_PREFIX), folder / "images", folder]
    return next(place for place in places if place.is_dir())


def _lies_elsewhere(folder: Path, place: Path, name: str) -> str:
    """Say where a picture lies that is not in the folder of its split; "" where it is nowhere near.

    Args:
        folder: Of the data set.
        place: The folder of the split's pictures.
        name: The file_name.
    """
    below = [path for path in (*sorted(folder.glob("*/")), *sorted(folder.glob("*/*/")))[:_LOOKED] if path.is_dir()]
    for base in (folder, *below):
        if (base / name).is_file():
            return f'there is {base / name}: data.options.images = "{base.relative_to(folder).as_posix()}"'
    alone = Path(name.replace("\\", "/")).name
    found = next((base / alone for base in (place, folder, *below) if (base / alone).is_file()), None)
    return (
        ""
        if found is None or alone == name
        else f'there is {found}, and its file_name is "{name}": "{alone}" without the folders'
    )


def _pictures(
    folder: Path, name: str, held: _File, classes: Mapping[int, str], options: CocoOptions, left_out: list[str]
) -> list[Picture]:
    """Return the pictures of a file with their boxes; boxes of no picture, where they may be left out, are told in `left_out`."""
    path, place = folder / name, _folder(folder, name, options)
    boxes: dict[int, list[Box]] = {image.id: [] for image in held.images}
    if len(boxes) < len(held.images):
        raise DataError(f"{path}: two images have one id.")
    twice = [file for file, count in Counter(image.file_name for image in held.images).items() if count > 1]
    if twice:
        raise DataError(f"{path}: lists a picture twice: {first_few(twice)}.", "one image with all boxes of the picture")
    strays = []
    for each in held.annotations:
        if each.image_id not in boxes:
            strays.append(f"annotation {each.id} of image {each.image_id}")
            continue
        left, top, width, height = each.bbox
        label = classes.get(each.category_id, f"category {each.category_id}")
        box = Box((left, top, left + width, top + height), label, bool(each.iscrowd), f"annotation {each.id}")
        boxes[each.image_id].append(box)
    if strays and options.bad_boxes == "error":
        raise DataError(
            f"{path}: {first_few(strays)}: there is no such image in the file.",
            'data.options.bad_boxes = "skip" leaves them out',
        )
    left_out += [f"{path}: {stray}: there is no such image in the file" for stray in strays]
    return [Picture(place / image.file_name, path, boxes[image.id], (image.height, image.width)) for image in held.images]
