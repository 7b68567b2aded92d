"""How far a run has come, besides its tensors: what is done, which epoch is the best, and whether training stops early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tlkit.plans.plan import Plan
from tlkit.record import selection


@dataclass
class Progress:
    """What is known between two steps.

    Attributes:
        epochs: Done.
        steps: Taken of the epoch after them.
        seconds: That these steps took.
        times: The same by kind of work.
        best_epoch: The best so far, from 1; 0 for none.
        best_score: Its metric on the validation images; of a loss, minus it.
        best_loss: Its validation loss.
        undefined: Its validation images do not define the plan's metric, so the loss chose it.
    """

    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_loss: float = math.inf
    undefined: bool = False

    def spend(self, kind: str, seconds: float) -> None:
        """Add seconds to those of a kind of work."""
        self.times[kind] = self.times.get(kind, 0.0) + seconds

    def stops_early(self, plan: Plan) -> bool:
        """Return whether early stopping ends training now: in the last phase only, and by its own epochs.

        What was frozen may improve the network when it trains, so epochs before that say nothing of it.
        """
        stopping, before = plan.tables.early_stopping, plan.phases[-1].first - 1
        if stopping is None or self.epochs <= before:
            return False
        return self.epochs - max(self.best_epoch, before) >= stopping.patience

    def keep_best_(self, number: int, validation: Mapping[str, float] | None, *, select_by: str) -> bool:
        """Keep an epoch if it is the best so far, and return whether it is.

        By a metric of the validation images, then loss, then the earlier; without validation images, the last.
        """
        if validation is not None:
            score = selection.worth(validation, select_by)
            if not score > (self.best_score, -self.best_loss):
                return False
            self.best_score, self.best_loss = score[0], validation["loss"]
            self.undefined = select_by not in validation
        self.best_epoch = number
        return True

    def end_epoch_(self, number: int) -> None:
        """Count an epoch as done; no step of the next is taken."""
        self.epochs, self.steps, self.seconds, self.times = number, 0, 0.0, {}
