"""Carry out `plan` and `rates`: say what a recipe would do, and test its learning rates. No run is made. Torch is imported only when called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit import files, machine
from tlkit.errors import UsageError, as_path, option
from tlkit.events import Observer
from tlkit.plans import arguments, band_values, dataset_facts, job_inputs, jobs, precision, resolve, search_plan
from tlkit.plans.resolved import Resolved
from tlkit.recipe import naming
from tlkit.recipe.recipe import Recipe
from tlkit.record import recipe_choices
from tlkit.sources.places import Places

if TYPE_CHECKING:
    import torch

    from tlkit.engine.images.library import Library
    from tlkit.plans.plan import Plan
    from tlkit.plans.search_plan import SearchPlan
    from tlkit.record.range_tests import RangeTest
    from tlkit.record.timings import Measurements


class Plans(dict[str, "Plan"]):
    """Plans by the name of their arm: a dict that a notebook shows as tables.

    Attributes:
        search: What the recipe's search will try; None without one.
    """

    search: SearchPlan | None = None

    def _repr_html_(self) -> str:
        return "".join(map(_plan_html, self.values()))


@dataclass(frozen=True)
class Rates:
    """What `rates` found; a notebook shows it as curves.

    Attributes:
        folder: runs/<recipe>, which keeps the tests.
        tests: Of every arm, its groups together, and then one at a time.
    """

    folder: Path
    tests: tuple[RangeTest, ...]

    def _repr_html_(self) -> str:
        from tlkit.reports import rate_curves, svg

        return svg.text(rate_curves.figure(self.tests))


@dataclass(frozen=True)
class _Made:
    """An arm's plan before it is decided what all arms share.

    Attributes:
        plan: As compiled.
        measured: What was measured of it, now or before.
        room: Bytes that its store may take.
    """

    plan: Plan
    measured: Measurements
    room: int


def plans(
    recipe: str | Path, settings: str | Sequence[str], watcher: Observer, *, arm: str | None, runs: Path, data: str | Path | None,
    classes: int | None, device: str, measure: bool, processes: int,
) -> Plans:  # fmt: skip
    """Return each arm's plan. The arguments are those of `api.plan`.

    Raises:
        TlkitError: the recipe cannot be used, several processes do not share it, or what is to be measured is not here.
    """
    places = arguments.places(as_path(recipe, "recipe"), data, True, watcher)
    read, arms = resolve.load(Path(recipe), arguments.listed(settings), places)  # a recipe that is refused needs no torch
    arguments.check_arm(arm, read)

    from tlkit.compiler import shared_networks
    from tlkit.plans import plan as plan_module
    from tlkit.plans import sharing
    from tlkit.run import executor, shared_speeds, torch_settings

    plan_module.to_html = _plan_html
    where = executor.device_of(device, note=watcher.note)
    arguments.note_unused_data(data, arms, watcher)
    made: dict[str, _Made] = {}
    with torch_settings.applied(where), shared_networks.sharing():
        for name, resolved in arms.items():
            if arm not in (None, name):
                continue
            with naming.named(resolved.where):
                if measure:
                    (job, *_) = jobs.plan_jobs(read, {name: resolved}, places, runs=runs, where=str(recipe))
                    made[name] = _measured(job, where, watcher)
                else:
                    made[name] = _compiled(recipe, read, resolved, places, where, classes=classes, processes=processes)
    decided = _decided(read, made, jobs.settings(arms), runs / read.name, where)
    found = Plans(
        {
            name: sharing.shared(each, processes, measured=shared_speeds.recall(each, device=where))
            for name, each in decided.items()
        }
    )
    found.search = search_plan.planned(read)
    return found


def _measured(job: jobs.Job, device: torch.device, watcher: Observer) -> _Made:
    """Return a job's plan with measurements that are made now."""
    from tlkit.engine.runtime import Runtime
    from tlkit.run import shared_pictures
    from tlkit.store import cache_limit

    prepared = shared_pictures.prepare(job, {}, Runtime(device, watcher), anew=True)
    return _Made(prepared.bare, prepared.measured, cache_limit.room())


