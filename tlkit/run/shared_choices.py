"""Give the arms of a recipe what they have in common: as decided before, or as decided now.

That is the precision of their training steps, the compute formats of their fixed prefixes, and when test images are evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from tlkit import files
from tlkit.engine.runtime import Runtime
from tlkit.plans import precision, when_tested
from tlkit.recipe.evaluation import Evaluation
from tlkit.record import recipe_choices
from tlkit.record.formats import SharedFormats
from tlkit.record.recipe_choices import SharedChoices
from tlkit.run.preparation import Prepared


def share(
    waiting: Sequence[Prepared], arms: Collection[str], folder: Path, runtime: Runtime, *, evaluation: Evaluation
) -> list[Prepared]:
    """Return runs of one recipe with what all of its arms share.

    An arm that names its own precision has that; a run that is continued keeps the one that it began with.

    Args:
        waiting: Runs that are prepared.
        arms: Digests of the settings of all arms.
        folder: The recipe's, where decisions are kept.
        runtime: Where the runs are carried out.
        evaluation: Of the recipe.

    Raises:
        RunFolderError: the record of earlier decisions is damaged.
        TlkitError: it cannot be written.
    """
    kept, mine = recipe_choices.find(folder, arms), list(waiting)
    undecided = [_asks(each) and not precision.is_decided(each.bare, kept.formats) for each in mine]
    if any(each.measured for each, open_ in zip(mine, undecided, strict=True) if open_):
        # then the short ones are measured too: one that is not measured would keep all in float32
        mine = [
            each.with_measurements(runtime) if open_ and not each.measured else each
            for each, open_ in zip(mine, undecided, strict=True)
        ]
    shared = precision.decide([(each.bare, each.measured) for each in mine if _asks(each)], kept.formats)
    mine = [each.sharing(shared, device=runtime.device) for each in mine]
    tested = when_tested.asked(evaluation, kept.tested, [each.plan for each in mine])
    with files.writing_in(folder):
        found = recipe_choices.keep(folder, arms, SharedChoices(shared, tested if evaluation.test == "auto" else None))
    if _formats(found.formats) != _formats(shared):
        mine = [each.sharing(found.formats, device=runtime.device) for each in mine]  # another process decided meanwhile
    if found.tested is not None and found.tested.when != tested.when and evaluation.test == "auto":
        tested = found.tested
    return [replace(each, plan=when_tested.apply(each.plan, tested)) for each in mine]


def _asks(prepared: Prepared) -> bool:
    """Whether a run begins now, leaves the precision to tlkit, and has something that runs in one."""
    return prepared.earlier is None and prepared.bare.tables.precision == "auto" and any(precision.needs(prepared.bare))


def _formats(shared: SharedFormats) -> tuple[object, ...]:
    """What was decided, without the reasons."""
    step = shared.step and shared.step.precision
    return step, {(each.network, each.stages, each.compute_format) for each in shared.prefixes}
