"""Make batches of normalised tensors from a split's images; their order and augmentation depend on seed and epoch alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.maps import maps_of, scaled_by
from tlkit.engine.augment.masks import augment_masks
from tlkit.engine.augment.mix import Mixing, mix, mix_targets, mixing
from tlkit.engine.augment.windows import Shapes
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.normalisation import normalise
from tlkit.engine.images.pictures import Indices, Pictures
from tlkit.plugin import Convention
from tlkit.recipe.augmentations import Augmentation
from tlkit.tasks import Task
from tlkit.tasks.single_label import SINGLE_LABEL
from tlkit.tasks.task import Rows
from tlkit.units import Size

ALSO = "also."  # before the name of another data set's images
_REPEATED = 1 << 32  # before the epoch in the key of the draws of `TrainingPart.repeated`


@dataclass(frozen=True)
class Part:
    """Some images of a split as input of the network.

    Attributes:
        pictures: The split.
        indices: Positions of the images in it, ascending.
        convention: How pixels are handed to the network.
        task: Understands their targets.
        masks: The masks of the images, where these are the targets; else None.
    """

    pictures: Pictures
    indices: Indices
    convention: Convention
    task: Task = SINGLE_LABEL
    masks: Masks | None = None

    def inputs(self, chosen: Indices, epoch: int, device: torch.device) -> Tensor:
        """Return (n, channels, H, W) float32, the same in every epoch."""
        return normalise(self.pictures.get(chosen, device), self.convention)

    def targets(self, chosen: Indices, epoch: int, device: torch.device) -> Tensor:
        """Return the targets (n, ...) as the task's loss takes them."""
        if self.masks is not None:
            return self.masks.of(chosen).to(device)
        found, move = self.task.targets.batch(self.known[chosen]), self.task.targets.move
        return (found if move is None else move(found, *self._moves(chosen, epoch))).to(device)

    @property
    def places(self) -> bool:
        """Whether targets say where something is in a picture: they are made on the CPU, whatever the device."""
        return self.task.targets.whole

    def _moves(self, chosen: Indices, epoch: int) -> tuple[Tensor, Size]:
        """Return where places in the pictures go (n, 2, 3), see `Targets.move`, and the size of the result."""
        geometry = self.pictures.geometry
        return scaled_by(geometry.scale, len(chosen)), geometry.size

    @property
    def known(self) -> Rows:
        """The targets of the split's images, (N, ...) by position in it."""
        return self.pictures.split.targets


