"""The canvas that whole pictures are put on, for tasks of masks or boxes: as large as the largest picture, in whole strides of the network.

The rule: without images the canvas is as large as the pictures that are trained on; a run always knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tlkit import tasks
from tlkit.compiler import network_cost
from tlkit.engine.images import extents
from tlkit.engine.images.geometry import canvas_geometry
from tlkit.errors import DataMissing
from tlkit.network import shapes
from tlkit.plans import dataset_images, job_inputs, looked_up, other_parts
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images, Split
from tlkit.sources import scaling
from tlkit.sources.places import Places
from tlkit.units import Size


def known(resolved: Resolved, places: Places) -> Resolved:
    """Return an arm with its canvas, by the pictures that are on this machine; of any other task the arm as it is."""
    if not tasks.get(resolved.head.task).targets.whole:
        return resolved
    with suppress(DataMissing):
        found = job_inputs.known_data(resolved, places)
        images = dataset_images.images(resolved, found)
        largest = _largest(resolved, images, images.splits)
        for name, source in resolved.also.items():
            with suppress(DataMissing):
                there = job_inputs.known_beside(resolved, f"also.{name}", source, places)
                other = dataset_images.other_images(resolved, name, there, images.classes)
                largest += _largest(resolved, other, _tested(resolved, name, other.splits))
        return _with_canvas(resolved, largest, classes=len(images.classes))
    return _with_canvas(resolved, [], classes=2)


def settled(resolved: Resolved, splits: Iterable[Split], *, classes: int) -> Resolved:
    """Return an arm with its canvas; of a task without a canvas the arm as it is.

    Args:
        resolved: The arm.
        splits: All pictures that are trained on or evaluated.
        classes: Number of classes.
    """
    if not tasks.get(resolved.head.task).targets.whole:
        return resolved
    geometry = canvas_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
    return _with_canvas(resolved, [_largest_of(extents.sizes(split, geometry)) for split in splits], classes=classes)


def sizes(resolved: Resolved, images: Images, name: str) -> NDArray[np.int64]:
    """Return `extents.sizes` of the split called `name`, which is looked up for all arms at once."""
    geometry = canvas_geometry((1, 1), resolved.convention, resolved.arm.data)  # crops of any size are of the same pictures
    return looked_up.once(images, ("sizes", name, repr(geometry)), partial(extents.sizes, images.splits[name], geometry))


def _largest(resolved: Resolved, images: Images, splits: Iterable[str]) -> list[Size]:
    """Return the largest height and width of the pictures of each split."""
    return [_largest_of(sizes(resolved, images, name)) for name in splits]


def _largest_of(found: NDArray[np.int64]) -> Size:
    height, width = found.max(0, initial=0).tolist()
    return height, width


def _with_canvas(resolved: Resolved, sizes: Sequence[Size], *, classes: int) -> Resolved:
    largest = np.array(sizes).max(0).tolist() if sizes else resolved.image_size
    stages = dict(network_cost.on_meta(resolved, classes).stages.items())
    stride = shapes.deepest_stride(stages, resolved.backbone, resolved.head, resolved.image_size, channels=resolved.channels)
    canvas = scaling.whole_strides((largest[0], largest[1]), stride)
    size = canvas if resolved.arm.data.crop_size is None else resolved.image_size
    return replace(resolved, canvas=canvas, tile=_tile(resolved, canvas, stride), image_size=size)


def _tile(resolved: Resolved, canvas: Size, stride: int) -> int | None:
    """Return the side of the tiles in which a canvas is evaluated, whole strides; None where it is evaluated whole."""
    given = resolved.arm.data.tile_size
    if given is None:
        return None
    side, _ = scaling.whole_strides((given, given), stride)
    return side if side < max(canvas) else None


def _tested(resolved: Resolved, name: str, splits: Mapping[str, Split]) -> list[str]:
    return [key for key in splits if key == "test" or other_parts.divides(resolved, name)]
