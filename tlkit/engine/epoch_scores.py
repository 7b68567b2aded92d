"""Evaluate a network after an epoch of training by steps: held-out images, training images as they are, and the target of [adapt]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from tlkit.engine.domains import scores as domain_scores
from tlkit.engine.epoch_steps import LOWER
from tlkit.engine.evaluate import evaluate, evaluating
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.engine.images.parts import Part
from tlkit.engine.learning import Learning
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.ranks.ranks import Shared
from tlkit.errors import Diverged
from tlkit.plans import other_parts
from tlkit.tasks import Predictions, scoring


class EpochScores:
    """Evaluates the network that is trained, by the weights that it holds; `feed` is what feeds the epoch's phase.

    Args:
        forward: Of the network.
        given: What the run learns with.

    Attributes:
        predictions: Of the last evaluation, by split.
    """

    def __init__(self, forward: EvaluationForward, given: Learning) -> None:
        self.predictions: dict[str, Predictions] = {}
        self._forward = forward
        self._plan = given.plan
        self._network = given.network
        self._given, self._runtime = given, given.runtime
        self._epoch, self._batches = 0, 0  # the epoch that is evaluated, and its batches so far

    @property
    def batches(self) -> int:
        """Batches that are evaluated after every epoch."""
        parts = [*self._each_epoch.values(), *([] if self._given.sample is None else [self._given.sample])]
        return sum(math.ceil(len(self._shared(part).indices) / self._plan.evaluation_batch) for part in parts)

    def begin_(self, number: int) -> None:
        """Count batches anew, for an epoch."""
        self._epoch, self._batches = number, 0

    def each_epoch(self, number: int, feed: Feed) -> dict[str, dict[str, float]]:
        """Return the scores of the images that are evaluated after every epoch, by split, without the costly ones.

        Raises:
            RunFailed: the loss is no longer a number.
        """
        parts = self._each_epoch.items()
        return {split: self.of(number, feed, split, part, watch=self._evaluating, masks=False) for split, part in parts}

    def every_part(self, number: int, feed: Feed) -> dict[str, dict[str, float]]:
        """Return all scores of all images that are evaluated, by split.

        Raises:
            RunFailed: the loss is no longer a number.
        """
        parts = self._given.evaluated.parts.items()
        return self.complete({split: self.of(number, feed, split, part, watch=self._runtime.watch) for split, part in parts})

    def complete(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        """Return the scores of the last evaluation with the costly ones."""
        return {split: scoring.complete(each, self.predictions[split]) for split, each in scores.items()}

    def of(
        self, number: int, feed: Feed, split: str, part: Part, *, watch: Callable[[], None], masks: bool = True
    ) -> dict[str, float]:
        """Evaluate the images of a split, and keep the predictions; return the scores without the costly ones."""
        mine = self._shared(part)
        batches = feed.held_out(part, mine.indices)
        predictions = self.predictions[split] = evaluate(
            self._network, self._forward, batches, watch=watch, together=mine.together, shown=mine,
            masks=masks,
        )  # fmt: skip
        scores = scoring.quick(predictions, asked=self._plan.select_by if split == "validation" else "")
        if not math.isfinite(scores["loss"]):
            raise Diverged(f"epoch {number}: the loss on held-out images is not a number.", LOWER)
        return scores

    def target(self, feed: Feed) -> dict[str, float] | None:
        """Return the scores of the target that need no label, of images whose labels are not trained on; None without such images."""
        target = self._given.evaluated.target
        if self._plan.tables.adapt is None or target is None or len(target.labelled) == len(target.part.indices):
            return None
        part, chosen = target.part, other_parts.evenly(np.delete(target.part.indices, target.labelled))
        clusters = self._plan.select_by == "ami"
        mine = Shared(self._runtime.ranks, chosen, self._plan.batch_size)
        read, probabilities = [], []
        with evaluating(self._network), torch.inference_mode():
            for x in feed.inputs(part, mine.indices):
                self._runtime.watch()
                features, logits = self._forward(x)
                if clusters:
                    read.append(features.flatten(1))
                probabilities.append(self._network.task.probabilities(logits))
        found = mine.together(torch.cat(read).cpu()).numpy() if clusters else None  # at once: a GPU is waited for then
        return domain_scores.of(mine.together(torch.cat(probabilities).cpu()).numpy(), features=found)

    def sample(self, number: int, feed: Feed) -> dict[str, float] | None:
        """Evaluate training images as they are; where they are never augmented, their stored outputs are read. None for none."""
        if self._given.sample is None:
            return None
        mine = self._shared(self._given.sample)
        as_they_are = (
            self._given.train.augment or self._plan.phase(number).image_size is not None or self._plan.tile is not None
        )
        batches = feed.held_out(self._given.sample, mine.indices) if as_they_are else feed.train(mine.indices, number - 1)
        found = evaluate(self._network, self._forward, batches, watch=self._evaluating, together=mine.together)
        return scoring.basic(found) | {"images": len(self._given.sample.indices)}

    @property
    def _each_epoch(self) -> dict[str, Part]:
        """The images that are evaluated after every epoch."""
        parts = self._given.evaluated.parts
        if self._plan.tested == "every":
            return parts
        return {split: part for split, part in parts.items() if split == "validation"}

    def _evaluating(self) -> None:
        self._runtime.watch()
        self._batches += 1
        self._runtime.observer.evaluation(self._epoch, self._batches)

    def _shared(self, part: Part) -> Shared:
        return Shared(self._runtime.ranks, part.indices, self._plan.evaluation_batch)
