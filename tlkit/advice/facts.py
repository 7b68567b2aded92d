"""The images that advice is asked for, and what is known of them before any is opened. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tlkit import tasks
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolved import Resolved
from tlkit.plugin import DataFiles, Images
from tlkit.recipe.recipe import Arm, Recipe
from tlkit.sources.places import Places
from tlkit.tasks import Task


@dataclass(frozen=True)
class Source:
    """The images that advice is asked for.

    Attributes:
        name: The folder or recipe as the user names it.
        recipe: As read; of a folder the one that `tlkit init` proposes.
        arm: Of it: the first one with trained weights.
        resolved: The same arm with its plugins.
        places: Where to look for images and weights.
        folder: The images' folder; None where the source is a recipe.
    """

    name: str
    recipe: Recipe
    arm: Arm
    resolved: Resolved
    places: Places
    folder: Path | None


@dataclass(frozen=True)
class Facts:
    """The images, found and divided.

    Attributes:
        source: What advice is asked for.
        images: The data set.
        parts: Its parts; test images are among them by name alone.
        found: Its files.
    """

    source: Source
    images: Images
    parts: Mapping[str, Selected]
    found: DataFiles

    @property
    def train(self) -> int:
        """Number of training images."""
        return len(self.parts["train"].indices)

    @property
    def task(self) -> Task:
        """The most general task that learns from such targets."""
        return tasks.understanding(self.images.splits["train"].targets)[0]

    @property
    def single(self) -> bool:
        """Whether each image has one class."""
        return self.task.targets.one_class

    @property
    def counts(self) -> list[int]:
        """Training images of each class."""
        targets = self.images.splits["train"].targets[self.parts["train"].indices]
        return [int(each) for each in self.task.targets.count(targets, len(self.images.classes))]
