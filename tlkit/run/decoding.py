"""Decode a job's images, part by part, and leave out or refuse those that cannot be decoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from tlkit import tasks, units
from tlkit.compiler import canvas
from tlkit.engine.images import levels
from tlkit.engine.images import parts as data
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.parts import Evaluated, Library, Part, TargetPart
from tlkit.engine.images.pictures import Indices, Pictures
from tlkit.engine.ranks.ranks import ALONE, Ranks, turns
from tlkit.errors import DataError, TlkitError
from tlkit.events import Observer
from tlkit.plans import arm_checks, dataset_facts, dataset_images, other_parts, overlap, unlabelled
from tlkit.plans.dataset_parts import Selected, select
from tlkit.plans.jobs import Job
from tlkit.plans.other_parts import OtherParts
from tlkit.plans.overlap import Overlap
from tlkit.plans.plan import DataFacts
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import IGNORED, Images, Split
from tlkit.recipe.recipe import FORMAT
from tlkit.run import overlapping_images, training_geometry
from tlkit.units import Size

_MASKS = 16  # that are read at a time to see which classes there are


@dataclass(frozen=True)
class Decoded:
    """A job's images, every one of which can be decoded.

    Attributes:
        resolved: The arm, with the canvas of its pictures where it has one.
        training: The training images.
        evaluated: The validation and test images.
        facts: Their counts, for the plan.
        skipped: A line for each image that cannot be decoded.
        overlaps: Where images of two parts are identical; those that were left out are among them.
        dropped: Positions of the training images that were left out for it.
        sizes: The training images in other sizes, for phases that have them.
        adapted: The images of the target brought to size as training images are; None where no step is taken on them.
        source_free: The training images are those of the target, so `training` is `adapted`.
        adapted_sizes: The same in other sizes, for phases that have them.
        seconds: That choosing and decoding them took; little where they were decoded before.
    """

    resolved: Resolved
    training: Part
    evaluated: Evaluated
    facts: DataFacts
    skipped: Sequence[str]
    overlaps: Sequence[Overlap]
    dropped: Indices
    seconds: float
    sizes: Mapping[Size, Part] = field(default_factory=dict)
    adapted: Part | None = None
    source_free: bool = False
    adapted_sizes: Mapping[Size, Part] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what split.json holds: which images each part has, and what was skipped."""
        parts = {"train": None if self.source_free else self.training, "validation": None, "test": None, **self.evaluated.parts}
        known = {"overlap": overlap.record(self.overlaps), "dropped": self.dropped.tolist()}
        positions = {name: _positions(each) for name, each in parts.items()}
        if self.evaluated.target is not None:
            target = self.evaluated.target
            if target.name == unlabelled.NAME:
                positions[overlap.UNLABELLED] = _positions(target.part)
            else:
                positions[overlap.TARGET] = _target_positions(target)
        return {"format": FORMAT, "skipped": self.skipped, **known, **positions}


def decode_job(job: Job, library: Library, images: Images, observer: Observer, *, ranks: Ranks = ALONE) -> Decoded:
    """Choose a job's images, decode them, and count them.

    Args:
        job: One run.
        library: Decoded pictures of `images`.
        images: The data set.
        observer: Receives the progress of decoding.
        ranks: The processes of the run; each decodes a part of the images into the store.

    Raises:
        DataError: an image cannot be decoded, unless the recipe says to skip such; or a part or a class has no image left.
        TlkitError: early stopping has no validation images to watch.
    """
    began = time.perf_counter()
    chosen = select(job.resolved, images, seed=job.seed, fold=job.fold)
    others = {name: _other(job, name, images) for name in job.also}
    more = _more(job)
    if job.resolved.source_free:
        del chosen["train"]
    tested = [other.images.splits[part.split] for other in others.values() for part in (other.test, other.target) if part]
    resolved = canvas.settled(job.resolved, [*images.splits.values(), *tested], classes=len(images.classes))
    job = replace(job, resolved=resolved)
    reader = _Reader(resolved, observer, ranks, classes=len(images.classes))
    can = overlap.droppable(chosen["validation"].split if "validation" in chosen else None)
    if resolved.arm.data.on_overlap == "error":  # before minutes of decoding
        overlap.refuse(dataset_facts.file_overlaps(images, chosen, others, more), droppable=can)
    geometry = training_geometry.of_evaluation(resolved)
    parts = {name: reader.own(name, selected, library, images, geometry) for name, selected in chosen.items()}
    also = {name: reader.also(name, other, library, geometry) for name, other in others.items()}
    target, compared = reader.target(others, library, geometry)
    learned = {} if compared is None else {overlap.TARGET: compared}
    if more is not None:
        target = reader.unlabelled(more, library, geometry)
        learned[overlap.UNLABELLED] = target.part
    overlaps, dropped = overlapping_images.leave_out_(
        parts, also, learned, droppable=can, on_overlap=resolved.arm.data.on_overlap
    )
    if len(dropped) and "train" in parts:
        _refuse_lost_class(images, chosen["train"].indices, parts["train"], [overlap.dropped(len(dropped))])
    for name in dataset_facts.low_resolution(resolved.arm, parts):  # of the images of "test", so they overlap as those do
        smaller = replace(geometry, shrink=resolved.arm.also[name].shrink)
        also[name] = reader.part(library.pictures(chosen["test"].split, smaller), parts["test"].indices)
    evaluated = Evaluated(parts.get("validation"), parts.get("test"), also, target)
    _note_unused(job, library, reader.skipped)
    _refuse_unwatched(resolved, evaluated)
    facts = _counted(job, images, chosen, parts, evaluated)
    training = parts["train"] if "train" in parts else _without_source(resolved, reader.adapted)
    same = overlapping_images.warnings(job, evaluated, overlaps, dropped, droppable=can)
    for line in same:
        library.note(line)
    facts = replace(facts, warnings=(*facts.warnings, *other_parts.warnings(resolved, others), *same))
    resized = reader.sizes(chosen["train"].split, training, library, images) if "train" in parts else reader.adapted_sizes
    return Decoded(
        resolved,
        training,
        evaluated,
        facts,
        reader.skipped,
        overlaps,
        dropped,
        time.perf_counter() - began,
        resized,
        reader.adapted,
        resolved.source_free,
        reader.adapted_sizes,
    )


