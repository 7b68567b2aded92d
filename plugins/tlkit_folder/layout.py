"""Tell the folders of splits from the folders of classes, by names alone.

The rule: a folder that may be one or the other is refused with what to write, never guessed at.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tlkit.errors import DataError, first_few, nearest
from tlkit_folder.scan import images_below, listing

Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "test")
# What people call the folders of splits, in lower case, without the words of _FILLER and without digits.
_NAMES: Mapping[str, Role] = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "validate": "validation", "dev": "validation",
    "eval": "validation", "evaluation": "validation",
    "test": "test", "testing": "test", "tst": "test", "holdout": "test",
}  # fmt: skip
_FILLER = (
    "dataset",
    "folder",
    "images",
    "image",
    "photos",
    "pictures",
    "samples",
    "split",
    "data",
    "imgs",
    "img",
    "set",
    "seg",
)
# Sub-folders that only say what lies in them: every class folder of Tiny ImageNet has an "images".
WRAPPERS = frozenset(_FILLER)


def role_of(name: str) -> Role | None:
    """Return the split that a folder's name says: "Training", "train_set", "seg_test", "valdata"; None where it says none."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    words = [word for word in words if word not in _FILLER] or words
    if len(words) != 1:
        return None
    (word,) = words
    for filler in _FILLER:
        if word not in _NAMES:
            word = word.removesuffix(filler).removeprefix(filler) or word
    return _NAMES.get(word)


def roles(names: Iterable[str], given: Mapping[str, Role] | None) -> dict[str, Role]:
    """Return the split of each folder that is one, by name.

    Args:
        names: Of folders.
        given: The option `splits`; None where their names say it.
    """
    known = ((name, role_of(name) if given is None else given.get(name)) for name in names)
    return {name: role for name, role in known if role is not None}


def split_folders(folder: Path) -> dict[str, str]:
    """Return the split of each folder in a folder whose name says one, in the order train, validation, test."""
    found = roles(sorted(each.name for each in folder.iterdir() if each.is_dir()), None)
    return {name: role for role in ROLES for name, each in found.items() if each == role}


def inner(folder: Path, *, bands: bool = False) -> Path:
    """Return the folder that holds more than one other: an archive often unpacks to a folder of its own name."""
    while True:
        found = listing(folder, bands=bands)
        if len(found.folders) != 1 or found.images or role_of(found.folders[0]) is not None:
            return folder
        below = listing(folder / found.folders[0], bands=bands)
        if below.images or not below.folders:
            return folder
        folder /= found.folders[0]


def parts(folder: Path, given: Mapping[str, Role] | None, *, bands: bool = False) -> dict[Role, list[Path]]:
    """Return the folders of each split, in the order train, validation, test; {} where there are none.

    Args:
        folder: That holds them, or class folders.
        given: The option `splits`; None where their names say it.
        bands: Images are files of bands.

    Raises:
        DataError: the layout is unclear, or a folder that `given` names is not there.
    """
    names = listing(folder).folders
    if given is not None:
        _check_given(folder, names, given)
        return _by_role(folder, roles(names, given))
    found = roles(names, None)
    if not any(role == "train" and listing(folder / name).folders for name, role in found.items()):
        if names and len(found) == len(names):
            raise DataError(
                f"{folder}: has {', '.join(names)} but no train folder with a sub-folder per class.",
                "if they are classes: data.options.splits = {}",
            )
        refuse_splits_as_classes(folder, names, bands=bands)
        return {}
    told = ", ".join(f'{_toml(name)} = "{each}"' for name, each in found.items())
    for role in ROLES:
        same = [name for name in names if found.get(name) == role]
        if len(same) > 1:
            raise DataError(
                f"{folder}: {' and '.join(same)} are both the {role} set.",
                f"remove or rename one, or say what each is: data.options.splits = {{ {told} }}",
            )
    if set(found.values()) == {"train"}:
        _refuse_class_named_train(folder, next(iter(found)), names, bands=bands)
    return _by_role(folder, found)


