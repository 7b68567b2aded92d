"""What every kind of run is to the one who carries it out: a generator of epochs whose state can be saved and set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from tlkit.engine.fit import Fit
from tlkit.engine.images.parts import Evaluated, Part, TrainingPart
from tlkit.engine.progress import Progress
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.solver import SinglePass
from tlkit.events import Epoch, Observer
from tlkit.network.network import Network
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.network_plugins import NetworkPlugins
from tlkit.plans.plan import Plan
from tlkit.plugin import Alignment
from tlkit.tasks import Predictions


class Learner(Protocol):
    """One run: `Fit` where the network is trained by steps, `SinglePass` where its head is fitted at once or nothing is learned."""

    plan: Plan
    network: Network
    progress: Progress

    @property
    def steps(self) -> int:
        """Return how often an epoch calls `Observer.step`."""

    @property
    def evaluations(self) -> int:
        """Return how often an epoch calls `Observer.evaluation`."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what became known in training that a person should know of the result."""

    @property
    def why_inexact(self) -> str:
        """Return why the same run may have other bits another time, as far as is known yet; empty where it has the same."""

    def epochs(self, *, after_step: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Train until the schedule or early stopping ends it; between two epochs the state may be saved.

        Args:
            after_step: Called after every training step; it may save the state too.

        Raises:
            RunFailed: the loss, or an embedding, is no longer a finite number.
        """

    def evaluate_best(self, best: Epoch) -> Epoch:
        """Return the best epoch with the scores of images that the plan leaves to the end, by the weights that the network holds."""

    def details(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what happened to every class in the last epoch's evaluation, by split: see `metrics.details`."""

    @property
    def predictions(self) -> Mapping[str, Predictions]:
        """Return the predictions of the last evaluation, by split, in the order of its images."""

    def alignment(self) -> Alignment | None:
        """Return the maps by which a solved head reads source and target of [adapt]; None where there are none."""

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network hold the weights that are evaluated, which may be a running mean."""

    def changing(self) -> dict[str, Tensor]:
        """Return the network's tensors that the run can change, by name; they are not copies."""

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that is needed to continue, by name; they are not copies."""

    def is_sound(self) -> bool:
        """Return whether what was learned so far is finite numbers; the device is waited for."""

    def scalars(self) -> str:
        """Return the rest of the state, as JSON."""

    def resume_(self, tensors: Mapping[str, Tensor], scalars: str) -> None:
        """Set the state to what `tensors` and `scalars` returned.

        Raises:
            RunFolderError: it is of another network or another version.
        """


def learner(
    plan: Plan, network: Network, plugins: NetworkPlugins, train: TrainingPart, evaluated: Evaluated, *,
    device: torch.device, observer: Observer, watch: Callable[[], None] = lambda: None, graph: bool = True,
    sample: Part | None = None, ranks: Ranks = ALONE, adaptation: Adaptation | None = None,
    begin: Callable[[], None] | None = None, pieces: int = 1,
) -> Learner:  # fmt: skip
    """Return what carries a plan out: training by steps, or a run without any.

    Args:
        plan: The plan that is carried out.
        network: The network on the device, with its weights.
        plugins: The backbone and the head that the network was built from.
        train: Training images.
        evaluated: Validation and test images.
        device: The device that the network is on.
        observer: Receives the run's events.
        watch: Called between batches; may raise to stop.
        graph: Capture the training step and the fixed prefix where the device can.
        sample: Training images that are evaluated after every epoch.
        ranks: The processes of the run; each has a learner, and their states stay the same.
        adaptation: [adapt] with its method; None without.
        begin: Sets the weights that the first step begins with, where these are not the network's.
        pieces: Parts of a batch that pass the network one after the other; a step is still one on all of its images.
    """
    if plan.learns != "steps":
        return SinglePass(
            plan, network, plugins, train, evaluated, device=device, observer=observer, watch=watch, graph=graph, ranks=ranks,
            adaptation=adaptation,
        )  # fmt: skip
    return Fit(
        plan, network, plugins, train, evaluated, device=device, observer=observer, watch=watch, graph=graph, sample=sample,
        ranks=ranks,
        adaptation=adaptation,
        begin=begin,
        pieces=pieces,
    )  # fmt: skip
