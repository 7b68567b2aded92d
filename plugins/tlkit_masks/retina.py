"""DRIVE in its official layout: Staal et al. 2004, doi:10.1109/TMI.2004.825627."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tlkit.errors import DataError, DataMissing
from tlkit.plugin import DataFiles, Images, MaskCoding, MaskFile, Split
from tlkit_masks import DriveOptions

_PARTS = {"train": "training", "test": "test"}
_CODING = MaskCoding(values={0: 0, 1: 1, 255: 1})  # 1 in a GIF that was written again: the second colour of its palette


def find(folder: Path, options: DriveOptions) -> DataFiles:
    """Return the pictures, the masks of the first observer and the fields of view.

    Raises:
        DataMissing: the folder has no such sub-folders.
    """
    root = next((each for each in (folder, folder / "DRIVE") if (each / "training" / "images").is_dir()), None)
    if root is None:
        raise DataMissing(f"{folder}: has no training/images and test/images of DRIVE.")
    return DataFiles(root, tuple(path for part in _PARTS for paths in _images(root, part) for path in paths))


def read(found: DataFiles, options: DriveOptions) -> Images:
    """Return the pictures with the masks of the first observer; pixels outside the field of view are ignored.

    Raises:
        DataError: a picture has no mask or no field of view.
    """
    splits = {}
    for part in _PARTS:
        each = list(_images(found.root, part))
        masks = np.empty(len(each), object)
        for place, (_, mask, view) in enumerate(each):
            masks[place] = MaskFile(mask, _CODING, view)
        if each:
            splits[part] = Split(masks, files=tuple(picture for picture, _, _ in each))
    return Images(("background", "vessel"), splits)


def _images(root: Path, part: str) -> Iterator[tuple[Path, Path, Path]]:
    """Yield each picture with its mask and its field of view."""
    folder = root / _PARTS[part]
    for picture in sorted((folder / "images").glob("[0-9]*.tif")):
        number, kind = picture.stem.split("_")[0], picture.stem
        paths = folder / "1st_manual" / f"{number}_manual1.gif", folder / "mask" / f"{kind}_mask.gif"
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path}: is not there; {picture} needs it.", "unpack the whole archive of DRIVE")
        yield picture, *paths
