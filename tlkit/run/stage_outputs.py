"""The pooled output of every stage of a backbone for some images, in one forward pass, kept in the store; nothing is trained.

The rule: rows and what is measured beside them depend on the images' content and on everything that computes them, so they are read
again in any later command.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlkit.engine import row_keys
from tlkit.engine.evaluate import evaluating
from tlkit.engine.images.device_batches import inputs
from tlkit.engine.images.parts import Part
from tlkit.errors import StoreError
from tlkit.events import Observer
from tlkit.network import building, weights
from tlkit.network.network import Network, pool
from tlkit.plans import even_sample
from tlkit.plans.resolved import Resolved
from tlkit.plugin import remembered
from tlkit.record.calibration import softmax
from tlkit.record.formats import PrefixPlan
from tlkit.sources import weight_files
from tlkit.store import row_store
from tlkit.store.usage import Kind

Rows = NDArray[np.float32]  # (n, features)
_CHUNK = 16  # images of a forward pass, always: the last one is padded, because a convolution's last bits depend on it
_PLAN = PrefixPlan(folded=False, chunk=_CHUNK)
_DRIFT = 64  # images that the statistics of BatchNorm are compared on, at most
_CLASSES = 2  # of the head, which nothing reads
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LEAST = 1e-5  # variance of a channel, as BatchNorm's own epsilon


@dataclass(frozen=True)
class Drift:
    """How far the input of a BatchNorm layer is from what it was when the weights were trained.

    Attributes:
        stage: That holds the layer.
        layer: Its name in the library.
        distance: Mean over its channels of the squared Frechet distance between the Gaussians of stored and of measured mean and
            variance, in units of the stored variance: 0 for the images that it was trained on.
    """

    stage: str
    layer: str
    distance: float


class StageOutputs:
    """A backbone with its weights that reads images of one part.

    Args:
        resolved: An arm with a head that is trained, such as the linear one; the head is not run.
        path: Its weights file; None for random weights.
        part: The images.
        device: The device that computes.
        clock: Tells the time, seconds.
        network: The backbone with its weights, on the device, in the place of `path`.
    """

    def __init__(
        self, resolved: Resolved, path: Path | None, part: Part, *, device: torch.device,
        clock: Callable[[], float] = time.perf_counter, network: Network | None = None,
    ) -> None:  # fmt: skip
        self._resolved, self._path, self._part, self._device, self._clock = resolved, path, part, device, clock
        self._network = _network(resolved, path).to(device) if network is None else network
        with evaluating(self._network), torch.inference_mode():
            blank = torch.zeros(1, resolved.channels, *resolved.image_size, device=device)
            self.widths = {name: x.shape[1] for name, x in pooled(self._network, blank)}
        self._entry = row_store.open_(
            Kind.FEATURES, self._origin, shape=(sum(self.widths.values()),), dtype="float32", note=part.pictures.note,
            verify=part.pictures.verify,
        )  # fmt: skip
        self._spent = 0.0  # seconds of forward passes in this process
        self._passed = 0  # and their images

    @property
    def parameters(self) -> int:
        """Number of parameters of the stages."""
        return sum(parameter.numel() for parameter in self._network.stages.parameters())

    @property
    def seconds(self) -> float | None:
        """Seconds of a forward pass per image: measured here or before on this machine; None where it never was."""
        if self._passed:
            return self._spent / self._passed
        known = remembered.recall(self._key("seconds"))
        return float(known) if isinstance(known, int | float) and known > 0 else None

    def missing(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some images whose rows are not stored."""
        return indices[self._entry.missing(self._part.pictures.keys(indices))]

    def rows(
        self, indices: NDArray[np.int64], *, observer: Observer, watch: Callable[[], None] = lambda: None
    ) -> Mapping[str, Rows]:
        """Return the pooled output (n, features) of each stage, from the store where it is, else computed and stored.

        Args:
            indices: Positions of decoded images in the part's split.
            observer: Receives the progress.
            watch: Called between chunks; may raise to stop.
        """
        keys, fresh = self._part.pictures.keys(indices), {}
        absent = np.flatnonzero(self._entry.missing(keys))
        if len(absent):
            computed = np.concatenate(list(self._compute(indices[absent], observer=observer, watch=watch)))
            fresh = dict(zip(absent.tolist(), computed, strict=True))
            try:
                self._entry.append(keys[absent], [computed])
            except StoreError as error:
                self._part.pictures.note(error.note("they are computed again when they are needed"))
            if self._passed > _CHUNK:
                remembered.remember(self._key("seconds"), self._spent / self._passed)
        out = np.empty((len(indices), sum(self.widths.values())), np.float32)
        stored = np.setdiff1d(np.arange(len(indices)), absent)
        if len(stored):
            out[stored] = self._entry.gather(keys[stored])
        for place, row in fresh.items():
            out[place] = row
        ends = np.cumsum(list(self.widths.values()))[:-1]
        return dict(zip(self.widths, np.split(out, ends, axis=1), strict=True))

    def drifting(self, count: int) -> int:
        """Return how many of so many images `drift` passes through the network once more; 0 for a network without such layers."""
        norms = any(isinstance(layer, _NORMS) for layer in self._network.stages.modules())
        return min(count, _DRIFT) if norms else 0

    def drift(self, indices: NDArray[np.int64], *, watch: Callable[[], None] = lambda: None) -> tuple[Drift, ...]:
        """Return how far each BatchNorm layer's statistics are from those of some images; () for a network without such layers."""
        some = indices[even_sample.positions(len(indices), _DRIFT)]
        content = hashlib.sha256(self._part.pictures.keys(some).tobytes()).hexdigest()
        key = self._key("drift") | {"images": content}
        known = remembered.recall(key)
        if isinstance(known, list):
            return tuple(Drift(str(stage), str(layer), float(distance)) for stage, layer, distance in known)
        found = self._measured_drift(some, watch)
        remembered.remember(key, [[each.stage, each.layer, each.distance] for each in found])
        return found

    def classifier(self) -> tuple[Rows, Rows] | None:
        """Return weight (classes, features) and bias (classes,) of the classifier in the weights file.

        None where the file has none, or where it is no linear layer on the pooled output of the last stage.
        """
        backbone = self._resolved.backbone
        if self._path is None or backbone.maps or not backbone.whole:
            return None
        reading = weight_files.reading(self._resolved.arm.backbone.weights, self._path, backbone)
        tensors = weights.file_tensors(self._path, reading).tensors
        weight, bias = (tensors.get(f"{backbone.classifier}.{name}") for name in ("weight", "bias"))
        if weight is None or weight.ndim != 2 or weight.shape[1] != backbone.features:
            return None
        bias = torch.zeros(len(weight)) if bias is None else bias
        return weight.float().numpy(), bias.float().numpy()

    def _compute(
        self, indices: NDArray[np.int64], *, observer: Observer, watch: Callable[[], None]
    ) -> Iterator[Rows]:  # fmt: skip
        """Yield rows (n, features of all stages) of images, chunk by chunk."""
        done = 0
        with evaluating(self._network), torch.inference_mode():
            for x in inputs(self._part, indices, 0, self._device, _CHUNK):
                watch()
                began = self._clock()
                rows = torch.cat([out for _, out in pooled(self._network, _padded(x))], dim=1)[: len(x)]
                yield rows.cpu().numpy()
                self._spent += self._clock() - began
                self._passed += len(x)
                done += len(x)
                observer.storing(done, len(indices))

    def _measured_drift(self, indices: NDArray[np.int64], watch: Callable[[], None]) -> tuple[Drift, ...]:
        layers = [
            (stage, name, layer)
            for stage, module in self._network.stages.items()
            for name, layer in module.named_modules()
            if isinstance(layer, _NORMS) and layer.running_mean is not None
        ]
        if not layers or not len(indices):
            return ()
        with _statistics([layer for *_, layer in layers]) as statistics, evaluating(self._network), torch.inference_mode():
            for x in inputs(self._part, indices, 0, self._device, _CHUNK):
                watch()
                self._network.run(x)
        return tuple(
            Drift(stage, name, _distance(layer, statistics[layer])) for stage, name, layer in layers if layer in statistics
        )

    @cached_property
    def _origin(self) -> row_keys.Origin:
        table = self._resolved.arm.backbone
        return row_keys.prefix(
            self._network, len(self._network.stages), _PLAN, backbone=table.name, build=self._resolved.backbone.build,
            options=table.options, device=self._device,
        ) | row_keys.inputs(self._part.pictures.geometry, self._part.convention) | {
            "content": "pooled output of every stage", "reading code": row_keys.code("tlkit.run.stage_outputs"),
        }  # fmt: skip

    def _key(self, what: str) -> dict[str, object]:
        return {"stage outputs": what, **self._origin}


