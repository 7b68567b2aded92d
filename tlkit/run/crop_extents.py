"""What training pictures cover of their canvas, so that crops are taken from it."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit import units
from tlkit.engine.images.extents import sizes
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Indices
from tlkit.errors import DataError
from tlkit.plans.resolved import Resolved
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.sources import scaling


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
    small = part.indices[scaling.smaller(found[part.indices], resolved.image_size, padding=padding)]
    if len(small):
        files, (height, width) = part.pictures.split.files, found[small[0]].tolist()
        name = str(files[small[0]]) if files else f"image {small[0]}"
        added = f" and a padding of {padding} pixels" if padding else ""
        raise DataError(
            f"{name}: has {units.pixels((height, width))} after data.scale_to{added}, less than data.crop_size, "
            f"{units.pixels(resolved.image_size)}.",
            f"so have {len(small):,} of the training images" if len(small) > 1 else "",
            scaling.smaller_hint(found, resolved.image_size),
        )
    return found
