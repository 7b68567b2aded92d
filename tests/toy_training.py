"""A recipe to what trains it, in memory: the steps that `tlkit apply` takes before it writes anything."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tlkit.engine.fit import Fit
from tlkit.engine.images.library import Library
from tlkit.engine.learner import Learner
from tlkit.engine.runtime import Runtime
from tlkit.events import Observer
from tlkit.network import tensor_files, weights
from tlkit.network.network import Network
from tlkit.plans import dataset_images, jobs, resolve
from tlkit.plans.plan import Plan
from tlkit.record.formats import StorePlan
from tlkit.run import preparation
from tlkit.run.preparation import Prepared
from tlkit.sources.places import Places

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Training:
    prepared: Prepared
    network: Network
    fit: Learner

    @property
    def plan(self) -> Plan:
        return self.prepared.plan


def training(
    recipe: Path,
    *settings: str,
    seed: int = 0,
    arm: str = "main",
    keep: bool = True,
    change: Callable[[Plan], Plan] = lambda plan: plan,
    watch: Callable[[], None] = lambda: None,
    observer: Observer = Observer(),  # noqa: B008  # it keeps nothing
    device: torch.device = CPU,
) -> Training:
    """Prepare one run of a recipe; decoded pictures are stored if `keep`, and the plan is `change`d."""
    places = Places(recipe=recipe.parent, offline=True)
    read, arms = resolve.load(recipe, [*settings, f"seeds=[{seed}]"], places)
    (job,) = (
        job for job in jobs.plan_jobs(read, arms, places, runs=recipe.parent, where=str(recipe)) if job.resolved.name == arm
    )
    images = dataset_images.images(job.resolved, job.found["data"])
    runtime = Runtime(device, observer)
    prepared = preparation.prepare(job, runtime, library=Library(images, keep=keep))
    prepared = replace(prepared, plan=change(prepared.plan))
    fit = prepared.learner(replace(runtime, watch=watch))
    return Training(prepared, fit.network, fit)


def shared(folder: Path, *settings: str) -> Training:
    """Prepare a run of the toy recipe in a folder, for all tests of a module: they change nothing of it."""
    import pytest  # here, since processes that tests start import this module too
    from conftest import TOY_RECIPE

    recipe = folder / "toy.toml"
    recipe.write_text(TOY_RECIPE)
    with pytest.MonkeyPatch.context() as patch:  # a test's own folders are not set yet
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        return training(recipe, *settings)


def ends_with_the_same_bits(recipe: Path, *settings: str) -> None:
    """Assert that a run of two epochs that is continued within the second ends as one that never stopped."""
    whole = training(recipe, *settings).fit
    assert isinstance(whole, Fit)
    kept: list[tuple[bytes, str]] = []
    expected = list(whole.epochs(after_step=lambda: kept.append((weights.to_bytes(whole.tensors(), {}), whole.scalars()))))
    path = recipe.with_suffix(".safetensors")
    path.write_bytes(kept[2][0])  # the first step of the second epoch
    after = training(recipe, *settings).fit
    assert isinstance(after, Fit)
    after.resume_(tensor_files.read(path).tensors, kept[2][1])
    (last,) = after.epochs()
    assert (last.train, last.validation, last.test) == (expected[1].train, expected[1].validation, expected[1].test)
    ours = after.tensors()
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.tensors().items())


def storing(plan: Plan, stored: StorePlan | None) -> Plan:
    """A plan whose fixed prefixes are stored so; None: computed."""
    fixed = [phase.fixed and replace(phase.fixed, train=stored, evaluation=stored) for phase in plan.phases]
    return replace(plan, phases=tuple(replace(phase, fixed=each) for phase, each in zip(plan.phases, fixed, strict=True)))
