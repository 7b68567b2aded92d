"""What `Model.evaluate` is asked for, and the metrics of a network on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlkit import units
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Progress
from tlkit.engine.images.views import geometries
from tlkit.model import inputs
from tlkit.model.arguments import plain
from tlkit.model.classes import Classes
from tlkit.model.labels import Labels
from tlkit.model.seen_data import Seen, held_out, tested
from tlkit.model.setup import UNTRAINED, Setup, input_keys
from tlkit.network.network import Network
from tlkit.plans import band_values, dataset_images
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import Images, Split
from tlkit.recipe import naming
from tlkit.run import evaluation as run_evaluation
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
    given = inputs.read(x, y, known=known, where=where, bands=setup.bands)
    more = {**UNTRAINED, "data": input_keys(setup.tables["data"]) | {"options": plain(options or {})}}
    resolved, places = setup.resolved(where=where, more=more, given=given)
    if given.images is not None:
        images = classes.in_order(given.images)
        band_values.refuse_other_type(resolved, given.images)
        return Asked(inputs.whole(images), resolved, "")
    job = setup.job(resolved, places, where=where)
    with naming.named(where):
        source = Source(resolved.arm.data.name, resolved.dataset, resolved.data_options)
        images, part, left_out = dataset_images.evaluated_images(source, job.found)
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


def scores(
    network: Network, asked: Asked, *, views: int, batch_size: int, device: torch.device, progress: Progress
) -> dict[str, float]:
    """Return the metrics of the network's task on every image of a split, averaged over views; `progress` is told of images done.

    Raises:
        ImageError: an image cannot be decoded.
    """
    split, resolved = asked.split, asked.resolved
    geometry = evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
    library, every = Library(Images((), {"test": split})), np.arange(len(split.targets))
    plain, *others = geometries(geometry, views)
    pictures = library.pictures("test", plain)
    if corrupt := pictures.prepare(every, progress=lambda done, total: None):
        raise next(iter(corrupt.values()))
    every_view = [pictures, *run_evaluation.unstored(split, others)]
    seen = [Part(each, every, resolved.convention, network.task) for each in every_view]
    each = run_evaluation.of_views(network, seen, batch_size=batch_size, device=device, progress=progress)
    return scoring.scores(averaging.mean(each))
