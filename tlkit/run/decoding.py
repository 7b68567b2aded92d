"""Decode a job's images, part by part, and leave out or refuse those that cannot be decoded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tlkit import units
from tlkit.compiler import canvas
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Evaluated, Part, TargetPart
from tlkit.engine.images.pictures import Indices
from tlkit.engine.runtime import Runtime
from tlkit.errors import DataError, TlkitError
from tlkit.plans import arm_checks, dataset_facts, dataset_images, other_parts, overlap, target_copies, unlabelled
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.dataset_parts import Selected, select
from tlkit.plans.jobs import Job
from tlkit.plans.other_parts import OtherParts
from tlkit.plans.overlap import Overlap
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images
from tlkit.recipe.recipe import FORMAT
from tlkit.record.long_lists import LongList
from tlkit.run import overlapping_images, part_reader, training_geometry
from tlkit.run.part_reader import PartReader
from tlkit.units import Size


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
        """Return what split.json holds: which images each part has, in long lists, and what was skipped."""
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


def decode_job(job: Job, library: Library, runtime: Runtime) -> Decoded:
    """Choose a job's images, decode them, and count them.

    Args:
        job: One run.
        library: Pictures of its data set.
        runtime: Where they are decoded; each of several processes decodes a part of the images into the store.

    Raises:
        DataError: an image cannot be decoded, unless the recipe says to skip such; or a part or a class has no image left.
        TlkitError: early stopping has no validation images to watch.
    """
    began, images = time.perf_counter(), library.images
    chosen = select(job.resolved, images, seed=job.seed, fold=job.fold)
    others = {name: _other(job, name, images) for name in job.resolved.also}
    more = _more(job)
    if job.resolved.source_free:
        del chosen["train"]
    tested = [other.images.splits[part.split] for other in others.values() for part in (other.test, other.target) if part]
    resolved = canvas.settled(job.resolved, [*images.splits.values(), *tested], classes=len(images.classes))
    job = replace(job, resolved=resolved)
    reader = PartReader(resolved, library, runtime)
    can = overlap.droppable(chosen["validation"].split if "validation" in chosen else None)
    if resolved.arm.data.on_overlap == "error":  # before minutes of decoding
        overlap.refuse(dataset_facts.file_overlaps(images, chosen, others, more), droppable=can)
    parts = {name: reader.own(name, selected) for name, selected in chosen.items()}
    also = {name: reader.also(name, other) for name, other in others.items()}
    target, compared = reader.target(others)
    learned = {} if compared is None else {overlap.TARGET: compared}
    if more is not None:
        target = reader.unlabelled(more)
        learned[overlap.UNLABELLED] = target.part
    if target is not None:  # again, as images that cannot be decoded are left out
        other_parts.refuse_all_labelled(resolved, target.name, images=len(target.part.indices), labelled=len(target.labelled))
    overlaps, dropped = overlapping_images.leave_out_(
        parts, also, learned, droppable=can, on_overlap=resolved.arm.data.on_overlap
    )
    if len(dropped) and "train" in parts:
        part_reader.refuse_lost_class(images, chosen["train"].indices, parts["train"], [overlap.dropped(len(dropped))])
    for name in dataset_facts.low_resolution(resolved.arm, parts):  # of the images of "test", so they overlap as those do
        smaller = replace(reader.geometry, shrink=resolved.arm.also[name].shrink)
        also[name] = reader.part(library.pictures(chosen["test"].split, smaller), parts["test"].indices)
    evaluated = Evaluated(parts.get("validation"), parts.get("test"), also, target)
    _note_unused(library, reader.skipped, dataset_facts.said(job.found["data"], images, chosen))
    _refuse_unwatched(resolved, evaluated)
    facts = _counted(job, images, chosen, parts, evaluated)
    training = parts["train"] if "train" in parts else _without_source(resolved, reader.adapted)
    same = overlapping_images.warnings(job, evaluated, overlaps, dropped, droppable=can)
    for line in same:
        library.note(line)
    facts = replace(facts, warnings=(*facts.warnings, *other_parts.warnings(resolved, others), *same))
    resized = reader.sizes(chosen["train"].split, training) if "train" in parts else reader.adapted_sizes
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


def _more(job: Job) -> Images | None:
    """Read the images of data.unlabelled; None without."""
    source = job.resolved.unlabelled
    return None if source is None else dataset_images.unlabelled_images(source, job.found[unlabelled.NAME])


def _other(job: Job, name: str, images: Images) -> OtherParts:
    """Read another data set, and choose its images."""
    resolved = job.resolved
    other = other_parts.choose(
        resolved, name, dataset_images.other_images(resolved, name, job.found[f"also.{name}"], images.classes), seed=job.seed
    )
    target_copies.refuse(resolved, name, images, other.images)
    return other


def _without_source(resolved: Resolved, adapted: Part | None) -> Part:
    """Return the images of the target that are trained on in the place of the source's."""
    table = resolved.arm.adapt
    if adapted is None or not len(adapted.indices):
        name = "the target" if table is None else table.target
        raise DataError(f"adapt.target: {name} has no image to train on.", 'adapt.images = "all"')
    return adapted


def _note_unused(library: Library, skipped: Sequence[str], said: Sequence[str]) -> None:
    """Tell of images that cannot be decoded, and of what else is said of the files."""
    if skipped:
        count = len(skipped)
        library.note(
            f"{units.images(count)} cannot be decoded and {'is' if count == 1 else 'are'} left out; split.json names them"
        )
    for line in said:
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
        also={name: len(part.indices) for name, part in evaluated.also.items()}, found=job.found["data"], fold=job.fold,
        target=len(target.part.indices) if target is not None else 0,
        labelled=len(target.labelled) if target is not None else 0,
    )  # fmt: skip


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
    count, indices = len(part.indices), part.indices
    record: dict[str, Any] = {"count": count, "positions": LongList(count, lambda at: int(indices[at]))}
    if files := split.files:
        record["files"] = LongList(count, lambda at: str(files[indices[at]]))
    return record
