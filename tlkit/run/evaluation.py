"""Evaluate a finished run's network on other labelled images: another folder, domain or data set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlkit.engine import evaluate as engine
from tlkit.engine import tiles
from tlkit.engine.images import corrupt, device_batches, extents, levels
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.library import Library
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Pictures, Progress
from tlkit.engine.images.views import geometries
from tlkit.engine.ranks.ranks import ALONE, Shared
from tlkit.errors import DataError, RunFolderError, UsageError
from tlkit.network.network import Network
from tlkit.plugin import Split
from tlkit.recipe import parsing
from tlkit.record import calibration, run_folder, statistics
from tlkit.record import predictions as predictions_file
from tlkit.record.calibration import Calibrated
from tlkit.record.report_data import ReportData
from tlkit.run import evaluated_images, report_images
from tlkit.run.prediction import Predictor
from tlkit.sources import scaling
from tlkit.sources.places import Places
from tlkit.tasks import Predictions, averaging, scoring


@dataclass(frozen=True)
class Gain:
    """What several views of each image bring.

    Attributes:
        accuracy_of_one: Accuracy with the image alone.
        accuracy: With all views.
        p: Probability of so uneven a division of the images that only one of both has right, if both were right equally often
            (McNemar's test); None where an image has several labels.
    """

    accuracy_of_one: float
    accuracy: float
    p: float | None


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a network on labelled images.

    Attributes:
        data: Name of the data set.
        part: "test", or "all" where the data set has no test images of its own.
        images: How many images were evaluated.
        unreadable: A line for each image that cannot be decoded and is left out.
        metrics: loss, accuracy and the other metrics of the network's task.
        details: The same for every class, and the confusion matrix, as evaluation.json has them.
        pictures: The images as the network sees them.
        predicted: The predictions for them.
        views: Of each image, whose probabilities are averaged.
        one_view: The predictions for the images alone, where there are several views; else the same as `predicted`.
        groups: Their number and scores, where the images of a group have one answer; {} elsewhere.
        tile: Side of the tiles in which larger pictures passed the network; None for whole pictures.
    """

    data: str
    part: str
    images: int
    unreadable: tuple[str, ...]
    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    pictures: Part = field(repr=False)
    predicted: Predictions = field(repr=False)
    views: int
    one_view: Predictions = field(repr=False)
    groups: Mapping[str, float] = field(default_factory=dict)
    tile: int | None = None

    @property
    def gain(self) -> Gain | None:
        """What the views bring; None without."""
        if self.views == 1:
            return None
        before, after = (scoring.basic(each)["accuracy"] for each in (self.one_view, self.predicted))
        right = [each.chosen == each.targets for each in (self.one_view, self.predicted)]
        shown = self.predicted.task.shown
        one_class = shown is not None and shown.one_class
        p = statistics.mcnemar(right[0].numpy(), right[1].numpy()).p if one_class else None
        return Gain(before, after, p)

    def record(self) -> dict[str, Any]:
        """Return what --json says."""
        gain = self.gain
        seen = {} if gain is None else {"views": {"count": self.views, **asdict(gain)}}
        return {
            "data": self.data,
            "part": self.part,
            "images": self.images,
            "unreadable": list(self.unreadable),
            "metrics": dict(self.metrics),
            "details": dict(self.details),
            **seen,
            **({"groups": dict(self.groups)} if self.groups else {}),
            **({} if self.tile is None else {"tile": self.tile}),
        }


def evaluate(
    predictor: Predictor, run: Path, on: str, settings: Sequence[str] = (), *, views: int = 1,
    tile: int | None = None, places: Places, progress: Progress = lambda done, total: None, note: Callable[[str], None] = lambda _: None,
) -> Evaluation:  # fmt: skip
    """Evaluate a run's network.

    Args:
        predictor: The run's.
        run: Its folder.
        on: A folder that the run's own data set reads, or of images in one sub-folder per class; or the name of a data set. Its test images
            are evaluated; all of its images where it has no test images of its own.
        settings: "data.options.KEY=VALUE" each.
        views: Of each image, whose probabilities are averaged: see `tlkit.engine.images.views`.
        tile: Of masks, side of the tiles in which larger pictures pass the network; None for what the run's recipe says.
        places: Where the data set is looked for.
        progress: Called with the images done and their total.
        note: Told of what the data set's files have that is not used.

    Raises:
        TlkitError: there is no such data set, it has classes that the network has not, or no image of it can be decoded.
    """
    (arm,) = parsing.read(run / run_folder.RECIPE).arms.values()
    wanted = predictor.network.task.targets
    source, images, part = evaluated_images.find(predictor, run, arm.data, on, settings, places=places, note=note)
    stride = predictor.stride if wanted.whole else None
    geometry = geometry_of(predictor.geometry, images.splits[part], source.options, stride=stride)
    if wanted.whole and views != 1:
        raise UsageError("evaluate: --views: masks and boxes are evaluated in one view.", "leave it out")
    if tile is not None and not wanted.masks:
        raise UsageError("evaluate: --tile: is for masks, and the run gives none.", "leave it out")
    tile = predictor.tile_of(tile)
    library = Library(images, note=note)
    indices, unreadable = corrupt.decodable(
        library.pictures(part, geometry),
        np.arange(len(images.splits[part].targets)),
        on_corrupt="skip",
        progress=lambda done, total: None,
    )
    masks = None
    if wanted.masks:
        masks = Masks(library.pictures(part, geometry), classes=len(predictor.classes), ignore=arm.data.ignore)
        indices, more = corrupt.decodable(masks, indices, on_corrupt="skip", progress=lambda done, total: None)
        unreadable = [*unreadable, *more]
    if not len(indices):
        raise DataError(f"evaluate: {on}: no image of it can be decoded.", *unreadable[:1])
    plain, *others = geometries(geometry, views)
    seen = [library.pictures(part, plain), *unstored(images.splits[part], others)]
    decoded = [Part(view, indices, predictor.convention, predictor.network.task, masks) for view in seen]
    each = of_views(
        predictor.network,
        decoded,
        batch_size=1 if wanted.whole else predictor.batch_size,
        device=predictor.device,
        progress=progress,
        tile=tile,
    )
    predicted = averaging.mean(each)
    groups = images.splits[part].groups if images.splits[part].one_answer else None
    return Evaluation(
        source.name,
        part,
        len(indices),
        tuple(unreadable),
        scoring.scores(predicted),
        scoring.details(predicted, predictor.classes),
        decoded[0],
        predicted,
        views,
        each[0],
        {} if groups is None else averaging.group_scores(predicted, groups[indices]),
        tile,
    )


def explained(found: Evaluation, predictor: Predictor) -> ReportData:
    """Return what a page shows of an evaluation's images."""
    return report_images.of_images(
        predictor.network, found.pictures, found.predicted, names=predictor.classes, device=predictor.device, tile=found.tile
    )


def calibrated(found: Evaluation, run: Path) -> Calibrated | None:
    """Return how well probabilities fit, before and after scaling by the temperature of the run's validation images.

    None where an image has several labels. Probabilities that are a mean over views are not scaled: those of the validation images are
    of one view.
    """
    shown = found.pictures.task.shown
    if shown is None or not shown.one_class:
        return None
    labels = found.predicted.targets.numpy()
    fitted = None
    with contextlib.suppress(RunFolderError):
        known = predictions_file.load(run).part("validation")
        fitted = (known.logits, known.label) if len(known.index) and found.views == 1 else None
    return calibration.calibrated((found.predicted.logits.numpy(), labels), fitted)


def predictions(
    network: Network, part: Part, *, batch_size: int, device: torch.device, progress: Progress, tile: int | None = None
) -> Predictions:
    """Return a network's predictions for decoded images; `progress` is told of images done, and larger pictures are predicted in tiles."""
    order = part.indices

    def answer(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return network.read_and_answer(x) if tile is None else (x, tiles.logits(network.task, network, x, tile=tile))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        done = 0
        pairs = (make(part, order, 0, device, batch_size) for make in (device_batches.inputs, device_batches.targets))
        for x, y in zip(*pairs, strict=True):
            yield x.contiguous(), y
            done += len(y)
            progress(done, len(order))

    return engine.evaluate(network, answer, batches(), watch=lambda: None, shown=Shared(ALONE, order, batch_size))


def geometry_of(geometry: Geometry, split: Split, options: object, *, stride: int | None) -> Geometry:
    """Return how pictures of a split are brought to size: for masks and boxes on one canvas, in whole strides, that holds each of them.

    Args:
        geometry: That of the network's own pictures.
        split: The pictures.
        options: Of their data set.
        stride: Pixels of the network's deepest stride, for masks and boxes; None of other tasks.
    """
    if geometry.bands is None:
        geometry = replace(geometry, white=levels.given({} if options is None else dict(options)))  # type: ignore[call-overload]  # a model
    if stride is not None:
        largest = extents.sizes(split, geometry).max(0).tolist()
        canvas = scaling.whole_strides((largest[0], largest[1]), stride)
        geometry = replace(geometry, size=canvas, resized=canvas)
    return geometry


def unstored(split: Split, views: Sequence[Geometry]) -> list[Pictures]:
    """Return the pictures of views, which are decoded when they are used: the store keeps each image once."""
    return [Pictures(split, view, keep=False) for view in views]


def of_views(
    network: Network,
    views: Sequence[Part],
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
    tile: int | None = None,
) -> list[Predictions]:
    """Return a network's predictions for each view of the same images; `progress` is told of the views done of all images."""

    def told(before: int) -> Progress:
        return lambda done, total: progress(before * total + done, len(views) * total)

    return [
        predictions(network, view, batch_size=batch_size, device=device, progress=told(number), tile=tile)
        for number, view in enumerate(views)
    ]
