"""A job's images, plan and network, made and checked before anything is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from tlkit.compiler import compiler
from tlkit.compiler.memory_estimate import Division
from tlkit.engine.domains import norm_statistics
from tlkit.engine.head_start import HeadStart
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Evaluated, Part, TargetPart, TrainingPart
from tlkit.engine.learner import Learner, learner
from tlkit.engine.learning import Learning
from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.runtime import Runtime
from tlkit.events import Observer
from tlkit.network.network import Network
from tlkit.plans import auto_rates, band_values, choices, head_starts
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.plugin import Images
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.record.formats import SharedFormats
from tlkit.record.timings import EarlierChoices, Measurements
from tlkit.run import band_scaling, crop_extents, decoding, measuring, start_network, training_sample
from tlkit.run.decoding import Decoded
from tlkit.run.start_network import StartNetwork
from tlkit.store import cache_limit
from tlkit.units import Size


@dataclass(frozen=True)
class Prepared:
    """A job with all that its run needs: its plan, its decoded images and the network that it begins from.

    Attributes:
        job: The run.
        plan: What will happen.
        images: The data set.
        train: Training images.
        evaluated: Validation and test images.
        decoded: Which images each split has, as arrays, and which could not be decoded.
        start: The network that the run begins from.
        bare: The plan without forms and stores.
        measured: What is known of its speed.
        earlier: What the run began with, where it is continued.
        sample: Training images that are evaluated after every epoch; None for none.
        head_start: What solves the weights that the head begins with; None where they are random.
        tried: Seconds in which its speed was measured now; 0 where it was known.
    """

    job: Job
    plan: Plan
    images: Images
    train: TrainingPart
    evaluated: Evaluated
    decoded: Decoded
    start: StartNetwork
    bare: Plan
    measured: Measurements
    earlier: EarlierChoices | None
    sample: Part | None = None
    head_start: HeadStart | None = None
    tried: float = 0.0

    @property
    def split(self) -> Mapping[str, Any]:
        """Positions by split, and what was skipped: split.json. Made when it is written: a run that waits keeps no such lists."""
        return self.decoded.record()

    def sharing(self, shared: SharedFormats, *, device: torch.device) -> Prepared:
        """Return the same run, on a device, with what all arms of its recipe have in common."""
        room = cache_limit.room()
        plan = choices.decide(self.bare, self.measured, room=room, earlier=self.earlier, shared=shared, device=device.type)
        if self.head_start is None:
            return replace(self, plan=plan)
        start = choices.decide(head_starts.plan_of(self.bare), self.measured, room=room, shared=shared, device=device.type)
        return replace(self, plan=head_starts.told(plan, start), head_start=replace(self.head_start, plan=start))

    def with_measurements(self, runtime: Runtime) -> Prepared:
        """Return the same run with its speed measured, which its length alone would not be worth."""
        measured = measuring.measure(self.job, self.bare, self.start.get(), self.train, runtime)
        return replace(self, measured=measured, tried=measured.seconds)

    def learner(self, runtime: Runtime, *, pieces: int = 1) -> Learner:
        """Return what carries the plan out. It takes the network: a second learner begins from one that is built again.

        Args:
            runtime: Where it is carried out.
            pieces: Parts of a batch that pass the network one after the other.

        Raises:
            WeightsError: the weights do not fit the network any more.
        """
        network, adaptation = self.start.take().to(runtime.device), self.job.resolved.adaptation
        target = self.evaluated.target
        if adaptation is not None and adaptation.replaces_statistics and target is not None:
            norm_statistics.adapt_(network, target.part, batch_size=self.plan.batch_size, device=runtime.device)
        begin = None
        if self.head_start is not None:
            begin = partial(self.head_start.solve_, network, runtime)
        return learner(
            Learning(
                plan=self.plan, network=network, plugins=self.job.resolved.network_plugins, train=self.train,
                evaluated=self.evaluated, runtime=runtime, sample=self.sample, adaptation=adaptation, begin=begin, pieces=pieces,
            )
        )  # fmt: skip


def prepare(
    job: Job,
    runtime: Runtime,
    *,
    library: Library,
    earlier: EarlierChoices | None = None,
    batch_size: int | None = None,
    network: Network | None = None,
    anew: bool = False,
) -> Prepared:
    """Split and decode a job's images, measure what is not known of this machine, and make the plan. No run is written.

    Args:
        job: One run.
        runtime: Where it is carried out; of several processes each decodes a part of the images, and the first measures alone.
        library: Pictures of its data set.
        earlier: The measured choices of a run that is continued; None for a new run.
        batch_size: The batch size that "auto" chose for another seed of the arm; None if there is none.
        network: The network that the run begins from; by default it is built and gets the job's weights.
        anew: Measure again what is remembered.

    Raises:
        DataError: an image cannot be decoded, unless the recipe says to skip such.
        RecipeError: the plan cannot be made.
    """
    device, observer, ranks, images = runtime.device, runtime.observer, runtime.ranks, library.images
    job = replace(job, resolved=band_values.settled(job.resolved, images))
    if earlier is not None and earlier.input is not None:
        job = replace(job, resolved=replace(job.resolved, convention=earlier.input))
    decoded, convention = band_scaling.settle(
        decoding.decode_job(job, library, runtime),
        job.resolved.convention,
        spread=job.resolved.spread,
        note=library.note,
    )
    job = replace(job, resolved=replace(decoded.resolved, convention=convention))
    resolved, table = job.resolved, job.resolved.arm.data
    known = _known_batch(earlier.batch_size if earlier else batch_size, ranks) if table.batch_size == "auto" else None
    plan = compiler.compile_plan(
        resolved,
        decoded.facts,
        where=resolved.where,
        device=device,
        batch_size=known,
        division=Division(ranks.size, ranks.local_size, partial(_smallest, ranks)),
        folder=str(job.base),
    )
    if earlier is not None:
        plan = auto_rates.filled(plan, earlier.rates, reason="from the range test before the run began")
    train = _training_part(decoded.training, job, table.augment, classes=plan.classes)
    evaluated = decoded.evaluated
    if resolved.source_free:
        train = replace(train, pseudo=np.zeros(len(train.pictures.split.targets), dtype=np.int64))
    elif decoded.adapted is not None and evaluated.target is not None:
        evaluated = replace(
            evaluated,
            target=_target_in_steps(evaluated.target, decoded.adapted, decoded.adapted_sizes, job, classes=plan.classes),
        )
    train = _with_sizes(train, decoded.sizes)
    start = StartNetwork(
        partial(start_network.build, job, plan, images, observer=Observer()),
        network if network is not None else start_network.build(job, plan, images, observer=observer),
    )
    measured, now = Measurements(), time.time()
    if earlier is None and ranks.rank == 0:
        measured = measuring.recall_or_measure(job, plan, start.get, train, runtime, anew=anew)
    room = cache_limit.room()  # beside the pictures, which this process holds
    decided = choices.decide(plan, measured, room=room, earlier=earlier, device=device.type)
    sample = training_sample.choose(decided, train, library, progress=observer.decoding)
    tried = measured.seconds if measured.taken >= now else 0.0
    made = Prepared(job, decided, images, train, evaluated, decoded, start, plan, measured, earlier, sample, tried=tried)
    if resolved.arm.head.start != head_starts.SOLVED:
        return made
    solved = choices.decide(head_starts.plan_of(plan), measured, room=room, device=device.type)
    seen = training_sample.as_evaluated(plan, train, train.indices, library, progress=observer.decoding)
    plain = replace(train, pictures=seen.pictures, indices=seen.indices, augment=(), views=None, others={}, extents=None)
    begins = HeadStart(solved, head_starts.plugins(resolved.network_plugins, resolved.arm), plain)
    return replace(made, plan=head_starts.told(decided, solved), head_start=begins)


def _known_batch(known: int | None, ranks: Ranks) -> int | None:
    """Return the batch size that "auto" chose before, as the first process knows it: the others may not see the run's folder."""
    told: int | None = json.loads(ranks.told(json.dumps(known)))
    return told


