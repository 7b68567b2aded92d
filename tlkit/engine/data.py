"""Images of a split as batches of normalised tensors, in an order and with draws that depend on seed and epoch alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine import decode
from tlkit.engine.augment import augment
from tlkit.engine.decode import Geometry
from tlkit.engine.memory import free_memory
from tlkit.errors import DataError, ImageError
from tlkit.plugin import Convention, Images, Split

Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]  # images done, images in all
_CHUNK = 256  # images handed to the threads at a time; a signal waits for no more
_SHOWN = 5  # corrupt images that a message names


@dataclass
class Pictures:
    """One split at one geometry: decoded once into memory where there is room, else again at every use.

    Attributes:
        split: Files or pixels.
        geometry: Of every picture.
        share: Part of the free memory that may be filled.
    """

    split: Split
    geometry: Geometry
    share: float
    _sound: set[int] = field(default_factory=set)  # positions of images that can be decoded
    _held: dict[int, Tensor] = field(default_factory=dict)  # position -> picture; all, some or none of the sound ones

    def prepare(self, indices: Indices, *, progress: Progress) -> dict[int, ImageError]:
        """Decode every image that was not yet, in parallel; return those that cannot be."""
        wanted = [index for index in indices.tolist() if index not in self._sound]
        hold = len(wanted) * self.geometry.side**2 * 3 < self.share * free_memory(torch.device("cpu"))
        corrupt: dict[int, ImageError] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(wanted), _CHUNK):
                chunk = wanted[start : start + _CHUNK]
                for done, (index, outcome) in enumerate(zip(chunk, pool.map(self._try, chunk), strict=True), start + 1):
                    if isinstance(outcome, ImageError):
                        corrupt[index] = outcome
                    else:
                        self._keep(index, outcome, hold=hold)
                    progress(done, len(wanted))
        return corrupt

    def get(self, indices: Indices) -> Tensor:
        """Return (n, side, side, 3) uint8."""
        positions = indices.tolist()
        missing = [index for index in positions if index not in self._held]
        decoded: dict[int, Tensor] = {}
        if missing:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                decoded = dict(zip(missing, pool.map(self._one, missing), strict=True))
        return torch.stack([decoded[index] if index in decoded else self._held[index] for index in positions])

    def _keep(self, index: int, picture: Tensor, *, hold: bool) -> None:
        self._sound.add(index)
        if hold:
            self._held[index] = picture

    def _one(self, index: int) -> Tensor:
        source = self.split.files[index] if self.split.pixels is None else self.split.pixels[index]
        return torch.from_numpy(decode.fit(decode.picture(source), self.geometry).copy())

    def _try(self, index: int) -> Tensor | ImageError:
        try:
            return self._one(index)
        except ImageError as error:
            return error


@dataclass(frozen=True)
class Part:
    """Some images of a split, ready to be read in batches.

    Attributes:
        pictures: Their split.
        indices: Which of it, ascending.
        convention: How pixels reach the network.
    """

    pictures: Pictures
    indices: Indices
    convention: Convention

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (n, 3, side, side) float32 and labels (n,) int64 in order."""
        for start in range(0, len(self.indices), size):
            chosen = self.indices[start : start + size]
            yield normalise(self.pictures.get(chosen).to(device), self.convention), self.labels(chosen, device)

    def labels(self, chosen: Indices, device: torch.device) -> Tensor:
        """Return (n,) int64."""
        return torch.from_numpy(self.pictures.split.labels[chosen]).to(device)


@dataclass(frozen=True)
class TrainingPart(Part):
    """Training images: every epoch has its own order and draws.

    Attributes:
        augment: Names of the augmentations.
        side: Pixels of the network's input.
        seed: Of the run.
    """

    augment: Sequence[str] = ()
    side: int = 0
    seed: int = 0

    def batch(self, chosen: Indices, epoch: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return one batch of an epoch, from 0, as float32 and labels."""
        pictures = augment(self.pictures.get(chosen), self.augment, side=self.side, seed=self.seed, epoch=epoch, images=chosen)
        return normalise(pictures.to(device), self.convention), self.labels(chosen, device)

    def order(self, epoch: int) -> Indices:
        """Return the images of an epoch, from 0, in the order in which they are used."""
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.indices)


@dataclass(frozen=True)
class Evaluated:
    """The evaluation images of one run; None for a split that the data set has not."""

    validation: Part | None
    test: Part | None


def normalise(pictures: Tensor, convention: Convention) -> Tensor:
    """Turn pixels into what the weights want.

    Args:
        pictures: (n, H, W, 3) uint8 RGB.
        convention: Of the weights.

    Returns:
        (n, 3, H, W) float32, (v * range / 255 - mean) / std.
    """
    if convention.channels == "bgr":
        pictures = pictures.flip(3)
    x = pictures.permute(0, 3, 1, 2).contiguous().float()  # (n, 3, H, W)
    mean, std = (torch.tensor(values, device=x.device)[:, None, None] for values in (convention.mean, convention.std))
    return x.div_(255 / convention.range).sub_(mean).div_(std)


class Library:
    """The pictures of one data set, shared by every arm and seed that a command runs."""

    def __init__(self, images: Images, *, share: float) -> None:
        self.images = images
        self._share = share
        self._pictures: dict[tuple[str, Geometry], Pictures] = {}

    def pictures(self, split: str, geometry: Geometry) -> Pictures:
        """Return the pictures of a split at one geometry."""
        return self._pictures.setdefault((split, geometry), Pictures(self.images.splits[split], geometry, self._share))


def sound(pictures: Pictures, indices: Indices, *, on_corrupt: str, progress: Progress) -> tuple[Indices, list[str]]:
    """Decode images and drop, or refuse, those that cannot be.

    Args:
        pictures: Their split.
        indices: Which of it.
        on_corrupt: "error" or "skip".
        progress: Told of images done.

    Returns:
        The images that remain, and a line per image that was skipped.

    Raises:
        DataError: an image cannot be decoded and on_corrupt is "error"; names each, up to five.
    """
    corrupt = pictures.prepare(indices, progress=progress)
    if not corrupt:
        return indices, []
    lines = [error.problem for error in corrupt.values()]
    if on_corrupt == "error":
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise DataError(lines[0], *lines[1:_SHOWN], *more, 'mend or remove it, or skip such images: data.on_corrupt = "skip"')
    return indices[~np.isin(indices, list(corrupt))], lines
