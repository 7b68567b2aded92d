"""The images of a run as an inspection sees them: one row after the other, with names, classes, pictures and thumbnails."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit import tasks
from tlkit.engine.images import thumbnails
from tlkit.engine.images.parts import Part
from tlkit.plugin import ImageFile
from tlkit.record.findings import Image, Thumbnails
from tlkit.tasks.task import Targets

_SIDE = 72  # pixels of a thumbnail


@dataclass(frozen=True)
class Inspected:
    """The images of a run, one after the other: those of "train", then "validation", then "test".

    Attributes:
        parts: The images of each part.
        classes: Names of the classes.
        folder: Where the data set lies; None of arrays.
    """

    parts: Mapping[str, Part]
    classes: Sequence[str]
    folder: Path | None

    @cached_property
    def rows(self) -> dict[str, NDArray[np.int64]]:
        """The rows of each part's images, ascending."""
        ends = np.cumsum([len(part.indices) for part in self.parts.values()]).tolist()
        begins = [0, *ends[:-1]]
        return {name: np.arange(begin, end) for name, begin, end in zip(self.parts, begins, ends, strict=True)}

    def part_of(self, row: int) -> str:
        """Return the part that an image belongs to."""
        return next(name for name, rows in self.rows.items() if len(rows) and rows[0] <= row <= rows[-1])

    @cached_property
    def _kind(self) -> Targets:
        part = next(iter(self.parts.values()))
        return tasks.understanding(part.pictures.split.targets[part.indices])[0].targets

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """Class of each image (n,); None where an image has several, in its pixels for instance."""
        found = [part.pictures.split.targets[part.indices] for part in self.parts.values()]
        return np.concatenate(found).astype(np.int64) if self._kind.one_class else None

    @cached_property
    def groups(self) -> NDArray[np.str_] | None:
        """Group of each image (n,), as the data set has it; None where it has none."""
        found = [
            part.pictures.split.groups[part.indices] for part in self.parts.values() if part.pictures.split.groups is not None
        ]
        return np.concatenate(found) if len(found) == len(self.parts) else None

    @property
    def digests(self) -> NDArray[np.uint8]:
        """Digest (n, 16) of the decoded pixels of each image."""
        return np.concatenate([part.pictures.originals(part.indices)["digest"] for part in self.parts.values()])

    @property
    def keys(self) -> NDArray[np.uint8]:
        """Digest (n, 16) of the file of each image."""
        return np.concatenate([part.pictures.keys(part.indices) for part in self.parts.values()])

    @property
    def sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Height (n,) and width (n,) of each image, before it was brought to size."""
        known = np.concatenate([part.pictures.originals(part.indices) for part in self.parts.values()])
        return known["height"].astype(np.int64), known["width"].astype(np.int64)

    def image(self, row: int) -> Image:
        """Return what names an image."""
        name = self.part_of(row)
        part = self.parts[name]
        position = int(part.indices[row - self.rows[name][0]])
        split = part.pictures.split
        return Image(name, position, self._name(split.files, name, position), self._label(split.targets, position))

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return decoded images (n, H, W, channels), all brought to the size of the first part's."""
        first = next(iter(self.parts.values())).pictures.geometry
        out = np.empty((len(rows), *first.shape), dtype=first.values)
        for name, places in self._by_part(rows):
            part = self.parts[name]
            out[places] = part.pictures.get(part.indices[rows[places] - self.rows[name][0]]).numpy()
        return out

    def thumbnails(self, rows: NDArray[np.int64]) -> Thumbnails:
        """Return small pictures (n, h, w, 3) of images; those of a part of smaller pictures have a white border."""
        found = [
            (places, thumbnails.thumbnails(self.parts[name], rows[places] - self.rows[name][0], _SIDE))
            for name, places in self._by_part(rows)
        ]
        height, width = (max((each.shape[axis] for _, each in found), default=1) for axis in (1, 2))
        out = np.full((len(rows), height, width, 3), 255, np.uint8)
        for places, each in found:
            out[places, : each.shape[1], : each.shape[2]] = each
        return out

    @property
    def comparable(self) -> bool:
        """Whether the pictures of all parts were brought to one size in one way."""
        return len({part.pictures.geometry for part in self.parts.values()}) == 1

    def _by_part(self, rows: NDArray[np.int64]) -> list[tuple[str, NDArray[np.int64]]]:
        """Return parts with the places in `rows` that have their images."""
        found = [(name, np.flatnonzero(np.isin(rows, mine))) for name, mine in self.rows.items()]
        return [(name, places) for name, places in found if len(places)]

    def _name(self, files: Sequence[ImageFile], part: str, position: int) -> str:
        if not files:
            return f"{part} image {position}"
        file = files[position]
        below = self.folder is not None and isinstance(file, Path) and file.is_relative_to(self.folder)
        return os.path.relpath(file, self.folder) if below else str(file)

    def _label(self, targets: NDArray[np.generic], position: int) -> str:
        """Return the classes of an image in words; "" of masks, which are not read for it."""
        kind = self._kind
        if kind.masks:
            return ""
        if kind.one_class:
            return str(self.classes[int(targets[position])])
        shown = kind.count(targets[position : position + 1], len(self.classes))
        return ", ".join(name for name, each in zip(self.classes, shown, strict=True) if each) or "none"
