"""Stop trials that cannot go on to the next rung, by how their curve over epochs is expected to end. Imports no torch.

The rule: a trial is stopped only where the upper end of its interval is below the trials that go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import tasks
from tlkit.advice import forecast
from tlkit.errors import TlkitError
from tlkit.plans import plan_json
from tlkit.plans.plan import Plan
from tlkit.record import epoch_lines, run_folder
from tlkit.record.advice import Ending, Trial
from tlkit.tasks import Task

KEPT = 0.5  # of the ways, from one rung to the next
FEWEST = 2  # ways that go on
POINT = 0.01  # the cheapest way within so much of the best is told too


def going_on(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of a rung whose ways go on to the next one.

    The best way that takes steps goes on beside the best that takes none, because few images favour the latter.

    Args:
        trials: Of one rung, the best first.
    """
    best_of_each = [next((trial for trial in trials if trial.solved is solved), None) for solved in (True, False)]
    return [*trials[: max(FEWEST, round(KEPT * len(trials)))], *filter(None, best_of_each)]


def needed(trials: Sequence[Trial], *, ways: int, last: bool) -> float:
    """Return the accuracy that a trial which takes steps must be able to reach, or nothing depends on it; 0 where each one counts.

    Args:
        trials: Of its rung so far.
        ways: Of the rung, at most.
        last: No rung follows; then the best counts, and what is within a point of it.
    """
    best = sorted((trial.accuracy for trial in trials), reverse=True)
    stepping = max((trial.accuracy for trial in trials if not trial.solved), default=0.0)
    places = 1 if last else max(FEWEST, round(KEPT * ways))
    if len(best) < places:
        return 0.0
    return best[0] - POINT if last else min(best[places - 1], stepping)


def ending(lines: Sequence[Mapping[str, Any]], plan: Plan) -> Ending | None:
    """Return what a trial is expected to end with; None where it is too early to say.

    Args:
        lines: Of its metrics.jsonl.
        plan: Of it.
    """
    first, task = plan.phases[-1].first, tasks.get(plan.task)
    curve = [measure(line["validation"], task) for line in lines if line["epoch"] >= first and line.get("validation")]
    found = forecast.end_of_curve(curve, first=first, epochs=plan.epochs, judged=plan.images.validation)
    return None if found is None else Ending(plan.epochs, *found)


def ending_of(folder: Path) -> Ending | None:
    """Return what the stopped run of a folder was expected to end with; None where it is too early to say, or cannot be read."""
    try:
        plan = plan_json.from_json((folder / run_folder.PLAN).read_text(encoding="utf-8"))
        return ending(epoch_lines.read(folder), plan)
    except (OSError, ValueError, TlkitError):
        return None


def measure(validation: Mapping[str, float], task: Task) -> float:
    """Return what ways are compared by, 0 to 1: accuracy, or the task's own metric where an image may have several classes.

    Accuracy counts every class of every image there, and is high for a network that finds none.

    Args:
        validation: Metrics of the validation images.
        task: Of the head.
    """
    return float(validation.get("accuracy" if task.targets.one_class else task.select_by, 0.0))
