"""Read a set through torchvision's class."""

from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from scipy.io.matlab import MatReadError

from tlkit.errors import DataError, reason
from tlkit.plugin import DataFiles, Images, Split
from tlkit_torchvision.sets import SETS

_FILES = ("_images", "_image_files")  # under which torchvision's classes keep the paths
# What torchvision, and scipy below it, raise of a damaged file.
_DAMAGED = (RuntimeError, OSError, ValueError, KeyError, IndexError, TypeError, MatReadError, zlib.error)


def _read(name: str, found: DataFiles, options: None = None) -> Images:
    """Return the splits, as files or as pixels (N, H, W, 3) uint8.

    Raises:
        DataError: torchvision cannot read the files, or they are not the set's.
    """
    made = SETS[name]
    root = found.root.parent if made.folder else found.root
    if made.folder and found.root.name != made.folder:
        raise DataError(f"{found.root}: torchvision reads this set from a folder named {made.folder}.", "rename the folder")
    splits, classes = {}, tuple(str(label) for label in range(made.classes))
    for split, theirs in made.splits.items():
        try:
            part = getattr(torchvision.datasets, made.reader)(root, split=theirs)
        except _DAMAGED as error:
            raise DataError(
                f"{found.root}: torchvision cannot read it: {reason(error)}.", "remove it and fetch it again"
            ) from error
        splits[split] = _split(part)
        classes = tuple(getattr(part, "classes", classes))
    return Images(classes, splits)


def _split(part: Any) -> Split:
    if hasattr(part, "data"):  # (N, 3, H, W)
        return Split(targets=np.asarray(part.labels, np.int64), pixels=np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)))
    paths = next(getattr(part, name) for name in _FILES if hasattr(part, name))
    return Split(targets=np.asarray(part._labels, np.int64), files=tuple(Path(path) for path in paths))


oxford_pets = partial(_read, "oxford_pets")
flowers102 = partial(_read, "flowers102")
dtd = partial(_read, "dtd")
svhn = partial(_read, "svhn")
stl10 = partial(_read, "stl10")
food101 = partial(_read, "food101")