def pictures_bytes(resolved: Resolved, facts: DataFacts) -> int:
    """Return the bytes that the decoded pictures of a run take in the store, at most: arrays of the right size are not kept there."""
    images = facts.images
    sizes = {size for _, size in arm_checks.sizes(resolved.arm, resolved.backbone.image_size)}
    training = sum(training_geometry.of_originals(replace(resolved, image_size=size), facts.originals).bytes for size in sizes)
    evaluation = training_geometry.of_evaluation(resolved)
    return images.train * training + images.held_out * evaluation.bytes


class _Reader:
    """Decodes one part after the other as an arm says, and collects what is skipped.

    Args:
        resolved: The arm.
        observer: Receives the progress of decoding.
        ranks: The processes of the run.
        classes: Number of classes.
    """

    def __init__(self, resolved: Resolved, observer: Observer, ranks: Ranks, *, classes: int) -> None:
        self._classes = classes
        self.skipped: list[str] = []
        self._ranks = ranks
        self.adapted: Part | None = None  # images of the target as a training step takes them
        self.adapted_sizes: dict[Size, Part] = {}  # the same in the other sizes that phases have
        self._resolved = resolved
        self._task = tasks.get(resolved.head.task)
        self._observer = observer

    def part(self, pictures: Pictures, indices: Indices) -> Part:
        """Decode images of a split; return those that can be decoded."""
        remaining, masks = self._decodable(pictures, indices), None
        if self._task.targets.masks:
            masks = Masks(pictures, classes=self._classes, ignore=self._resolved.arm.data.ignore)
            remaining = self._decodable(masks, remaining)
        return Part(pictures, remaining, self._resolved.convention, self._task, masks)

    def _decodable(self, pictures: Pictures, indices: Indices) -> Indices:
        """Decode images, or masks, and return the positions of those that can be."""
        on_corrupt = self._resolved.arm.data.on_corrupt
        self._fill(pictures, indices)
        remaining, skipped = data.decodable(pictures, indices, on_corrupt=on_corrupt, progress=self._observer.decoding)
        self.skipped = list(dict.fromkeys([*self.skipped, *skipped]))  # an image may be of several parts
        return remaining

    def own(self, name: str, selected: Selected, library: Library, images: Images, geometry: Geometry) -> Part:
        """Decode the training, validation or test images; `geometry` is of those that are evaluated."""
        if name == "train":
            geometry = training_geometry.of_split(self._resolved, images.splits[selected.split])
        part = self.part(library.pictures(selected.split, geometry), selected.indices)
        if name == "train":
            _refuse_lost_class(images, selected.indices, part, self.skipped)
            _refuse_one_class(images, part)
        elif not len(part.indices):
            raise DataError(f"data: no {name} image can be decoded.", "mend them, or take that split away")
        return part

    def _fill(self, pictures: Pictures, indices: Indices) -> None:
        """Decode images into the store, with several processes each its part; what cannot be decoded is told later."""
        if self._ranks.size > 1:
            for mine in turns(self._ranks):
                pictures.prepare(mine(indices), progress=self._observer.decoding)

    def sizes(self, split: str, training: Part, library: Library, images: Images) -> dict[Size, Part]:
        """Decode the training images in the other sizes that phases have."""
        if self._resolved.canvas is not None:
            return {}
        of = images.splits[split]
        return self._in_other_sizes(training, lambda as_trained: library.pictures(split, as_trained), of)

    def _in_other_sizes(self, part: Part, pictures: Callable[[Geometry], Pictures], split: Split) -> dict[Size, Part]:
        """Decode a part's images in the sizes that are not the last phase's; every one of them can be decoded.

        Args:
            part: The images in the last size.
            pictures: Of their split, at a geometry.
            split: It.
        """
        found: dict[Size, Part] = {}
        for _, size in arm_checks.sizes(self._resolved.arm, self._resolved.backbone.image_size):
            if size != self._resolved.image_size and size not in found:
                resized = replace(self._resolved, image_size=size)
                again = pictures(training_geometry.of_split(resized, split))
                self._fill(again, part.indices)
                again.prepare(part.indices, progress=self._observer.decoding)
                found[size] = replace(part, pictures=again)
        return found

    def also(self, name: str, other: OtherParts, library: Library, geometry: Geometry) -> Part:
        """Decode another data set that is evaluated."""
        wanted, targets = self._task.targets, other.images.splits[other.test.split].targets
        if not wanted.holds(targets):
            words = tasks.understanding(targets)[0].targets.words
            raise DataError(f"also.{name}: has {words}; the images that are trained on have {wanted.words}.")
        part = self._of_other(name, other, other.test, library, geometry)
        if not len(part.indices):
            raise DataError(f"also.{name}: no image of it can be decoded.", "mend them, or leave it out")
        return part

    def target(
        self, others: Mapping[str, OtherParts], library: Library, geometry: Geometry
    ) -> tuple[TargetPart | None, Part | None]:
        """Decode the images that are adapted to; also those of them that may not be tested. None where there are none."""
        for name, other in others.items():
            if other.target is None or other.labelled is None:
                continue
            found = self._resolved.adaptation
            if (
                found is not None and found.in_steps and self._resolved.learns == "steps"
            ):  # as training images are brought to size
                split = other.images.splits[other.target.split]
                in_steps = Selected(other.target.split, other.labelled) if other.scores_alone else other.target
                as_trained = training_geometry.of_split(self._resolved, split)
                self.adapted = adapted = self._of_other(name, other, in_steps, library, as_trained)
                self.adapted_sizes = self._in_other_sizes(
                    adapted, partial(self._pictures, name, other, in_steps, library), split
                )
            part = self._of_other(name, other, other.target, library, geometry)
            labelled = np.flatnonzero(np.isin(part.indices, other.labelled))
            learned = other.learned_from
            compared = None
            if learned is not None:
                compared = replace(part, indices=np.intersect1d(part.indices, learned.indices))
            return TargetPart(name, part, labelled), compared
        return None, None

    def unlabelled(self, images: Images, library: Library, geometry: Geometry) -> TargetPart:
        """Decode images without labels: as those that are evaluated, and where steps are taken as training images too."""
        source = self._resolved.unlabelled
        assert source is not None  # they are its images
        split, theirs = images.splits[other_parts.ALL], library.other(images)
        every = np.arange(len(split.targets))
        if self._resolved.learns == "steps":

            def pictures(geometry: Geometry) -> Pictures:
                return theirs.pictures(other_parts.ALL, _with_white(geometry, source))

            self.adapted = self.part(pictures(training_geometry.of_split(self._resolved, split)), every)
            self.adapted_sizes = self._in_other_sizes(self.adapted, pictures, split)
        part = self.part(theirs.pictures(other_parts.ALL, _with_white(geometry, source)), every)
        if not len(part.indices):
            raise DataError(f"{unlabelled.NAME}: no image of it can be decoded.", "mend them, or leave it out")
        return TargetPart(unlabelled.NAME, part, every[:0])

    def _of_other(self, name: str, other: OtherParts, chosen: Selected, library: Library, geometry: Geometry) -> Part:
        """Decode some images of another data set."""
        return self.part(self._pictures(name, other, chosen, library, geometry), chosen.indices)

    def _pictures(self, name: str, other: OtherParts, chosen: Selected, library: Library, geometry: Geometry) -> Pictures:
        """Return the pictures of a split of another data set, which may be in low resolution."""
        theirs = _with_white(geometry, self._resolved.also[name])
        theirs = replace(theirs, shrink=self._resolved.arm.also[name].shrink)
        return library.other(other.images).pictures(chosen.split, theirs)


