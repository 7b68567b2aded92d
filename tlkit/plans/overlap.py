"""Find images that are in two parts of a recipe's data: identical files, or files of identical pixels. Imports no torch.

The rule: an image that was trained on, or that chose the epoch, says nothing of new images, so it is never evaluated in silence.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit import units
from tlkit.errors import DataError
from tlkit.plugin import ImageFile, Subset, members

Keys = NDArray[np.uint8]  # (n, 16), digests of images

OnOverlap = Literal["warn", "error", "drop"]
TRAIN, VALIDATION = "train", "validation"
TARGET = "adapt"  # images of the target of [adapt] that are learned from
UNLABELLED = "unlabelled"  # images of data.unlabelled
_ALSO = "also."
_KEY = 16  # bytes
_WORDS = {
    TRAIN: "training images",
    VALIDATION: "validation images, which choose the best epoch",
    TARGET: "images of the target that are adapted to",
    UNLABELLED: "images without labels that are trained on",
}
_DROP = 'data.on_overlap = "drop" leaves out'
_BETTER = ": the result is better than for new images"
_SHOWN = 5  # overlaps that an error names


@dataclass(frozen=True)
class Content:
    """What the images of one part are compared by.

    Attributes:
        keys: Of each kind of digest an array (n, 16); images are identical where one kind agrees.
        files: (n,) the images' files; () where they have none.
        total: Images of the part, where only some are compared.
    """

    keys: tuple[Keys, ...]
    files: Sequence[ImageFile]
    total: int


@dataclass(frozen=True)
class Overlap:
    """Images of one part that are identical to images of an earlier part.

    Attributes:
        first: The part that they are also in: "train", "validation", "adapt" or "unlabelled".
        second: The part that is evaluated: "validation", "test" or "also.NAME".
        count: Images of the second part that are in the first, too.
        total: Images of the second part.
        example: Files of one of them, of the first and of the second part; () where they have none.
    """

    first: str
    second: str
    count: int
    total: int
    example: tuple[str, ...]

    def line(self) -> str:
        """Say it, as a warning."""
        are = "is" if self.count == 1 else "are"
        example = f" ({self.example[1]} is {self.example[0]})" if self.example else ""
        return (
            f"overlap: {self.count:,} of {self.total:,} {self.second} images {are} identical to {_WORDS[self.first]}{example}"
            f"{_BETTER}"
        )


def find(parts: Mapping[str, Content]) -> tuple[Overlap, ...]:
    """Return where images of one part are identical to training or validation images.

    Args:
        parts: "train", and where there are such "validation", "test", "also.NAME", "adapt" of the target, and "unlabelled".
    """
    found = []
    for first in (TRAIN, VALIDATION, TARGET, UNLABELLED):
        for second, content in parts.items():
            if (
                first not in parts
                or second in (TRAIN, TARGET, UNLABELLED, first)
                or (first == TARGET and not second.startswith(_ALSO))
            ):
                continue
            same = np.flatnonzero(among(content.keys, parts[first].keys))
            if len(same):
                found.append(Overlap(first, second, len(same), content.total, _example(parts[first], content, int(same[0]))))
    return tuple(found)


def among(mine: Sequence[Keys], theirs: Sequence[Keys]) -> NDArray[np.bool_]:
    """Return which images (n,) are identical to any of others, by the kinds of digests that both have."""
    found = np.zeros(len(mine[0]), bool)
    for some, others in zip(mine, theirs, strict=False):
        found |= np.isin(_whole(some), _whole(others))
    return found


def refuse(found: Sequence[Overlap], *, droppable: Collection[str]) -> None:
    """Refuse data with an overlap, for data.on_overlap = "error".

    Args:
        found: The overlaps.
        droppable: Parts whose images "drop" leaves out: "train", and "validation" where that is taken from the training images.

    Raises:
        DataError: there is one; names up to five.
    """
    if found:
        lines = [overlap.line() for overlap in found]
        can = any(overlap.first in droppable for overlap in found)
        hint = f"{_DROP} such training images" if can else "take such images out of one of the two parts"
        raise DataError(f"data: {lines[0].removeprefix('overlap: ')}.", *lines[1:_SHOWN], hint)


def warnings(found: Sequence[Overlap], *, droppable: Collection[str], drop: bool) -> tuple[str, ...]:
    """Return a line for each overlap; those of images that could be left out say how.

    Args:
        found: The overlaps.
        droppable: As for `refuse`.
        drop: The recipe leaves such images out.
    """
    wanted = [overlap for overlap in found if not (drop and overlap.first in droppable)]
    return tuple(
        overlap.line() + (f"; {_DROP} such training images" if overlap.first in droppable else "") for overlap in wanted
    )


def planned(found: Sequence[Overlap], *, droppable: Collection[str], on_overlap: OnOverlap) -> tuple[str, ...]:
    """Return a line for each overlap that a plan sees, with what apply will do.

    Args:
        found: The overlaps.
        droppable: As for `refuse`.
        on_overlap: As in the recipe.
    """
    if on_overlap == "warn":
        return warnings(found, droppable=droppable, drop=False)
    if on_overlap == "error":
        return tuple(f"{each.line().removesuffix(_BETTER)}; apply stops at them" for each in found)
    return tuple(
        f"{each.line().removesuffix(_BETTER)}; apply leaves such images out of {each.first}"
        if each.first in droppable
        else each.line()
        for each in found
    )


def droppable(validation_from: str | None) -> tuple[str, ...]:
    """Return the parts whose images may be left out.

    Args:
        validation_from: The split that validation images are taken from; None where there are none.
    """
    return (TRAIN, VALIDATION) if validation_from == TRAIN else (TRAIN,)


def record(found: Sequence[Overlap]) -> list[dict[str, Any]]:
    """Return what split.json holds of overlaps."""
    return [{**asdict(overlap), "example": list(overlap.example)} for overlap in found]


def of_files(parts: Mapping[str, Sequence[ImageFile]], *, at_most: float = math.inf) -> dict[str, Content]:
    """Return the content of parts by their files. Only files whose size another part has, too, are read.

    Args:
        parts: The files of each part.
        at_most: Bytes. If the files whose digests are not remembered have more, they are not compared.

    Raises:
        DataError: a file cannot be read.
    """
    sizes = {name: members.sizes(listed) for name, listed in parts.items()}
    chosen = {}
    for name, mine in sizes.items():
        others = [each for other, each in sizes.items() if other != name]
        chosen[name] = np.flatnonzero(np.isin(mine, np.concatenate(others))) if others else np.array([], np.int64)
    if at_most < math.inf:
        known = {
            name: np.array([digest is not None for digest in members.known_digests(Subset(parts[name], indices))], bool)
            for name, indices in chosen.items()
        }
        if sum(int(sizes[name][indices[~known[name]]].sum()) for name, indices in chosen.items()) > at_most:
            chosen = {name: indices[known[name]] for name, indices in chosen.items()}
    contents = {}
    for name, indices in chosen.items():
        compared = Subset(parts[name], indices)
        digests = b"".join(digest[:_KEY] for digest in members.digests(compared))
        keys = np.frombuffer(digests, np.uint8).reshape(len(compared), _KEY)
        contents[name] = Content((keys,), compared, len(parts[name]))
    return contents


def dropped(count: int) -> str:
    """Say that training images were left out."""
    are = "is" if count == 1 else "are"
    return f"{units.images(count)} {are} left out of training and validation: identical to images that are evaluated"


def _whole(keys: Keys) -> NDArray[np.bytes_]:
    """Return digests (n,) as numpy compares them."""
    return np.ascontiguousarray(keys).view(f"S{_KEY}").reshape(-1)


def _example(first: Content, second: Content, index: int) -> tuple[str, ...]:
    if not (len(first.files) and len(second.files)):
        return ()
    for mine, theirs in zip(second.keys, first.keys, strict=False):
        same = np.flatnonzero((theirs == mine[index]).all(1))
        if len(same):
            return str(first.files[int(same[0])]), str(second.files[index])
    return ()
