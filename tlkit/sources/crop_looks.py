"""Whether crops of training pictures are larger than these. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlkit import units
from tlkit.errors import DataError
from tlkit.plugin import Split
from tlkit.recipe.augmentations import Augmentation, RandomCrop
from tlkit.recipe.tables import DataTable
from tlkit.units import Size


def too_small(
    split: Split, indices: NDArray[np.int64], sizes: NDArray[np.int64], table: DataTable, *, augment: Sequence[Augmentation], crop: Size
) -> DataError | None:  # fmt: skip
    """Return what refuses training pictures that their crops do not fit into; None where all fit, or crops are resized.

    Args:
        split: The pictures.
        indices: Positions of those that are trained on.
        sizes: (N, 2) height and width of each picture of the split after it is scaled; one that cannot be read has 0.
        table: Of the recipe.
        augment: What is done to the pictures.
        crop: Height and width of the crops.
    """
    random = next((each for each in augment if isinstance(each, RandomCrop)), None)
    if random is None:  # windows are resized
        return None
    padding, found = random.padding or 0, sizes[indices]
    small = indices[(found + 2 * padding < np.array(crop)).any(1) & (found > 0).all(1)]
    if not len(small):
        return None
    height, width = sizes[small[0]].tolist()
    name = str(split.files[small[0]]) if split.files else f"image {small[0]}"
    scaled = "" if table.scale_to is None else " after data.scale_to"
    added = f" and a padding of {padding} pixels" if padding else ""
    needed = int(np.ceil((np.array(crop) - found[(found > 0).all(1)].min(0)).max() / 2))
    return DataError(
        f"{name}: has {units.pixels((height, width))}{scaled}{added}, less than data.crop_size, {units.pixels(crop)}.",
        f"so have {len(small):,} of the {len(indices):,} training images" if len(small) > 1 else "",
        f'a smaller data.crop_size, or augment = [{{ name = "random_crop", padding = {needed} }}]',
    )
