"""What `Model.evaluate` is asked for, and the metrics of a network on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlkit import units
from tlkit.engine.images import corrupt
from tlkit.engine.images.geometry import Geometry, evaluation_geometry
from tlkit.engine.images.library import Library
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Progress
from tlkit.engine.images.views import geometries
from tlkit.errors import TlkitError
from tlkit.model import inputs
from tlkit.model.arguments import plain
from tlkit.model.classes import Classes
from tlkit.model.labels import Labels
from tlkit.model.seen_data import Seen, held_out, tested
from tlkit.model.setup import UNTRAINED, Setup, input_keys
from tlkit.network import shapes
from tlkit.network.network import Network
from tlkit.plans import band_values, dataset_images
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images, Split
from tlkit.recipe import naming
from tlkit.run import evaluation as run_evaluation
from tlkit.sources import scaling
from tlkit.tasks import averaging, scoring

_NOT_NEW = "the metrics do not tell how it does on new ones"


@dataclass(frozen=True)
class Asked:
    """What a call of `Model.evaluate` asks for.

    Attributes:
        split: The images, with labels in the order of the model's classes.
        resolved: How they reach the network.
        said: Which part of a data set they are; "" where they were all given.
    """

    split: Split
    resolved: Resolved
    said: str


def asked(
    x: object, y: object, setup: Setup, *, known: Labels, classes: Classes, options: Mapping[str, Any] | None, seen: Seen
) -> Asked:
    """Find the images that are evaluated: all that are in memory; of a folder or a data set those that `tlkit evaluate` takes.

    Raises:
        TlkitError: there are none, or they cannot be used.
    """
    where = "Model.evaluate"
    setup.check_images(x, where=where)
    given = inputs.read(x, y, known=known, where=where, bands=setup.bands)
    more = {**UNTRAINED, "data": input_keys(setup.tables["data"]) | {"options": plain(options or {})}}
    resolved, places = setup.resolved(where=where, more=more, given=given)
    if given.images is not None:
        images = classes.in_order(given.images)
        band_values.refuse_other_type(resolved, given.images)
        return Asked(inputs.whole(images), resolved, "")
    job = setup.job(resolved, places, where=where)
    with naming.named(where):
        images, part, left_out = dataset_images.evaluated_images(resolved.source, job.found["data"])
        dataset_images.check_task(resolved, images.splits[part].targets)
    said, fits = f"the test part of {x}", seen.of(job)
    if part == "test" and tested(fits, job):
        said = f"the test part of {x}, of which the model was trained on images: {_NOT_NEW}"
    elif part == "all":
        said = f"all of {x}, which has no test images of its own"
        if fits and left_out is not None and held_out(fits, job):
            images, part = Images(images.classes, {"test": left_out}), "test"
            said = f"the test part of {x}, on which the model was not trained"
        elif fits:
            said = f"all of {x}, of which the model was trained on images: {_NOT_NEW}"
    images = classes.in_order(images)
    band_values.refuse_other_type(resolved, images)
    split = images.splits[part]
    return Asked(split, resolved, f"evaluating {units.images(len(split.targets))}, {said}")


def geometry_of(network: Network, resolved: Resolved) -> tuple[Geometry, int | None]:
    """Return how pictures are brought to the network's size, and of masks and boxes, which have whole pictures, the deepest stride; else None."""
    size, stages = resolved.image_size, dict(network.stages.items())
    if not network.task.targets.whole:
        return evaluation_geometry(size, resolved.convention, resolved.arm.data), None
    geometry = evaluation_geometry(size, resolved.convention, resolved.arm.data, canvas=size)
    return geometry, shapes.deepest_stride(stages, resolved.backbone, resolved.head, size, channels=resolved.channels)


def scores(
    network: Network, asked: Asked, *, classes: int, views: int, batch_size: int, device: torch.device, progress: Progress
) -> dict[str, float]:
    """Return the metrics of the network's task on every image of a split, averaged over views; `progress` is told of images done.

    Raises:
        ImageError: an image cannot be decoded.
    """
    split, resolved, wanted = asked.split, asked.resolved, network.task.targets
    if wanted.whole and views != 1:
        raise TlkitError("Model.evaluate: views: masks and boxes are evaluated in one view.", "leave it out")
    geometry, stride = geometry_of(network, resolved)
    geometry = run_evaluation.geometry_of(geometry, split, resolved.data_options, stride=stride)
    tile = resolved.arm.data.tile_size if wanted.masks else None
    library, every = Library(Images((), {"test": split})), np.arange(len(split.targets))
    plain, *others = geometries(geometry, views)
    pictures = library.pictures("test", plain)
    if unreadable := pictures.prepare(every, progress=lambda done, total: None):
        raise next(iter(unreadable.values()))
    masks = None
    if wanted.masks:
        masks = Masks(pictures, classes=classes, ignore=resolved.arm.data.ignore)
        corrupt.decodable(masks, every, on_corrupt="error", progress=lambda done, total: None)
    every_view = [pictures, *run_evaluation.unstored(split, others)]
    seen = [Part(each, every, resolved.convention, network.task, masks) for each in every_view]
    at_a_time = 1 if wanted.whole else batch_size
    if tile is not None:
        tile = scaling.whole_strides((tile, tile), stride or 1)[0]
    each = run_evaluation.of_views(network, seen, batch_size=at_a_time, device=device, progress=progress, tile=tile)
    return scoring.scores(averaging.mean(each))
