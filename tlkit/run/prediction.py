"""Predictions and features of a trained network for images, with its own preprocessing; `loading` reads it from a run."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit import machine
from tlkit.engine import evaluate, transfer
from tlkit.engine.images import pillow_warnings
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.normalisation import Normaliser
from tlkit.engine.images.pictures import Progress, as_tensor
from tlkit.engine.images.views import geometries, pictures
from tlkit.errors import DataError, TlkitError, nearest
from tlkit.network.network import Network
from tlkit.plugin import Convention
from tlkit.run import box_prediction, mask_prediction, whole_pictures
from tlkit.sources import scaling, stacks

_DECODED = 256  # files that are decoded at a time, as many as the engine does
_DECODED_BYTES = 64 << 20  # of pictures that wait for the network

Answer = Callable[[Network, torch.Tensor], torch.Tensor]  # from normalised images (n, ...) to a row for each
Picture = Path | NDArray[Any]  # (H, W, 3) uint8 RGB, or of bands (H, W, bands) as the run's files


@dataclass(frozen=True)
class Predictor:
    """A network with everything that its input and output mean.

    Attributes:
        network: The network with its weights, on the device.
        classes: Class names in output order.
        convention: How pixels reach it.
        geometry: How a picture is brought to the size of its input; of masks and boxes each picture has a canvas of its own size.
        batch_size: Images at a time.
        device: The device that the network is on.
        stride: Of the deepest map that a head of masks or boxes reads; a picture's canvas has whole strides.
        tile_size: Of masks, side of the tiles in which larger pictures pass the network, as the run's recipe says; None for whole ones.
    """

    network: Network
    classes: tuple[str, ...]
    convention: Convention
    geometry: Geometry
    batch_size: int
    device: torch.device
    stride: int = 1
    tile_size: int | None = None

    def limited(self, max_pixels: int | None) -> Predictor:
        """Return one that refuses images of more than `max_pixels`, the option of a command; None is the limit that it has."""
        most = self.geometry.max_pixels if max_pixels is None else max_pixels
        return replace(self, geometry=replace(self.geometry, max_pixels=most, raised_by="--max-pixels "))

    def predict(
        self,
        images: Sequence[str | Picture] | NDArray[Any],
        *,
        temperature: float = 1.0,
        views: int = 1,
        progress: Progress = lambda done, total: None,
    ) -> NDArray[np.float32]:
        """Return class probabilities (N, classes), or of a run that gives masks (N, classes, H, W).

        Args:
            images: Files and (H, W, 3) uint8 RGB, or all as (N, H, W, 3) uint8 RGB; of bands (H, W, bands) of the files' type.
            temperature: What logits are divided by; of masks they are not.
            views: Of each image, whose probabilities are averaged: see `tlkit.engine.images.views`.
            progress: Called with the images done and their total.

        Raises:
            DataError: a file cannot be decoded, or the images are of another kind; or pictures with masks have several sizes.
        """
        if self.network.task.detections is not None:
            raise TlkitError(
                "predict: the run finds objects in boxes, and has no probabilities of images.", "tlkit predict --json"
            )
        if self.network.task.targets.masks:
            return self._masks(images, progress=progress)
        answer = partial(evaluate.probabilities, temperature=temperature)
        return self._each(images, answer, views=views, progress=progress)

    def _masks(self, images: Sequence[str | Picture] | NDArray[Any], *, progress: Progress) -> NDArray[np.float32]:
        """Return the probabilities of every pixel (N, classes, H, W) of pictures of one size."""
        checked, found = _checked(images, self.geometry), []
        for image in checked:
            found.append(self.mask(image).probabilities)
            progress(len(found), len(checked))
        if len({each.shape for each in found}) > 1:
            raise DataError("images: have several sizes, and so have their masks.", "predict those of one size at a time")
        return np.stack(found) if found else np.zeros((0, len(self.classes), 1, 1), np.float32)

    def mask(
        self, image: stacks.Picture | NDArray[Any], *, threshold: float | None = None, tile: int | None = None
    ) -> mask_prediction.Answer:
        """Return the mask of one picture: see `mask_prediction.answer`; the tile is that of `tile_of`."""
        return mask_prediction.answer(self.network, self._placed(image), threshold=threshold, tile=self.tile_of(tile))

    def tile_of(self, given: int | None) -> int | None:
        """Return the side of tiles in whole strides: the one given, or that of the run's recipe; None for whole pictures."""
        side = self.tile_size if given is None else given
        return None if side is None else scaling.whole_strides((side, side), self.stride)[0]

    def objects(self, image: stacks.Picture | NDArray[Any], *, least: float) -> box_prediction.Answer:
        """Return the objects of one picture with at least a score: see `box_prediction.answer`."""
        return box_prediction.answer(self.network, self._placed(image), least=least)

    def _placed(self, image: stacks.Picture | NDArray[Any]) -> whole_pictures.WholePicture:
        return whole_pictures.placed(
            image, geometry=self.geometry, convention=self.convention, stride=self.stride, device=self.device
        )

    def _refuse_whole(self) -> None:
        if self.network.task.targets.whole:
            raise TlkitError(
                "the run gives masks of whole pictures, or boxes, and no features of images of one size.", "tlkit predict"
            )

    def answers(
        self, images: Sequence[stacks.Picture], *, temperature: float = 1.0, views: int = 1
    ) -> Iterator[NDArray[np.float32] | DataError]:
        """Yield the class probabilities (classes,) of each file, or why it cannot be decoded, a batch at a time.

        Args:
            images: The files, which are decoded in parallel.
            temperature: What logits are divided by.
            views: Of each image, whose probabilities are averaged.
        """
        yield from self.each_file(images, partial(evaluate.probabilities, temperature=temperature), views=views)

    def each_file(
        self,
        images: Sequence[stacks.Picture | NDArray[Any]] | NDArray[Any],
        answer: Answer,
        *,
        digests: Sequence[bytes | None] = (),
        views: int = 1,
    ) -> Iterator[NDArray[np.float32] | DataError]:
        """Yield what the network answers for each file, or why it cannot be decoded, a batch at a time.

        Args:
            images: The files, which are decoded in parallel.
            answer: What is asked of the network.
            digests: The beginning of the sha256 that each file's content must have; None where it is any. By default all are.
            views: Of each image, whose answers are averaged.
        """
        self._refuse_whole()
        outcomes: deque[DataError | None] = deque()  # of the files that were decoded and not yielded, in order
        batches = self._batches(images, answer, digests or [None] * len(images), geometries(self.geometry, views), outcomes)
        for batch in transfer.to_host(batches, self.device):
            for row in batch.numpy().copy():  # a GPU's is in pinned memory, of which there is little
                while (error := outcomes.popleft()) is not None:
                    yield error
                yield row
        yield from (error for error in outcomes if error is not None)

    def _batches(
        self, images: Sequence[stacks.Picture | NDArray[Any]] | NDArray[Any], answer: Answer, digests: Sequence[bytes | None],
        views: tuple[Geometry, ...], outcomes: deque[DataError | None],
    ) -> Iterator[torch.Tensor]:  # fmt: skip
        """Yield what the network answers for the files that can be decoded, on the device, and add to `outcomes` why others cannot.

        A GPU is given all batches of some files while the next ones are decoded. A CPU, which decodes too, does one after the other.
        """
        at_a_time, on_cpu = self._decoded_at_a_time(len(views)), self.device.type == "cpu"
        made: Iterable[torch.Tensor] = ()
        with ThreadPoolExecutor(machine.processors()) as threads:
            for start in range(0, len(images), at_a_time):
                if on_cpu:
                    yield from made
                    made = ()
                block = slice(start, start + at_a_time)
                alone = on_cpu and isinstance(images[start], np.ndarray)  # to ask a thread takes as long as to make a small one
                with pillow_warnings.reported(lambda _: None):
                    coming = (map if alone else threads.map)(partial(_decoded, views=views), images[block], digests[block])
                    made = list(made)
                    found = list(coming)
                yield from made
                outcomes.extend(each if isinstance(each, DataError) else None for each in found)
                made = self._answers([each for each in found if not isinstance(each, DataError)], answer)
        yield from made

    def _answers(self, readable: Sequence[NDArray[Any]], answer: Answer) -> Iterator[torch.Tensor]:
        for at in range(0, len(readable), self.batch_size):
            yield self._averaged(np.stack(readable[at : at + self.batch_size]), answer)

    def _decoded_at_a_time(self, views: int) -> int:
        """Files that the threads decode before the network sees them: whole batches, so that threads seldom wait for the last one."""
        batches = min(_DECODED, _DECODED_BYTES // (views * self.geometry.bytes)) // self.batch_size
        return self.batch_size * max(1, batches)

    def embed(
        self, images: Sequence[str | Picture] | NDArray[Any], *, at: str | None = None, pooled: bool = True
    ) -> NDArray[np.float32]:
        """Return the output of a stage, the last where none is named.

        Args:
            images: Files and (H, W, 3) uint8 RGB, or all as (N, H, W, 3) uint8 RGB; of bands (H, W, bands) of the files' type.
            at: The stage.
            pooled: Return the mean over the picture (N, C), not the map (N, C, h, w).

        Raises:
            TlkitError: there is no such stage.
            DataError: a file cannot be decoded, or the images are of another kind.
        """
        self.check_stage(at)
        return self._each(images, partial(evaluate.embeddings, at=at, pooled=pooled))

    def check_stage(self, at: str | None) -> None:
        """Raise TlkitError if there is no such stage."""
        stages = list(self.network.stages)
        if at is not None and at not in stages:
            raise TlkitError(f'embed: there is no stage "{at}".', f"stages: {', '.join(stages)}", nearest(str(at), stages))

    def _each(
        self,
        images: Sequence[str | Picture] | NDArray[Any],
        answer: Answer,
        *,
        views: int = 1,
        progress: Progress = lambda done, total: None,
    ) -> NDArray[np.float32]:
        self._refuse_whole()
        images = _checked(images, self.geometry)
        if not len(images):  # of which the shape of an answer is learned all the same
            blank = np.zeros((1, 1, *self.geometry.shape), self.geometry.values)
            return self._averaged(blank, answer)[:0].cpu().numpy()
        rows = []
        for row in self.each_file(images, answer, views=views):
            if isinstance(row, DataError):
                raise row
            rows.append(row)
            progress(len(rows), len(images))
        return np.stack(rows)

    def _averaged(self, batch: NDArray[Any], answer: Answer) -> torch.Tensor:
        """Return what the network answers for pictures (n, views, height, width, channels), the mean over the views, on the device."""
        answers = [answer(self.network, self._normalised(batch[:, view])) for view in range(batch.shape[1])]
        return answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)

    def _normalised(self, pictures: NDArray[Any]) -> torch.Tensor:
        stacked = as_tensor(np.ascontiguousarray(pictures))
        return self._normaliser(transfer.upload(stacked, self.device)).contiguous()

    @cached_property
    def _normaliser(self) -> Normaliser:
        return Normaliser(self.convention, self.device)


