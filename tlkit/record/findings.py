"""What an inspection found in the images of a data set, and inspection.npz, the file that keeps it. Imports no torch.

The rule: everything here is plain data. `tlkit/inspection/` computes it, `tlkit/reports/` draws it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from tlkit import files
from tlkit.errors import RunFolderError
from tlkit.record import file_lock, record_files, run_folder
from tlkit.sources import class_names

FILE = "inspection.npz"  # in a recipe's folder
FORMAT = 1
Thumbnails = NDArray[np.uint8]  # (n, h, w, 3)
Kind = Literal["exact", "near"]
_KINDS: dict[Kind, str] = {"exact": "identical to", "near": "near duplicates of"}


@dataclass(frozen=True)
class Image:
    """An image of the data set.

    Attributes:
        part: "train", "validation" or "test".
        position: In the data set's split.
        name: Its file, below the data set's folder where it lies there; of an array "train image 7".
        label: Its class, or classes, in words; "" of masks.
        picture: Where its thumbnail is in the file; -1 where it has none.
    """

    part: str
    position: int
    name: str
    label: str
    picture: int = -1


@dataclass(frozen=True)
class Pair:
    """Two images that show the same.

    Attributes:
        first: Of the two the one in the earlier part.
        second: The other.
        kind: "exact": the same file, or the same pixels; "near": much the same picture.
        likeness: Cosine of their embeddings, at most 1.
    """

    first: Image
    second: Image
    kind: Kind
    likeness: float


@dataclass(frozen=True)
class Across:
    """Images of one part that are duplicates of images of an earlier part.

    Attributes:
        first: The earlier part.
        second: The part that is evaluated.
        kind: As of a pair.
        count: Such images of the second part.
        total: Images of the second part.
        example: Names of one of them, of the first and of the second part.
    """

    first: str
    second: str
    kind: Kind
    count: int
    total: int
    example: tuple[str, str]

    def line(self) -> str:
        """Say it, as a warning."""
        are, (there, here) = "is" if self.count == 1 else "are", self.example
        what = _KINDS[self.kind] if self.count != 1 or self.kind == "exact" else "a near duplicate of"
        return (
            f"{self.count:,} of {self.total:,} {self.second} images {are} {what} {self.first} images ({here} is like {there}): "
            "the result is better than for new images"
        )


@dataclass(frozen=True)
class DoubtfulLabel:
    """An image whose label looks wrong.

    Attributes:
        image: With its label.
        rather: The class that it looks like.
        own: Probability of its label, from a classifier that was not fitted on this image.
        other: Probability of the class that it looks like.
    """

    image: Image
    rather: str
    own: float
    other: float


@dataclass(frozen=True)
class Outlier:
    """An image that is unlike all others.

    Attributes:
        image: The image.
        times: Its mean distance to the nearest images, as a multiple of the median of that distance over all images.
    """

    image: Image
    times: float


@dataclass(frozen=True)
class Sizes:
    """Height and width of the images, pixels: of the one with the fewest pixels, of the middle one, of the one with the most."""

    least: tuple[int, int]
    median: tuple[int, int]
    most: tuple[int, int]


@dataclass(frozen=True)
class Findings:
    """What was found in the images of a data set.

    Attributes:
        data: Name of the data set.
        folder: Where it lies; "" of made images and of those that come with a plugin.
        content: Digest of its content.
        parts: Images of each part.
        classes: Images of each class, by part.
        sizes: Of the images, before they were brought to one size.
        left_out: What lies there and is not used, in words.
        corrupt: A line for each file that cannot be decoded.
        embedded: The network whose embeddings were compared; "" where none was.
        across: Duplicates in two parts.
        pairs: The duplicates, those in two parts first, at most `LISTED` of each kind.
        labels: The labels that look wrong, the most doubtful first, at most `LISTED`.
        outliers: The images that are unlike all others, the farthest first, at most `LISTED`.
        totals: How many there are of "exact" and "near" duplicates, "labels" and "outliers", of those that were looked for.
        notes: What was not looked for, and why.
    """

    data: str
    folder: str
    content: str
    parts: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    sizes: Sizes | None = None
    left_out: Sequence[str] = ()
    corrupt: Sequence[str] = ()
    embedded: str = ""
    across: Sequence[Across] = ()
    pairs: Sequence[Pair] = ()
    labels: Sequence[DoubtfulLabel] = ()
    outliers: Sequence[Outlier] = ()
    totals: Mapping[str, int] | None = None
    notes: Sequence[str] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must know of every result on these images."""
        return (*self.warnings_of("exact"), *self.warnings_of("near"), *class_names.alike(self.classes))

    def warnings_of(self, kind: Kind) -> tuple[str, ...]:
        """Return the warnings of one kind of duplicates; a run's own warnings name those of identical images already."""
        return tuple(f"duplicates: {each.line()}" for each in self.across if each.kind == kind)

    def record(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {"format": FORMAT, **asdict(self), "warnings": list(self.warnings)}


LISTED = 200
_FINDINGS: TypeAdapter[Findings] = TypeAdapter(Findings)


def save(folder: Path, found: Findings, thumbnails: Thumbnails) -> None:
    """Write the file of a recipe.

    Args:
        folder: runs/<recipe>, which is made where it is not there.
        found: The findings.
        thumbnails: What their images' `picture` counts.

    Raises:
        OSError: it cannot be written.
    """
    files.make_folder(folder)
    with file_lock.held(folder / ".lock"), files.replacing(folder / FILE) as file:
        np.savez_compressed(file, allow_pickle=False, about=np.array(json.dumps(found.record())), thumbnails=thumbnails)


def missing(folder: Path) -> bool:
    """Return whether a recipe's folder has no such file and could: its runs ended, and the process was killed before it was written."""
    return folder.is_dir() and os.access(folder, os.W_OK) and not (folder / FILE).exists()


def load(folder: Path) -> tuple[Findings, Thumbnails] | None:
    """Read the file of a recipe; None where there is none that this version can read."""
    try:
        with record_files.arrays(folder / FILE) as arrays:
            about = json.loads(str(arrays["about"]))
            if about.pop("format", None) != FORMAT:
                return None
            about.pop("warnings", None)
            return _FINDINGS.validate_python(about), arrays["thumbnails"]
    except (OSError, ValueError, AttributeError, TypeError):  # ValidationError is a ValueError; the others: no table
        return None


def of_runs(recipe_folder: Path, folders: Iterable[Path]) -> tuple[Findings, Thumbnails] | None:
    """Read the file of a recipe; None where there is none, or it is of other images than those of its runs.

    Args:
        recipe_folder: runs/<recipe>.
        folders: Folders of its runs.
    """
    found = load(recipe_folder)
    for folder in folders if found is not None else ():
        with contextlib.suppress(RunFolderError):
            if found is not None and run_folder.inputs(folder).get("data") == found[0].content:
                return found
    return None
