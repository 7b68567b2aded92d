"""Carry out a recipe: find what is asked for and what is there, train what is missing, and conclude. Torch is imported only for that.

The rule: one process decides and writes; others that torchrun started compute with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit import files, machine
from tlkit.errors import RunFailed, RunLocked, TlkitError
from tlkit.events import Observer
from tlkit.plans import arguments, earlier_runs, jobs, loggers, plugin_changes, resolve, search_jobs
from tlkit.plans.resolve import Resolved
from tlkit.recipe.recipe import Recipe
from tlkit.record import ensembles, findings, results
from tlkit.reports.summary import Summary
from tlkit.sources.places import Places

if TYPE_CHECKING:
    from tlkit.engine.ranks.ranks import Ranks


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
        places: Where to look for images and weights.
        runs: Folder for run folders.
        logged_by: The loggers.
        wanted: The runs that are asked for.
    """

    recipe: Path
    read: Recipe
    arms: Mapping[str, Resolved]
    places: Places
    runs: Path
    logged_by: Sequence[loggers.ChosenLogger]
    wanted: tuple[jobs.Job, ...]


def read(
    recipe: Path, settings: str | Sequence[str], watcher: Observer, *, arm: str | None, runs: Path, data: str | Path | None,
    offline: bool, verify: bool, log: Sequence[str], together: bool = False,
) -> Asked:  # fmt: skip
    """Read a recipe and find its data and weights; `together` with other processes."""
    places = arguments.places(recipe, data, offline, watcher)
    found, arms = resolve.load(recipe, arguments.listed(settings), places)
    arguments.check_arm(arm, found)
    if together:
        _refuse_unshared(found, arms, arm, where=str(recipe))
    arguments.note_unused_data(data, arms, watcher)
    logged_by = loggers.ready(found.loggers, list(log), where=str(recipe))
    files.refuse_other_than_utf8(runs.resolve())
    named = {name: resolved for name, resolved in arms.items() if arm in (None, name)}
    wanted = jobs.plan_jobs(found, named, places, runs=runs, where=str(recipe), again=verify)
    return Asked(recipe, found, arms, places, runs, logged_by, wanted)


def _refuse_unshared(read: Recipe, arms: Mapping[str, Resolved], arm: str | None, *, where: str) -> None:
    """Refuse what several processes cannot share."""
    if read.search is not None:
        raise TlkitError(
            f"{where}: search: its trials are not shared by several processes.",
            "start it without torchrun, or leave [search] out",
        )
    for name, each in arms.items():
        adaptation = each.adaptation
        if arm not in (None, name) or adaptation is None or not adaptation.in_steps or each.learns != "steps":
            continue
        table = adaptation.table
        if adaptation.by_steps:
            what = f"adapt.method: {table.method} compares whole batches of both domains"
        else:
            what = f"adapt.labels_per_class: is {table.labels_per_class}, and each batch has such images"
        raise TlkitError(f"{where}: arm {name}: {what}, which several processes do not share.", "start it without torchrun")


def follow(asked: Asked, *, device: str, graph: bool, verify: bool, ranks: Ranks) -> Applied:
    """Compute what the first of several processes carries out."""
    from tlkit.run import executor, together, torch_settings

    where = executor.device_of(device)
    with machine.kept_blocks, torch_settings.applied(where):
        together.follow(asked.wanted, ranks=ranks, device=where, graph=graph, verify=verify)
    return Applied(asked.runs / asked.read.name, {}, changed=False, first=False)


