"""Images and their targets as data: what a data set's plugin finds and hands over. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.plugin.members import ImageFile, Storage


@dataclass(frozen=True)
class Split:
    """The images of one split: either files or pixels, with their targets.

    Attributes:
        targets: What is to be learned, one row per image, as the head's task understands it: class labels (N,) int64, 0 <= label <
            number of classes; or, where an image has any number of classes, (N, classes) uint8, 1 for those that it has;
            or, where every pixel has a class, (N,) of `MaskFile`.
        files: N image files, or images inside larger files, or empty.
        pixels: (N, H, W, 3) uint8 RGB, or None. A grey set may hand over a broadcast view (no copy, read-only).
        groups: (N,) names of what belongs together, patients for instance, or None: a split never parts them.
        one_answer: The images of a group have one answer, which is the mean over them: the frames of a clip. It is scored beside that of
            each image.
        storage: Where images lie that are inside larger files; None where each is a file, or where their order does not matter.
    """

    targets: NDArray[Any]
    files: Sequence[ImageFile] = ()
    pixels: NDArray[np.uint8] | None = None
    groups: NDArray[np.str_] | None = None
    one_answer: bool = False
    storage: Storage | None = None


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a data set, by split.

    Attributes:
        classes: Class names in label order.
        splits: "train", and where the data set has them "validation" and "test".
        test_held_out: The data set has no test images of its own, and `hold_out` chose them among its training images. A
            cross-validation then divides all of these images.
        remarks: What a person should know of what was read, a line each: boxes that are left out. The plan and the result say so.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    test_held_out: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataFiles:
    """The files of a data set on this machine, found by their names.

    Attributes:
        root: The folder that holds it.
        files: Every file whose bytes determine the images, in a fixed order.
        unused: Image files that lie among them and belong to no class; a plan says so.
        remarks: What else a person should know of the folder, a line each: files that are left out, images without labels.
        on_splits: What a person should know only where a split is drawn, not given by the data set: patients that it may part.
        content: A digest of the images and their labels, where the plugin knows one; by default it is that of `files`.
    """

    root: Path
    files: Sequence[Path]
    unused: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
    on_splits: tuple[str, ...] = ()
    content: str = ""
