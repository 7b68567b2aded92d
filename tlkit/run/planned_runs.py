"""Runs whose plan was made before, here or by another process: they do exactly what it says, and nothing is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlkit.engine.images.library import Library
from tlkit.engine.runtime import Runtime
from tlkit.plans import auto_rates, dataset_images, jobs, resolve
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.recipe import naming
from tlkit.record.timings import EarlierChoices
from tlkit.run import preparation
from tlkit.run.preparation import Prepared
from tlkit.sources.places import Places


def prepare_plan(plan: Plan, runtime: Runtime, *, seed: int, fold: int | None = None, places: Places) -> Prepared:
    """Prepare the run of a plan that was made before, so that it does exactly what the plan says.

    Args:
        plan: From `tlkit.plan`.
        runtime: Where the run is carried out.
        seed: The seed of the run.
        fold: The fold that is tested, from 1; None without cross-validation.
        places: Where to look for images and weights.

    Raises:
        TlkitError: images or weights cannot be used.
    """
    resolved = resolve.resolve_arm(
        plan.tables, name=plan.arm, recipe=plan.recipe, places=places, where=plan.recipe, folds=plan.folds
    )
    job = jobs.plan_job(resolved, seed, places, runs=Path("runs"), where=plan.recipe, fold=fold)
    prepared = _in_forms_of(plan, job, runtime)
    pairs = zip(prepared.plan.phases, plan.phases, strict=True)
    exact = replace(prepared.plan, phases=tuple(replace(mine, fixed=given.fixed) for mine, given in pairs))
    return replace(prepared, plan=exact)


def prepare_as_planned(job: Job, plan: Plan, runtime: Runtime) -> Prepared:
    """Prepare a job that another process planned for this device, so that it does exactly what that plan says."""
    return replace(_in_forms_of(plan, job, runtime), plan=plan)


def _in_forms_of(plan: Plan, job: Job, runtime: Runtime) -> Prepared:
    """Prepare a job in the forms of a plan, without test images where the plan has none; nothing is measured."""
    prefixes = {len(phase.prefix): phase.fixed.compute_format for phase in plan.phases if phase.fixed is not None}
    scaled = plan.input if plan.input.channels == "bands" and plan.input.mean else None
    earlier = EarlierChoices(
        plan.batch_size, plan.compute_format, prefixes, plan.kernels, plan.evaluation_format, scaled, auto_rates.kept(plan)
    )
    with naming.named(job.resolved.where):
        images = dataset_images.images(job.resolved, job.found["data"])
        if not plan.images.test:
            images = dataset_images.without_test(images)
        library = Library(images, note=runtime.observer.note)
        return preparation.prepare(job, runtime, library=library, earlier=earlier)
