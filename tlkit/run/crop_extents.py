"""What training pictures cover of their canvas, so that crops are taken from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit import units
from tlkit.engine.images.extents import sizes
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Indices
from tlkit.errors import DataError
from tlkit.plans.resolved import Resolved
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size


def extents(part: Part, resolved: Resolved, augment: Sequence[Augmentation]) -> Indices | None:
    """Return the height and width (N, 2) that each picture covers of its canvas, where crops are taken from it; else None.

    Raises:
        DataError: a crop is larger than a picture.
    """
    if resolved.canvas is None or not augmentations.crops(augment):
        return None
    found = sizes(part.pictures.split, part.pictures.geometry)
    crop = next((each for each in augment if isinstance(each, augmentations.RandomCrop)), None)
    if crop is None:  # windows are resized
        return found
    padding = crop.padding or 0
    small = part.indices[(found[part.indices] + 2 * padding < np.array(resolved.image_size)).any(1)]
    if len(small):
        files, (height, width) = part.pictures.split.files, found[small[0]].tolist()
        name = str(files[small[0]]) if files else f"image {small[0]}"
        added = f" and a padding of {padding} pixels" if padding else ""
        raise DataError(
            f"{name}: has {units.pixels((height, width))} after data.scale_to{added}, less than data.crop_size, "
            f"{units.pixels(resolved.image_size)}.",
            f"so have {len(small):,} of the training images" if len(small) > 1 else "",
            f'a smaller data.crop_size, or augment = [{{ name = "random_crop", padding = {_enough(found, resolved.image_size)} }}]',
        )
    return found


def _enough(extents: Indices, size: Size) -> int:
    """Return the padding with which a crop of a size fits into every picture."""
    return int(np.ceil((np.array(size) - extents[(extents > 0).all(1)].min(0)).max() / 2))
