"""The interface that every kind of run has: a generator of epochs whose state can be saved and set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from tlkit.engine.fit import Fit
from tlkit.engine.learning import Learning
from tlkit.engine.progress import Progress
from tlkit.engine.solver import SinglePass
from tlkit.events import Epoch
from tlkit.network.network import Network
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


def learner(given: Learning) -> Learner:
    """Return what carries a plan out: training by steps, or a run without any."""
    return Fit(given) if given.plan.learns == "steps" else SinglePass(given)
