"""A job's images, plan and network, made and checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlkit import files, tasks, units
from tlkit.compiler import compiler, timing
from tlkit.engine.images import decode
from tlkit.engine.images import parts as data
from tlkit.engine.images.parts import Evaluated, Library, Part, TrainingPart
from tlkit.engine.images.pictures import Indices
from tlkit.engine.learner import Learner, learner
from tlkit.errors import DataError, RecipeError, TlkitError
from tlkit.events import Observer
from tlkit.network import memory, weights
from tlkit.network import network as networks
from tlkit.network.network import Network
from tlkit.plans import choices, dataset_facts
from tlkit.plans.jobs import Job
from tlkit.plans.plan import DataFacts, ImagesPlan, Plan
from tlkit.plans.resolve import Resolved
from tlkit.plugin import Images
from tlkit.recipe import augmentations
from tlkit.recipe.recipe import FORMAT
from tlkit.record.formats import EarlierChoices, Measurements
from tlkit.sources.splits import Chosen
from tlkit.store import cache, measurements

_TRIED = 32  # images on which forms are timed and compared


@dataclass(frozen=True)
class Prepared:
    """A job with all that its run needs: its plan, its decoded images and the network that it begins from.

    Attributes:
        job: The run.
        plan: What will happen.
        images: The data set.
        train: Training images.
        evaluated: Validation and test images.
        split: Positions by split, and what was skipped: split.json.
        skipped: Images that could not be decoded.
        start: The network that the run begins from.
    """

    job: Job
    plan: Plan
    images: Images
    train: TrainingPart
    evaluated: Evaluated
    split: Mapping[str, Any]
    skipped: int
    start: StartNetwork

    def learner(
        self, *, device: torch.device, observer: Observer, watch: Callable[[], None] = lambda: None, graph: bool = True
    ) -> Learner:
        """Return what carries the plan out. It takes the network: a second learner begins from one that is built again.

        Args:
            device: That the run uses.
            observer: Told of steps.
            watch: Called between batches; may raise to stop.
            graph: Capture the training step where the device can.

        Raises:
            WeightsError: the weights do not fit the network any more.
        """
        network = self.start.take().to(device)
        return learner(
            self.plan,
            network,
            self.job.resolved.network_plugins,
            self.train,
            self.evaluated,
            device=device,
            observer=observer,
            watch=watch,
            graph=graph,
        )


class StartNetwork:
    """The network that a run begins from, on the CPU: built when it is first asked for, and held until it is taken.

    Args:
        build: Builds it, with its weights.
        network: It, where it is there already.
    """

    def __init__(self, build: Callable[[], Network], network: Network | None = None) -> None:
        self._build = build
        self._network = network

    def get(self) -> Network:
        """Return the network, and hold it."""
        if self._network is None:
            self._network = self._build()
        return self._network

    def take(self) -> Network:
        """Return the network, and let go of it: whoever takes it may change it."""
        network = self.get()
        self._network = None
        return network

    def release(self) -> None:
        """Free the memory of the network; it is built again when it is asked for."""
        self._network = None


def prepare(
    job: Job,
    *,
    library: Library,
    images: Images,
    device: torch.device,
    observer: Observer,
    earlier: EarlierChoices | None = None,
    batch_size: int | None = None,
    network: Network | None = None,
    anew: bool = False,
    watch: Callable[[], None] = lambda: None,
) -> Prepared:
    """Split and decode a job's images, measure what is not known of this machine, and make the plan. No run is written.

    Args:
        job: One run.
        library: Decoded pictures of `images`.
        images: The data set.
        device: That the run uses.
        observer: Told of images done.
        earlier: What the run began with, where it is continued.
        batch_size: What "auto" came to for another seed of the arm.
        network: That the run begins from; made from the job's weights where it is not given.
        anew: Measure again what is remembered.
        watch: Called between two measurements; may raise to stop.

    Raises:
        DataError: an image cannot be decoded, unless the recipe says to skip such.
        RecipeError: the plan cannot be made.
    """
    memory.keep_blocks()
    resolved, table = job.resolved, job.resolved.arm.data
    decoded = _decoded(job, library, images, observer)
    plan = compiler.compile_plan(
        resolved,
        _data_facts(job, images, decoded),
        where=resolved.recipe,
        device=device,
        batch_size=earlier.batch_size if earlier else batch_size,
        folder=str(job.base),
    )
    train = TrainingPart(
        decoded.training.pictures, decoded.training.indices, resolved.convention, decoded.training.task,
        augment=table.augment, views=table.augment_views, size=resolved.image_size, seed=job.seed, classes=plan.classes,
        epochs_before=table.initial_epoch,
    )  # fmt: skip
    start = StartNetwork(
        partial(build, job, plan, images, observer=Observer()),
        network if network is not None else build(job, plan, images, observer=observer),
    )
    known = Measurements() if earlier is not None else remembered(plan, resolved, job.weights, data=job.content, device=device)
    unknown = not (known.step or known.prefixes)
    if earlier is None and (anew or (unknown and not timing.too_short(plan))):
        known = _measured(job, plan, start.get(), train, device=device, observer=observer, watch=watch)
    plan = choices.decide(plan, known, room=cache.room(), earlier=earlier)  # beside the pictures, which this process holds
    parts = {**decoded.parts, **decoded.evaluated.parts}
    split = {"format": FORMAT, "skipped": decoded.lines, **{name: _positions(each) for name, each in parts.items()}}
    return Prepared(job, plan, images, train, decoded.evaluated, split, len(decoded.lines), start)


def _data_facts(job: Job, images: Images, decoded: _Decoded) -> DataFacts:
    kind = tasks.get(job.resolved.head.task).targets
    mine = images.splits["train"].targets[decoded.training.indices]
    held_out = {
        name: part.pictures.split.targets[part.indices]
        for name, part in decoded.parts.items()
        if part is not None and name != "train"
    }
    return DataFacts(
        len(images.classes), decoded.counts, images.classes, kind.count(mine, len(images.classes)),
        (*dataset_facts.absent(kind, held_out, images.classes), *dataset_facts.unused(job.found)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Decoded:
    """A job's images, every one of which can be decoded.

    Attributes:
        training: The training images.
        evaluated: Validation and test images.
        lines: A line per image that was skipped.
    """

    training: Part
    evaluated: Evaluated
    lines: Sequence[str]

    @property
    def parts(self) -> dict[str, Part | None]:
        """The images of each split; None where the job has none of that split."""
        return {"train": self.training, "validation": self.evaluated.validation, "test": self.evaluated.test}

    @property
    def counts(self) -> ImagesPlan:
        """How many images each split has."""
        mine = {name: 0 if part is None else len(part.indices) for name, part in self.parts.items()}
        also = {name: len(part.indices) for name, part in self.evaluated.also.items()}
        return ImagesPlan(**mine, source="counted", also=also)


def _decoded(job: Job, library: Library, images: Images, observer: Observer) -> _Decoded:
    """Split a job's images, decode them, and leave out what cannot be."""
    resolved, table = job.resolved, job.resolved.arm.data
    task = tasks.get(resolved.head.task)
    _, chosen = dataset_facts.facts(resolved, images, seed=job.seed)
    geometry = decode.evaluation_geometry(resolved.image_size, resolved.convention, table)
    lines: list[str] = []

    def part(split: str, indices: Indices, shape: decode.Geometry) -> Part:
        pictures = library.pictures(split, shape)
        kept, skipped = data.decodable(pictures, indices, on_corrupt=table.on_corrupt, progress=observer.decoding)
        lines.extend(skipped)
        return Part(pictures, kept, resolved.convention, task)

    training = part("train", chosen.train, _training_geometry(resolved))
    _refuse_lost_class(images, chosen, training, lines)
    evaluated = _evaluated(images, chosen, lambda split, indices: part(split, indices, geometry))
    also = {}
    for name, found in job.also.items():
        other = dataset_facts.other_images(resolved.also[name], found, images.classes, where=f"also.{name}")
        targets = other.splits["test"].targets
        if not task.targets.holds(targets):
            theirs = tasks.understanding(targets)[0].targets.words
            raise DataError(f"also.{name}: has {theirs}; the images that are trained on have {task.targets.words}.")
        pictures, every = library.other(other).pictures("test", geometry), np.arange(len(targets))
        kept, skipped = data.decodable(pictures, every, on_corrupt=table.on_corrupt, progress=observer.decoding)
        lines.extend(skipped)
        if not len(kept):
            raise DataError(f"also.{name}: no image of it can be decoded.", "mend them, or leave it out")
        also[name] = Part(pictures, kept, resolved.convention, task)
    evaluated = replace(evaluated, also=also)
    if lines:
        library.note(f"{units.images(len(lines))} cannot be decoded, and are left out; split.json names them")
    for line in dataset_facts.unused(job.found):
        library.note(line)
    if resolved.arm.early_stopping is not None and evaluated.validation is None:
        raise TlkitError(
            "early_stopping: there are no validation images to watch.",
            "a larger data.split.validation, or fewer training images",
        )
    return _Decoded(training, evaluated, lines)