def _with_white(geometry: Geometry, source: Source) -> Geometry:
    """Return how a data set's pictures are made: with the value of white that its options name."""
    if geometry.bands is not None:
        return geometry
    return replace(geometry, white=levels.given({} if source.options is None else dict(source.options)))


def _more(job: Job) -> Images | None:
    """Read the images of data.unlabelled; None without."""
    source = job.resolved.unlabelled
    if source is None or job.unlabelled is None:
        return None
    return dataset_images.unlabelled_images(source, job.unlabelled)


def _other(job: Job, name: str, images: Images) -> OtherParts:
    """Read another data set, and choose its images."""
    resolved = job.resolved
    other = other_parts.choose(
        resolved, name, dataset_images.other_images(resolved, name, job.also[name], images.classes), seed=job.seed
    )
    other_parts.refuse_same(resolved, name, images, other, read=True)
    return other


def _without_source(resolved: Resolved, adapted: Part | None) -> Part:
    """Return the images of the target that are trained on in the place of the source's."""
    table = resolved.arm.adapt
    if adapted is None or not len(adapted.indices):
        name = "the target" if table is None else table.target
        raise DataError(f"adapt.target: {name} has no image to train on.", 'adapt.images = "all"')
    return adapted


def _note_unused(job: Job, library: Library, skipped: Sequence[str]) -> None:
    """Tell of images that cannot be decoded, and of files that no part has."""
    if skipped:
        count = len(skipped)
        library.note(
            f"{units.images(count)} cannot be decoded and {'is' if count == 1 else 'are'} left out; split.json names them"
        )
    for line in dataset_facts.unused(job.found):
        library.note(line)


