"""Find and read a folder of images: a sub-folder per class, below train, val and test folders or not.

`find` looks at names, and into files whose suffix says nothing; `read` works from what it found. What the folder is:

    train/CLASS/, val/CLASS/, test/CLASS/   as they say, however it is written: Training, val_data, seg_test
    train/CLASS/ and one of the others      the other is the test set
    train/CLASS/ alone, or CLASS/           the test set is split off, class by class
    val/images/, val/val_annotations.txt    as Tiny ImageNet has it: the table names the class of each image

Each may lie one folder deeper. A folder "train" without sub-folders is a class like any other. Images beside class folders are not
used, and `find` names them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, DataMissing, nearest
from tlkit.plugin import DataFiles, FileList, Images, Split, Subset, hold_out, image_kinds
from tlkit_folder import FolderOptions, layout
from tlkit_folder.scan import Listing, blocks_below, images_below, listing

_ANNOTATIONS = "val_annotations.txt"  # of Tiny ImageNet: file name, class, and a box, separated by tabs

Indices = NDArray[np.int64]
_Classes = dict[str, list[Indices]]  # positions of each class among the files, in pieces


def find(folder: Path, options: FolderOptions | None = None) -> DataFiles:
    """Return the image files of all class folders, sorted by split, class and name.

    The root is the train folder where that is the only one, so naming either folder gives the same split.

    Raises:
        DataMissing: there is no such folder.
        DataError: it has no class folders, one of them holds no images, most files cannot be read as images, or the layout is
            unclear.
    """
    options = options or FolderOptions()
    if os.path.isfile(folder):
        raise DataError(f"{folder}: is a file, not a folder.", "unpack an archive first, and name the folder")
    if not os.path.isdir(folder):
        raise DataMissing(f"{folder}: there is no such folder.")
    bands = options.channels is not None
    folder = layout.inner(folder, bands=bands) if options.splits is None else folder
    parts = layout.parts(folder, options.splits, bands=bands)
    return _Search(folder, parts, bands=bands).found()


class _Search:
    """Collects the files of a folder's splits.

    Args:
        folder: That holds the splits or the classes.
        parts: Folders of each split; {} where `folder` holds the classes.
        bands: Images are files of bands.
    """

    def __init__(self, folder: Path, parts: Mapping[layout.Role, list[Path]], *, bands: bool) -> None:
        self._folder, self._parts, self._bands = folder, parts, bands
        self._blocks: list[tuple[Path, tuple[str, ...]]] = []
        self._left_out: Counter[str] = Counter()
        self._places = [folder]  # folders whose own images belong to no class
        self._unlabelled: list[Path] = []

    def found(self) -> DataFiles:
        """Return what there is.

        Raises:
            DataError: as `find`.
        """
        train = self._parts.get("train", [self._folder])
        places, classes = self._class_folders(train)
        root = places[0] if len(places) == 1 and set(self._parts) <= {"train"} else self._folder
        trained = len(self._blocks)
        for role, folders in self._parts.items():
            if role != "train":
                self._evaluated(role, folders, classes)
        if self._unlabelled and len(self._blocks) == trained:
            self._refuse_unlabelled(train[0])
        unused = [place / name for place in dict.fromkeys(self._places) for name in self._listing(place).images]
        files = FileList(self._blocks)
        image_kinds.refuse_more_left_out(self._folder, self._left_out, len(files), bands=self._bands)
        remarks = (*map(self._said, self._unlabelled), *image_kinds.remark(self._left_out, bands=self._bands))
        return DataFiles(root=root, files=files, unused=(*unused, *self._beside()), remarks=remarks)

    def _class_folders(self, parts: Iterable[Path], classes: Iterable[str] = ()) -> tuple[list[Path], set[str]]:
        """Take the images of class folders; return where these lie, and their names."""
        places, names = [], set()
        for part in parts:
            place, mine = layout.class_folders(part, classes, bands=self._bands)
            for name in mine:
                self._class(place / name)
            places.append(place)
            names |= set(mine)
        self._places += places
        return places, names

    def _class(self, folder: Path) -> None:
        left_out: Counter[str] = Counter()
        blocks = blocks_below(folder, left_out=left_out, bands=self._bands)
        if not blocks:
            why = f"; {', '.join(image_kinds.remark(left_out, bands=self._bands))}" if left_out else ""
            suffixes = image_kinds.BAND_SUFFIXES if self._bands else image_kinds.SUFFIXES
            raise DataError(
                f"{folder}: the class folder holds no images{why}.",
                f"image files{' of bands' if self._bands else ''} end in {', '.join(suffixes)}",
                ""
                if self._bands or not images_below(folder, bands=True)
                else "arrays (.npy) of k bands are read with data.channels = k",
            )
        self._blocks += blocks
        self._left_out.update(left_out)

    def _evaluated(self, role: layout.Role, folders: Iterable[Path], classes: set[str]) -> None:
        """Take the images of a validation or test set."""
        for part in folders:
            lone = self._without_labels(part, role, classes)
            if (part / _ANNOTATIONS).is_file():
                self._blocks.append((part, (_ANNOTATIONS,)))
                self._blocks += blocks_below(part, left_out=self._left_out, bands=self._bands)
            elif lone is not None:
                self._unlabelled.append(lone)
            else:
                self._class_folders([part], classes)

    def _refuse_unlabelled(self, train: Path) -> None:
        place = self._unlabelled[0]
        raise DataError(
            f"{place}: has no class sub-folders; {self._listing(place).images[0]} lies directly in it.",
            f"if these images have no labels: name {train} as the folder, and a part of it becomes the test set; "
            f"`tlkit predict RUN {place}/*` classifies these",
            "if they have: put the images of each class into a sub-folder of its name",
        )

    def _beside(self) -> list[Path]:
        """Return the images of folders beside those of the splits."""
        if not self._parts:
            return []
        taken = {part.name for parts in self._parts.values() for part in parts}
        names = [name for name in self._listing(self._folder).folders if name not in taken]
        return [image for name in names for image in images_below(self._folder / name, bands=self._bands)]

    def _listing(self, folder: Path) -> Listing:
        return listing(folder, bands=self._bands)

    def _without_labels(self, part: Path, role: layout.Role, classes: set[str]) -> Path | None:
        """Return the folder of a split's images that lie in no class folder: its own, or a lone "images"; None where there is none."""
        found = self._listing(part)
        if found.images and not found.folders:
            return part
        if len(found.folders) != 1 or found.images or found.folders[0] in classes:
            return None
        (name,) = found.folders
        below = self._listing(part / name)
        says_nothing = name.lower() in layout.WRAPPERS or layout.role_of(name) == role
        return part / name if says_nothing and below.images and not below.folders else None

    def _said(self, place: Path) -> str:
        count = len(self._listing(place).images)
        shown = "1 image without class folders is" if count == 1 else f"{count:,} images without class folders are"
        return f"{place}: {shown} not used: they have no labels"