def _compiled(
    recipe: str | Path, read: Recipe, resolved: Resolved, places: Places, device: torch.device, *, classes: int | None,
    processes: int,
) -> _Made:  # fmt: skip
    """Return an arm's plan with what is remembered of it; nothing is read but what is known of the images."""
    from tlkit.compiler import canvas, compiler
    from tlkit.compiler.memory_estimate import Division
    from tlkit.run import decoding, measuring
    from tlkit.store import cache_limit

    resolved = canvas.known(band_values.known(resolved, places), places)
    fold, *_ = jobs.folds_of(read.folds)
    facts = dataset_facts.known(resolved, places, seed=read.seeds[0], classes=classes, fold=fold, sizes=canvas.sizes)
    made = compiler.compile_plan(
        resolved,
        facts,
        where=str(recipe),
        device=device,
        division=Division(processes, processes),
        folder=str(Path(recipe).resolve().parent),
    )
    content, weights = job_inputs.known_content(resolved, places), job_inputs.local_weights(resolved, places)
    room = max(cache_limit.room() - decoding.pictures_bytes(resolved, facts), 0)
    return _Made(made, measuring.remembered(made, resolved, weights, data=content, device=device), room)


def _decided(
    read: Recipe, made: Mapping[str, _Made], settings: frozenset[str], folder: Path, device: torch.device
) -> dict[str, Plan]:
    """Return the plans with what all arms share: compute formats, and after which epochs they are tested."""
    from tlkit.plans import choices, when_tested

    kept = recipe_choices.find(folder, settings)
    measured = [each for each in made.values() if each.measured] or list(made.values())
    shared = precision.decide([(each.plan, each.measured) for each in measured], kept.formats)
    decided = {
        name: choices.decide(each.plan, each.measured, room=each.room, shared=shared, device=device.type)
        for name, each in made.items()
    }
    tested = when_tested.asked(read.evaluation, kept.tested, list(decided.values()))
    return {name: when_tested.apply(each, tested) for name, each in decided.items()}


def rates(
    recipe: str | Path, settings: str | Sequence[str], watcher: Observer, *, arm: str | None, each: bool, steps: int, runs: Path,
    data: str | Path | None, device: str, offline: bool, graph: bool,
) -> Rates:  # fmt: skip
    """Test learning rates, and keep the tests in the recipe's folder. The arguments are those of `api.rates`.

    Raises:
        TlkitError: the recipe, its images or weights cannot be used, or no arm has a learning rate.
    """
    path = as_path(recipe, "recipe")
    places = arguments.places(path, data, offline, watcher)
    read, arms = resolve.load(path, arguments.listed(settings), places)  # as in `plans`
    arguments.check_arm(arm, read)

    from tlkit.compiler import shared_networks
    from tlkit.engine.runtime import Runtime
    from tlkit.run import executor, range_tests, shared_pictures, torch_settings
    from tlkit.run.signals import watching

    if not range_tests.FEWEST <= steps <= range_tests.MOST:
        raise UsageError(
            f"{option('steps', str(steps))}: a range test takes {range_tests.FEWEST} to {range_tests.MOST:,} steps."
        )
    arguments.note_unused_data(data, arms, watcher)
    chosen = range_tests.with_rates_to_test(arms, arm, where=str(recipe), note=watcher.note)
    folder, where = runs / read.name, executor.device_of(device, note=watcher.note)
    kept = recipe_choices.find(folder, jobs.settings(arms))
    libraries: dict[int, Library] = {}
    files.refuse_unwritable(folder)
    found: list[RangeTest] = []
    with machine.kept_blocks, torch_settings.applied(where), shared_networks.sharing(), watching() as watch:
        runtime = Runtime(where, watcher, watch, graph)
        for name, resolved in chosen.items():
            (job, *_) = jobs.plan_jobs(read, {name: resolved}, places, runs=runs, where=str(recipe))
            prepared = shared_pictures.prepare(job, libraries, runtime)
            shared = precision.decide([(prepared.bare, prepared.measured)], kept.formats)
            found += range_tests.tests(prepared.sharing(shared, device=where), runtime, each=each, steps=steps)
    range_tests.keep(folder, found)
    return Rates(folder, tuple(found))


def _plan_html(plan: Plan) -> str:
    from tlkit.reports import plan_table
    from tlkit.reports.html import html

    return html(plan_table.plan(plan))
