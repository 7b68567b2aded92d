"""Pictures with their masks, as a data set hands them over. What a layout is, is in the other modules."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from tlkit.errors import DataError, DataMissing, first_few
from tlkit.plugin import DataFiles, ImageFile, Images, MaskCoding, MaskFile, Member, Options, Split

_Chosen = TypeVar("_Chosen", bound=Options)


@dataclass(frozen=True)
class Pair:
    """A picture and its mask.

    Attributes:
        picture: The file.
        mask: The file of the classes of its pixels.
        field_of_view: An image that is bright where the camera saw something; None where all pixels count.
        measured: It is the picture itself, whose field of view is measured.
        group: What belongs together; "" for the picture alone.
    """

    picture: Path
    mask: Path
    field_of_view: Path | None = None
    measured: bool = False
    group: str = ""


Parts = Mapping[str, Sequence[Pair]]  # "train", and where there are any "validation" and "test"


@dataclass(frozen=True)
class Layout(Generic[_Chosen]):
    """How a published data set lies on disk.

    Attributes:
        parts: (folder, options) -> its pairs.
        classes: Their names.
        coding: Of the masks.
        place: (folder that was given, options) -> the folder that holds the set.
        remarks: (folder, options) -> what was left out.
    """

    parts: Callable[[Path, _Chosen], Parts]
    classes: Sequence[str]
    coding: MaskCoding
    place: Callable[[Path, _Chosen], Path] = lambda folder, options: folder
    remarks: Callable[[Path, _Chosen], Sequence[str]] = lambda folder, options: ()

    def find(self, folder: Path, options: _Chosen) -> DataFiles:
        """Return every file of the set: see `found`."""
        place = self.place(folder, options)
        return found(place, self.parts(place, options), remarks=self.remarks(place, options))

    def read(self, files: DataFiles, options: _Chosen) -> Images:
        """Return the splits."""
        return images(self.parts(files.root, options), self.classes, self.coding)


def found(root: Path, parts: Parts, *, unused: Iterable[Path] = (), remarks: Iterable[str] = ()) -> DataFiles:
    """Return every file that determines the images.

    Raises:
        DataMissing: there is no picture.
        DataError: a mask or a field of view is not there.
    """
    every = [pair for pairs in parts.values() for pair in pairs]
    if not every:
        raise DataMissing(f"{root}: has no pictures of this data set.")
    absent = [pair for pair in every if not pair.mask.is_file()]
    if absent:
        raise DataError(
            f"{first_few(str(pair.picture) for pair in absent)}: has no mask; there is no {absent[0].mask}.",
            "every picture needs its mask; move pictures without one elsewhere",
        )
    for pair in every:
        if pair.field_of_view is not None and not pair.field_of_view.is_file():
            raise DataError(f"{pair.picture}: has no field of view; there is no {pair.field_of_view}.")
    fields = [pair.field_of_view for pair in every if pair.field_of_view is not None and not pair.measured]
    files = [*(pair.picture for pair in every), *(pair.mask for pair in every), *fields]
    return DataFiles(root, tuple(files), unused=tuple(unused), remarks=tuple(remarks))


def images(parts: Parts, classes: Sequence[str], coding: MaskCoding, *, held_out: bool = False) -> Images:
    """Return the splits; `held_out` says that the test pictures were chosen among the training pictures."""
    splits = {name: _split(pairs, coding) for name, pairs in parts.items() if pairs}
    return Images(tuple(classes), splits, test_held_out=held_out)


def _split(pairs: Sequence[Pair], coding: MaskCoding) -> Split:
    masks = np.empty(len(pairs), object)
    masks[:] = [MaskFile(pair.mask, coding, pair.field_of_view, measured=pair.measured) for pair in pairs]
    groups = np.array([pair.group or str(pair.picture) for pair in pairs]) if any(pair.group for pair in pairs) else None
    return Split(masks, files=tuple(_file(pair.picture) for pair in pairs), groups=groups)


def _file(path: Path) -> ImageFile:
    """Return a picture's file; one that is compressed as a whole is a member of its file."""
    if path.suffix.lower() != ".gz":
        return path
    content = _unpacked(path)
    return Member(str(path), len(content), sha256(content).digest(), lambda: _unpacked(path))


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}.", "fetch it again") from error
