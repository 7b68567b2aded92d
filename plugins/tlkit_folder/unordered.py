"""Find and read images without labels: every image file below a folder, whatever its sub-folders are called."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from tlkit.errors import DataError, DataMissing
from tlkit.plugin import DataFiles, FileList, Images, Split, image_kinds
from tlkit_folder import ImagesOptions
from tlkit_folder.scan import blocks_below


def find(folder: Path, options: ImagesOptions | None = None) -> DataFiles:
    """Return the image files below a folder, sorted by folder and name.

    Raises:
        DataMissing: there is no such folder.
        DataError: it holds no images, or most of its files cannot be read as images.
    """
    if not os.path.isdir(folder):
        raise DataMissing(f"{folder}: there is no such folder.")
    bands, left_out = options is not None and options.channels is not None, Counter[str]()
    files = FileList(blocks_below(folder, left_out=left_out, bands=bands))
    image_kinds.refuse_more_left_out(folder, left_out, len(files), bands=bands)
    if not len(files):
        suffixes = image_kinds.BAND_SUFFIXES if bands else image_kinds.SUFFIXES
        raise DataError(f"{folder}: holds no images.", f"image files end in {', '.join(suffixes)}")
    return DataFiles(root=folder, files=files, remarks=tuple(image_kinds.remark(left_out, bands=bands)))


def read(found: DataFiles, options: ImagesOptions | None = None) -> Images:
    """Return the images as one split, all of one class; a data set has two at least, so there is another, which no image has."""
    return Images(("unknown", "known"), {"train": Split(targets=np.zeros(len(found.files), dtype=np.int64), files=found.files)})
