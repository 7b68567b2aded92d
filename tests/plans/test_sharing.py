"""What a plan says of several processes: their parts of a batch, how BatchNorm normalises, what a step sends."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy_training import training

import tlkit
from tlkit.plans import plan_json, sharing
from tlkit.plans.plan import Plan


@pytest.fixture
def plan(toy_recipe: Path) -> Plan:
    return replace(training(toy_recipe, "freeze.stem=true", "lr_groups={block1=0.1, block2=0.1, head=0.1}").plan, batch_size=64)


def normalising(plan: Plan, batch_norm: str) -> Plan:
    arm = plan.tables
    return replace(plan, tables=arm.model_copy(update={"backbone": arm.backbone.model_copy(update={"batch_norm": batch_norm})}))


@pytest.mark.parametrize(
    ("asked", "count", "kept", "chosen", "why"),
    [
        ("batch", 4, None, "local", "a process has 16 images of a batch, which are enough for statistics"),
        ("batch", 5, None, "sync", "a process has 12 images of a batch, and statistics of fewer than 16 are noisy"),
        ("batch", 5, "local", "local", "kept from when this run began"),
        ("local", 64, None, "local", "as the recipe says"),
        ("sync", 2, "local", "sync", "as the recipe says"),
    ],
)
def test_plan_says_how_batch_norm_normalises_and_why(
    plan: Plan, asked: str, count: int, kept: str | None, chosen: str, why: str
) -> None:
    found = sharing.shared(normalising(plan, asked), count, kept=kept)
    assert found.processes.batch_norm == chosen
    assert found.choices[-1].reason == why


def test_batch_that_is_too_small_for_local_statistics_is_normalised_over_all(plan: Plan) -> None:
    by_default, asked = (sharing.shared(normalising(plan, each), 4) for each in ("batch", "local"))
    assert [sharing.synced(by_default, images) for images in (64, 63)] == [False, True]
    assert [sharing.synced(asked, images) for images in (64, 8, 7)] == [False, False, True]
    assert not sharing.synced(plan, 1), "one process has all of it"


def test_plan_counts_the_bytes_that_a_step_sends_and_frozen_parts_send_nothing(plan: Plan) -> None:
    trained = 8 * 8 * 9 + 2 * 8 + 8 * 16 * 9 + 2 * 16 + 16 * 4 + 4  # without the stem
    found = sharing.shared(plan, 4)
    assert (found.processes.summed, found.processes.sent) == (4 * trained, 4 * trained * 2 * 3 // 4)
    assert plan_json.from_json(plan_json.to_json(found)) == found
    assert sharing.shared(plan, 1) is plan


def test_memory_is_that_of_one_process_with_its_part_of_a_batch_and_a_copy_of_the_gradients(plan: Plan) -> None:
    alone, found = plan.memory, sharing.shared(plan, 4)
    assert found.memory.weights == alone.weights
    assert found.memory.gradients == alone.gradients + found.processes.summed
    assert (found.memory.activations, found.memory.images) == (-(-alone.activations // 4), -(-alone.images // 4))


def test_plan_of_a_recipe_says_how_processes_would_share_it(toy_recipe: Path) -> None:
    (made,) = tlkit.plan(toy_recipe, processes=3).values()
    assert made.processes.count == 3
    assert [choice.value for choice in made.choices if choice.what == "processes"] == ["3, each with 5 or 6 images of a batch"]


def test_more_processes_than_images_of_a_batch_are_a_warning(plan: Plan) -> None:
    assert sharing.shared(replace(plan, batch_size=2), 3).warnings[-1] == "a batch has 2 images for 3 processes: some have none"