@dataclass(frozen=True)
class TrainingPart(Part):
    """Training images: every epoch has its own order and its own random augmentation.

    Attributes:
        augment: Augmentations in the order in which they are applied.
        views: Number of fixed augmented views of each image; None where every epoch draws anew.
        size: Height and width of the network's input, pixels.
        seed: The run's seed.
        classes: Number of classes.
        epochs_before: Epochs that were trained before the run: order, draws and fixed views go on from there.
        others: The same images in other sizes, for phases that have them.
        soft: Targets are soft ones, though no image is mixed: in a batch they follow those of images that are.
        pseudo: Labels that stand for those of the split, (n,) by position in it; they are set anew at the beginning of each epoch. None for
            images that are trained on with their own labels.
        extents: Height and width (N, 2) of each picture of the split on its canvas, so that crops are taken from what it covers; None
            where pictures fill what they are cropped from.
    """

    augment: Sequence[Augmentation] = ()
    views: int | None = None
    size: Size = (0, 0)
    seed: int = 0
    classes: int = 0
    epochs_before: int = 0
    others: Mapping[Size, TrainingPart] = field(default_factory=dict)
    soft: bool = False
    pseudo: NDArray[np.int64] | None = None
    extents: Indices | None = None

    def at(self, size: Size | None) -> TrainingPart:
        """Return the images in one of their sizes; None is that of this part."""
        return self if size is None or size == self.size else self.others[size]

    def inputs(self, chosen: Indices, epoch: int, device: torch.device) -> Tensor:
        """Return images of an epoch, from 0, as (n, 3, H, W) float32; with mixup or cutmix, mixed with others."""
        drawn = self.draw_of(epoch)
        x = self._augmented(chosen, drawn, device)
        mixing = self.mixing(chosen, drawn)
        if mixing is None:
            return x
        return mix(x, self._augmented(mixing.partners, drawn, device), mixing)

    def targets(self, chosen: Indices, epoch: int, device: torch.device) -> Tensor:
        """Return targets as `Part` does; with mixup or cutmix, soft ones of both images, and soft ones where they are asked for."""
        if self.masks is not None:
            return self._augmented_masks(chosen, self.draw_of(epoch)).to(device)
        own = super().targets(chosen, epoch, device)
        mixing = self.mixing(chosen, self.draw_of(epoch))
        if mixing is None:
            return self.task.targets.mix(own, own, torch.ones(len(chosen), device=device), self.classes) if self.soft else own
        return mix_targets(own, super().targets(mixing.partners, epoch, device), mixing, self.classes, kind=self.task.targets)

    @property
    def known(self) -> Rows:
        """The targets of the split's images, (N, ...) by position in it; pseudo-labels where the images have such."""
        return super().known if self.pseudo is None else self.pseudo

    @property
    def erase_with(self) -> tuple[float, ...] | None:
        """Colour that random_erasing fills windows with: the mean of each band; None of colour pictures, which get noise."""
        return self.convention.mean_colour if self.convention.channels == "bands" else None

    def draw_of(self, epoch: int) -> int:
        """Return the number that an epoch's random draws begin with: the epoch, from 0, or one of the fixed views."""
        whole = self.epochs_before + epoch
        return whole if self.views is None else whole % self.views

    def order(self, epoch: int) -> Indices:
        """Return the images of an epoch, from 0, in the order in which they are used."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, self.epochs_before + epoch]))
        storage = self.pictures.split.storage
        return random.permutation(self.indices) if storage is None else storage.shuffled(self.indices, random)

    def repeated(self, epoch: int, count: int) -> Indices:
        """Return so many images for an epoch, from 0: every image once in a new order, and again, until they are enough.

        The orders are others than those of `order`.
        """
        draw = np.random.Generator(np.random.Philox(key=[self.seed, _REPEATED + self.epochs_before + epoch]))
        rounds = math.ceil(count / len(self.indices))
        return np.concatenate([draw.permutation(self.indices) for _ in range(rounds)])[:count]

    def shapes(self, chosen: Indices) -> Shapes | None:
        """Return width / height of images whose pictures hold them whole, squashed to one size; None of others."""
        if self.pictures.geometry.fit != "whole":
            return None
        originals = self.pictures.originals(chosen)
        return np.asarray(originals["width"] / originals["height"])

    def extents_of(self, chosen: Indices) -> Indices | None:
        """Return the height and width (n, 2) that pictures cover; None where they fill what they are cropped from."""
        return None if self.extents is None else self.extents[chosen]

    def _moves(self, chosen: Indices, epoch: int) -> tuple[Tensor, Size]:
        """Return where places go by the same draws as their pictures, and the size of the result."""
        scaled, held = super()._moves(chosen, epoch)
        draws = Draws(self.seed, self.draw_of(epoch), chosen)
        return maps_of(scaled, self.augment, draws, held=held, size=self.size, extents=self.extents_of(chosen)), self.size

    def _augmented_masks(self, chosen: Indices, drawn: int) -> Tensor:
        """Return masks (n, H, W) uint8 with the same draws as their pictures."""
        assert self.masks is not None
        draws = Draws(self.seed, drawn, chosen)
        return augment_masks(self.masks.of(chosen), self.augment, draws, size=self.size, extents=self.extents_of(chosen))

    def _augmented(self, chosen: Indices, drawn: int, device: torch.device) -> Tensor:
        pictures = self.pictures.get(chosen, device)
        return normalise(
            augment(
                pictures,
                self.augment,
                size=self.size,
                fill=self.convention.mean_colour,
                erase_with=self.erase_with,
                seed=self.seed,
                epoch=drawn,
                images=chosen,
                shapes=self.shapes(chosen),
                extents=self.extents_of(chosen),
            ),
            self.convention,
        )

    def mixing(self, chosen: Indices, drawn: int) -> Mixing | None:
        """Return how images are mixed; None where nothing mixes. `drawn` is from `draw_of`."""
        return mixing(self.augment, seed=self.seed, epoch=drawn, images=chosen, among=self.indices, size=self.size)


@dataclass(frozen=True)
class TargetPart:
    """Images of the target of [adapt]. Their labels are not used, except those of `labelled`.

    Attributes:
        name: The target's name in [also].
        part: The images.
        labelled: Those whose labels are used, as positions in `part.indices`, ascending.
        training: Those that are used without labels, as a training step takes them; None where no step does.
        second: The same in their second view; None where there is none.
        trained: The labelled ones, as a training step takes them; None where no step does.
    """

    name: str
    part: Part
    labelled: Indices
    training: TrainingPart | None = None
    second: TrainingPart | None = None
    trained: TrainingPart | None = None

    def labelled_of(self, images: int) -> int:
        """Return how many labelled images are beside so many of the source in a step: as many, or all that there are."""
        return 0 if self.trained is None else min(images, len(self.trained.indices))

    def at(self, size: Size | None) -> TargetPart:
        """Return it with the images of steps in one of their sizes; None is that of the parts."""
        training, second, trained = (
            None if each is None else each.at(size) for each in (self.training, self.second, self.trained)
        )
        return replace(self, training=training, second=second, trained=trained)

    def labels(self) -> NDArray[np.int64]:
        """Return the labels (n,) of the labelled images."""
        found: NDArray[np.int64] = self.part.pictures.split.targets[self.part.indices[self.labelled]]
        return found


@dataclass(frozen=True)
class Evaluated:
    """The images of one run that it is not trained on by their labels: those that are evaluated, and the target of [adapt].

    Attributes:
        validation: None where the data set has no validation images.
        test: None where the data set has no test images.
        also: Images of other data sets, by the recipe's name for them.
        target: Images that the run adapts to; None without [adapt]. They are no part that is evaluated.
    """

    validation: Part | None
    test: Part | None
    also: Mapping[str, Part] = field(default_factory=dict)
    target: TargetPart | None = None

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that there are, by name: "validation", "test", and "also.NAME"."""
        own = {"validation": self.validation, "test": self.test}
        others = {f"{ALSO}{name}": part for name, part in self.also.items()}
        return {name: part for name, part in own.items() if part is not None} | others

    @property
    def fed(self) -> list[Part]:
        """Every part that passes the network as it is, without augmentation."""
        return [*self.parts.values(), *([self.target.part] if self.target is not None else [])]
