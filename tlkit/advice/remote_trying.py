"""Trials of advice that an executor carries out side by side, each as a run that ends with the time that advice may take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from tlkit.advice.budget import Budget
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, OutOfTime, TlkitError
from tlkit.plans.jobs import Job
from tlkit.run import remote_worker
from tlkit.run.preparation import Prepared
from tlkit.run.remote_jobs import Elsewhere
from tlkit.run.remote_worker import Answer


def carry_out_all(
    lacking: Mapping[str, Job], place: Elsewhere, prepare: Callable[[Job], Prepared], *,
    budget: Budget, runtime: Runtime,
) -> dict[str, TlkitError | None]:  # fmt: skip
    """Prepare trials here and let an executor train them; return what was wrong with each.

    Args:
        lacking: The runs that are missing, by the names of their ways to train.
        place: Where they are carried out.
        prepare: Prepares one.
        budget: When it is spent, trials end after the batch in progress, and are kept within their epoch.
        runtime: Where they are prepared; its `watch` is called all the time.
    """
    found: dict[str, TlkitError | None] = {}
    ready: dict[str, Prepared] = {}
    for name, job in lacking.items():
        try:
            ready[name] = prepare(job)
        except Interrupted:
            raise
        except TlkitError as error:
            found[name] = error
        else:
            ready[name].start.release()
    if ready:
        end = time.time() + budget.left
        found |= place.outcomes(ready, runtime.watch, runtime.device, lambda _, sent: partial(carry_out, sent, end))
    return found


def carry_out(sent: str, end: float) -> str:
    """Carry out a trial in this process; return what became of it.

    Args:
        sent: Of its run, as `remote_worker.carry_out` takes it.
        end: When it has to end, in seconds since 1970: the clocks of a cluster's machines agree.
    """
    if time.time() >= end:
        return json.dumps(asdict(Answer("failed", "there was no time for it.")))

    def deadline() -> None:
        if time.time() >= end:
            raise OutOfTime("there was no time for more.")

    return remote_worker.carry_out(sent, lambda _: time.time() >= end, deadline)