def _smallest(ranks: Ranks, batch: int) -> int:
    """Return the smallest of the batches that the processes give."""
    return int(ranks.stacked(torch.tensor([batch])).min())


def _target_in_steps(target: TargetPart, adapted: Part, sizes: Mapping[Size, Part], job: Job, *, classes: int) -> TargetPart:
    """Return the target with its images as training steps take them: the labelled ones, and the others."""
    found, table = job.resolved.adaptation, job.resolved.arm.data
    assert found is not None  # there is a target
    single = [each for each in table.augment if not augmentations.mixes([each])]  # a target's image stays one of the target
    chosen = target.part.indices[target.labelled]
    others = replace(adapted, indices=np.setdiff1d(adapted.indices, chosen))
    training = _training_part(others, job, single, classes=classes)
    second = replace(training, augment=[*single, *found.table.second_view], views=None)
    few = _training_part(replace(adapted, indices=chosen), job, single, classes=classes)
    trained = _with_sizes(replace(few, soft=augmentations.mixes(table.augment)), sizes)
    return replace(
        target,
        training=_with_sizes(training, sizes) if found.by_steps else None,
        second=_with_sizes(second, sizes) if found.beside > 1 else None,
        trained=trained if len(chosen) else None,
    )


def _with_sizes(part: TrainingPart, sizes: Mapping[Size, Part]) -> TrainingPart:
    """Return training images that are there in other sizes too."""
    return replace(part, others={size: replace(part, pictures=each.pictures, size=size) for size, each in sizes.items()})


def _training_part(part: Part, job: Job, augment: Sequence[Augmentation], *, classes: int) -> TrainingPart:
    """Return decoded images as training images, with a job's order and draws."""
    resolved, table = job.resolved, job.resolved.arm.data
    return TrainingPart(
        part.pictures, part.indices, resolved.convention, part.task,
        augment=augment, views=table.augment_views, size=resolved.image_size, seed=job.seed, classes=classes,
        epochs_before=table.initial_epoch, masks=part.masks, extents=crop_extents.extents(part, resolved, augment),
    )  # fmt: skip
