"""How large a trial of a way to train is: its images and epochs, and the seconds that this is expected to take. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlkit.advice.arms import Way
from tlkit.plugin import Images

HELD_OUT = (
    0.3  # of the training images, that judge trials where the data set has no validation images: more than a run would spare
)
_EPOCHS = 6  # of a trial, at least; more where these are few steps, but no more than a whole run has
_STEPS = 100  # that a new head and a network need to get somewhere
STEP = 3.0  # a training step, in forward passes
OVERHEAD = 5.0  # seconds of a trial beside its images
_BATCH = 32  # images of a step, where the recipe leaves that to tlkit


@dataclass(frozen=True)
class TrialSizes:
    """The sizes of trials of one data set.

    Attributes:
        images: The data set, without test images.
        train: Training images of the whole run.
        epochs: Of the whole run, where it takes steps.
        own: The data set has validation images of its own.
        forward: Seconds of a forward pass of one image, of each network by its name in a way; "" is the first one.
    """

    images: Images
    train: int
    epochs: int
    own: bool
    forward: Mapping[str, float]

    def count(self, part: float) -> int:
        """Return the training images of a trial that has a part of those of the whole run."""
        held_out = 0.0 if self.own else HELD_OUT
        return max(round((1 - held_out) * part * self.train), 2 * len(self.images.classes))

    def split(self, count: int) -> dict[str, Any]:
        """Return data.split of a trial with so many training images."""
        return {"train": count} if self.own else {"train": count, "validation": HELD_OUT}

    def epochs_of(self, way: Way, count: int) -> int:
        """Return the epochs of a trial."""
        steps = max(count // self.batch(way), 1)
        return min(self.epochs, max(_EPOCHS, math.ceil(_STEPS / steps)))

    def passes(self, way: Way, count: int, epochs: int) -> float:
        """Return about how many forward passes of one image a trial takes."""
        splits = self.images.splits
        judged = len(splits["validation"].targets) if self.own else HELD_OUT * len(splits["train"].targets)
        return count + judged if way.solved else epochs * (STEP * count + judged)

    def seconds(self, way: Way, count: int) -> float:
        """Return the seconds that a trial is expected to take, before another one is known."""
        return OVERHEAD + self.passes(way, count, self.epochs_of(way, count)) * self.forward_of(way)

    def forward_of(self, way: Way) -> float:
        """Return the seconds of a forward pass of one image."""
        return self.forward.get(way.network, self.forward[""])

    def batch(self, way: Way) -> int:
        """Return the images of a step."""
        size = way.tables["data"].get("batch_size", _BATCH)
        return size if isinstance(size, int) else _BATCH