def refuse_splits_as_classes(folder: Path, names: Sequence[str], *, bands: bool = False) -> None:
    """Refuse folders that all hold folders of the same names and no images: they are splits or folds, not classes.

    Raises:
        DataError: they do.
    """
    shared: set[str] | None = None
    for name in names:
        found = listing(folder / name, bands=bands)
        shared = set(found.folders) if shared is None else shared & set(found.folders)
        if found.images or len(shared - WRAPPERS) < 2:
            return
    if len(names) < 2 or shared is None:
        return
    inside = first_few(sorted(shared - WRAPPERS))
    said = {name: _part_said(name) for name in names}
    roles = [role or "train" for role in said.values()] if any(said.values()) else ["train", "test"]
    example = ", ".join(f'{_toml(name)} = "{role}"' for name, role in zip(names, roles, strict=False))
    raise DataError(
        f"{folder}: {first_few(names)} hold no images but the same folders, {inside}: they look like splits, not classes.",
        f"if they are splits: data.options.splits = {{ {example} }}, or rename the folders to train and test",
        "if they are classes: data.options.splits = {}",
    )


def class_folders(part: Path, classes: Iterable[str] = (), *, bands: bool = False) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that holds a split's class folders, and their names: it may lie in a lone folder below the split's.

    Args:
        part: Folder of a split, or of the data set.
        classes: Classes of the training images, which are no wrappers; () where those are looked for.
        bands: Images are files of bands.

    Raises:
        DataError: there are none, or their names cannot be used.
    """
    while True:
        found = listing(part, bands=bands)
        if len(found.folders) != 1 or found.images or found.folders[0] in classes:
            break
        below = listing(part / found.folders[0], bands=bands)
        if below.images or not below.folders:
            break
        part /= found.folders[0]
    if not found.folders:
        loose = f"; {found.images[0]} lies directly in it" if found.images else ""
        raise DataError(
            f"{part}: has no class sub-folders{loose}.", "put the images of each class into a sub-folder of its name"
        )
    _check_names(part, found.folders)
    return part, found.folders


def spelt(name: str) -> str:
    """Return a class name in one Unicode form and without spaces at its ends, as it is compared."""
    return unicodedata.normalize("NFC", name).strip()


def _check_names(part: Path, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            path = str(part / name).encode(errors="backslashreplace").decode()
            raise DataError(f"{path}: the name of the class is not UTF-8.", "rename the folder") from error
        other = seen.setdefault(spelt(name), name)
        if other != name:
            raise DataError(
                f'{part}: has two folders of one class, "{spelt(name)}": {other!a} and {name!a}.',
                "they differ in their Unicode form or in a space at the end; put the images into one of them",
            )


def _check_given(folder: Path, names: Sequence[str], given: Mapping[str, Role]) -> None:
    for name in given:
        if name not in names:
            raise DataError(
                f'{folder}: data.options.splits: there is no folder "{name}" in it.',
                f"folders: {first_few(names)}",
                nearest(name, names),
            )
    if given and "train" not in given.values():
        raise DataError("data.options.splits: no folder is the training set.", 'splits = { FOLDER = "train" }')


def _by_role(folder: Path, found: Mapping[str, Role]) -> dict[Role, list[Path]]:
    return {role: [folder / name for name, each in found.items() if each == role] for role in ROLES if role in found.values()}


def _refuse_class_named_train(folder: Path, train: str, names: Sequence[str], *, bands: bool) -> None:
    """Raise where other folders of images lie beside `train`: they may be classes, and so may it."""
    for name in names:
        if name != train and images_below(folder / name, bands=bands):
            raise DataError(
                f"{folder}: is {train} the training set, or a class as {name} beside it?",
                f"if the training set: name {folder / train} as the folder, or put a test folder beside it, or say what each is: "
                f'data.options.splits = {{ {_toml(train)} = "train", {_toml(name)} = "test" }}',
                f"if a class: put its images directly into {folder / train}",
            )


def _part_said(name: str) -> Role | None:
    """Return the split that one of a name's words says, whatever the others are: "my test"; for an example in a message."""
    return next((_NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _NAMES), None)


def _toml(name: str) -> str:
    """Return a name as a key of a TOML table."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
