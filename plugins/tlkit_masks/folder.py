"""Find and read pictures of one's own with masks: images/ and masks/, alone, or below or above the folders of splits.

The layouts, of which the first has its test set split off:

    images/NAME.jpg, masks/NAME.png
    train/images/NAME.jpg, train/masks/NAME.png         and so val and test, however these are written
    images/train/NAME.jpg, masks/train/NAME.png         likewise
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tlkit.errors import DataError, DataMissing, first_few
from tlkit.plugin import DataFiles, Images, MaskCoding, hold_out, image_kinds
from tlkit_folder import layout
from tlkit_masks import SegmentationOptions, pairs
from tlkit_masks.pairs import Pair

_POLYGONS = ".json"
_Parts = dict[str, list[Pair]]


def find(folder: Path, options: SegmentationOptions) -> DataFiles:
    """Return every picture with its mask.

    Raises:
        DataMissing: there is no such folder.
        DataError: it holds no pictures, a picture has no mask or several, or masks are of two kinds.
    """
    if not folder.is_dir():
        raise DataMissing(f"{folder}: there is no such folder.")
    parts, alone = _parts(folder, options)
    masks = {pair.mask.suffix.lower() == _POLYGONS for each in parts.values() for pair in each}
    if len(masks) > 1:
        raise DataError(f"{folder}: some masks are images and others polygons (.json).", "make them of one kind")
    if True in masks and not isinstance(options.classes, list):
        raise DataError(
            f"{folder}: masks are polygons, whose labels are the names of classes.",
            f"data.options.classes = {list(options.classes)}, where the first is what no shape covers",
        )
    taken = {pair.mask for each in parts.values() for pair in each}
    unused = [mask for mask in alone if mask not in taken]
    have = "1 mask has" if len(unused) == 1 else f"{len(unused):,} masks have"
    remarks = [f"{have} no picture: {first_few(str(each) for each in unused)}"] if unused else []
    folders = _folders_for(unused, folder, options)
    if folders:
        are = "is a folder and no picture" if len(folders) == 1 else "are folders and no pictures"
        remarks.append(f"{first_few(map(str, folders))} {are}")
    return pairs.found(folder, parts, remarks=remarks)


def read(files: DataFiles, options: SegmentationOptions) -> Images:
    """Return the splits. Without a test folder the pictures whose names have the smallest SHA-256 are the test set, groups whole.

    Raises:
        DataError: as `find`, or there is one picture alone.
    """
    parts, _ = _parts(files.root, options)
    if "train" not in parts:
        raise DataError(
            f"{files.root}: has {' and '.join(parts)} but no train folder.", "name the training pictures' folder train"
        )
    alone = set(parts) == {"train"}
    if alone:
        train = parts["train"]
        if len(train) < 2:
            raise DataError(f"{files.root}: has one picture, and one more is needed to be tested.")
        keys = [pair.group or pair.picture.relative_to(files.root).as_posix() for pair in train]
        tested = hold_out(["picture"] * len(train), keys, options.test_fraction)
        parts = {
            "train": [pair for pair, held in zip(train, tested, strict=True) if not held],
            "test": [pair for pair, held in zip(train, tested, strict=True) if held],
        }
    elif "test" not in parts:
        parts["test"] = parts.pop("validation")
    polygons = any(pair.mask.suffix.lower() == _POLYGONS for pair in parts["train"])
    return pairs.images(parts, list(options.classes), _coding(options, polygons=polygons), held_out=alone)


def _coding(options: SegmentationOptions, *, polygons: bool) -> MaskCoding:
    named = options.classes
    if isinstance(named, list):
        return MaskCoding(shapes={name: number for number, name in enumerate(named)}) if polygons else MaskCoding()
    values = {value: number for number, value in enumerate(named.values()) if isinstance(value, int)}
    colours = {_colour(value): number for number, value in enumerate(named.values()) if isinstance(value, str)}
    return MaskCoding(values, colours)


def _colour(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _parts(folder: Path, options: SegmentationOptions) -> tuple[_Parts, list[Path]]:
    """Return the pairs of each split, and every mask."""
    parts: _Parts = {}
    masks: list[Path] = []
    for role, pictures, drawn, seen in _places(folder, options):
        mine, every = _paired(pictures, drawn, seen, options)
        parts.setdefault(role, []).extend(mine)
        masks += every
    return parts, masks


def _places(folder: Path, options: SegmentationOptions) -> list[tuple[str, Path, Path, Path]]:
    """Return the split, the folder of pictures, that of masks and that of fields of view, of each split in order.

    Raises:
        DataError: there are none.
    """
    images, masks, seen = options.images, options.masks, options.field_of_view or ""
    if (folder / images).is_dir() and (folder / masks).is_dir():
        inside = layout.split_folders(folder / images) or {"": "train"}
        return [(role, folder / images / name, folder / masks / name, folder / seen / name) for name, role in inside.items()]
    split = {name: role for name, role in layout.split_folders(folder).items() if (folder / name / images).is_dir()}
    if split:
        return [(role, folder / name / images, folder / name / masks, folder / name / seen) for name, role in split.items()]
    raise DataError(
        f"{folder}: has no {images} and {masks} in it, nor in folders train, val and test.",
        'folders of other names: data.options.images = "pictures", data.options.masks = "labels"',
    )


def _paired(pictures: Path, masks: Path, seen: Path, options: SegmentationOptions) -> tuple[list[Pair], list[Path]]:
    """Return the pairs of a split by name, and every mask.

    Raises:
        DataError: there are no pictures, or one has no mask or several, or no field of view where the options name these.
    """
    views = {} if options.field_of_view is None else {_key(view, seen): view for view in _files(seen, polygons=False)}
    same = pictures == masks
    drawn: dict[str, list[Path]] = {}
    for mask in _files(masks, polygons=True):
        if mask.stem.endswith(options.ending) and not (same and mask.suffix.lower() != _POLYGONS):
            drawn.setdefault(_key(mask, masks).removesuffix(options.ending), []).append(mask)
    every = _files(pictures, polygons=False)
    if not every:
        raise DataError(f"{pictures}: holds no pictures.", f"pictures end in {', '.join(image_kinds.SUFFIXES)}")
    found = []
    for picture in every:
        key = _key(picture, pictures)
        mine = drawn.get(key, [])
        if len(mine) != 1:
            what = f"several masks: {first_few(str(each) for each in mine)}" if mine else f"no mask in {masks}"
            raise DataError(
                f"{picture}: has {what}.",
                f"one of the same name{f' and {options.ending}' if options.ending else ''}, such as {masks / key}{options.ending}.png",
                "" if options.ending else 'names with an ending: data.options.ending = "_mask"',
            )
        if options.field_of_view is not None and key not in views:
            raise DataError(f"{picture}: has no field of view in {seen}.", "one of the same name")
        found.append(Pair(picture, mine[0], views.get(key), group=_group(picture, options)))
    return found, [mask for each in drawn.values() for mask in each]


def _folders_for(masks: Sequence[Path], folder: Path, options: SegmentationOptions) -> list[Path]:
    """Return the folders that have the place and the name of the pictures of masks."""
    found = []
    for _, pictures, drawn, _ in _places(folder, options) if masks else ():
        keys = [_key(mask, drawn).removesuffix(options.ending) for mask in masks if mask.is_relative_to(drawn)]
        found += [path for key in keys for kind in image_kinds.SUFFIXES if (path := pictures / f"{key}{kind}").is_dir()]
    return found


def _group(picture: Path, options: SegmentationOptions) -> str:
    if options.group is None:
        return ""
    named = re.match(options.group, picture.name)
    return named.group() if named is not None and named.group() else picture.name


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _files(folder: Path, *, polygons: bool) -> list[Path]:
    """Return the image files in a folder and below it by path, and files of polygons; hidden ones are left out."""
    suffixes = {*image_kinds.SUFFIXES, *([_POLYGONS] if polygons else [])}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
