"""A run is prepared once: its network is built once, and a run that waits holds none."""

from pathlib import Path

import pytest
from toy_observers import Notes
from toy_training import CPU, training

from tlkit.engine.ranks.ranks import Group
from tlkit.engine.runtime import Runtime
from tlkit.network.network import Network
from tlkit.plans import jobs, resolve
from tlkit.recipe.evaluation import Evaluation
from tlkit.run import executor, planned_runs, start_network
from tlkit.run.setup import Setup
from tlkit.run.signals import Watch
from tlkit.sources.places import Places


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose network was built, in order."""
    labels: list[str] = []
    original = start_network.build

    def build(job: jobs.Job, *arguments: object, **named: object) -> Network:
        labels.append(job.label)
        return original(job, *arguments, **named)

    monkeypatch.setattr(start_network, "build", build)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    return labels


def test_network_of_a_run_is_built_once(toy_recipe: Path, built: list[str]) -> None:
    prepared = training(toy_recipe).prepared
    assert built == [prepared.job.label]


def test_second_learner_begins_from_the_same_weights(toy_recipe: Path, built: list[str]) -> None:
    prepared = training(toy_recipe).prepared
    one, other = (prepared.learner(Runtime(CPU)).network for _ in range(2))
    assert one is not other
    assert all(bool((tensor == other.tensors()[name]).all()) for name, tensor in one.tensors().items())


def test_run_that_waits_holds_no_network(toy_recipe: Path, built: list[str]) -> None:
    places = Places(recipe=toy_recipe.parent, offline=True)
    read, arms = resolve.load(toy_recipe, ["seeds=[0, 1, 2]"], places)
    wanted = jobs.plan_jobs(read, arms, places, runs=toy_recipe.parent, where="toy")
    assert not executor.train(wanted, Setup((), Evaluation(), Runtime(CPU)))
    first, *waiting = [job.label for job in wanted]
    # A run is built again when its turn comes, and once more for the kernels of before training that its report shows.
    assert built == [first, *waiting, first, *(label for each in waiting for label in (each, each))]


def test_images_of_finished_runs_are_inspected_by_one_of_several_processes(toy_recipe: Path) -> None:
    """The others know of no run, so none of them would answer."""
    places, notes = Places(recipe=toy_recipe.parent, offline=True), Notes()
    read, arms = resolve.load(toy_recipe, [], places)
    wanted = jobs.plan_jobs(read, arms, places, runs=toy_recipe.parent, where="toy")
    of_two = Runtime(CPU, notes, ranks=Group(0, 2, 0, 2))
    executor._Runs(wanted, Setup((), Evaluation(), of_two), Watch()).inspect([])
    assert notes.notes == []


def test_job_of_a_plan_is_the_recipes_own(toy_recipe: Path) -> None:
    prepared = training(toy_recipe).prepared
    places = Places(recipe=toy_recipe.parent, offline=True)
    found = planned_runs.prepare_plan(prepared.plan, Runtime(CPU), seed=0, places=places)
    assert found.job.digest == prepared.job.digest
    assert found.plan.phases == prepared.plan.phases
