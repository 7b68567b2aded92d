"""Find and read data sets whose official lists name every image and the number of its class: VisDA-2017, DomainNet.

A line of a list is a path, a space and a number: "aeroplane/src_1_02691156_1.png 0".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit.errors import DataError, DataMissing, first_few
from tlkit.plugin import DataFiles, Images, Split, hold_out
from tlkit_domains import DomainNetOptions, VisdaOptions
from tlkit_domains.domainnet_files import list_name

_VISDA_LIST = "image_list.txt"
_VISDA_CLASSES = (
    *("aeroplane", "bicycle", "bus", "car", "horse", "knife", "motorcycle", "person", "plant", "skateboard", "train", "truck"),
)  # in the order of their numbers


@dataclass(frozen=True)
class _Listed:
    """A line of a list.

    Attributes:
        file: The image.
        number: Of its class.
    """

    file: Path
    number: int


def find_visda(folder: Path, options: VisdaOptions) -> DataFiles:
    """Return the lists of the domains that are named, and their images.

    Raises:
        DataMissing: a domain or its list is not there.
        DataError: a list cannot be read, or names an image that is not there.
    """
    lists = _visda_lists(folder, options)
    return _found(folder, [(path, path.parent) for path in lists.values()])


def read_visda(found: DataFiles, options: VisdaOptions) -> Images:
    """Return the source's images as training set and the target's as test set; of one domain a part is held out.

    Raises:
        DataError: a list has a number that is no class's.
    """
    lists = _visda_lists(found.root, options)
    listed = {split: _read_list(path, path.parent) for split, path in lists.items()}
    for split, path in lists.items():
        _check_numbers(path, listed[split], len(_VISDA_CLASSES))
    alone = options.alone is not None
    if alone:
        keys = [each.file.relative_to(found.root).as_posix() for each in listed["train"]]
        held = hold_out([str(each.number) for each in listed["train"]], keys, options.test_fraction)
        rows = list(zip(listed["train"], held, strict=True))
        listed = {
            part: [each for each, is_held in rows if is_held == tested] for part, tested in (("train", False), ("test", True))
        }
    return Images(_VISDA_CLASSES, {name: _split(rows) for name, rows in listed.items()}, test_held_out=alone)


def find_domainnet(folder: Path, options: DomainNetOptions) -> DataFiles:
    """Return the lists of the domains that are named, and their images.

    Raises:
        DataMissing: a list or a domain's folder is not there.
        DataError: a list cannot be read, or names an image that is not there.
    """
    lists = _domainnet_lists(folder, options)
    found = _found(folder, [(path, folder) for path in lists.values()])
    lost = _without_training_images(*(_read_list(lists[split], folder) for split in ("train", "test")))
    if not lost:
        return found
    remark = (
        f"{lists['test'].name}: {len(lost):,} images are left out: {lists['train'].name} has no image of their class "
        f"({first_few(dict.fromkeys(each.file.parent.name for each in lost))})"
    )
    return DataFiles(found.root, found.files, remarks=(remark,))


def read_domainnet(found: DataFiles, options: DomainNetOptions) -> Images:
    """Return the source's training list as training set, and the test list of the target, or else of the source, as test set.

    Test images of a class without training images are left out: painting_train.txt has no t-shirt, as painting_test.txt has.

    Raises:
        DataError: one number is of two classes.
    """
    lists = _domainnet_lists(found.root, options)
    train, test = (_read_list(lists[split], found.root) for split in ("train", "test"))
    lost = {each.number for each in _without_training_images(train, test)}
    names = _class_names(lists["test"], [*train, *(each for each in test if each.number not in lost)])
    places = {number: place for place, number in enumerate(sorted(names))}
    splits = {
        name: _split([_Listed(each.file, places[each.number]) for each in rows if each.number not in lost])
        for name, rows in (("train", train), ("test", test))
    }
    return Images(tuple(names[number] for number in sorted(names)), splits)


def _visda_lists(folder: Path, options: VisdaOptions) -> dict[str, Path]:
    """Return the list of each split: "train", and where both domains are named "test"."""
    first = options.source or options.target or ""
    domains = {"train": first} | ({} if options.alone else {"test": options.target or ""})
    lists = {split: folder / domain / _VISDA_LIST for split, domain in domains.items()}
    _refuse_missing(folder, list(lists.values()))
    return lists


def _domainnet_lists(folder: Path, options: DomainNetOptions) -> dict[str, Path]:
    trained, tested = options.source or options.target or "", options.target or options.source or ""
    _refuse_missing(folder, [folder / trained, folder / tested])
    lists = {"train": folder / list_name(trained, "train"), "test": folder / list_name(tested, "test")}
    _refuse_missing(folder, list(lists.values()))
    return lists


def _refuse_missing(folder: Path, wanted: Sequence[Path]) -> None:
    missing = [path.relative_to(folder).as_posix() for path in wanted if not path.exists()]
    if missing:
        raise DataMissing(f"{folder}: has no {' and no '.join(dict.fromkeys(missing))}.")


def _found(folder: Path, lists: Sequence[tuple[Path, Path]]) -> DataFiles:
    """Return the lists, each with the folder that its paths begin at, and all images that they name."""
    images: list[Path] = []
    for path, base in lists:
        for each in _read_list(path, base):
            if not each.file.is_file():
                raise DataError(f"{path}: {each.file}: there is no such file.", "unpack the archive again, or correct the list")
            images.append(each.file)
    return DataFiles(folder, (*(path for path, _ in lists), *images))


def _read_list(path: Path, base: Path) -> list[_Listed]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.", "fetch the list again") from error
    found = []
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if not name or not label.isascii() or not label.isdigit():
            raise DataError(
                f'{path}: line {number}: is "{line.strip()[:80]}".', "a path, a space and the number of a class: images/1.jpg 0"
            )
        found.append(_Listed(base / name, int(label)))
    if not found:
        raise DataError(f"{path}: names no images.", "fetch the list again")
    return found


def _check_numbers(path: Path, rows: Sequence[_Listed], classes: int) -> None:
    for each in rows:
        if each.number >= classes:
            raise DataError(f"{path}: {each.file.name} is of class {each.number}.", f"classes are 0 to {classes - 1}")


def _class_names(path: Path, rows: Sequence[_Listed]) -> Mapping[int, str]:
    """Return the name of each number: the folder that its images lie in."""
    names: dict[int, str] = {}
    for each in rows:
        known = names.setdefault(each.number, each.file.parent.name)
        if known != each.file.parent.name:
            raise DataError(f"{path}: class {each.number} is {known}, and {each.file.parent.name} in another line.")
    return names


def _without_training_images(train: Sequence[_Listed], test: Sequence[_Listed]) -> list[_Listed]:
    """Return the test images of classes that no training image has."""
    known = {each.number for each in train}
    return [each for each in test if each.number not in known]


def _split(rows: Sequence[_Listed]) -> Split:
    return Split(targets=np.array([each.number for each in rows], np.int64), files=tuple(each.file for each in rows))