def read(found: DataFiles, options: FolderOptions | None = None) -> Images:
    """Return the splits as files; classes are the sorted names of the training set's class folders.

    Where the folder has no test set, of each class the max(1, round(test_fraction * n)) files whose paths below the root
    have the smallest SHA-256 become one. So the split depends on names alone, and a new image moves at most one other. Groups
    go into it whole, those whose names have the smallest SHA-256, until every class has so many.

    Raises:
        DataError: fewer than two classes, a class without training images, or one with a single image to be split.
    """
    options = options or FolderOptions()
    files = found.files if isinstance(found.files, FileList) else FileList.of(found.files)
    splits = _grouped(files, found.root, options)
    classes = tuple(sorted(splits["train"]))
    if len(classes) < 2:
        problem = f"{found.root}: has images of one class ({', '.join(classes)}), and two are needed."
        raise DataError(problem, "layout: one sub-folder per class, or train/ and test/ with one sub-folder per class each")
    for name, others in splits.items():
        for extra in sorted(others.keys() - set(classes)):
            raise _not_trained(files[int(others[extra][0][0])], extra, name, classes)
    alone = len(splits) == 1
    if alone and options.test_fraction:
        splits = _split_off(splits["train"], options.test_fraction, options.group, files=files, root=found.root)
    parts = {name: _split(splits[name], classes, options.group, files) for name in splits}
    return Images(classes=classes, splits=parts, test_held_out=alone)


def _not_trained(file: Path, extra: str, split: str, classes: tuple[str, ...]) -> DataError:
    for name in classes:
        if layout.spelt(name) == layout.spelt(extra):
            return DataError(
                f'{file}: class "{layout.spelt(extra)}" of {split} is written {extra!a}, and {name!a} in the training set.',
                "they differ in their Unicode form or in a space at the end; rename one of the folders",
            )
    return DataError(f'{file}: class "{extra}" of {split} has no training images.', nearest(extra, classes))


@dataclass(frozen=True)
class _Block:
    """The files of one folder.

    Attributes:
        below: Names of the folders from the root, or from a split's folder, to it.
        files: Their positions among all files.
    """

    below: tuple[str, ...]
    files: Indices


