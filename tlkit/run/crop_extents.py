"""What training pictures cover of their canvas, so that crops are taken from it."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.engine.images.extents import sizes
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Indices
from tlkit.plans.resolved import Resolved
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.sources import crop_looks


def extents(part: Part, resolved: Resolved, augment: Sequence[Augmentation]) -> Indices | None:
    """Return the height and width (N, 2) that each picture covers of its canvas, where crops are taken from it; else None.

    Raises:
        DataError: a crop is larger than a picture.
    """
    if resolved.canvas is None or not augmentations.crops(augment):
        return None
    split, table, crop = part.pictures.split, resolved.arm.data, resolved.image_size
    found = sizes(split, part.pictures.geometry)
    if refused := crop_looks.too_small(split, part.indices, found, table, augment=augment, crop=crop):
        raise refused
    return found
