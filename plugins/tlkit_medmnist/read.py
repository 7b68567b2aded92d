"""Read a MedMNIST file: {train,val,test}_{images,labels}, images (N, S, S) grey or (N, S, S, 3) uint8, labels (N, 1).

Where an image has any number of classes, labels are (N, classes) of 0 and 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Images, Split
from tlkit_medmnist import sizes
from tlkit_medmnist.sets import SETS, Set

_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _read(name: str, found: DataFiles, options: None = None) -> Images:
    """Return a set's splits; grey images have three equal channels, without a copy.

    Raises:
        DataError: the file is damaged, or its shapes or labels are not the set's.
    """
    (path,) = found.files
    splits = {}
    try:
        sizes.refuse_false(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for part, split in _SPLITS.items():
                splits[split] = _split(archive[f"{part}_images"], archive[f"{part}_labels"], SETS[name], f"{path}: {part}")
    except (DataError, OSError, MemoryError):
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise DataError(f"{path}: cannot be read as a MedMNIST file: {error}.", "remove it and fetch it again") from error
    return Images(SETS[name].classes, splits)


def _split(images: NDArray[np.uint8], labels: NDArray[np.integer], known: Set, where: str) -> Split:
    classes = len(known.classes)
    columns, largest = (classes, 1) if known.many else (1, classes - 1)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise DataError(f"{where}: images are {images.dtype} {images.shape}.", "(N, S, S) or (N, S, S, 3) uint8")
    if labels.ndim != 2 or labels.shape[1] != columns or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where}: labels are {labels.dtype} {labels.shape}.", f"(N, {columns}), whole numbers")
    if len(labels) and not 0 <= labels.min() <= labels.max() <= largest:
        raise DataError(f"{where}: has label {labels.max()}.", f"labels are 0 to {largest}")
    pixels = images if images.ndim == 4 else np.broadcast_to(images[..., None], (*images.shape, 3))
    if known.many:
        return Split(targets=labels.astype(np.uint8), pixels=pixels)
    return Split(targets=labels[:, 0].astype(np.int64), pixels=pixels)


chestmnist = partial(_read, "chestmnist")
pathmnist = partial(_read, "pathmnist")
dermamnist = partial(_read, "dermamnist")
octmnist = partial(_read, "octmnist")
pneumoniamnist = partial(_read, "pneumoniamnist")
retinamnist = partial(_read, "retinamnist")
breastmnist = partial(_read, "breastmnist")
bloodmnist = partial(_read, "bloodmnist")
tissuemnist = partial(_read, "tissuemnist")
organamnist = partial(_read, "organamnist")
organcmnist = partial(_read, "organcmnist")
organsmnist = partial(_read, "organsmnist")