def _grouped(files: FileList, root: Path, options: FolderOptions) -> dict[str, _Classes]:
    """Return split -> class -> files; one other split beside "train" is "test"."""
    blocks = [_Block(Path(folder).relative_to(root).parts, chosen) for folder, chosen in files.blocks()]
    tops = dict.fromkeys(block.below[0] for block in blocks)
    roles = layout.roles(tops, options.splits)
    if len(roles) < len(tops) or not any(roles[block.below[0]] == "train" and len(block.below) > 1 for block in blocks):
        roles = {}
    splits: dict[str, _Classes] = {"train": {}}
    if not roles:
        for block in blocks:
            splits["train"].setdefault(block.below[0], []).append(block.files)
        return splits
    for top in sorted(roles, key=lambda name: layout.ROLES.index(roles[name])):
        mine = [_Block(block.below[1:], block.files) for block in blocks if block.below[0] == top]
        for name, chosen in _classes(mine, splits["train"], top=root / top, files=files).items():
            splits.setdefault(roles[top], {}).setdefault(name, []).extend(chosen)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    return splits


def _classes(blocks: list[_Block], trained: Mapping[str, object], *, top: Path, files: FileList) -> _Classes:
    """Return the files of each class of one split, from the folders below its own."""
    if not blocks[0].below and files.name(int(blocks[0].files[0])) == _ANNOTATIONS:
        return _annotated(top / _ANNOTATIONS, np.concatenate([block.files for block in blocks])[1:], files)
    while (
        len({block.below[0] for block in blocks}) == 1
        and blocks[0].below[0] not in trained
        and all(len(b.below) > 1 for b in blocks)
    ):
        blocks = [_Block(block.below[1:], block.files) for block in blocks]
    classes: _Classes = {}
    for block in blocks:
        classes.setdefault(block.below[0], []).append(block.files)
    return classes


def _annotated(table: Path, images: Indices, files: FileList) -> _Classes:
    try:
        rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: cannot be read: {error}.", "a line per image: its file name, a tab, its class") from error
    named = {row[0]: row[1] for row in rows if len(row) > 1}
    chosen: dict[str, list[int]] = {}
    for image in images.tolist():
        name = files.name(image)
        if name not in named:
            raise DataError(
                f"{files[image]}: is not in {table}, so its class is not known.", "a line per image: file name, tab, class"
            )
        chosen.setdefault(named[name], []).append(image)
    return {name: [np.array(each, np.int64)] for name, each in chosen.items()}


def _split_off(classes: _Classes, fraction: float, pattern: str | None, *, files: FileList, root: Path) -> dict[str, _Classes]:
    whole = {name: np.concatenate(pieces) for name, pieces in classes.items()}
    begins = len(os.path.join(root, ""))
    keys = (
        files.text(index)[begins:] if pattern is None else _group(files, index, pattern)
        for each in whole.values()
        for index in each.tolist()
    )
    held_out = np.array(hold_out([name for name, each in whole.items() for _ in range(len(each))], keys, fraction), bool)
    splits: dict[str, _Classes] = {"train": {}, "test": {}}
    begin = 0
    for name, each in whole.items():
        if len(each) == 1:
            raise DataError(
                f'{files[int(each[0])]}: is the only image of class "{name}", so no test image can be split off.',
                "add images, or make folders train and test and put classes into both",
            )
        tested = held_out[begin : begin + len(each)]
        begin += len(each)
        splits["train"][name], splits["test"][name] = [each[~tested]], [each[tested]]
    for name, (trained,) in splits["train"].items():
        if not len(trained):
            raise DataError(
                f'{files[int(whole[name][0])]}: all images of class "{name}" are of groups that became the test set.',
                "more groups, a smaller data.options.test_fraction, or folders train and test",
            )
    return splits


def _group(files: FileList, index: int, pattern: str) -> str:
    found = re.match(pattern, files.name(index))
    return found.group() if found and found.group() else files.text(index)


def _split(chosen: Mapping[str, list[Indices]], classes: tuple[str, ...], pattern: str | None, files: FileList) -> Split:
    empty = np.zeros(0, np.int64)
    each = [np.concatenate([empty, *chosen.get(name, [])]) for name in classes]
    indices = np.concatenate(each)
    labels = np.repeat(np.arange(len(classes)), [len(mine) for mine in each])
    groups = None if pattern is None else np.array([_group(files, index, pattern) for index in indices.tolist()])
    return Split(targets=labels, files=Subset(files, indices), groups=groups)