def pooled(network: Network, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each stage with its output (n, C) float32, the mean over the image, or over the tokens of a transformer (n, tokens, C)."""
    for name, stage in network.stages.items():
        x = stage(x)
        yield name, x.float().mean(1) if x.ndim == 3 else pool(x.float())


def source_probabilities(last: Rows, classifier: tuple[Rows, Rows]) -> NDArray[np.float64]:
    """Return the probabilities (n, classes) that a network's own classifier gives its own classes.

    Args:
        last: Pooled output of the last stage (n, features).
        classifier: Its weight (classes, features) and bias (classes,).
    """
    weight, bias = classifier
    return softmax(last.astype(np.float64) @ weight.T.astype(np.float64) + bias)


def _network(resolved: Resolved, path: Path | None) -> Network:
    network = building.build(
        resolved.backbone, resolved.head, classes=_CLASSES, backbone_options=resolved.backbone_options,
        head_options=resolved.head_options, seed=0, image_size=resolved.image_size, channels=resolved.channels,
    )  # fmt: skip
    if path is None:
        return network
    value, name = resolved.arm.backbone.weights, resolved.arm.backbone.name
    if value.startswith(weight_files.RUN):
        weights.load_run_(network, path, backbone=resolved.backbone, name=name, classes=())
        return network
    reading = weight_files.reading(value, path, resolved.backbone)
    weights.load_(network, path, backbone=resolved.backbone, name=name, reading=reading)
    return network


def _padded(x: Tensor) -> Tensor:
    return x if len(x) == _CHUNK else torch.cat([x, x.new_zeros(_CHUNK - len(x), *x.shape[1:])])


@contextmanager
def _statistics(layers: list[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Collect count, sum and sum of squares (3, channels) of the input of layers while they run."""
    found: dict[nn.Module, Tensor] = {}

    def see(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0]
        rest = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = (each.double() for each in torch.var_mean(x, rest, correction=0))  # (C,)
        count = torch.full_like(mean, x.numel() / x.shape[1])
        sums = torch.stack([count, count * mean, count * (variance + mean.square())])
        found[layer] = found[layer] + sums if layer in found else sums

    handles = [layer.register_forward_pre_hook(see) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _distance(layer: nn.Module, statistics: Tensor) -> float:
    """Return the mean squared Frechet distance of a layer's channels, in units of the stored variance.

    Source: Dowson & Landau 1982, for one dimension: (difference of the means)^2 + (difference of the standard deviations)^2.
    """
    count, total, squares = statistics
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    stored_mean, stored_variance = layer.get_buffer("running_mean").double(), layer.get_buffer("running_var").double()
    distance = (mean - stored_mean).square() + (variance.sqrt() - stored_variance.sqrt()).square()
    return float((distance / stored_variance.clamp_min(_LEAST)).mean())