def remembered(plan: Plan, resolved: Resolved, weights_file: Path | None, *, data: str, device: torch.device) -> Measurements:
    """Return what is known of a plan's speed on this machine; empty, with the reason, where nothing is."""
    known = measurements.recall(_measured_of(plan, resolved, weights_file, data, device))
    if known is not None:
        return known
    why = timing.too_short(plan)
    return Measurements(why=why) if why else Measurements()


def _measured(
    job: Job, plan: Plan, network: Network, train: TrainingPart, *,
    device: torch.device, observer: Observer, watch: Callable[[], None],
) -> Measurements:  # fmt: skip
    """Take measurements and remember them, unless they were given up."""
    chosen = train.indices[np.linspace(0, len(train.indices) - 1, num=min(_TRIED, len(train.indices)), dtype=np.int64)]
    pictures = train.inputs(chosen, 0, device)
    observer.note(f"{job.label}: trying precisions and memory formats on this machine, once")
    taken = timing.measure(plan, network.to(device), pictures.contiguous(), device=device, watch=watch)
    if taken.why:
        observer.note(f"{job.label}: {taken.why}; float32 is taken, and the next run tries again")
        return taken
    measurements.remember(_measured_of(plan, job.resolved, job.weights, job.content, device), taken)
    observer.note(f"{job.label}: tried in {taken.seconds:.1f} s; the plan says what was chosen and why")
    if taken.waited > measurements.BUSY:
        observer.note(f"{job.label}: other programs used the processors meanwhile, so it is tried again after a day")
    return taken


