"""Training as a generator of epochs, whose state between two epochs can be saved and set exactly."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from tlkit.engine.evaluate import evaluate
from tlkit.engine.images.parts import ALSO, Evaluated, Part, TrainingPart
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.step.changing import changing
from tlkit.engine.step.graph import Captured, CudaBackend
from tlkit.engine.step.look import looks
from tlkit.engine.step.step import Step, Sums
from tlkit.errors import RunFailed, RunFolderError
from tlkit.events import Epoch, Observer
from tlkit.network.network import Network
from tlkit.network.seeding import seeded
from tlkit.plans.network_plugins import NetworkPlugins
from tlkit.plans.plan import PhasePlan, Plan, batches_per_epoch
from tlkit.plans.schedule import factor
from tlkit.record import selection
from tlkit.tasks import Predictions, scoring

# Steps after which a loss that is not a number is looked for, and on a GPU the loss is read, as it was one look before.
_LOOK_EVERY = 50
_LOWER = "lower rates, schedule.warmup_epochs or optimizer.clip_norm may help"


@dataclass
class Progress:
    """What is known between two epochs besides tensors.

    Attributes:
        epochs: Done.
        best_epoch: The best so far, from 1; 0 for none.
        best_score: Its metric on the validation images; of a loss, minus it.
        best_loss: Its validation loss.
    """

    epochs: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_loss: float = math.inf


class Fit:
    """A run that trains by steps, as a `Learner`.

    Args:
        plan: The plan that is carried out.
        network: The network on the device, with its weights.
        plugins: The backbone and the head that the network was built from.
        train: Training images.
        evaluated: Validation and test images.
        device: The device that the network is on.
        observer: Receives the run's events.
        watch: Called between batches; may raise to stop.
        graph: Capture the step where the device can.
        sample: Training images that are evaluated after every epoch; None for none.

    Raises:
        ValueError: a rate is left to a range test, which has not chosen it yet.
    """

    def __init__(
        self,
        plan: Plan,
        network: Network,
        plugins: NetworkPlugins,
        train: TrainingPart,
        evaluated: Evaluated,
        *,
        device: torch.device,
        observer: Observer,
        watch: Callable[[], None],
        graph: bool = True,
        sample: Part | None = None,
    ) -> None:
        if open_ := [group.name for group in plan.groups if group.lr is None]:
            raise ValueError(f"no range test has chosen the rates of {', '.join(open_)} yet")
        self.plan = plan
        self.network = network
        self.progress = Progress()
        self._plugins = plugins
        self._train = train
        self._evaluated = evaluated
        self._sample = sample
        self._times: dict[str, float] = {}  # of this epoch, by kind of work
        self._device = device
        self._observer = observer
        self._watch = watch
        self._step = Step(network, plan, device)
        captures = graph and device.type == "cuda"
        self._take = Captured(self._step, CudaBackend(device), note=observer.note) if captures else self._step
        self._looks = looks(self._step, device)
        self._feed: tuple[PhasePlan, Feed] | None = None
        self._evaluated_batches = 0  # of this epoch
        self.predictions: dict[str, Predictions] = {}  # of the last epoch, by split
        self._undefined = False  # the metric that decides, of the best epoch

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return self.plan.steps_per_epoch

    @property
    def evaluations(self) -> int:
        """Evaluation batches of an epoch."""
        parts = [*self._each_epoch.values(), *([] if self._sample is None else [self._sample])]
        return sum(math.ceil(len(part.indices) / self.plan.batch_size) for part in parts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What became known in training that a person should know of the result: why a step was not captured, what decided."""
        refusals = tuple(self._take.refusals) if isinstance(self._take, Captured) else ()
        if not self._undefined:
            return refusals
        return (
            *refusals,
            f"select_by: the validation images do not define {self.plan.select_by}; the loss chose the best epoch",
        )

    @property
    def why_inexact(self) -> str:
        """Why the same run may have other bits another time; empty where it has the same."""
        return self._step.why_inexact

    def epochs(self) -> Iterator[Epoch]:
        """Train until the schedule or early stopping ends it; between two epochs the state may be saved.

        Raises:
            RunFailed: the loss is no longer a number.
        """
        try:
            while self.progress.epochs < self.plan.epochs and not self._stops_early():
                yield self._epoch(self.progress.epochs + 1)
        finally:
            if isinstance(self._take, Captured):
                self._take.release()

    def evaluate_best(self, best: Epoch) -> Epoch:
        """Evaluate all images by the weights that the network holds, those of the best epoch; training is over then.

        Args:
            best: The best epoch.

        Returns:
            It, with the scores of test images and of other data sets.
        """
        parts = self._evaluated.parts.items()
        scores = {split: self._scores(best.epoch, split, part, watch=self._watch) for split, part in parts}
        scores = {split: scoring.complete(each, self.predictions[split]) for split, each in scores.items()}
        return replace(
            best,
            validation=scores.pop("validation", None),
            test=scores.pop("test", None),
            also={split.removeprefix(ALSO): each for split, each in scores.items()},
        )

    def details(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what happened to every class in the last epoch's evaluation, by split: see `scoring.details`."""
        return {split: scoring.details(each, names) for split, each in self.predictions.items()}

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network hold the weights that are evaluated: the running mean, where the recipe asks for one."""
        return self._step.averaged()

    def changing(self) -> dict[str, Tensor]:
        """Return the network's tensors that the run can change: see `changing`."""
        return changing(self.network, self.plan)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that changes: parameters, buffers, optimizer state, running means, by name."""
        return {f"network/{name}": tensor for name, tensor in self.changing().items()} | self._step.state()

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
            self._step.load_state_(tensors)
            progress = Progress(**json.loads(scalars))
        except (KeyError, RuntimeError, TypeError, json.JSONDecodeError) as error:
            raise RunFolderError(
                f"checkpoint: does not belong to this network: {error}.", "move the run's folder away"
            ) from error
        self.progress = progress

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, by name; they are not copies."""
        return self._step.state()

    def continue_optimizer_(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with the optimizer's state that another run of the same groups ended with, as `optimizer_state` returned it."""
        self._step.load_optimizer_(tensors)

    @property
    def _each_epoch(self) -> dict[str, Part]:
        """The images that are evaluated after every epoch."""
        parts = self._evaluated.parts
        if self.plan.tested == "every":
            return parts
        return {split: part for split, part in parts.items() if split == "validation"}

    def _epoch(self, number: int) -> Epoch:
        self._observer.epoch_begins(number)
        self._evaluated_batches, self._times = 0, {}
        began = time.perf_counter()
        # dropout's draws, so that a continued epoch has the same
        with seeded(self._train.seed * 1_000_003 + self._train.epochs_before + number, self._device):
            images = self._train_epoch(number)
        sums = self._step.sums()
        aux_loss = {} if sums.aux_loss is None else {"aux_loss": sums.aux_loss / images}
        trained = time.perf_counter() - began
        with self.averaged():
            parts = self._each_epoch.items()
            scores = {split: self._scores(number, split, part, watch=self._evaluating) for split, part in parts}
            sample = None if self._sample is None else self._sample_scores(number, self._sample)
        self._times["evaluation"] = time.perf_counter() - began - trained
        best = self._is_best(number, scores.get("validation"))
        if best:
            scores = {split: scoring.complete(each, self.predictions[split]) for split, each in scores.items()}
        self.progress.epochs = number
        return Epoch(
            epoch=number,
            phase=1 + self.plan.phases.index(self.plan.phase(number)),
            train={"loss": sums.loss / images, "accuracy": sums.correct / sums.predictions} | aux_loss,
            validation=scores.pop("validation", None),
            test=scores.pop("test", None),
            seconds=time.perf_counter() - began,
            images_per_second=images / trained,
            lr={name: float(rate) for name, rate in self._step.rates.items()},
            best=best,
            also={split.removeprefix(ALSO): each for split, each in scores.items()},
            train_evaluated=sample,
            times=self._times,
        )

    def _train_epoch(self, number: int) -> int:
        """Train on every batch; return the images used."""
        plan, size, group = self.plan, self.plan.batch_size, self.plan.tables.optimizer.accumulate
        order = self._train.order(number - 1)  # the same in every size
        order = order[: batches_per_epoch(len(order), size) * size]
        self._take.begin_(number)
        began = time.perf_counter()
        feed = self._feed_of(number)
        self._times["storing"] = time.perf_counter() - began
        batches = feed.train(order, number - 1)
        for step in range(plan.steps_per_epoch):
            self._watch()
            taken = (number - 1) * plan.steps_per_epoch + step
            self._step.set_rates_(factor(taken, schedule=plan.tables.schedule, steps_per_epoch=plan.steps_per_epoch))
            began, before = time.perf_counter(), feed.prefix_seconds
            taken_in = list(islice(batches, group))
            in_prefix = feed.prefix_seconds - before
            self._spent("input", began + in_prefix)
            self._times["prefix"] = self._times.get("prefix", 0.0) + in_prefix
            began = time.perf_counter()
            self._take(taken_in)
            self._spent("steps", began)
            look = (step + 1) % _LOOK_EVERY == 0
            seen = self._looks.look(step + 1) if look or self._device.type == "cpu" else None
            if seen is not None:
                self._observer.loss(number, seen.steps, seen.loss / min(seen.steps * size * group, len(order)))
            self._observer.step(number, step + 1)
            if look and seen is not None and seen.bad:
                break
        self._looks.forget()
        began = time.perf_counter()
        sums = self._step.sums()  # on a GPU all steps are waited for
        self._spent("steps", began)
        self._refuse_bad(number, sums, batches_per_epoch(len(order), size))
        if self._step.skipped() == plan.steps_per_epoch:
            raise RunFailed(
                f"epoch {number}: no step was taken: gradients overflow float16 at every scale.", 'precision = "float32"'
            )
        return len(order)

    def _spent(self, kind: str, began: float) -> None:
        self._times[kind] = self._times.get(kind, 0.0) + time.perf_counter() - began

    def _feed_of(self, number: int) -> Feed:
        """Return what feeds an epoch's phase; of a new phase, what it can store is computed first."""
        phase = self.plan.phase(number)
        if self._feed is None or self._feed[0] != phase:
            self._feed = None  # the old one's memory goes before the new one takes its own
            feed = Feed(
                self.network, self._plugins.backbone, self.plan, phase, self._train.at(phase.image_size), self._evaluated,
                device=self._device, observer=self._observer, watch=self._watch, graph=isinstance(self._take, Captured),
            )  # fmt: skip
            self._feed = phase, feed
        return self._feed[1]

    def _refuse_bad(self, number: int, sums: Sums, batches: int) -> None:
        bad, what = sums.bad, "the loss is not a number"
        if bad < 0 and not bool(torch.stack([torch.isfinite(each).all() for each in self.changing().values()]).all()):
            bad, what = batches - 1, "its step made weights that are not numbers"
        if bad < 0:
            return
        rates = ", ".join(f"{name} {float(rate):.3g}" for name, rate in self._step.rates.items())
        norms = ", ".join(f"{name} {norm:.3g}" for name, norm in sums.norms.items())
        raise RunFailed(
            f"epoch {number}, batch {bad + 1} of {batches}: {what}.",
            f"the rates at the epoch's end were {rates}",
            *([f"the norms of its gradients were {norms}"] if norms else []),
            _LOWER,
        )

    def _evaluating(self) -> None:
        self._watch()
        self._evaluated_batches += 1
        self._observer.evaluation(self.progress.epochs + 1, self._evaluated_batches)

    def _scores(self, number: int, split: str, part: Part, *, watch: Callable[[], None]) -> dict[str, float]:
        batches = self._feed_of(number).held_out(part)
        predictions = self.predictions[split] = evaluate(self.network, self._step.evaluated, batches, watch=watch)
        scores = scoring.quick(predictions, asked=self.plan.select_by if split == "validation" else "")
        if not math.isfinite(scores["loss"]):
            raise RunFailed(f"epoch {number}: the loss on held-out images is not a number.", _LOWER)
        return scores

    def _sample_scores(self, number: int, sample: Part) -> dict[str, float]:
        """Evaluate training images as they are; where they are never augmented, their stored outputs are read."""
        feed, other = self._feed_of(number), self.plan.phase(number).image_size is not None
        batches = feed.held_out(sample) if self._train.augment or other else feed.train(sample.indices, number - 1)
        found = evaluate(self.network, self._step.evaluated, batches, watch=self._evaluating)
        return scoring.basic(found) | {"images": len(sample.indices)}

    def _stops_early(self) -> bool:
        """Return whether early stopping ends training now: in the last phase only, and by its own epochs.

        What was frozen may improve the network when it trains, so epochs before that say nothing of it.
        """
        stopping, before = self.plan.tables.early_stopping, self.plan.phases[-1].first - 1
        if stopping is None or self.progress.epochs <= before:
            return False
        return self.progress.epochs - max(self.progress.best_epoch, before) >= stopping.patience

    def _is_best(self, number: int, validation: Mapping[str, float] | None) -> bool:
        """By the plan's metric of the validation images, then loss, then the earlier; without validation images, the last."""
        now = self.progress
        if validation is not None:
            score = selection.worth(validation, self.plan.select_by)
            if not score > (now.best_score, -now.best_loss):
                return False
            now.best_score, now.best_loss = score[0], validation["loss"]
            self._undefined = self.plan.select_by not in validation
        now.best_epoch = number
        return True