def _refuse_unwatched(resolved: Resolved, evaluated: Evaluated) -> None:
    """Refuse early stopping where there are no validation images."""
    if resolved.arm.early_stopping is not None and evaluated.validation is None:
        raise TlkitError(
            "early_stopping: there are no validation images to watch.",
            "a larger data.split.validation, or fewer training images",
        )


def _counted(
    job: Job, images: Images, chosen: Mapping[str, Selected], parts: Mapping[str, Part], evaluated: Evaluated
) -> DataFacts:
    """Count the images that are used, all of which can be decoded."""
    target = evaluated.target
    return dataset_facts.count(
        job.resolved, images, {name: Selected(chosen[name].split, part.indices) for name, part in parts.items()},
        also={name: len(part.indices) for name, part in evaluated.also.items()}, found=job.found, fold=job.fold,
        target=len(target.part.indices) if target is not None else 0,
        labelled=len(target.labelled) if target is not None else 0,
    )  # fmt: skip


def _refuse_lost_class(images: Images, chosen: Indices, training: Part, skipped: Sequence[str]) -> None:
    """Refuse training images of which a whole class cannot be decoded."""
    strata, names = training.task.targets.strata(images.splits["train"].targets, images.classes)
    lost = np.setdiff1d(strata[chosen], strata[training.indices]).tolist()
    if lost:
        shown = ", ".join(names[stratum] for stratum in lost)
        raise DataError(f"data: no training image of class {shown} is left.", skipped[0], "mend them, or take the class out")


def _refuse_one_class(images: Images, training: Part) -> None:
    """Refuse training masks all of which are of one class everywhere; masks are read until there are two."""
    masks, indices = training.masks, training.indices
    first: int | None = None
    for start in range(0, len(indices) if masks is not None else 0, _MASKS):
        assert masks is not None
        there = [number for number in torch.unique(masks.of(indices[start : start + _MASKS])).tolist() if number != IGNORED]
        first = there[0] if first is None and there else first
        if any(number != first for number in there):
            return
    if masks is not None and len(indices):
        path = training.pictures.split.targets[indices[0]].path
        said = "ignored" if first is None else images.classes[first]
        raise DataError(
            f"{path}: is {said} everywhere, and so is every other training mask.",
            "masks show at least two classes; a class may have another value than the data set takes it for",
        )


def _target_positions(target: TargetPart) -> dict[str, Any]:
    """Return the positions of the images that are adapted to, and of those whose labels are used."""
    record = {"target": target.name, **_positions(target.part), "labelled": target.part.indices[target.labelled].tolist()}
    files = target.part.pictures.split.files
    return record | ({"labelled_files": [str(files[index]) for index in record["labelled"]]} if files else {})


def _positions(part: Part | None) -> dict[str, Any]:
    """Return the positions of a part's images in the data set, and their files."""
    if part is None:
        return {"count": 0}
    split = part.pictures.split
    record: dict[str, Any] = {"count": len(part.indices), "positions": part.indices.tolist()}
    if split.files:
        record["files"] = [str(split.files[index]) for index in part.indices]
    return record
