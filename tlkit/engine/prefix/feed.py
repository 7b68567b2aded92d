"""Feed the trained stages of one phase: with pictures, or with outputs of the fixed prefix, read from the store or computed.

The rule: whether an output is read from the store or computed now, it has the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tlkit.engine.formats import halves, laid_out
from tlkit.engine.images.device_batches import inputs, targets
from tlkit.engine.images.parts import Evaluated, Part, TrainingPart
from tlkit.engine.images.pictures import Indices
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.prefix import Prefix
from tlkit.engine.prefix.prefix_store import PrefixStore
from tlkit.engine.prefix.stored_rows import StoredRows
from tlkit.engine.runtime import Runtime
from tlkit.network.network import Network
from tlkit.plans.plan import PhasePlan, Plan
from tlkit.plugin import Backbone
from tlkit.record.formats import NotStored, StorePlan

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
        runtime: Where batches are; each of several processes computes a part of what is stored, and reads all of it.
    """

    def __init__(
        self, network: Network, backbone: Backbone, plan: Plan, phase: PhasePlan, train: TrainingPart, evaluated: Evaluated,
        runtime: Runtime,
    ) -> None:  # fmt: skip
        self._network, self._plan, self._phase = network, plan, phase
        self._runtime, self._device = runtime, runtime.device
        self._train, self._evaluated = train, evaluated
        self._target = None if evaluated.target is None else evaluated.target.at(phase.image_size)
        self._cut = len(phase.prefix)
        self._backend = runtime.backend
        self._prefix = self._build(train)
        self._rows: dict[int, StoredRows] = {}
        self.prefix_seconds = 0.0  # spent in the fixed prefix for batches, so far
        if self._prefix is not None and phase.fixed is not None:
            fixed = phase.fixed
            kinds = {fixed.reason: fixed.not_stored, fixed.evaluation_reason: fixed.evaluation_not_stored}
            for why in (reason for reason, kind in kinds.items() if kind is NotStored.NO_ROOM):
                runtime.observer.note(f"{why}; the fixed prefix is computed again every epoch")
            channels = train.pictures.geometry.shape[2]
            store = PrefixStore(self._prefix, network, backbone, plan, phase, runtime, channels=channels)
            self._keep(store, [train, *self._beside], fixed.train)
            self._keep(store, evaluated.fed, fixed.evaluation)
        if self._device.type != "cpu":
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
        few = None
        if target.trained is not None and labelled_size:
            few = self._batches(target.trained, labelled, epoch, labelled_size)
        views = [part for part in (target.training, target.second) if part is not None]
        without = [self._inputs(part, unlabelled, epoch, size) for part in views]
        for x, y in self.train(order, epoch, size):
            rows, targets_ = [x], [y]
            labelled_batch = None if few is None else next(few, None)  # another process may have all of the last batch
            if labelled_batch is not None:
                rows.append(labelled_batch[0])
                targets_.append(labelled_batch[1])
            rows += [next(each) for each in without]
            yield torch.cat(rows), torch.cat(targets_)

    def held_out(self, part: Part, order: Indices | None = None) -> Iterator[Batch]:
        """Yield a part's images in order, or some of them, in batches: inputs of the first stage that trains, and targets (n, ...).

        Pictures that are evaluated in tiles are yielded as they are.
        """
        order, size = part.indices if order is None else order, self._plan.evaluation_batch
        if self._plan.tile is None:
            yield from self._batches(part, order, 0, size)
        else:
            fed = inputs(part, order, 0, self._device, size), targets(part, order, 0, self._device, size)
            yield from zip(*fed, strict=True)

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
        second = None if self._target is None else self._target.second
        trained = [self._train, *self._beside, *([] if second is None else [second])]
        for part in (*trained, *self._evaluated.fed):
            rows = self._rows.get(id(part))
            if rows is not None:
                rows.settle_(self._device, residency, beside=beside)
            elif len(part.indices):
                part.pictures.settle_(part.indices, self._device, beside=beside)

    def _finish(self, x: Tensor) -> Tensor:
        """Convert the prefix's output to the compute format of the training step."""
        compute_format = self._plan.compute_format
        x = laid_out(x, compute_format)
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
            if self._runtime.ranks.size == 1:  # several processes stop together, between two steps
                self._runtime.watch()
            began = time.perf_counter()
            out = self._prefix(x, start=start)
            self.prefix_seconds += time.perf_counter() - began
            yield out

    def _build(self, train: TrainingPart) -> Prefix | None:
        fixed = self._phase.fixed
        if fixed is None:
            return None
        sample = train.inputs(train.indices[:1], 0, self._device)
        return prefix.build(
            self._network, self._cut, fixed, sample=sample, backend=self._backend, note=self._runtime.observer.note
        )

    def _keep(self, store: PrefixStore, parts: Sequence[Part], planned: StorePlan | None) -> None:
        """Let rows of parts be stored where that is planned; where it fails, they are computed in every epoch."""
        if planned is None:
            return
        for part in parts:
            rows = store.rows(part, planned) if len(part.indices) else None
            if rows is not None:
                self._rows[id(part)] = rows


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
