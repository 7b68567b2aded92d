"""Give all arms of a recipe one precision: the one that was decided for it before, or else one that is decided now and kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch

from tlkit import files
from tlkit.events import Observer
from tlkit.plans import precision
from tlkit.record import recipe_choices
from tlkit.run.preparation import Prepared


def share(
    waiting: Sequence[Prepared],
    arms: Collection[str],
    folder: Path,
    *,
    device: torch.device,
    observer: Observer,
    watch: Callable[[], None],
) -> list[Prepared]:
    """Return runs of one recipe with one precision, except where an arm names its own or a run is continued.

    Args:
        waiting: Runs that are prepared.
        arms: Digests of the settings of all arms that leave the precision to tlkit.
        folder: The recipe's, where the decision is kept.
        device: That the runs use.
        observer: Told what is measured.
        watch: Called between two measurements; may raise to stop.

    Raises:
        RunFolderError: the record of earlier decisions is damaged.
        TlkitError: it cannot be written.
    """
    asked = [each for each in waiting if each.bare.tables.precision == "auto" and any(precision.needs(each.bare))]
    if not asked:
        return list(waiting)
    shared, mine = recipe_choices.find(folder, arms), list(waiting)
    if shared is None:
        known = [each for each in asked if each.measured]
        if known:  # then measuring the others is worth its time: one that is not measured would keep all in float32
            mine = [
                each
                if each not in asked or each in known
                else each.with_measurements(device=device, observer=observer, watch=watch)
                for each in waiting
            ]
        shared = precision.decide([(each.bare, each.measured) for each in mine if each.earlier is None])
    try:
        shared = recipe_choices.keep(folder, arms, shared)
    except OSError as error:
        raise files.unwritable(folder, error) from error
    return [each.sharing(shared) for each in mine]
