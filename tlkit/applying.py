"""Carry out a recipe: find what is asked for and what is there, train what is missing, and conclude. Torch is imported only for that.

The rule: one process decides and writes; others that torchrun started compute with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit import files, machine
from tlkit.errors import RunFailed, RunLocked
from tlkit.events import Observer
from tlkit.plans import arguments, earlier_runs, job_folders, jobs, loggers, plugin_changes, resolve, search_jobs
from tlkit.plans.resolved import Resolved
from tlkit.recipe.recipe import Recipe
from tlkit.record import ensembles, findings, remote_sending, results
from tlkit.record.remote_runs import RemoteRuns
from tlkit.reports.summary import Summary
from tlkit.sources.places import Places

if TYPE_CHECKING:
    from tlkit.engine.ranks.ranks import Ranks
    from tlkit.run.remote_jobs import Elsewhere
    from tlkit.run.setup import Setup


@dataclass(frozen=True)
class Applied:
    """What `apply` did.

    Attributes:
        folder: runs/<recipe>.
        result: What result.json holds: every arm and seed.
        changed: Whether anything was trained.
        failures: Runs that failed, and then those that another process is running.
        first: This is the only process, or the first of several, which alone knows the rest.
    """

    folder: Path
    result: Mapping[str, Any]
    changed: bool
    failures: tuple[RunFailed | RunLocked, ...] = field(default=())
    first: bool = field(default=True)


@dataclass(frozen=True)
class Asked:
    """A recipe that is applied, as read and found on this machine.

    Attributes:
        recipe: The file.
        read: The recipe.
        arms: All of them.
        arm: The only one that is asked for; None for all.
        places: Where to look for images and weights.
        runs: Folder for run folders.
        logged_by: The loggers.
        wanted: The runs that are asked for.
        verify: Hash every file again and check every row of the store that is used.
    """

    recipe: Path
    read: Recipe
    arms: Mapping[str, Resolved]
    arm: str | None
    places: Places
    runs: Path
    logged_by: Sequence[loggers.ChosenLogger]
    wanted: tuple[jobs.Job, ...]
    verify: bool


def read(
    recipe: Path, settings: str | Sequence[str], watcher: Observer, *, arm: str | None, runs: Path, data: str | Path | None,
    offline: bool, verify: bool, log: Sequence[str], kept: RemoteRuns | None = None,
) -> Asked:  # fmt: skip
    """Read a recipe and find its data and weights. Runs that are `kept` behind an address are fetched."""
    places = arguments.places(recipe, data, offline, watcher)
    found, arms = resolve.load(recipe, arguments.listed(settings), places)
    arguments.check_arm(arm, found)
    if kept is not None:
        kept.fetch(found.name)
    arguments.note_unused_data(data, arms, watcher)
    logged_by = loggers.ready(found.loggers, list(log), where=str(recipe))
    files.refuse_other_than_utf8(runs.resolve())
    named = {name: resolved for name, resolved in arms.items() if arm in (None, name)}
    wanted = jobs.plan_jobs(found, named, places, runs=runs, where=str(recipe), again=verify)
    return Asked(recipe, found, arms, arm, places, runs, logged_by, wanted, verify)


def follow(asked: Asked, *, device: str, graph: bool, ranks: Ranks) -> Applied:
    """Compute what the first of several processes carries out."""
    from tlkit.compiler import shared_networks
    from tlkit.engine.images import being_decoded
    from tlkit.engine.runtime import Runtime
    from tlkit.run import executor, together, torch_settings

    where = executor.device_of(device)
    searches = together.hear_search(ranks)
    with machine.kept_blocks, torch_settings.applied(where), shared_networks.sharing(), being_decoded.kept():
        runtime = Runtime(where, graph=graph, ranks=ranks)
        together.follow(asked.wanted, runtime, verify=asked.verify)
        searching = _searching(asked, _others(asked)) if searches else None
        if searching is not None:
            from tlkit.search import following

            following.follow(searching, runtime, verify=asked.verify)
    return Applied(asked.runs / asked.read.name, {}, changed=False, first=False)


def carry_out(
    asked: Asked, *, watcher: Observer, device: str, graph: bool, saved_every: float,
    elsewhere: Callable[[], Elsewhere] | None = None, ranks: Ranks | None = None, kept: RemoteRuns | None = None,
) -> Applied:  # fmt: skip
    """Train what is missing, and conclude; the first of several processes, or the only one. `elsewhere` makes what carries runs out."""
    from tlkit.engine.images import being_decoded

    there = _look(asked, watcher)
    _note_changes(there, watcher)
    being_decoded.tell_left(watcher.note)
    if ranks is not None:
        from tlkit.run import together

        together.tell_search(ranks, there.searches)
        if not (there.trains or there.inspects):
            together.tell_jobs(ranks, (), ())
    failures: list[RunFailed | RunLocked] = []
    if there.changes or there.inspects or _lacks_ensembles(there.summary()):
        from tlkit.compiler import shared_networks
        from tlkit.engine.ranks.ranks import ALONE
        from tlkit.engine.runtime import Runtime
        from tlkit.run import executor, torch_settings
        from tlkit.run.setup import Setup

        files.refuse_unwritable(there.folder)
        if kept is not None:
            kept.refuse_unwritable(asked.read.name)
        where, settings = executor.device_of(device, note=watcher.note), jobs.settings(asked.arms)
        setup = Setup(
            settings,
            asked.read.evaluation,
            Runtime(where, watcher, graph=graph, ranks=ranks or ALONE),
            asked.verify,
            asked.logged_by,
            checkpoint_every=saved_every,
            sent=remote_sending.sending(kept, watcher.note),
        )
        try:
            place = elsewhere() if elsewhere is not None and there.changes else None
            reached = nullcontext() if place is None else place.reached()
            with machine.kept_blocks, torch_settings.applied(where), shared_networks.sharing(), being_decoded.kept(), reached:
                if there.trains or there.inspects:
                    failures += executor.train(asked.wanted, setup, elsewhere=None if place is None else place.carry_out)
                if there.searches and there.searching is not None and not (failures and ranks is not None):
                    from tlkit.search import trials

                    failures += trials.search(there.searching, setup, place)
                _combine(there, setup)
        except BaseException:
            there.summary().conclude(drawn=True)
            raise
    result, more = there.summary().conclude(drawn=there.changes or there.inspects)
    return Applied(there.folder, result, there.changes, (*failures, *more))


@dataclass(frozen=True)
class _There:
    """What is there of a recipe, and what is missing.

    Attributes:
        asked: The recipe.
        others: Runs of the arms that are not asked for.
        searching: The search; None without.
        known: Summary of the runs, without those of the search.
        trains: Runs that are asked for are missing.
        searches: Trials are.
        inspects: Every run is there, and what is found in the images is not.
    """

    asked: Asked
    others: tuple[jobs.Job, ...]
    searching: search_jobs.Searching | None
    known: Summary
    trains: bool
    searches: bool
    inspects: bool

    @property
    def folder(self) -> Path:
        """runs/<recipe>."""
        return self.known.folder

    @property
    def changes(self) -> bool:
        """Whether anything is trained."""
        return self.trains or self.searches

    def summary(self) -> Summary:
        """Return the summary with the runs of the best trial of the search, as far as it is known now."""
        if self.searching is None:
            return self.known
        return replace(self.known, current={**self.known.current, **self.searching.best_folders()})


def _look(asked: Asked, watcher: Observer) -> _There:
    """Find what is there, of all arms.

    Raises:
        TlkitError: the folder is another recipe's, or the search needs a library that is not installed.
    """
    read, arms, arm, runs, wanted = asked.read, asked.arms, asked.arm, asked.runs, asked.wanted
    others = _others(asked)
    here = job_folders.current([*wanted, *others])
    absent = {name: each for name, each in arms.items() if name not in {arm for arm, _, _ in here}}
    here |= earlier_runs.finished(read, absent, runs=runs)
    searching = _searching(asked, others)
    searches = searching is not None and arm in (None, searching.plan.arm) and not searching.is_done()
    if searches and searching is not None:
        search_jobs.refuse_missing(searching.plan.sampler)
    folder, file = runs / read.name, asked.recipe.name
    known = Summary(
        folder, read, file, dict(sorted(here.items(), key=lambda item: list(arms).index(item[0][0]))), watcher.note,
        None if searching is None else searching.study,
    )  # fmt: skip
    trains = not job_folders.finished(wanted, again=asked.verify)
    inspects = not trains and findings.missing(folder)
    there = _There(asked, others, searching, known, trains, searches, inspects)
    results.refuse_other_recipe(folder, file=file, folders=there.summary().current.values())
    return there


def _others(asked: Asked) -> tuple[jobs.Job, ...]:
    """Return the runs of the arms that are not asked for, as far as their data and weights are here."""
    unasked = {name: resolved for name, resolved in asked.arms.items() if asked.arm not in (None, name)}
    return tuple(jobs.known_jobs(asked.read, unasked, asked.places, runs=asked.runs))


def _searching(asked: Asked, others: Sequence[jobs.Job]) -> search_jobs.Searching | None:
    return search_jobs.find(asked.read, [*asked.wanted, *others], asked.places, runs=asked.runs, where=str(asked.recipe))


def _note_changes(there: _There, watcher: Observer) -> None:
    """Say what changed since finished runs, which their digests do not cover."""
    wanted, verify = there.asked.wanted, there.asked.verify
    replaced = [line for job in wanted if job_folders.finished([job]) for line in _plugin_changes(job, again=verify)]
    for line in replaced:
        watcher.note(line)
    if verify and not there.changes:
        inputs = "data and weights" if replaced else "data, weights and plugins"
        watcher.note(f"verify: every run is finished with {inputs} as they are now; no stored row was read")
    for line in dict.fromkeys(map(earlier_runs.changed_since, wanted)):
        if line:
            watcher.note(line)


def _combine(there: _There, setup: Setup) -> None:
    """Compute the ensembles of finished runs that are missing."""
    from tlkit.run import ensembles as combining

    trained, ensemble, searching = there.summary(), there.asked.read.ensemble, there.searching
    if ensemble is None or not _lacks_ensembles(trained):
        return
    best = () if searching is None else searching.best_jobs(searching.record())
    every = (*there.asked.wanted, *there.others, *best)
    combining.combine(ensemble, there.folder, trained.current, every, setup.runtime)


def _lacks_ensembles(summary: Summary) -> bool:
    """Return whether ensembles of finished runs have not been computed."""
    ensemble = summary.recipe.ensemble
    if ensemble is None:
        return False
    return bool(ensembles.missing(summary.folder, ensemble, ensembles.groups(ensemble, summary.current)))


def _plugin_changes(job: jobs.Job, *, again: bool) -> list[str]:
    """Say which plugins changed since a run was finished, which its digest does not cover."""
    return [f"{job.folder}: {line}; its results are those of before" for line in plugin_changes.changes(job, again=again)]
