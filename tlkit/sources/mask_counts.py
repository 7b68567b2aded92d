"""Count the pixels of each class in masks. Imports no torch.

The rule: the masks of a part are read once; what they hold is remembered by the content of their files.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from tlkit import file_digests, machine
from tlkit.errors import DataError, ImageError
from tlkit.plugin import MaskFile, remembered
from tlkit.sources import mask_files


def pixels(masks: Sequence[MaskFile], *, classes: int, ignore: int) -> tuple[int, ...]:
    """Return the pixels of each class that count, as the files have them; a mask that cannot be read has none.

    Args:
        masks: Of some pictures.
        classes: Number of classes.
        ignore: Value of pixels that count for nothing.
    """
    needed = depends_on(masks, classes=classes, ignore=ignore)
    known = None if needed is None else remembered.recall(needed)
    if isinstance(known, list) and len(known) == classes and all(type(each) is int and each >= 0 for each in known):
        return tuple(known)

    def counted(mask: MaskFile) -> NDArray[np.int64]:
        try:
            found = mask_files.read(mask, classes=classes, ignore=ignore)
        except ImageError:  # decoding names it
            return np.zeros(classes, np.int64)
        return np.bincount(found.ravel(), minlength=classes)[:classes]

    with ThreadPoolExecutor(machine.processors()) as pool:
        total = sum(pool.map(counted, masks), np.zeros(classes, np.int64))
    numbers = [int(each) for each in total]
    if needed is not None:
        remembered.remember(needed, numbers)
    return tuple(numbers)


def depends_on(masks: Sequence[MaskFile], *, classes: int, ignore: int) -> dict[str, object] | None:
    """Return all that what masks hold depends on, for `remembered`; None where a file cannot be read."""
    files = [path for mask in masks for path in (mask.path, mask.field_of_view) if path is not None]
    try:
        content = file_digests.content(files)
    except DataError:
        return None
    said = sha256()
    for mask in masks:
        said.update(mask_files.described(mask).encode())
        said.update(b"\0" if mask.field_of_view is None else b"\1")
    return {"what": "pixels of masks", "files": content, "coding": said.hexdigest(), "classes": classes, "ignore": ignore}
