"""The masks of a split, decoded beside its pictures: brought to the same size by the nearest pixel, and stored as pictures are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tlkit.engine import row_keys
from tlkit.engine.images import being_decoded, extents
from tlkit.engine.images.geometry import Geometry, Pixels, on_canvas
from tlkit.engine.images.pictures import Indices, Pictures
from tlkit.plugin import IGNORED, Split
from tlkit.sources import mask_files
from tlkit.store import row_store
from tlkit.store.usage import Kind


class Masks(Pictures):
    """The masks of the images that some pictures are of; `get` returns (n, height, width, 1) uint8.

    Args:
        pictures: The pictures, on a canvas.
        classes: Number of classes.
        ignore: Value in the files of pixels that count for nothing.
    """

    def __init__(self, pictures: Pictures, *, classes: int, ignore: int) -> None:
        super().__init__(
            pictures.split, _geometry(pictures.geometry), note=pictures.note, keep=pictures.keep, verify=pictures.verify,
            residency=pictures.residency,
        )  # fmt: skip
        self._pictured = pictures.geometry
        self._classes, self._ignore = classes, ignore

    def of(self, indices: Indices) -> Tensor:
        """Return masks (n, height, width) uint8."""
        return self.get(indices)[..., 0]

    def _digests(self, indices: Indices) -> Iterable[bytes]:
        """Yield a digest of all that determines a mask: of its picture the size, and where a field of view scales it, the content."""
        for index in indices.tolist():
            digest = mask_files.digest(self.split.targets[index])
            if self.geometry.field_of_view is None:
                picture = repr(extents.size_of(extents.source_of(self.split, index), self._pictured)).encode()
            else:
                (picture,) = super()._digests(np.array([index]))
            yield sha256(digest + picture).digest()

    def _ready_made(self) -> bool:
        return False

    @property
    def _of_files(self) -> bool:
        """No descriptions are kept of masks."""
        return False

    def _entry(self) -> row_store.Entry:
        origin = row_keys.pictures(self.geometry) | {
            "masks of": self._classes,
            "ignored": self._ignore,
            "mask code": row_keys.code("tlkit.sources.mask_files", "tlkit.sources.polygons", "tlkit.engine.images.masks"),
        }
        shape, dtype = self.geometry.shape, self.geometry.values
        return row_store.open_(Kind.PICTURES, origin, shape=shape, dtype=dtype, note=self.note, verify=self.verify)

    def _one(self, index: int) -> Pixels:
        return on_its_canvas(self.split, index, self._pictured, classes=self._classes, ignore=self._ignore)[:, :, None]


def on_its_canvas(split: Split, index: int, geometry: Geometry, *, classes: int, ignore: int) -> NDArray[np.uint8]:
    """Return the mask (height, width) of one picture, scaled and put on a canvas as the picture is.

    Args:
        split: The pictures.
        index: Which.
        geometry: How the picture is put on a canvas.
        classes: Number of classes.
        ignore: Value in the files of pixels that count for nothing.

    Raises:
        DataError: the mask cannot be read, or its picture, on which its size depends.
    """
    size = extents.size_of(extents.source_of(split, index), geometry)
    with being_decoded.named(split.targets[index].path):
        mask = mask_files.read(split.targets[index], classes=classes, size=size, ignore=ignore)
    factor = extents.factor(split, index, geometry)
    return np.asarray(on_canvas(Image.fromarray(mask), _geometry(geometry), factor))


def _geometry(pictured: Geometry) -> Geometry:
    """Return the geometry of masks whose pictures have one."""
    return replace(pictured, resize="nearest", padding=(float(IGNORED),), white=None, bands=1, values="uint8", shrink=None)
