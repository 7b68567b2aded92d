"""Training as a generator of epochs, whose state between any two steps can be saved and set exactly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from tlkit.engine import pseudo_labelling
from tlkit.engine.domains import batch_loss
from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.epoch_scores import EpochScores
from tlkit.engine.epoch_steps import EpochSteps
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.engine.images.parts import ALSO
from tlkit.engine.learning import Learning
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.progress import Progress
from tlkit.engine.step.changing import changing
from tlkit.engine.step.step import Step
from tlkit.errors import RunFolderError
from tlkit.events import Epoch
from tlkit.network import device_memory, seeding
from tlkit.plans.plan import PhasePlan
from tlkit.record import selection
from tlkit.tasks import Predictions, scoring


class Fit:
    """A run that trains by steps, as a `Learner`.

    Raises:
        ValueError: a rate is left to a range test, which has not chosen it yet.
    """

    def __init__(self, given: Learning) -> None:
        plan, network, device = given.plan, given.network, given.runtime.device
        if open_ := [group.name for group in plan.groups if group.lr is None]:
            raise ValueError(f"no range test has chosen the rates of {', '.join(open_)} yet")
        self.plan = plan
        self.network = network
        self.progress = Progress()
        self._given, self._runtime = given, given.runtime
        target, adaptation = given.evaluated.target, given.adaptation
        if adaptation is not None and adaptation.source_free:
            target, domains = None, DomainLoss(network, adaptation, device)  # the training images are those of the target
        elif adaptation is None or target is None or (target.training is None and target.trained is None):
            target = domains = None
        else:
            table, few = adaptation.table, len(target.labelled) if target.trained is not None else 0
            labelled = batch_loss.share(len(given.train.indices), few, weight=table.label_weight)
            domains = DomainLoss(network, adaptation, device, labelled=labelled)
        self._step = Step(network, plan, device, ranks=given.runtime.ranks, domains=domains)
        self._steps = EpochSteps(self._step, given, target=target)
        self._feed: tuple[PhasePlan, Feed] | None = None
        note, backend = given.runtime.observer.note, given.runtime.backend
        self._forward = EvaluationForward(network, plan, device, backend=backend, note=note)
        self._scores = EpochScores(self._forward, given)
        self._random: dict[
            str, Tensor
        ] = {}  # the generators' states after the last step of an epoch that was left in the middle
        self._draws = False  # steps are being taken, so the generators have the states themselves

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return self.plan.steps_per_epoch

    @property
    def predictions(self) -> dict[str, Predictions]:
        """Predictions of the last evaluation, by split."""
        return self._scores.predictions

    @property
    def evaluations(self) -> int:
        """Evaluation batches of an epoch."""
        return self._scores.batches

    @property
    def warnings(self) -> tuple[str, ...]:
        """What became known in training that a person should know of the result: why a step was not captured, what decided."""
        refusals = (*self._steps.refusals, *self._forward.refusals)
        if not self.progress.undefined:
            return refusals
        return (
            *refusals,
            f"select_by: the validation images do not define {self.plan.select_by}; the loss chose the best epoch",
        )

    @property
    def why_inexact(self) -> str:
        """Why the same run may have other bits another time; empty where it has the same."""
        return self._step.why_inexact

    def epochs(self, *, after_step: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Train until the schedule or early stopping ends it; between two epochs the state may be saved.

        Args:
            after_step: Called after every training step; it may save the state too.

        Raises:
            RunFailed: the loss is no longer a number.
        """
        if self._given.begin is not None and not self.progress.epochs and not self.progress.steps:
            self._given.begin()
            self._step.weights_are_set_()
        try:
            while self.progress.epochs < self.plan.epochs and not self.progress.stops_early(self.plan):
                yield self._epoch(self.progress.epochs + 1, after_step)
        finally:
            self._steps.release()
            self._forward.release()

    def evaluate_best(self, best: Epoch) -> Epoch:
        """Evaluate all images by the weights that the network holds, those of the best epoch; training is over then.

        Args:
            best: The best epoch.

        Returns:
            It, with the scores of test images and of other data sets.
        """
        self._forward.begin_(best.epoch)
        feed = self._feed_of(best.epoch)
        try:
            with device_memory.spent_on("evaluation"):
                scores = self._scores.every_part(best.epoch, feed)
        finally:
            self._forward.release()
        return replace(
            best,
            validation=scores.pop("validation", None),
            test=scores.pop("test", None),
            also={split.removeprefix(ALSO): each for split, each in scores.items()},
        )

    def details(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what happened to every class in the last epoch's evaluation, by split: see `scoring.every_detail`."""
        return dict(scoring.every_detail(self.predictions, names))

    def alignment(self) -> None:
        """Return nothing: a head that is trained reads features as they are."""

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network hold the weights that are evaluated: the running mean, where the recipe asks for one."""
        return self._step.averaged()

    def changing(self) -> dict[str, Tensor]:
        """Return the network's tensors that the run can change: see `changing`."""
        return changing(self.network, self.plan)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that changes: parameters, buffers, optimizer state, running means, by name.

        Within an epoch also its sums so far, its pseudo-labels and the states of the random generators.
        """
        state = {f"network/{name}": tensor for name, tensor in self.changing().items()} | self._beside() | self._step.state()
        if not self.progress.steps:
            return state
        state |= pseudo_labelling.state(self._given.train) | self._step.epoch_state()
        return state | (seeding.states(self._runtime.device) if self._draws else self._random)

    def is_sound(self) -> bool:
        """Return whether the losses of the epoch so far and all weights are finite numbers; the device is waited for."""
        return self._steps.is_sound()

    def scalars(self) -> str:
        """Return the rest of the state, as JSON."""
        return json.dumps(asdict(self.progress))

    def resume_(self, tensors: Mapping[str, Tensor], scalars: str) -> None:
        """Set the state to what `tensors` and `scalars` returned.

        Raises:
            RunFolderError: it is of another network or another version.
        """
        own = self.changing()
        try:
            with torch.no_grad():
                for name, tensor in own.items():
                    tensor.copy_(tensors[f"network/{name}"])
                for name, tensor in self._beside().items():
                    tensor.copy_(tensors[name])
            self._step.load_state_(tensors)
            progress = Progress(**json.loads(scalars))
            if progress.steps:
                self._step.load_epoch_state_(tensors)
                pseudo_labelling.load_state_(self._given.train, tensors)
                self._random = {name: tensors[name] for name in seeding.states(self._runtime.device) if name in tensors}
        except (KeyError, RuntimeError, TypeError, json.JSONDecodeError) as error:
            raise RunFolderError(
                f"checkpoint: does not belong to this network: {error}.", "move the run's folder away"
            ) from error
        self.progress = progress

    def _beside(self) -> dict[str, Tensor]:
        """Return the tensors of the domain head, which only training needs, by name."""
        head = self.network.domain_head
        return {} if head is None else {f"domain/{name}": tensor for name, tensor in head.state_dict().items()}

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, by name; they are not copies."""
        return self._step.state()

    def continue_optimizer_(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with the optimizer's state that another run of the same groups ended with, as `optimizer_state` returned it."""
        self._step.load_optimizer_(tensors)

    def _epoch(self, number: int, after_step: Callable[[], None]) -> Epoch:
        self._runtime.observer.epoch_begins(number)
        self._scores.begin_(number)
        self._forward.begin_(number)
        now = self.progress
        images = self._train_epoch(number, after_step)
        sums = self._step.sums()
        aux_loss = {} if sums.aux_loss is None else {"aux_loss": sums.aux_loss / images}
        began = time.perf_counter()
        feed = self._feed_of(number)
        with self.averaged(), device_memory.spent_on("evaluation"):
            scores = self._scores.each_epoch(number, feed)
            sample, target = self._scores.sample(number, feed), self._scores.target(feed)
        evaluated = time.perf_counter() - began
        judged = selection.decisive(scores.get("validation"), target, self.plan.select_by)
        best = now.keep_best_(number, judged, select_by=self.plan.select_by)
        if best:
            scores = self._scores.complete(scores)
        epoch = Epoch(
            epoch=number,
            phase=1 + self.plan.phases.index(self.plan.phase(number)),
            train={"loss": sums.loss / images, "accuracy": sums.correct / max(sums.predictions, 1)} | aux_loss,
            validation=scores.pop("validation", None),
            test=scores.pop("test", None),
            seconds=now.seconds + time.perf_counter() - began,
            images_per_second=images / now.seconds,
            lr={name: float(rate) for name, rate in self._step.rates.items()},
            best=best,
            also={split.removeprefix(ALSO): each for split, each in scores.items()},
            train_evaluated=sample,
            times=now.times | {"evaluation": evaluated},
            target=target,
        )
        now.end_epoch_(number)
        return epoch

    def _train_epoch(self, number: int, after_step: Callable[[], None]) -> int:
        """Take the steps of an epoch that are not taken yet; return the images of all of them."""
        now, began = self.progress, time.perf_counter()
        so_far = {name: each.clone() for name, each in self._step.epoch_state().items()} if now.steps else {}
        # dropout's draws, so that a continued epoch has the same
        with seeding.seeded(
            self._given.train.seed * 1_000_003 + self._given.train.epochs_before + number, self._runtime.device
        ):
            self._steps.begin_(number)
            self._step.load_epoch_state_(so_far)
            feed = self._feed_of(number)
            if not now.steps:
                pseudo_labelling.label_(
                    self._given.train, self._given.evaluated.target, self._forward, feed, watch=self._runtime.watch
                )
            now.seconds += (stored := time.perf_counter() - began)
            now.spend("storing", stored)
            seeding.set_states_(self._random if now.steps else {}, self._runtime.device)
            self._draws = True
            try:
                return self._steps.run(number, feed, now, after_step=after_step)
            finally:
                self._random, self._draws = seeding.states(self._runtime.device), False

    def _feed_of(self, number: int) -> Feed:
        """Return what feeds an epoch's phase; of a new phase, what it can store is computed first."""
        phase = self.plan.phase(number)
        if self._feed is None or self._feed[0] != phase:
            self._feed = None  # the old one's memory goes before the new one takes its own
            feed = Feed(
                self.network, self._given.plugins.backbone, self.plan, phase, self._given.train.at(phase.image_size), self._given.evaluated,
                self._runtime,
            )  # fmt: skip
            self._feed = phase, feed
        return self._feed[1]
