"""A trial that is carried out elsewhere: it is pruned by the trials of the journal that ended before it began, as it would be here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit.plans import resolve, search_plan
from tlkit.run import remote_worker
from tlkit.search.pruning import Pruning
from tlkit.search.study import Asked, trials_before
from tlkit.sources.places import Places


def told(asked: Asked, *, journal: Path, study: str) -> str:
    """Return what a worker has to know of a trial beside its run."""
    text = journal.read_text(encoding="utf-8") if asked.first else ""
    return json.dumps({"journal": text, "study": study, "number": asked.number, "first": asked.first})


def carry_out(sent: str, told: str) -> str:
    """Carry out a trial's run in this process; return what became of it.

    Args:
        sent: Of the run, as `remote_worker.carry_out` takes it.
        told: Of the trial.
    """
    spec, pruning = json.loads(told), list[Pruning]()

    def behind(lines: Sequence[Mapping[str, Any]]) -> bool:
        if not pruning:
            called = remote_worker.Call(**json.loads(sent)["called"])
            recipe = Path(called.recipe)
            plan = search_plan.planned(resolve.load(recipe, called.settings, Places(recipe=recipe.parent))[0])
            assert plan is not None  # as it was there where the trial began
            before = trials_before(spec["journal"], spec["study"], spec["first"])
            pruning.append(Pruning(spec["study"], plan, before, spec["number"]))
        return pruning[0].behind(lines)

    return remote_worker.carry_out(sent, gives_up=behind)
