"""Give all arms of a recipe one precision, and one time at which test images are evaluated: as decided before, or as decided now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tlkit import files
from tlkit.events import Observer
from tlkit.plans import precision, when_tested
from tlkit.recipe.evaluation import Evaluation
from tlkit.record import recipe_choices
from tlkit.record.recipe_choices import SharedChoices
from tlkit.run.preparation import Prepared


def share(
    waiting: Sequence[Prepared],
    arms: Collection[str],
    folder: Path,
    *,
    evaluation: Evaluation,
    device: torch.device,
    observer: Observer,
    watch: Callable[[], None],
) -> list[Prepared]:
    """Return runs of one recipe with what all of its arms share.

    An arm that names its own precision has that; a run that is continued keeps the one that it began with.

    Args:
        waiting: Runs that are prepared.
        arms: Digests of the settings of all arms.
        folder: The recipe's, where decisions are kept.
        evaluation: Of the recipe.
        device: That the runs use.
        observer: Told what is measured.
        watch: Called between two measurements; may raise to stop.

    Raises:
        RunFolderError: the record of earlier decisions is damaged.
        TlkitError: it cannot be written.
    """
    kept, mine, shared = recipe_choices.find(folder, arms), list(waiting), None
    if any(map(_asks, mine)):
        if kept.precision is None and any(each.measured for each in mine if _asks(each)):
            # then the short ones are measured too: one that is not measured would keep all in float32
            mine = [
                each.with_measurements(device=device, observer=observer, watch=watch)
                if _asks(each) and not each.measured
                else each
                for each in mine
            ]
        shared = kept.precision or precision.decide([(each.bare, each.measured) for each in mine if each.earlier is None])
        mine = [each.sharing(shared, device=device) for each in mine]
    tested = when_tested.asked(evaluation, kept.tested, [each.plan for each in mine])
    try:
        found = recipe_choices.keep(folder, arms, SharedChoices(shared, tested if evaluation.test == "auto" else None))
    except OSError as error:
        raise files.unwritable(folder, error) from error
    if found.precision is not None and shared is not None and found.precision.precision != shared.precision:
        mine = [each.sharing(found.precision, device=device) for each in mine]  # another process decided meanwhile
    if found.tested is not None and found.tested.when != tested.when and evaluation.test == "auto":
        tested = found.tested
    return [replace(each, plan=when_tested.apply(each.plan, tested)) for each in mine]


def _asks(prepared: Prepared) -> bool:
    """Whether a run leaves the precision to tlkit, and has something that runs in one."""
    return prepared.bare.tables.precision == "auto" and any(precision.needs(prepared.bare))
