"""How the runs of a recipe are carried out: what is the same for every one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit.engine.runtime import Runtime
from tlkit.plans.loggers import ChosenLogger
from tlkit.recipe.evaluation import Evaluation
from tlkit.run import save_times


@dataclass(frozen=True)
class Setup:
    """How the runs of a recipe are carried out.

    Attributes:
        settings: Digests of the settings of the recipe's arms: `jobs.settings`.
        evaluation: The recipe's table.
        runtime: Where they are carried out.
        verify: Hash every file again and check every row of the store that is used.
        loggers: Receive the metrics of every run that is trained.
        checkpoint_every: Seconds after which a run is saved in the middle of an epoch.
        sent: Called with a run's folder after each checkpoint and at its end.
    """

    settings: Collection[str]
    evaluation: Evaluation
    runtime: Runtime
    verify: bool = False
    loggers: Sequence[ChosenLogger] = ()
    checkpoint_every: float = save_times.EVERY
    sent: Callable[[Path], None] = lambda folder: None
