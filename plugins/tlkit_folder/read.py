"""Find and read a folder of images: a sub-folder per class, below train, val and test folders or not.

`find` looks at names alone and `read` works from what it found; no image is opened. What the folder is:

    train/CLASS/, val/CLASS/, test/CLASS/   as they say; valid and validation are other names of val
    train/CLASS/ and one of the others      the other is the test set
    train/CLASS/ alone, or CLASS/           the test set is split off, class by class

A folder "train" without sub-folders is a class like any other. Images beside class folders are not used, and `find` names them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tlkit.errors import DataError, DataMissing, nearest
from tlkit.plugin import DataFiles, Images, Split, hold_out
from tlkit_folder import FolderOptions
from tlkit_folder.scan import SUFFIXES, images_below, listing

# Folder names in lower case -> split.
_ROLES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}

_Classes = dict[str, list[Path]]


def find(folder: Path, options: FolderOptions | None = None) -> DataFiles:
    """Return the image files of all class folders, sorted by split, class and name.

    The root is the train folder where that is the only one, so naming either folder gives the same split.

    Raises:
        DataMissing: there is no such folder.
        DataError: it has no class folders, one of them holds no images, or the layout is unclear.
    """
    if os.path.isfile(folder):
        raise DataError(f"{folder}: is a file, not a folder.", "unpack an archive first, and name the folder")
    if not os.path.isdir(folder):
        raise DataMissing(f"{folder}: there is no such folder.")
    files: list[Path] = []
    parts = _parts(folder)
    for part in parts:
        for name in _class_folders(part):
            images = images_below(part / name)
            if not images:
                raise DataError(
                    f"{part / name}: the class folder holds no images.", f"image files end in {', '.join(SUFFIXES)}"
                )
            files += images
    unused = [place / name for place in dict.fromkeys([folder, *parts]) for name in listing(place).images]
    return DataFiles(root=parts[0] if len(parts) == 1 else folder, files=tuple(files), unused=tuple(unused))


def read(found: DataFiles, options: FolderOptions | None = None) -> Images:
    """Return the splits as files; classes are the sorted names of the training set's class folders.

    Where the folder has no test set, of each class the max(1, round(test_fraction * n)) files whose paths below the root
    have the smallest SHA-256 become one. So the split depends on names alone, and a new image moves at most one other. Groups
    go into it whole, those whose names have the smallest SHA-256, until every class has so many.

    Raises:
        DataError: fewer than two classes, a class without training images, or one with a single image to be split.
    """
    options = options or FolderOptions()
    splits = _grouped(found)
    classes = tuple(sorted(splits["train"]))
    if len(classes) < 2:
        problem = f"{found.root}: has images of one class ({', '.join(classes)}), and two are needed."
        raise DataError(problem, "layout: one sub-folder per class, or train/ and test/ with one sub-folder per class each")
    for name, others in splits.items():
        for extra in sorted(others.keys() - set(classes)):
            where = others[extra][0]
            raise DataError(f'{where}: class "{extra}" of {name} has no training images.', nearest(extra, classes))
    if len(splits) == 1:
        splits = _split_off(splits["train"], options.test_fraction, options.group, root=found.root)
    return Images(classes=classes, splits={name: _split(splits[name], classes, options.group) for name in splits})


def _parts(folder: Path) -> list[Path]:
    """Return the folders that hold class folders: those of the splits, or the folder itself."""
    names = listing(folder).folders
    roles: dict[str, str] = {}
    if not any(name.lower() == "train" and listing(folder / name).folders for name in names):
        if names and all(name.lower() in _ROLES for name in names):
            raise DataError(f"{folder}: has {', '.join(names)} but no train folder with a sub-folder per class.")
        return [folder]
    for name in names:
        role = _ROLES.get(name.lower())
        if role in roles:
            raise DataError(f"{folder}: {roles[role]} and {name} are both the {role} set.", "remove or rename one")
        if role:
            roles[role] = name
    if len(roles) == 1:
        _refuse_class_named_train(folder, roles["train"], names)
    return [folder / roles[role] for role in ("train", "validation", "test") if role in roles]


def _refuse_class_named_train(folder: Path, train: str, names: tuple[str, ...]) -> None:
    """Raise where other folders of images lie beside `train`: they may be classes, and so may it."""
    for name in names:
        if name != train and images_below(folder / name):
            raise DataError(
                f"{folder}: is {train} the training set, or a class as {name} beside it?",
                f"if the training set: name {folder / train} as the folder, or put a test folder beside it",
                f"if a class: put its images directly into {folder / train}",
            )


def _class_folders(part: Path) -> tuple[str, ...]:
    found = listing(part)
    if not found.folders:
        loose = f"; {found.images[0]} lies directly in it" if found.images else ""
        raise DataError(
            f"{part}: has no class sub-folders{loose}.", "put the images of each class into a sub-folder of its name"
        )
    for name in found.folders:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            path = str(part / name).encode(errors="backslashreplace").decode()
            raise DataError(f"{path}: the name of the class is not UTF-8.", "rename the folder") from error
    return found.folders


def _grouped(found: DataFiles) -> dict[str, _Classes]:
    """Return split -> class -> files; one other split beside "train" is "test"."""
    paths = [(file, file.relative_to(found.root).parts) for file in found.files]
    by_split = all(parts[0].lower() in _ROLES for _, parts in paths)
    by_split = by_split and any(parts[0].lower() == "train" and len(parts) > 2 for _, parts in paths)
    splits: dict[str, _Classes] = {"train": {}}
    for file, parts in paths:
        split, name = (_ROLES[parts[0].lower()], parts[1]) if by_split else ("train", parts[0])
        splits.setdefault(split, {}).setdefault(name, []).append(file)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    return splits


def _split_off(classes: _Classes, fraction: float, pattern: str | None, *, root: Path) -> dict[str, _Classes]:
    labelled = [(name, file) for name, files in classes.items() for file in files]
    keys = [file.relative_to(root).as_posix() if pattern is None else _group(file, pattern) for _, file in labelled]
    held_out = hold_out([name for name, _ in labelled], keys, fraction)
    splits: dict[str, _Classes] = {"train": {}, "test": {}}
    for name, files in classes.items():
        if len(files) == 1:
            raise DataError(
                f'{files[0]}: is the only image of class "{name}", so no test image can be split off.',
                "add images, or make folders train and test and put classes into both",
            )
        for part in splits.values():
            part[name] = []
    for (name, file), tested in zip(labelled, held_out, strict=True):
        splits["test" if tested else "train"][name].append(file)
    for name, files in splits["train"].items():
        if not files:
            raise DataError(
                f'{classes[name][0]}: all images of class "{name}" are of groups that became the test set.',
                "more groups, a smaller data.options.test_fraction, or folders train and test",
            )
    return splits


def _group(file: Path, pattern: str) -> str:
    found = re.match(pattern, file.name)
    return found.group() if found and found.group() else os.fspath(file)


def _split(files: Mapping[str, list[Path]], classes: tuple[str, ...], pattern: str | None) -> Split:
    ordered = [(file, label) for label, name in enumerate(classes) for file in files.get(name, [])]
    labels, paths = np.array([label for _, label in ordered], np.int64), tuple(file for file, _ in ordered)
    groups = None if pattern is None else np.array([_group(file, pattern) for file in paths])
    return Split(targets=labels, files=paths, groups=groups)
