"""How training pictures are brought to size: larger than the network's input where the augmentation needs the room."""

from __future__ import annotations

from tlkit.engine.images.geometry import Geometry, crop_geometry, evaluation_geometry, window_geometry
from tlkit.plans import dataset_facts
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Split
from tlkit.recipe import augmentations
from tlkit.units import Size


def of_evaluation(resolved: Resolved) -> Geometry:
    """Return how pictures that are evaluated are brought to size."""
    return evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data, canvas=resolved.canvas)


def of_split(resolved: Resolved, split: Split) -> Geometry:
    """Return how the training pictures of a split are brought to size."""
    matters = augmentations.windows(resolved.arm.data.augment) is not None
    return of_originals(resolved, dataset_facts.usual_size(split, resolved.arm.data.channels) if matters else None)


def of_originals(resolved: Resolved, originals: Size | None) -> Geometry:
    """Return how training pictures are brought to size; where the originals' size is not known, no smaller than they will be."""
    table = resolved.arm.data
    if resolved.canvas is not None:
        return of_evaluation(resolved)
    taken = augmentations.windows(table.augment)
    if taken is not None:
        return window_geometry(
            resolved.image_size, resolved.convention, table, smallest=taken.scale[0],
            originals=originals,
        )  # fmt: skip
    geometry = crop_geometry if augmentations.needs_room(table.augment) else evaluation_geometry
    return geometry(resolved.image_size, resolved.convention, table)
