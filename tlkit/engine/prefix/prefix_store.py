"""Outputs of a fixed prefix in the store: find those of a part, compute what is missing, and store it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine import row_keys, transfer
from tlkit.engine.formats import DTYPES
from tlkit.engine.images.device_batches import inputs
from tlkit.engine.images.parts import Part, TrainingPart
from tlkit.engine.images.pictures import Indices
from tlkit.engine.prefix.prefix import Prefix
from tlkit.engine.prefix.stored_rows import StoredRows
from tlkit.engine.ranks.ranks import turns
from tlkit.engine.runtime import Runtime
from tlkit.errors import StoreError
from tlkit.network import device_memory
from tlkit.network.network import Network
from tlkit.plans.plan import PhasePlan, Plan
from tlkit.plans.prefix_output import prefix_shape
from tlkit.plugin import Backbone
from tlkit.record.formats import StorePlan
from tlkit.store import filling, row_store
from tlkit.store.segments import Keys
from tlkit.store.usage import Kind
from tlkit.units import Size


class PrefixStore:
    """What the store holds of one phase's fixed prefix, and what it shall hold.

    Args:
        prefix: The leading stages that are fixed.
        network: It has these stages.
        backbone: The plugin that built them: its code is part of the key of what is stored.
        plan: The run's plan.
        phase: The phase that is fed.
        runtime: Where outputs are computed; each of several processes computes a part of what is stored, and reads all of it.
        channels: Of the images.
    """

    def __init__(
        self, prefix: Prefix, network: Network, backbone: Backbone, plan: Plan, phase: PhasePlan, runtime: Runtime, *,
        channels: int,
    ) -> None:  # fmt: skip
        self._prefix, self._network, self._backbone, self._plan, self._phase = prefix, network, backbone, plan, phase
        self._runtime, self._channels = runtime, channels
        self._origins: dict[tuple[int, Size], row_keys.Origin] = {}

    def rows(self, part: Part, planned: StorePlan) -> StoredRows | None:
        """Return a part's rows, after computing and storing what is missing; None if storing fails: then every epoch computes them."""
        pictures, period, before = part.pictures, 1, 0
        views: tuple[int, ...] = (0,)
        plan = self._plan.at(part.size if isinstance(part, TrainingPart) else self._plan.canvas)
        origin = self._origin(planned.stages, plan.image_size) | row_keys.inputs(pictures.geometry, part.convention)
        keys = pictures.keys(part.indices)
        if isinstance(part, TrainingPart) and part.augment:
            period, before = part.views or 1, part.epochs_before
            views = tuple(sorted((before + view) % period for view in self._phase.views(period)))
            origin |= row_keys.views(part.augment, seed=part.seed, size=part.size)
            keys = _of_views(keys, part.indices, views)
        shape, dtype = self._shape(planned.stages, plan)
        stored = "uint16" if dtype.itemsize == 2 else "float32"  # numpy has no bfloat16
        open_ = partial(
            row_store.open_, Kind.FEATURES, origin, shape=shape, dtype=stored, note=pictures.note, verify=pictures.verify
        )
        compute = partial(self._compute, part, planned.stages, views=views, before=before)
        try:
            located = self._filled(open_, keys, compute).locate(keys)
        except StoreError as error:
            pictures.note(error.note("the fixed prefix is computed again every epoch"))
            return None
        channels_last = self._prefix.plan.compute_format.layout == "channels_last"
        return StoredRows(planned.stages, located, part.indices, views, period, before, dtype, channels_last)

    def _filled(
        self, open_: Callable[[], row_store.Entry], keys: Keys, compute: Callable[[Indices], Iterator[NDArray[np.generic]]]
    ) -> row_store.Entry:
        """Store what is missing; with several processes each its part, and what others could not store.

        Raises:
            StoreError: it cannot be stored.
        """
        failed: StoreError | None = None
        for mine in turns(self._runtime.ranks):
            if failed is None:  # else the others are only waited for
                try:
                    entry = open_()
                    own = mine(np.arange(len(keys)))
                    absent = own[entry.missing(keys[own])]
                    held: AbstractContextManager[bool] = nullcontext(False)
                    if len(absent) and self._runtime.ranks.size == 1:  # else the processes of one run divide the rows
                        held = filling.alone(entry.digest, watch=self._runtime.watch, note=self._runtime.observer.note)
                    with held as waited:
                        if waited:
                            entry = open_()
                            absent = own[entry.missing(keys[own])]
                        if len(absent):
                            entry.append(keys[absent], compute(absent))
                except StoreError as error:
                    failed = error
        if failed is not None:
            raise failed
        return entry

    def _origin(self, stages: int, size: Size) -> row_keys.Origin:
        """Return the origin of stored outputs for images of a size, computed once for all parts."""
        if (stages, size) not in self._origins:
            table = self._plan.tables.backbone
            self._origins[stages, size] = row_keys.prefix(
                self._network, stages, self._prefix.plan, backbone=table.name, options=table.options, device=self._runtime.device,
                build=self._backbone.build,
            ) | {"fingerprint": self._prefix.fingerprint(size, stop=stages, channels=self._channels)}  # fmt: skip
        return self._origins[stages, size]

    def _shape(self, stages: int, plan: Plan) -> tuple[tuple[int, ...], torch.dtype]:
        """Return the shape of a stored row, and the type of its values."""
        compute_format, shape = self._prefix.plan.compute_format, prefix_shape(plan, stages)
        if self._network.pools_after(stages):
            return shape[:1], torch.float32
        if len(shape) == 3 and compute_format.layout == "channels_last":
            shape = (*shape[1:], shape[0])
        return shape, DTYPES[compute_format.precision]

    def _compute(
        self, part: Part, stages: int, absent: Indices, *, views: Sequence[int], before: int
    ) -> Iterator[NDArray[np.generic]]:
        """Yield rows (n, ...) for missing positions in the part, view by view; `before` epochs were trained before the run."""

        def computed() -> Iterator[Tensor]:
            for slot, view in enumerate(views):
                mine = absent[absent // len(part.indices) == slot] % len(part.indices)
                for pixels in inputs(part, part.indices[mine], view - before, self._runtime.device, self._prefix.plan.chunk):
                    self._runtime.watch()
                    with device_memory.spent_on("prefix"):
                        x = self._prefix(pixels, stop=stages)
                    yield _row(x, self._prefix.plan.compute_format.layout)

        done = 0
        for rows in transfer.to_host(computed(), self._runtime.device):
            yield _to_numpy(rows)
            done += len(rows)
            self._runtime.observer.storing(done, len(absent))


def _of_views(keys: Keys, indices: Indices, views: Sequence[int]) -> Keys:
    """Return keys of every view of every image, view by view; augmentation depends on view and position, so the key does."""
    mixed = np.tile(np.ascontiguousarray(keys).view(np.uint64), (len(views), 1))  # (views * n, 2)
    mixed[:, 0] ^= np.repeat(np.asarray(views, dtype=np.uint64) + np.uint64(1), len(indices))
    mixed[:, 1] ^= np.tile(indices.astype(np.uint64), len(views))
    return mixed.view(np.uint8)


def _row(x: Tensor, layout: str) -> Tensor:
    """Return a channels-last feature map as (n, h, w, C), any other array as it is."""
    return x.permute(0, 2, 3, 1) if layout == "channels_last" and x.ndim == 4 else x


def _to_numpy(x: Tensor) -> NDArray[np.generic]:
    x = x.contiguous()
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype.itemsize == 2 else x.numpy()
