"""Pictures of one's own with a mask each, found by their names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, DataMissing, first_few
from tlkit.plugin import IGNORED, DataFiles, Images, MaskCoding, MaskFile, Split, image_kinds
from tlkit_masks import SegmentationFolderOptions

_PARTS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test",)}
_SEED = 0  # of the pictures that are tested on, where no folder says it


def find(folder: Path, options: SegmentationFolderOptions) -> DataFiles:
    """Return every picture, mask and field of view.

    Raises:
        DataMissing: there is no folder of pictures.
        DataError: a picture has no mask, or a mask no picture.
    """
    places = _places(folder)
    if "train" not in places:
        raise DataMissing(f"{folder}: has no folder images, and no train/images.")
    files: list[Path] = []
    for place in places.values():
        pictures, masks = _of(place, options)
        files += [*pictures, *(path for mask in masks for path in (mask.path, mask.field_of_view) if path is not None)]
    return DataFiles(folder, tuple(files))


def read(found: DataFiles, options: SegmentationFolderOptions) -> Images:
    """Return the pictures with their masks; without a test folder, some of the training pictures are held out.

    Raises:
        DataError: as `find`.
    """
    places = _places(found.root)
    splits = {name: _split(place, options) for name, place in places.items()}
    if "test" in splits:
        return Images(tuple(options.classes), splits)
    whole = splits["train"]
    tested = _held_out(whole, options.test_fraction)
    splits |= {"train": _some(whole, np.flatnonzero(~tested)), "test": _some(whole, np.flatnonzero(tested))}
    return Images(tuple(options.classes), splits, test_held_out=True)


def _places(folder: Path) -> dict[str, Path]:
    """Return the folder of each part that there is."""
    if (folder / "images").is_dir():
        return {"train": folder}
    found = {
        part: next((folder / name for name in names if (folder / name / "images").is_dir()), None)
        for part, names in _PARTS.items()
    }
    return {part: place for part, place in found.items() if place is not None}


def _split(place: Path, options: SegmentationFolderOptions) -> Split:
    pictures, found = _of(place, options)
    masks = np.empty(len(found), object)
    masks[:] = found
    return Split(masks, files=tuple(pictures), groups=_groups(pictures, options.group))


def _of(place: Path, options: SegmentationFolderOptions) -> tuple[list[Path], list[MaskFile]]:
    """Return the pictures of a part, by name, and the mask of each."""
    pictures = _by_name(place / "images")
    masks = {name.removesuffix(options.suffix): path for name, path in _by_name(place / "masks", suffix=options.suffix).items()}
    if not pictures:
        raise DataError(f"{place / 'images'}: holds no pictures.")
    if missing := [path for name, path in pictures.items() if name not in masks]:
        raise DataError(
            f"{missing[0]}: has no mask in {place / 'masks'}.",
            f"so have {len(missing) - 1} others" if len(missing) > 1 else "",
            f"a mask is called as its picture{f', with {options.suffix} behind the name' if options.suffix else ''}",
        )
    if alone := [path.name for name, path in masks.items() if name not in pictures]:
        raise DataError(f"{place / 'masks'}: has masks without a picture: {first_few(alone)}.", "take them away")
    views: dict[str, Path] = {} if options.field_of_view is None else _by_name(place / options.field_of_view)
    if options.field_of_view is not None and (blind := [path for name, path in pictures.items() if name not in views]):
        raise DataError(f"{blind[0]}: has no field of view in {place / options.field_of_view}.", "called as its picture")
    coding = _coding(options)
    return list(pictures.values()), [MaskFile(masks[name], coding, views.get(name)) for name in pictures]


def _by_name(folder: Path, *, suffix: str = "") -> dict[str, Path]:
    """Return the image files of a folder by their names without extension.

    Raises:
        DataError: two files have one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if image_kinds.kind(path) is not image_kinds.Kind.IMAGE or not path.stem.endswith(suffix):
            continue
        if path.stem in found:
            raise DataError(f"{path}: {found[path.stem].name} has the same name.", "one file for each picture")
        found[path.stem] = path
    return found


def _coding(options: SegmentationFolderOptions) -> MaskCoding:
    if options.colours:
        colours = {tuple(bytes.fromhex(value[1:])): options.classes.index(name) for name, value in options.colours.items()}
        return MaskCoding(colours={(red, green, blue): number for (red, green, blue), number in colours.items()})
    if not options.values:
        return MaskCoding()
    numbers = {options.values.get(name, number): number for number, name in enumerate(options.classes)}
    if len(numbers) < len(options.classes):
        raise DataError("data.options.values: two classes have one value.", "a value for each class")
    return MaskCoding(values={IGNORED: IGNORED} | numbers)


def _groups(pictures: list[Path], pattern: str | None) -> NDArray[np.str_] | None:
    if pattern is None:
        return None
    matches = [re.match(pattern, path.stem) for path in pictures]
    return np.array([path.stem if match is None else match.group() for path, match in zip(pictures, matches, strict=True)])


def _held_out(split: Split, fraction: float) -> NDArray[np.bool_]:
    """Return which pictures are tested on: a part of the groups, drawn once and for all."""
    names = np.arange(len(split.targets)).astype(str) if split.groups is None else split.groups
    every = np.unique(names)
    if len(every) < 2:
        raise DataError("data: there is one picture, or one group, and none is left to test.", "two at least")
    count = min(max(1, round(fraction * len(every))), len(every) - 1)
    return np.isin(names, np.random.default_rng(_SEED).permutation(every)[:count])


def _some(split: Split, rows: NDArray[np.intp]) -> Split:
    groups = None if split.groups is None else split.groups[rows]
    return replace(split, targets=split.targets[rows], files=tuple(split.files[row] for row in rows), groups=groups)
