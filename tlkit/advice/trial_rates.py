"""Rates that a range test suggests for a way to train, within the time that is left for trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tlkit.advice.budget import Budget, Deadline
from tlkit.advice.trial_sizes import OVERHEAD, STEP
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, OutOfTime, TlkitError
from tlkit.plans.jobs import Job
from tlkit.plugin import remembered
from tlkit.run import range_tests
from tlkit.run.preparation import Prepared

STEPS = 60  # fewer than `tlkit rates` takes, and enough for seven decades of rates


def usual(batch: int, forward: float) -> float:
    """Return the seconds that a test usually takes, of the images of a batch and the seconds of a forward pass of one."""
    return OVERHEAD + STEP * STEPS * batch * forward


def tested(
    job: Callable[[], Job], name: str, *, prepare: Callable[[Job, Runtime], Prepared], seed: int, expected: float,
    budget: Budget, runtime: Runtime,
) -> tuple[Mapping[str, float], str]:  # fmt: skip
    """Return the rates that a range test suggests, by group, and why there are none; a finished test is not carried out again.

    Args:
        job: Plans the run whose images it takes.
        name: Of the way to train.
        prepare: Prepares a run, and is told where it is carried out.
        seed: Of the run.
        expected: Seconds that the test takes here.
        budget: The time that is left; the test ends with it.
        runtime: Where it is taken.

    Raises:
        Interrupted: the runtime's `watch` stopped it.
    """
    runtime = replace(runtime, watch=Deadline(budget, runtime.watch))
    try:
        planned = job()
        key = {"range test of a trial": planned.digest, "seed": seed, "steps": STEPS}
        known = remembered.recall(key)
        if isinstance(known, dict):
            return known, ""
        if expected > budget.left:
            return {}, f"no range test for {name}: there is no time for it"
        prepared = prepare(planned, runtime)
        test = range_tests.measure(prepared, range_tests.together(prepared.plan), runtime, steps=STEPS)
    except OutOfTime:
        return {}, f"the range test of {name} was stopped: there was no time for more"
    except Interrupted:
        raise
    except TlkitError as error:
        return {}, f"no range test for {name}: {error.problem}"
    found = {} if test.suggested is None else test.suggested
    remembered.remember(key, found)
    return found, "" if found else f"the range test of {name} suggests no rate: no rate lowers its loss"
