"""Decode the images of one part after the other: training, held-out and target images, other data sets, and images without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from tlkit import tasks
from tlkit.engine.images import corrupt, levels
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.library import Library
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.parts import Part, TargetPart
from tlkit.engine.images.pictures import Indices, Pictures
from tlkit.engine.ranks.ranks import turns
from tlkit.engine.runtime import Runtime
from tlkit.errors import DataError
from tlkit.plans import arm_checks, other_parts, unlabelled
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.other_parts import OtherParts
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import IGNORED, Images, Split
from tlkit.run import training_geometry
from tlkit.units import Size

_MASKS = 16  # that are read at a time to see which classes there are


class PartReader:
    """Decodes one part after the other as an arm says, and collects what is skipped.

    Args:
        resolved: The arm.
        library: Pictures of its data set.
        runtime: Where they are decoded; each of several processes decodes a part of the images into the store.

    Attributes:
        geometry: How pictures that are evaluated are brought to size.
    """

    def __init__(self, resolved: Resolved, library: Library, runtime: Runtime) -> None:
        self.geometry = training_geometry.of_evaluation(resolved)
        self.skipped: list[str] = []
        self._library, self._images = library, library.images
        self._ranks = runtime.ranks
        self.adapted: Part | None = None  # images of the target as a training step takes them
        self.adapted_sizes: dict[Size, Part] = {}  # the same in the other sizes that phases have
        self._resolved = resolved
        self._task = tasks.get(resolved.head.task)
        self._progress = runtime.observer.decoding

    def part(self, pictures: Pictures, indices: Indices) -> Part:
        """Decode images of a split; return those that can be decoded."""
        remaining, masks = self._decodable(pictures, indices), None
        if self._task.targets.masks:
            masks = Masks(pictures, classes=len(self._images.classes), ignore=self._resolved.arm.data.ignore)
            remaining = self._decodable(masks, remaining)
        return Part(pictures, remaining, self._resolved.convention, self._task, masks)

    def _decodable(self, pictures: Pictures, indices: Indices) -> Indices:
        """Decode images, or masks, and return the positions of those that can be."""
        on_corrupt = self._resolved.arm.data.on_corrupt
        self._fill(pictures, indices)
        remaining, skipped = corrupt.decodable(pictures, indices, on_corrupt=on_corrupt, progress=self._progress)
        self.skipped = list(dict.fromkeys([*self.skipped, *skipped]))  # an image may be of several parts
        return remaining

    def own(self, name: str, selected: Selected) -> Part:
        """Decode the training, validation or test images."""
        geometry = self.geometry
        if name == "train":
            geometry = training_geometry.of_split(self._resolved, self._images.splits[selected.split])
        part = self.part(self._library.pictures(selected.split, geometry), selected.indices)
        if name == "train":
            refuse_lost_class(self._images, selected.indices, part, self.skipped)
            _refuse_one_class(self._images, part)
        elif not len(part.indices):
            raise DataError(f"data: no {name} image can be decoded.", "mend them, or take that split away")
        return part

    def _fill(self, pictures: Pictures, indices: Indices) -> None:
        """Decode images into the store, with several processes each its part; what cannot be decoded is told later."""
        if self._ranks.size > 1:
            for mine in turns(self._ranks):
                pictures.prepare(mine(indices), progress=self._progress)

    def sizes(self, split: str, training: Part) -> dict[Size, Part]:
        """Decode the training images in the other sizes that phases have."""
        if self._resolved.canvas is not None:
            return {}
        return self._in_other_sizes(training, partial(self._library.pictures, split), self._images.splits[split])

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
                again.prepare(part.indices, progress=self._progress)
                found[size] = replace(part, pictures=again)
        return found

    def also(self, name: str, other: OtherParts) -> Part:
        """Decode another data set that is evaluated."""
        part = self._of_other(name, other, other.test, self.geometry)
        if not len(part.indices):
            raise DataError(f"also.{name}: no image of it can be decoded.", "mend them, or leave it out")
        return part

    def target(self, others: Mapping[str, OtherParts]) -> tuple[TargetPart | None, Part | None]:
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
                self.adapted = adapted = self._of_other(name, other, in_steps, as_trained)
                self.adapted_sizes = self._in_other_sizes(adapted, partial(self._pictures, name, other, in_steps), split)
            part = self._of_other(name, other, other.target, self.geometry)
            labelled = np.flatnonzero(np.isin(part.indices, other.labelled))
            learned = other.learned_from
            compared = None
            if learned is not None:
                compared = replace(part, indices=np.intersect1d(part.indices, learned.indices))
            return TargetPart(name, part, labelled), compared
        return None, None

    def unlabelled(self, images: Images) -> TargetPart:
        """Decode images without labels: as those that are evaluated, and where steps are taken as training images too."""
        source = self._resolved.unlabelled
        assert source is not None  # they are its images
        split, theirs = images.splits[other_parts.ALL], self._library.other(images)
        every = np.arange(len(split.targets))

        def pictures(geometry: Geometry) -> Pictures:
            return theirs.pictures(other_parts.ALL, _with_white(geometry, source))

        if self._resolved.learns == "steps":
            self.adapted = self.part(pictures(training_geometry.of_split(self._resolved, split)), every)
            self.adapted_sizes = self._in_other_sizes(self.adapted, pictures, split)
        part = self.part(pictures(self.geometry), every)
        if not len(part.indices):
            raise DataError(f"{unlabelled.NAME}: no image of it can be decoded.", "mend them, or leave it out")
        return TargetPart(unlabelled.NAME, part, every[:0])

    def _of_other(self, name: str, other: OtherParts, chosen: Selected, geometry: Geometry) -> Part:
        """Decode some images of another data set."""
        return self.part(self._pictures(name, other, chosen, geometry), chosen.indices)

    def _pictures(self, name: str, other: OtherParts, chosen: Selected, geometry: Geometry) -> Pictures:
        """Return the pictures of a split of another data set, which may be in low resolution."""
        theirs = _with_white(geometry, self._resolved.also[name])
        theirs = replace(theirs, shrink=self._resolved.arm.also[name].shrink)
        return self._library.other(other.images).pictures(chosen.split, theirs)


def refuse_lost_class(images: Images, chosen: Indices, training: Part, skipped: Sequence[str]) -> None:
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


def _with_white(geometry: Geometry, source: Source) -> Geometry:
    """Return how a data set's pictures are made: with the value of white that its options name."""
    if geometry.bands is not None:
        return geometry
    return replace(geometry, white=levels.given({} if source.options is None else dict(source.options)))
