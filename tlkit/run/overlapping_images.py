"""Images that two parts of a job have in common: found once they are decoded, and left out, refused or told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tlkit.engine.images.parts import ALSO, Evaluated, Part
from tlkit.engine.images.pictures import Indices
from tlkit.errors import DataError
from tlkit.plans import overlap, seen_images
from tlkit.plans.jobs import Job
from tlkit.plans.overlap import Content, OnOverlap, Overlap
from tlkit.plugin.members import Subset


def leave_out_(
    parts: dict[str, Part],
    also: Mapping[str, Part],
    learned: Mapping[str, Part],
    *,
    droppable: Sequence[str],
    on_overlap: OnOverlap,
) -> tuple[tuple[Overlap, ...], Indices]:
    """Compare the parts, and leave images that are evaluated out of others where that is asked for.

    Args:
        parts: "train", "validation" and "test", where there are such; the first two may lose images.
        also: Other images that are evaluated.
        learned: Images without labels that are learned from and not evaluated: "adapt" of the target, "unlabelled".
        droppable: Those of "train" and "validation" that may lose images.
        on_overlap: As in the recipe.

    Returns:
        The overlaps that there were, and the positions of images that were left out.

    Raises:
        DataError: there is an overlap, and `on_overlap` is "error"; or no validation image is left.
    """
    every = {**parts, **{f"{ALSO}{name}": part for name, part in also.items()}}
    contents = {name: _content(part) for name, part in every.items()}
    overlaps = overlap.find(contents | {name: _content(part) for name, part in learned.items()})
    if on_overlap == "error":
        overlap.refuse(overlaps, droppable=droppable)
    dropped = [np.array([], np.int64)]
    for first in [each for each in droppable if each in parts] if on_overlap == "drop" else ():
        later = [contents[name] for name in every if name != "train" and name != first]
        drop = np.zeros(len(parts[first].indices), bool)
        for content in later:
            drop |= overlap.among(contents[first].keys, content.keys)
        dropped.append(parts[first].indices[drop])
        parts[first] = replace(parts[first], indices=parts[first].indices[~drop])
        if not len(parts[first].indices) and first != "train":
            raise DataError(f"data: no {first} image is left.", overlap.dropped(int(drop.sum())))
    return overlaps, np.sort(np.concatenate(dropped))


def warnings(
    job: Job, evaluated: Evaluated, overlaps: Sequence[Overlap], dropped: Indices, *, droppable: Sequence[str]
) -> tuple[str, ...]:
    """Return a line for each overlap that is left, for what was left out, and for evaluated images that the weights were trained on.

    Args:
        job: The run.
        evaluated: The images that are evaluated.
        overlaps: As `leave_out_` returned them.
        dropped: Likewise.
        droppable: As for `leave_out_`.
    """
    arm = job.resolved.arm
    on_overlap = arm.data.on_overlap
    lines = overlap.warnings(overlaps, droppable=droppable, drop=on_overlap == "drop")
    lines = (*lines, overlap.dropped(len(dropped))) if len(dropped) else lines
    files = {name: _files(part) for name, part in evaluated.parts.items()}
    return (*lines, *seen_images.warnings(arm.backbone.weights, job.weights, files, on_overlap=on_overlap))


def _content(part: Part) -> Content:
    """Return what a part's images are compared by: their decoded pixels, and their files' bytes."""
    decoded = part.pictures.originals(part.indices)["digest"]
    return Content((decoded, part.pictures.keys(part.indices)), _files(part), len(part.indices))


def _files(part: Part) -> Subset:
    """Return the files of a part's images, none of arrays."""
    return Subset(part.pictures.split.files, part.indices)