def _decoded(
    image: stacks.Picture | NDArray[Any], digest: bytes | None, *, views: tuple[Geometry, ...]
) -> NDArray[Any] | DataError:
    """Return the views of a file (views, height, width, 3) uint8 RGB, or why it cannot be decoded."""
    try:
        return pictures(image, views, digest=digest)
    except DataError as error:
        return error


def _checked(images: object, geometry: Geometry) -> Sequence[Picture] | NDArray[Any]:
    """Return files or pixels; raise DataError where they are neither."""
    channels, values = geometry.shape[2], np.dtype(geometry.values)
    kind = f"{channels}) {values}" + ("" if geometry.bands else " RGB")
    wanted = f"(N, H, W, {kind}, or a list of files and of (H, W, {kind}"
    if isinstance(images, np.ndarray):
        if images.dtype != values or images.ndim != 4 or images.shape[3] != channels or 0 in images.shape[1:]:
            raise DataError(f"images: are {images.dtype} of shape {images.shape}.", wanted)
        return images
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise DataError(f"images: are of type {type(images).__name__}.", wanted)
    checked: list[Picture] = []
    for image in images:
        if isinstance(image, str | os.PathLike):
            checked.append(Path(image))
        elif isinstance(image, np.ndarray) and image.dtype == values and image.ndim == 3 and image.shape[2] == channels:
            checked.append(image)
        else:
            raise DataError(f"images: one of them is of type {type(image).__name__}.", wanted)
    return checked
