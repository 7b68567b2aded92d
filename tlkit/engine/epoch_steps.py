"""The training steps of an epoch, which may go on from the middle of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch

from tlkit.engine.images.parts import TargetPart
from tlkit.engine.learning import Learning
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.progress import Progress
from tlkit.engine.ranks import shares
from tlkit.engine.ranks.ranks import ask_together
from tlkit.engine.ranks.shares import Indices, Share, Whole
from tlkit.engine.step.changing import changing, finite
from tlkit.engine.step.graph import Captured
from tlkit.engine.step.look import looks
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.engine.step.sums import Sums
from tlkit.errors import Diverged
from tlkit.network import device_memory
from tlkit.plans.batches import batches_per_epoch
from tlkit.plans.schedule import factor, ramp

LOWER = "lower rates, schedule.warmup_epochs or optimizer.clip_norm may help"
# Steps after which a loss that is not a number is looked for, and on a GPU the loss is read, as it was one look before.
_LOOK_EVERY = 50
_ASK_EVERY = 10  # steps after which several processes with GPUs ask each other whether one of them was stopped


class EpochSteps:
    """Takes the steps of a run, an epoch at a time.

    Args:
        step: The training state.
        given: What the run learns with; more than one piece neither with a target nor with several processes.
        target: Images of another domain that are in each step; None for none.
    """

    def __init__(self, step: Step, given: Learning, *, target: TargetPart | None) -> None:
        self._step, self._given, self._runtime, self._target = step, given, given.runtime, target
        self._take: Step | Captured = step
        if (backend := given.runtime.backend) is not None:
            self._take = Captured(step, backend, note=given.runtime.observer.note, pieces=given.pieces)
        self._looks = looks(step, given.runtime.device)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why a step was not captured."""
        return tuple(self._take.refusals) if isinstance(self._take, Captured) else ()

    def begin_(self, number: int) -> None:
        """Set the network to the phase of an epoch, counted from 1, and clear the sums."""
        self._take.begin_(number)

    def run(self, number: int, feed: Feed, now: Progress, *, after_step: Callable[[], None]) -> int:
        """Train on every batch of an epoch, counted from 1, that is not trained on yet.

        Args:
            number: The epoch.
            feed: Of its phase.
            now: The steps that are taken already; changed.
            after_step: Called after every step.

        Returns:
            The images of the whole epoch.

        Raises:
            RunFailed: the loss is no longer a number.
        """
        began = time.perf_counter() - now.seconds
        plan = self._step.plan
        size, group, steps = plan.batch_size, plan.tables.optimizer.accumulate, plan.steps_per_epoch
        order = self._given.train.order(number - 1)  # the same in every size
        order = order[: batches_per_epoch(len(order), size) * size]
        batches = self._batches(feed, order, number, done=now.steps * group * size)
        if now.steps:
            self._set_rates_(number, now.steps - 1)
        for step in range(now.steps, steps):
            if self._runtime.ranks.size == 1 or self._runtime.device.type == "cpu" or step % _ASK_EVERY == 0:
                ask_together(self._runtime.ranks, self._runtime.watch)
            self._set_rates_(number, step)
            at, in_prefix = time.perf_counter(), feed.prefix_seconds
            taken_in = list(islice(batches, group))
            in_prefix = feed.prefix_seconds - in_prefix
            now.spend("input", time.perf_counter() - at - in_prefix)
            now.spend("prefix", in_prefix)
            at = time.perf_counter()
            with device_memory.spent_on("step"):
                self._take(
                    in_pieces(taken_in, self._given.pieces), self._whole(order[step * group * size : (step + 1) * group * size])
                )
            now.spend("steps", time.perf_counter() - at)
            now.steps, now.seconds = step + 1, time.perf_counter() - began
            bad = self._look(number, step + 1, images=len(order))
            if (step + 1) % _LOOK_EVERY == 0:
                bad = self._runtime.ranks.any(bad)  # of GPUs one may have seen it and another not yet
            self._runtime.observer.step(number, step + 1)
            if bad:
                break
            after_step()
        self._looks.forget()
        at = time.perf_counter()
        sums = self._step.sums()  # on a GPU all steps are waited for
        now.spend("steps", time.perf_counter() - at)
        now.seconds = time.perf_counter() - began
        self._refuse_bad(number, sums, batches_per_epoch(len(order), size))
        if self._step.skipped() == steps:
            raise Diverged(
                f"epoch {number}: no step was taken: gradients overflow float16 at every scale.", 'precision = "float32"'
            )
        return len(order)

    def _batches(self, feed: Feed, order: Indices, number: int, *, done: int) -> Iterator[Batch]:
        """Return the batches of an epoch behind its first `done` images, or this process's parts of them.

        Where a target is adapted to, each has images of it too.
        """
        size, target = self._step.plan.batch_size, self._target
        mine, of_batch = self._own(order[done:], size, shares.share)
        if target is None:
            return feed.train(mine, number - 1, of_batch)
        each = target.labelled_of(size)
        count = len(order) // size * each + target.labelled_of(len(order) % size)
        labelled = order[:0] if target.trained is None else target.trained.repeated(number - 1, count)
        unlabelled = order[:0] if target.training is None else target.training.repeated(number - 1, len(order))
        few, few_of_batch = self._own(labelled[done // size * each :], each, shares.labelled_share)
        others, _ = self._own(unlabelled[done:], size, shares.share)
        return feed.adapted(mine, few, others, number - 1, size=of_batch, labelled_size=few_of_batch)

    def _own(self, order: Indices, size: int, share: Callable[[int, int, int], Share]) -> tuple[Indices, int]:
        """Return this process's part of the images of an epoch, and how many of them a full batch has."""
        rank, processes = self._runtime.ranks.rank, self._runtime.ranks.size
        if processes == 1:
            return order, size
        full = share(size, rank, processes)
        return shares.of_epoch(order, max(size, 1), rank, processes, of=share), full.stop - full.start

    def _whole(self, order: Indices) -> Whole | None:
        """Return what a step's batches are part of; None where this process has all of them, and they have targets of these alone."""
        ranks, size = self._runtime.ranks, self._step.plan.batch_size
        trained = self._target is not None and self._target.trained is not None
        if ranks.size == 1 and not trained:
            return None
        batches = [len(order[at : at + size]) for at in range(0, len(order), size)]
        labelled = [self._target.labelled_of(each) for each in batches] if self._target is not None and trained else []
        return shares.whole(batches, ranks.rank, ranks.size, labelled)

    def is_sound(self) -> bool:
        """Return whether the losses of the epoch so far and all weights are finite numbers; the device is waited for."""
        return self._step.sums().bad < 0 and self._finite()

    def release(self) -> None:
        """Free what is captured, at the end of a run."""
        if isinstance(self._take, Captured):
            self._take.release()

    def _set_rates_(self, number: int, step: int) -> None:
        """Set the learning rates to those of a step of an epoch, from 0."""
        plan = self._step.plan
        before = (number - 1) * plan.steps_per_epoch + step
        self._step.set_rates_(factor(before, schedule=plan.tables.schedule, steps_per_epoch=plan.steps_per_epoch))
        self._step.set_ramp_(ramp(before, total=plan.epochs * plan.steps_per_epoch))

    def _look(self, number: int, taken: int, *, images: int) -> bool:
        """Tell the loss from time to time, and return whether one that is not a number was seen."""
        plan, look = self._step.plan, taken % _LOOK_EVERY == 0
        seen = self._looks.look(taken) if look or self._runtime.device.type == "cpu" else None
        if seen is None:
            return False
        batch = plan.batch_size * plan.tables.optimizer.accumulate
        self._runtime.observer.loss(number, seen.steps, seen.loss / min(seen.steps * batch, images))
        return look and seen.bad

    def _finite(self) -> bool:
        return bool(finite(changing(self._step.network, self._step.plan).values()))

    def _refuse_bad(self, number: int, sums: Sums, batches: int) -> None:
        bad, what = sums.bad, "the loss is not a number"
        if bad < 0 and not self._finite():
            bad, what = batches - 1, "its step made weights that are not numbers"
        if bad < 0:
            return
        bad = min(bad // self._given.pieces, batches - 1)
        rates = ", ".join(f"{name} {float(rate):.3g}" for name, rate in self._step.rates.items())
        norms = ", ".join(f"{name} {norm:.3g}" for name, norm in sums.norms.items())
        raise Diverged(
            f"epoch {number}, batch {bad + 1} of {batches}: {what}.",
            f"the rates at the epoch's end were {rates}",
            *([f"the norms of its gradients were {norms}"] if norms else []),
            LOWER,
        )


def in_pieces(batches: Sequence[Batch], pieces: int) -> list[Batch]:
    """Return batches each in so many parts of nearly one size, or one of each image where it has fewer, in their order."""
    return [
        part
        for x, targets in batches
        for count in [min(pieces, len(x))]  # in the sizes of `piece_sizes`
        for part in zip(torch.tensor_split(x, count), torch.tensor_split(targets, count), strict=True)
    ]
