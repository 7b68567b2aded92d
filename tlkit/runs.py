"""A job's images, plan and network, made and found sound before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlkit import network as networks
from tlkit import planner, plans, survey, weights
from tlkit.engine import data, decode
from tlkit.engine.data import Evaluated, Library, Part, TrainingPart
from tlkit.errors import DataError, TlkitError
from tlkit.jobs import Job
from tlkit.network import Network
from tlkit.observer import Observer
from tlkit.plans import Plan
from tlkit.plugin import Images
from tlkit.recipe import FORMAT
from tlkit.splits import Chosen


@dataclass(frozen=True)
class Prepared:
    """A job's plan and its images, decoded and found sound.

    Attributes:
        plan: What will happen.
        images: The data set.
        train: Training images.
        evaluated: Validation and test images.
        split: Positions by split, and what was skipped: split.json.
        skipped: Images that could not be decoded.
    """

    plan: Plan
    images: Images
    train: TrainingPart
    evaluated: Evaluated
    split: Mapping[str, Any]
    skipped: int


def prepare(
    job: Job, *, library: Library, images: Images, device: torch.device, observer: Observer, batch_size: int | None = None
) -> Prepared:
    """Split and decode a job's images and make its plan. Nothing is written.

    Args:
        job: One run.
        library: Decoded pictures of `images`.
        images: The data set.
        device: On which memory is counted for batch_size = "auto".
        observer: Told of images done.
        batch_size: What "auto" came to before; None where that is not known.

    Raises:
        DataError: an image cannot be decoded, unless the recipe says to skip such.
        RecipeError: the plan cannot be made.
    """
    resolved, table = job.resolved, job.resolved.arm.data
    counted, chosen = survey.facts(resolved, images, seed=job.seed)
    still = decode.still(resolved.image_size, resolved.convention)
    geometry = decode.roomy(resolved.image_size, resolved.convention) if "random_crop" in table.augment else still
    lines: list[str] = []

    def part(split: str, indices: data.Indices, shape: decode.Geometry) -> Part:
        pictures = library.pictures(split, shape)
        kept, skipped = data.sound(pictures, indices, on_corrupt=table.on_corrupt, progress=observer.decoding)
        lines.extend(skipped)
        return Part(pictures, kept, resolved.convention)

    training = part("train", chosen.train, geometry)
    _refuse_lost_class(images, chosen, training, lines)
    evaluated = _evaluated(images, chosen, lambda split, indices: part(split, indices, still))
    if lines:
        observer.note(f"{len(lines)} images cannot be decoded and are left out; split.json names them")
    sizes = {"train": training, "validation": evaluated.validation, "test": evaluated.test}
    found = {name: 0 if each is None else len(each.indices) for name, each in sizes.items()}
    counted = plans.DataFacts(counted.classes, plans.ImagesPlan(**found, source="counted"))
    if resolved.arm.early_stopping is not None and not found["validation"]:
        raise TlkitError(
            "early_stopping: there are no validation images to watch.",
            "a larger data.split.validation, or fewer training images",
        )
    plan = planner.make(resolved, counted, where=resolved.recipe, device=device, batch_size=batch_size, folder=str(job.base))
    train = TrainingPart(
        training.pictures, training.indices, resolved.convention, augment=table.augment, side=resolved.image_size, seed=job.seed
    )
    split = {"format": FORMAT, "skipped": lines, **{name: _positions(each) for name, each in sizes.items()}}
    return Prepared(plan, images, train, evaluated, split, len(lines))


def _refuse_lost_class(images: Images, chosen: Chosen, training: Part, lines: Sequence[str]) -> None:
    """What cannot be decoded may be skipped, but not a whole class of the training images."""
    labels = images.splits["train"].labels
    lost = set(labels[chosen.train].tolist()) - set(labels[training.indices].tolist())
    if lost:
        names = ", ".join(images.classes[label] for label in sorted(lost))
        raise DataError(
            f"data: no training image of class {names} can be decoded.", lines[0], "mend them, or take the class out"
        )


def build(job: Job, plan: Plan, images: Images, *, observer: Observer) -> Network:
    """Build a job's network with the weights it starts from, on the CPU.

    Raises:
        WeightsError: the file does not fit.
    """
    resolved = job.resolved
    network = networks.build(
        resolved.backbone, resolved.head, classes=plan.classes,
        backbone_options=resolved.backbone_options, head_options=resolved.head_options, seed=job.seed,
    )  # fmt: skip
    value, name = resolved.arm.backbone.weights, resolved.arm.backbone.name
    if job.weights is None:
        return network
    if value.startswith("run:"):
        observer.note(f"{value}: begins from {job.weights.parent}")
        if not weights.load_run_(network, job.weights, backbone=resolved.backbone, name=name, classes=images.classes):
            observer.note(f"{value}: its head is of other classes or another shape; this run's head begins anew")
        return network
    rename = resolved.backbone.weights[value].rename if value in resolved.backbone.weights else ""
    weights.load_(network, job.weights, backbone=resolved.backbone, name=name, rename=rename)
    return network


def _evaluated(images: Images, chosen: Chosen, part: Callable[[str, data.Indices], Part]) -> Evaluated:
    held, test = None, None
    if "validation" in images.splits:
        held = part("validation", np.arange(len(images.splits["validation"].labels)))
    elif len(chosen.validation):
        held = part("train", chosen.validation)
    if "test" in images.splits:
        test = part("test", np.arange(len(images.splits["test"].labels)))
    for name, each in (("validation", held), ("test", test)):
        if each is not None and not len(each.indices):
            raise DataError(f"data: no {name} image can be decoded.", "mend them, or take that split away")
    return Evaluated(held, test)


def _positions(part: Part | None) -> dict[str, Any]:
    """Where a part's images come from: positions in the data set's arrays, or file names."""
    if part is None:
        return {"count": 0}
    split = part.pictures.split
    kept: dict[str, Any] = {"count": len(part.indices), "positions": part.indices.tolist()}
    if split.files:
        kept["files"] = [str(split.files[index]) for index in part.indices]
    return kept
