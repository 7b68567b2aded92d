"""What a plan says of several processes: their parts of a batch, how BatchNorm normalises, what a step sends."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_training import training

import tlkit
from tlkit.plans import plan_json, sharing
from tlkit.plans.plan import Plan
from tlkit.record.timings import SharedSpeed
from tlkit.run import shared_speeds

CPU = torch.device("cpu")


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
    channels = 8 + 16  # that BatchNorm of block1 and block2 normalises, with a mean and a variance
    found = sharing.shared(plan, 4)
    summed = 4 * trained + 2 * 4 * channels
    assert (found.processes.summed, found.processes.sent) == (summed, summed * 2 * 3 // 4)
    over_all = sharing.shared(normalising(plan, "sync"), 4).processes
    exchanged = 8 * channels * 3 + 8 * channels * 2 * 3 // 4  # statistics to three others, and a ring of their gradients' sums
    assert (over_all.summed, over_all.sent) == (summed, summed * 2 * 3 // 4 + exchanged)
    assert plan_json.from_json(plan_json.to_json(found)) == found
    assert sharing.shared(plan, 1) is plan


@pytest.mark.parametrize(("setting", "said"), [("freeze.stem=true", True), ("freeze.backbone=true", False)])
def test_batch_norm_is_only_told_of_where_a_layer_normalises_by_the_batch(toy_recipe: Path, setting: str, said: bool) -> None:
    """In a frozen backbone every layer uses its running statistics."""
    found = tlkit.plan(toy_recipe, [setting], processes=2)["main"]
    assert ("BatchNorm" in [choice.what for choice in found.choices]) is said
    assert tlkit.plan(toy_recipe, [setting, 'backbone.batch_norm="running"'], processes=2)["main"].phases[-1].normalised == 0


def test_plan_says_how_fast_runs_of_several_processes_were(toy_recipe: Path) -> None:
    alone = tlkit.plan(toy_recipe)["main"]
    for speed in (SharedSpeed(2, 300.0, 0.125), SharedSpeed(1, 100.0), SharedSpeed(2, 150.0, 0.25)):
        before = sharing.shared(alone, 2, measured=shared_speeds.recall(alone, device=CPU))
        shared_speeds.remember(alone, speed, device=CPU)
    assert before.processes.measured == (SharedSpeed(1, 100.0), SharedSpeed(2, 300.0, 0.125))
    found = tlkit.plan(toy_recipe, ["schedule.epochs=7"], processes=2)["main"]
    assert found.processes.measured == (SharedSpeed(1, 100.0), SharedSpeed(2, 150.0, 0.25))
    assert plan_json.from_json(plan_json.to_json(found)) == found
    (line,) = [choice for choice in found.choices if choice.what == "speed of processes"]
    assert line.value == "100 images/s with 1, 150 images/s with 2"
    assert line.reason == "the last runs on this machine; adding up took 25% of a step with 2"
    (unknown,) = [
        choice
        for choice in tlkit.plan(toy_recipe, ["data.batch_size=8"], processes=2)["main"].choices
        if choice.what == "speed of processes"
    ]
    assert unknown.value == "not measured"


def test_speed_is_the_median_of_epochs_and_is_told_beside_that_of_one(toy_recipe: Path) -> None:
    plan = tlkit.plan(toy_recipe, processes=2)["main"]
    speed = shared_speeds.of(2, [{"images_per_second": rate} for rate in (90.0, 240.0, 250.0)], communication=None)
    assert shared_speeds.words(plan, speed, step=0) == "main: 2 processes trained 240 images/s together"
    assert shared_speeds.words(plan, speed, step=0.1) == (  # of a batch of 16
        "main: 2 processes trained 240 images/s together, 1.50 times the 160 images/s that one was measured with"
    )


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