def carry_out(
    asked: Asked, *, watcher: Observer, arm: str | None, device: str, graph: bool, verify: bool, saved_every: float,
    elsewhere: Callable[[Observer], Callable[..., list[RunFailed | RunLocked]] | None], ranks: Ranks | None = None,
) -> Applied:  # fmt: skip
    """Train what is missing, and conclude; the first of several processes, or the only one."""
    recipe, read, arms, places, runs, wanted = asked.recipe, asked.read, asked.arms, asked.places, asked.runs, asked.wanted
    unasked = {name: resolved for name, resolved in arms.items() if arm not in (None, name)}
    others = jobs.known_jobs(read, unasked, places, runs=runs)
    here = jobs.current([*wanted, *others])
    absent = {name: each for name, each in arms.items() if name not in {arm for arm, _, _ in here}}
    here |= earlier_runs.finished(read, absent, runs=runs)
    folder, file = runs / read.name, recipe.name
    searching = search_jobs.find(read, [*wanted, *others], places, runs=runs, where=str(recipe))
    searches = searching is not None and arm in (None, searching.plan.arm) and not searching.is_done()
    if searches and searching is not None:
        search_jobs.refuse_missing(searching.plan.sampler)
    summary = Summary(
        folder, read, file, dict(sorted(here.items(), key=lambda item: list(arms).index(item[0][0]))), watcher.note,
        None if searching is None else searching.study,
    )  # fmt: skip
    summary = _with_best(summary, searching)
    results.refuse_other_recipe(folder, file=file, folders=summary.current.values())
    trains = not jobs.finished(wanted, again=verify)
    changed = trains or searches
    failures: list[RunFailed | RunLocked] = []
    replaced = [line for job in wanted if jobs.finished([job]) for line in _plugin_changes(job, again=verify)]
    for line in replaced:
        watcher.note(line)
    if verify and not changed:
        inputs = "data and weights" if replaced else "data, weights and plugins"
        watcher.note(f"verify: every run is finished with {inputs} as they are now; no stored row was read")
    for line in dict.fromkeys(map(earlier_runs.changed_since, wanted)):
        if line:
            watcher.note(line)
    inspects = not trains and findings.missing(folder)
    combines = _lacks_ensembles(summary)
    if ranks is not None and not (trains or inspects):
        ranks.told("[]")  # nothing to carry out
    if changed or inspects or combines:
        from tlkit.run import ensembles as combining
        from tlkit.run import executor as running
        from tlkit.run import torch_settings

        files.refuse_unwritable(folder)
        where = running.device_of(device, note=watcher.note)
        try:
            with machine.kept_blocks, torch_settings.applied(where):
                if trains or inspects:
                    failures = running.train(
                        wanted,
                        settings=jobs.settings(arms),
                        evaluation=read.evaluation,
                        device=where,
                        observer=watcher,
                        graph=graph,
                        verify=verify,
                        loggers=asked.logged_by,
                        checkpoint_every=saved_every,
                        elsewhere=elsewhere(watcher),
                        **({} if ranks is None else {"ranks": ranks}),
                    )
                if searches and searching is not None:
                    from tlkit.search import trials

                    setup = trials.Setup(
                        jobs.settings(arms), read.evaluation, where, watcher, graph, verify, asked.logged_by, saved_every
                    )
                    failures += trials.search(searching, setup)
                trained = _with_best(summary, searching)
                if read.ensemble is not None and _lacks_ensembles(trained):
                    best = () if searching is None else searching.best_jobs(searching.record())
                    combining.combine(
                        read.ensemble, folder, trained.current, (*wanted, *others, *best), device=where, observer=watcher
                    )
        except BaseException:
            _with_best(summary, searching).conclude(drawn=True)
            raise
        summary = _with_best(summary, searching)
    result, more = summary.conclude(drawn=changed or inspects)
    return Applied(folder, result, changed, (*failures, *more))


def _with_best(summary: Summary, searching: search_jobs.Searching | None) -> Summary:
    """Return a summary with the runs of the best trial of a search, as far as it is known now."""
    return summary if searching is None else replace(summary, current={**summary.current, **searching.best_folders()})


def _lacks_ensembles(summary: Summary) -> bool:
    """Return whether ensembles of finished runs have not been computed."""
    ensemble = summary.recipe.ensemble
    if ensemble is None:
        return False
    return bool(ensembles.missing(summary.folder, ensemble, ensembles.groups(ensemble, summary.current)))


def _plugin_changes(job: jobs.Job, *, again: bool) -> list[str]:
    """Say which plugins changed since a run was finished, which its digest does not cover."""
    return [f"{job.folder}: {line}; its results are those of before" for line in plugin_changes.changes(job, again=again)]