def pictures_bytes(resolved: Resolved, images: ImagesPlan) -> int:
    """Return what the decoded pictures of a run take in the store, at most: arrays of the right size are not kept there."""
    training = _training_geometry(resolved).size
    evaluation = decode.evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data).size
    return 3 * (images.train * math.prod(training) + images.held_out * math.prod(evaluation))


def _training_geometry(resolved: Resolved) -> decode.Geometry:
    table = resolved.arm.data
    geometry = decode.crop_geometry if augmentations.needs_room(table.augment) else decode.evaluation_geometry
    return geometry(resolved.image_size, resolved.convention, table)


def _measured_of(
    plan: Plan, resolved: Resolved, weights_file: Path | None, data: str, device: torch.device
) -> dict[str, object]:
    """What measurements of a plan depend on, the weights by their content."""
    weights = "none" if weights_file is None else files.content([weights_file])
    return timing.key(plan, build=resolved.backbone.build, weights=weights, data=data, device=device)


def _refuse_lost_class(images: Images, chosen: Chosen, training: Part, lines: Sequence[str]) -> None:
    """What cannot be decoded may be skipped, but not a whole class of the training images."""
    strata, names = training.task.targets.strata(images.splits["train"].targets, images.classes)
    lost = np.setdiff1d(strata[chosen.train], strata[training.indices]).tolist()
    if lost:
        shown = ", ".join(names[stratum] for stratum in lost)
        raise DataError(
            f"data: no training image of class {shown} can be decoded.", lines[0], "mend them, or take the class out"
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
        image_size=resolved.image_size, positive=plan.positive,
    )  # fmt: skip
    value, name = resolved.arm.backbone.weights, resolved.arm.backbone.name
    if job.weights is None:
        return network
    if value.startswith("run:"):
        observer.note(f"{value}: begins from {job.weights.parent}")
        if not weights.load_run_(network, job.weights, backbone=resolved.backbone, name=name, classes=images.classes):
            if plan.learns == "nothing":
                raise RecipeError([_no_head(value)])
            observer.note(
                f"{value}: its head is of another kind, of other classes or another shape; this run's head begins anew"
            )
        return network
    rename = resolved.backbone.weights[value].rename if value in resolved.backbone.weights else ""
    weights.load_(network, job.weights, backbone=resolved.backbone, name=name, rename=rename)
    return network


def _no_head(value: str) -> TlkitError:
    return TlkitError(
        f"backbone.weights: {value} has no head of these classes, and nothing of it is to be trained.",
        "freeze.head = false trains one",
    )


def _evaluated(images: Images, chosen: Chosen, part: Callable[[str, Indices], Part]) -> Evaluated:
    held, test = None, None
    if "validation" in images.splits:
        held = part("validation", np.arange(len(images.splits["validation"].targets)))
    elif len(chosen.validation):
        held = part("train", chosen.validation)
    if "test" in images.splits:
        test = part("test", np.arange(len(images.splits["test"].targets)))
    elif chosen.test is not None and len(chosen.test):
        test = part("train", chosen.test)
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
