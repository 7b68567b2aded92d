"""Feed the trained stages of one phase: with pictures, or with outputs of the fixed prefix, read from the store or computed.

The rule: whether an output is read from the store or computed now, it has the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine import row_keys
from tlkit.engine.formats import DTYPES, LAYOUTS, halves
from tlkit.engine.images.device_batches import inputs, targets
from tlkit.engine.images.parts import Evaluated, Part, TrainingPart
from tlkit.engine.images.pictures import Indices
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.prefix import Prefix
from tlkit.engine.prefix.stored_rows import StoredRows
from tlkit.engine.ranks.ranks import ALONE, Ranks, turns
from tlkit.engine.step.graph import CudaBackend
from tlkit.errors import StoreError
from tlkit.events import Observer
from tlkit.network.network import Network
from tlkit.plans.plan import PhasePlan, Plan, prefix_shape
from tlkit.plugin import Backbone
from tlkit.record.formats import NotStored, StorePlan
from tlkit.store import filling, row_store
from tlkit.store.cache import Kind
from tlkit.store.segments import Keys
from tlkit.units import Size

Batch = tuple[Tensor, Tensor]
Watch = Callable[[], None]


class Feed:
    """The batches of one phase, after its fixed prefix.

    Args:
        network: Its leading stages are copied where a prefix is fixed; they may not change as long as this lives.
        backbone: The plugin that built them: its code is part of the key of what is stored.
        plan: The run's plan.
        phase: The phase that is fed.
        train: Training images.
        evaluated: Validation and test images.
        device: The device that batches are on.
        observer: Receives the progress of storing.
        watch: Called between chunks; may raise to stop.
        graph: Capture the fixed prefix where the device can.
        ranks: The processes of the run: each computes a part of what is stored, and reads all of it.
    """

    def __init__(
        self, network: Network, backbone: Backbone, plan: Plan, phase: PhasePlan, train: TrainingPart, evaluated: Evaluated, *,
        device: torch.device, observer: Observer, watch: Watch, graph: bool = True, ranks: Ranks = ALONE,
    ) -> None:  # fmt: skip
        self._ranks = ranks
        self._network, self._backbone, self._plan, self._phase = network, backbone, plan, phase
        self._device, self._observer, self._watch = device, observer, watch
        self._train, self._evaluated = train, evaluated
        self._target = None if evaluated.target is None else evaluated.target.at(phase.image_size)
        self._channels = train.pictures.geometry.shape[2]
        self._cut = len(phase.prefix)
        self._backend = CudaBackend(device) if graph and device.type == "cuda" else None
        self._prefix = self._build(train)
        self._rows: dict[int, StoredRows] = {}
        self._origins: dict[tuple[int, Size], row_keys.Origin] = {}
        self.prefix_seconds = 0.0  # spent in the fixed prefix for batches, so far
        if phase.fixed is not None:
            fixed = phase.fixed
            kinds = {fixed.reason: fixed.not_stored, fixed.evaluation_reason: fixed.evaluation_not_stored}
            for why in (reason for reason, kind in kinds.items() if kind is NotStored.NO_ROOM):
                observer.note(f"{why}; the fixed prefix is computed again every epoch")
            self._keep(train, phase.fixed.train)
            for beside in self._beside:
                self._keep(beside, phase.fixed.train)
            for part in evaluated.fed:
                self._keep(part, phase.fixed.evaluation)
        if device.type != "cpu":
            self._settle()

    def train(self, order: Indices, epoch: int, size: int | None = None) -> Iterator[Batch]:
        """Yield the batches of an epoch, from 0: inputs of the first stage that trains, and targets.

        Args:
            order: The images.
            epoch: From 0.
            size: Images of a batch; by default the plan's.
        """
        yield from self._batches(self._train, order, epoch, size or self._plan.batch_size)

    def adapted(
        self, order: Indices, labelled: Indices, unlabelled: Indices, epoch: int, *, size: int, labelled_size: int
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch as `train` does, each with images of the target behind it.

        Args:
            order: Of the training images.
            labelled: Of the target's labelled images; empty where no step takes them.
            unlabelled: Of the target's images whose labels are not read, as many as of the source; empty where no step takes them.
            epoch: From 0.
            size: Images of the source in a full batch, and of the target's without labels.
            labelled_size: Labelled images of the target in a full batch.
        """
        target = self._target
        assert target is not None  # the run adapts
        few = without = None
        if target.trained is not None and labelled_size:
            few = self._batches(target.trained, labelled, epoch, labelled_size)
        if target.training is not None:
            without = self._inputs(target.training, unlabelled, epoch, size)
        for x, y in self.train(order, epoch, size):
            rows, targets_ = [x], [y]
            labelled_batch = None if few is None else next(few, None)  # another process may have all of the last batch
            if labelled_batch is not None:
                rows.append(labelled_batch[0])
                targets_.append(labelled_batch[1])
            if without is not None:
                rows.append(next(without))
            yield torch.cat(rows), torch.cat(targets_)

    def held_out(self, part: Part, order: Indices | None = None) -> Iterator[Batch]:
        """Yield a part's images in order, or some of them, in batches: inputs of the first stage that trains, and targets (n, ...)."""
        yield from self._batches(part, part.indices if order is None else order, 0, self._plan.evaluation_batch)

    def inputs(self, part: Part, chosen: Indices) -> Iterator[Tensor]:
        """Yield some of a part's images as they are, in batches: inputs of the first stage that trains."""
        yield from self._inputs(part, chosen, 0, self._plan.evaluation_batch)

    def _batches(self, part: Part, order: Indices, epoch: int, size: int) -> Iterator[Batch]:
        fed = self._inputs(part, order, epoch, size)
        yield from zip(fed, targets(part, order, epoch, self._device, size), strict=True)

    def _inputs(self, part: Part, order: Indices, epoch: int, size: int) -> Iterator[Tensor]:
        for x in _rebatch(self._stream(part, order, epoch, size), size):
            yield self._finish(x)

    @property
    def _beside(self) -> list[TrainingPart]:
        """Images of a target that steps take beside those of the source."""
        target = self._target
        return [] if target is None else [part for part in (target.trained, target.training) if part is not None]

    def _settle(self) -> None:
        """Keep on the device what fits beside training: first what trains, then what is evaluated."""
        residency, beside = self._train.pictures.residency, self._plan.memory.network
        residency.begin()
        for part in (self._train, *self._evaluated.fed):
            rows = self._rows.get(id(part))
            if rows is not None:
                rows.settle_(self._device, residency, beside=beside)
            elif len(part.indices):
                part.pictures.settle_(part.indices, self._device, beside=beside)

    def _finish(self, x: Tensor) -> Tensor:
        """Convert the prefix's output to the compute format of the training step."""
        compute_format = self._plan.compute_format
        if x.ndim == 4:
            x = x.contiguous(memory_format=LAYOUTS[compute_format.layout])
        return x if halves(compute_format) else x.float()

    def _stream(self, part: Part, order: Indices, epoch: int, size: int) -> Iterator[Tensor]:
        """Yield outputs of the whole prefix in pieces of any size."""
        if self._prefix is None:
            yield from inputs(part, order, epoch, self._device, size)
            return
        rows = self._rows.get(id(part))
        if rows is not None and rows.stages == self._cut:
            yield from rows.batches(order, epoch, self._device, size)
            return
        chunk, start = self._prefix.plan.chunk, 0
        pieces = inputs(part, order, epoch, self._device, chunk)
        if rows is not None:
            pieces, start = rows.batches(order, epoch, self._device, chunk), rows.stages
        for x in pieces:
            if self._ranks.size == 1:  # several processes stop together, between two steps
                self._watch()
            began = time.perf_counter()
            out = self._prefix(x, start=start)
            self.prefix_seconds += time.perf_counter() - began
            yield out

    def _build(self, train: TrainingPart) -> Prefix | None:
        fixed = self._phase.fixed
        if fixed is None:
            return None
        sample = train.inputs(train.indices[:1], 0, self._device)
        return prefix.build(self._network, self._cut, fixed, sample=sample, backend=self._backend, note=self._observer.note)

    def _keep(self, part: Part, planned: StorePlan | None) -> None:
        """Compute and store missing rows; if storing fails, rows are computed in every epoch."""
        if planned is None or self._prefix is None or not len(part.indices):
            return
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
            pictures.note(f"{error.problem.removesuffix('.')}; the fixed prefix is computed again every epoch")
            return
        channels_last = self._prefix.plan.compute_format.layout == "channels_last"
        self._rows[id(part)] = StoredRows(planned.stages, located, part.indices, views, period, before, dtype, channels_last)

    def _filled(
        self, open_: Callable[[], row_store.Entry], keys: Keys, compute: Callable[[Indices], Iterator[NDArray[np.generic]]]
    ) -> row_store.Entry:
        """Store what is missing; with several processes each its part, and what others could not store.

        Raises:
            StoreError: it cannot be stored.
        """
        failed: StoreError | None = None
        for mine in turns(self._ranks):
            if failed is None:  # else the others are only waited for
                try:
                    entry = open_()
                    own = mine(np.arange(len(keys)))
                    absent = own[entry.missing(keys[own])]
                    held: AbstractContextManager[bool] = nullcontext(False)
                    if len(absent) and self._ranks.size == 1:  # else the processes of one run divide the rows
                        held = filling.alone(entry.digest, watch=self._watch, note=self._observer.note)
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
        assert self._prefix is not None  # there is something to keep
        if (stages, size) not in self._origins:
            table = self._plan.tables.backbone
            self._origins[stages, size] = row_keys.prefix(
                self._network, stages, self._prefix.plan, backbone=table.name, options=table.options, device=self._device,
                build=self._backbone.build,
            ) | {"fingerprint": self._prefix.fingerprint(size, stop=stages, channels=self._channels)}  # fmt: skip
        return self._origins[stages, size]

    def _shape(self, stages: int, plan: Plan) -> tuple[tuple[int, ...], torch.dtype]:
        """Return the shape of a stored row, and the type of its values."""
        assert self._prefix is not None  # there is something to keep
        compute_format, shape = self._prefix.plan.compute_format, prefix_shape(plan, stages)
        if self._network.pools and stages == len(self._network.stages):
            return shape[:1], torch.float32
        if len(shape) == 3 and compute_format.layout == "channels_last":
            shape = (*shape[1:], shape[0])
        return shape, DTYPES[compute_format.precision]

    def _compute(
        self, part: Part, stages: int, absent: Indices, *, views: Sequence[int], before: int
    ) -> Iterator[NDArray[np.generic]]:
        """Yield rows (n, ...) for missing positions in the part, view by view; `before` epochs were trained before the run."""
        assert self._prefix is not None  # there is something to keep
        done = 0
        for slot, view in enumerate(views):
            mine = absent[absent // len(part.indices) == slot] % len(part.indices)
            for pixels in inputs(part, part.indices[mine], view - before, self._device, self._prefix.plan.chunk):
                self._watch()
                x = self._prefix(pixels, stop=stages)
                yield _to_numpy(_row(x, self._prefix.plan.compute_format.layout))
                done += len(x)
                self._observer.storing(done, len(absent))


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
    x = x.cpu().contiguous()
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype.itemsize == 2 else x.numpy()


def _rebatch(pieces: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Yield the same rows in pieces of one size; the last may be shorter."""
    waiting: list[Tensor] = []
    count = 0
    for piece in pieces:
        if not count and len(piece) == size:
            yield piece
            continue
        waiting.append(piece)
        count += len(piece)
        while count >= size:
            whole = torch.cat(waiting)
            yield whole[:size]
            waiting, count = ([whole[size:]], count - size) if count > size else ([], 0)
    if count:
        yield torch.cat(waiting)
