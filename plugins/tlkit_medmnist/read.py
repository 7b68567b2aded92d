"""Read a MedMNIST file: {train,val,test}_{images,labels}, images (N, S, S) grey or (N, S, S, 3) uint8, labels (N, 1)."""

from __future__ import annotations

import zipfile
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import Found, Images, Split
from tlkit_medmnist.sets import SETS

_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _read(name: str, found: Found, options: None = None) -> Images:
    """Return a set's splits; grey images have three equal channels, without a copy.

    Raises:
        DataError: the file is damaged, or its shapes or labels are not the set's.
    """
    (path,) = found.files
    splits = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for part, split in _SPLITS.items():
                splits[split] = _split(
                    archive[f"{part}_images"], archive[f"{part}_labels"], len(SETS[name].classes), f"{path}: {part}"
                )
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a MedMNIST file: {error}.", "remove it and fetch it again") from error
    return Images(SETS[name].classes, splits)


def _split(images: NDArray[np.uint8], labels: NDArray[np.integer], classes: int, where: str) -> Split:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise DataError(f"{where}: images are {images.dtype} {images.shape}.", "(N, S, S) or (N, S, S, 3) uint8")
    if labels.ndim != 2 or labels.shape[1] != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where}: labels are {labels.dtype} {labels.shape}.", "(N, 1), whole numbers")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{where}: has label {labels.max()}.", f"labels are 0 to {classes - 1}")
    pixels = images if images.ndim == 4 else np.broadcast_to(images[..., None], (*images.shape, 3))
    return Split(labels=labels[:, 0].astype(np.int64), pixels=pixels)


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
