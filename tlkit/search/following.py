"""What the first process of several tells the others of a search, and what they do meanwhile: they compute every run with it.

The rule: both sides of a conversation stand here, in the same order. The first process asks for values and judges; the others need no Optuna.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tlkit.engine.ranks.ranks import Ranks, ask_together
from tlkit.engine.runtime import Runtime
from tlkit.errors import Diverged, TlkitError
from tlkit.plans.search_jobs import Searching
from tlkit.record.search_record import SearchRecord
from tlkit.run import memory, together


def tell_trial(ranks: Ranks, values: Mapping[str, Any], watch: Callable[[], None]) -> None:
    """Tell the values of a trial, which every process then prepares and trains.

    Raises:
        Interrupted: a signal came, to one of the processes.
    """
    ask_together(ranks, watch)
    ranks.told(json.dumps(["trial", dict(values)]))


@contextmanager
def telling_whether_prepared(ranks: Ranks) -> Iterator[None]:
    """Tell at the end of the block that a trial is prepared, or that its values cannot be trained with."""
    try:
        yield
    except TlkitError:
        ranks.told(json.dumps(False))
        raise
    ranks.told(json.dumps(True))


def tell_best(ranks: Ranks, record: SearchRecord | None) -> None:
    """Tell that there is no other trial, and of which one every seed is trained; None for none."""
    if ranks.size == 1:
        return
    ask_together(ranks, lambda: None)
    best = None if record is None or record.best is None else record.trials[record.best].values
    ranks.told(json.dumps(["best", best]))


def follow(searching: Searching, runtime: Runtime, *, verify: bool) -> None:
    """Compute with the first process every trial that it carries out, and then the best with every seed. Nothing is written.

    The arguments, and what is raised, are those of `together.follow`.
    """
    with together.following(runtime, verify=verify) as follower:
        while True:
            ask_together(runtime.ranks, follower.runtime.watch)
            kind, values = json.loads(runtime.ranks.told(""))
            if kind == "best":
                break
            _follow_trial(searching, values, follower)
            memory.free(runtime.device)
    if values is not None:
        together.follow(searching.jobs_of(values), runtime, verify=verify)


def _follow_trial(searching: Searching, values: Mapping[str, Any], follower: together.Follower) -> None:
    problem: TlkitError | None = None
    try:
        prepared = follower.prepared(searching.job(values))
    except TlkitError as error:
        problem = error
    if not json.loads(follower.runtime.ranks.told("")):
        return
    if problem is not None:
        raise problem
    try:
        follower.run(prepared)
    except Diverged as error:  # on all processes alike, so the next trial can begin
        memory.let_go(error)
