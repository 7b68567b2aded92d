"""A run that takes no step: one embedding pass over the images and one fit of the head, or an earlier run evaluated as it is.

It stands where a trained run does, as a run of one epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine import adapting, tiles, transfer
from tlkit.engine.adapting import Rows, TargetRows
from tlkit.engine.estimators import FittedHead, fit, of_several_classes
from tlkit.engine.evaluate import evaluate
from tlkit.engine.images.parts import ALSO, Part
from tlkit.engine.images.pictures import Indices
from tlkit.engine.learning import Learning
from tlkit.engine.prefix.feed import Batch, Feed
from tlkit.engine.progress import Progress
from tlkit.engine.ranks.ranks import Shared
from tlkit.errors import RunFailed
from tlkit.events import Epoch
from tlkit.plugin import Alignment, Solving
from tlkit.tasks import Predictions, scoring


class SinglePass:
    """A run without steps, as a `Learner`: every image passes the network once."""

    def __init__(self, given: Learning) -> None:
        self.plan = given.plan
        self.network = given.network
        self.progress = Progress()
        self.warnings: tuple[str, ...] = ()
        self.why_inexact = ""
        self._given, self._runtime = given, given.runtime
        self.predictions: dict[str, Predictions] = {}
        self._maps: Alignment | None = None  # of the head that was fitted here
        self._said: list[str] = []
        self._passed, self._evaluated_batches = 0, 0

    @property
    def steps(self) -> int:
        """Batches of training images, and of the target that is adapted to, that pass the network."""
        target = self._given.evaluated.target
        source = self._batches(self._given.train) if self._learns_source else 0
        return source + (self._batches(target.part) if target is not None else 0)

    @property
    def evaluations(self) -> int:
        """Batches of evaluation images that pass the network."""
        return sum(map(self._batches, self._given.evaluated.parts.values()))

    def epochs(self, *, after_step: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Embed, fit and evaluate: one epoch, without steps.

        Raises:
            RunFailed: the embeddings are not finite numbers.
            PluginError: the head's maker, or what it made, failed.
        """
        if self.progress.epochs:
            return
        self._runtime.observer.epoch_begins(1)
        began = time.perf_counter()
        feed = self._feed()
        trained = self._fit_head(feed) if self.plan.learns == "solved" else self._predict(feed, self._given.train, self._step)
        took = time.perf_counter() - began
        for name, part in self._given.evaluated.parts.items():
            self.predictions[name] = self._predict(feed, part, self._evaluation)
        scores = {name: scoring.scores(each) for name, each in self.predictions.items()}
        self.progress = Progress(epochs=1, best_epoch=1)
        whole = time.perf_counter() - began
        yield Epoch(
            epoch=1,
            phase=1,
            train=scoring.basic(trained),
            validation=scores.pop("validation", None),
            test=scores.pop("test", None),
            seconds=whole,
            images_per_second=len(trained.targets) / took,
            lr={},
            best=True,
            also={name.removeprefix(ALSO): each for name, each in scores.items()},
            times={"solving": took, "evaluation": whole - took} if self.plan.learns == "solved" else {"evaluation": whole},
        )

    def fitted(self) -> FittedHead:
        """Fit the head to the training images and return it; the network stays as it is.

        Raises:
            RunFailed: the embeddings are not finite numbers.
            PluginError: the head's maker, or what it made, failed.
        """
        source = self._source(self._feed())
        found, self._said = self._fitted_head(source.features, source.labels, source.groups)
        for line in (*self._said, *found.warnings):
            self._runtime.observer.note(f"{self.plan.arm}: {line}")
        return found

    def evaluate_best(self, best: Epoch) -> Epoch:
        """Return the epoch as it is: it has evaluated everything."""
        return best

    def details(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what happened to every class, by split: see `scoring.every_detail`; and what a search chose."""
        found: dict[str, Any] = dict(scoring.every_detail(self.predictions, names))
        return found | ({"chosen": self._said} if self._said else {})

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is another: there is no running mean."""
        return nullcontext()

    def changing(self) -> dict[str, Tensor]:
        """Return nothing: a fitted head has a file of its own."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: a solved run is done at once, or begun anew."""
        return {}

    def is_sound(self) -> bool:
        """Return True: what is not finite ends the run."""
        return True

    def scalars(self) -> str:
        """Return nothing, as JSON."""
        return "{}"

    def resume_(self, tensors: Mapping[str, Tensor], scalars: str) -> None:
        """Set the state to done."""
        self.progress = Progress(epochs=1, best_epoch=1)

    def alignment(self) -> Alignment | None:
        """Return the maps of the method of [adapt]; they are computed again where another process fitted the head."""
        if self._maps is None and self._given.adaptation is not None and self._runtime.ranks.size == 1:
            feed, found = self._feed(), self._given.adaptation
            self._maps = adapting.aligned(
                found.adapter, self._source(feed).features, self._target(feed).features, found.options
            )
        return self._maps

    @property
    def _learns_source(self) -> bool:
        return self._given.adaptation is None or self._given.adaptation.table.source

    def _feed(self) -> Feed:
        return Feed(
            self.network, self._given.plugins.backbone, self.plan, self.plan.phases[0], self._given.train, self._given.evaluated,
            self._runtime,
        )  # fmt: skip

    def _source(self, feed: Feed) -> Rows:
        """What the head reads of every training image, with the labels; nothing where [adapt] leaves the source out."""
        if not self._learns_source:
            return Rows(np.empty((0, 0), np.float32), np.empty(0, np.int64), None)
        embedded, labels = self._embedded(self._given.train, lambda order: feed.train(order, 0))
        groups = self._given.train.pictures.split.groups
        return Rows(embedded, labels, None if groups is None else groups[self._given.train.indices])

    def _fit_head(self, feed: Feed) -> Predictions:
        """Fit the head, put it in its place, and return its predictions for the images that it was fitted to."""
        source = self._source(feed)
        if self._given.adaptation is None:
            fitted, self._said = self._fitted_head(source.features, source.labels, source.groups)
            answers, known = fitted(torch.from_numpy(source.features)), torch.from_numpy(source.labels)
        else:
            adapted = adapting.fit(self._given.adaptation, source, self._target(feed), self._fitted_head)
            fitted, self._said, answers, known = adapted.head, adapted.said, adapted.logits, adapted.labels
            self._maps = adapted.maps
        for line in self._said:
            self._runtime.observer.note(f"{self.plan.arm}: {line}")
        self.warnings = tuple(fitted.warnings)
        self.network.head = fitted.to(self._runtime.device)
        return Predictions(answers, known, self.network.task, logarithms=fitted.logarithms)

    def _fitted_head(
        self, embedded: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.str_] | None
    ) -> tuple[FittedHead, list[str]]:
        """Fit the plan's head to embeddings (N, features) and labels (N,); also what a search chose, in words."""
        labels = of_several_classes(labels, kind=self.plan.tables.head.kind)
        solving = Solving(labels, embedded.shape[1], self.plan.classes, self._given.train.seed, groups, self.plan.select_by)
        return fit(self._given.plugins.head, self._given.plugins.head_options, embedded, labels, solving)

    def _target(self, feed: Feed) -> TargetRows:
        """What the head reads of every target image, and the labels that may be used."""
        target = self._given.evaluated.target
        if target is None:
            return TargetRows(np.empty((0, 0), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        part = target.part
        embedded, _ = self._embedded(part, lambda order: feed.held_out(part, order))
        return TargetRows(embedded, target.labelled, target.labels())

    def _embedded(
        self, part: Part, read: Callable[[Indices], Iterator[Batch]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What the head reads of a part's images (N, features), and the labels (N,); `read` yields the batches of some of them."""
        labels: list[Tensor] = []
        done, mine = 0, self._shared(part)

        def computed() -> Iterator[Tensor]:
            for x, targets in read(mine.indices):
                self._step()
                labels.append(targets)
                yield self.network.read(x).float()

        embedded = torch.empty(0)
        for rows in transfer.to_host(computed(), self._runtime.device):
            if not done:
                embedded = torch.empty(len(mine.indices), rows.shape[1])
            embedded[done : done + len(rows)] = rows
            done += len(rows)
        embedded = mine.together(embedded)
        if not bool(torch.isfinite(embedded).all()):
            raise RunFailed("the embeddings are not finite numbers.", "other weights, or another head.embed")
        return embedded.numpy(), mine.together(torch.cat(labels).cpu()).numpy()

    def _predict(self, feed: Feed, part: Part, tell: Callable[[], None]) -> Predictions:
        """Predict every image of a part as it is, without augmentation."""
        mine = self._shared(part)
        batches = feed.held_out(part, mine.indices)
        return evaluate(self.network, self._answer, batches, watch=tell, together=mine.together, shown=mine)

    def _answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head reads of the last stage's output, and the logits; for pictures in tiles, the pictures and the logits."""
        if self.plan.tile is not None:
            return x, tiles.logits(self.network.task, self.network, x.float(), tile=self.plan.tile)
        return self.network.read_and_answer(x.float(), start=self.plan.depth)

    def _shared(self, part: Part) -> Shared:
        return Shared(self._runtime.ranks, part.indices, self.plan.evaluation_batch)

    def _batches(self, part: Part) -> int:
        return -(-len(self._shared(part).indices) // self.plan.evaluation_batch)

    def _step(self) -> None:
        self._runtime.watch()
        self._passed += 1
        self._runtime.observer.step(1, self._passed)

    def _evaluation(self) -> None:
        self._runtime.watch()
        self._evaluated_batches += 1
        self._runtime.observer.evaluation(1, self._evaluated_batches)
