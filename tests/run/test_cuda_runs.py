"""Whole runs on a GPU: the bits of a graph, of a continued run and of stored rows; memory; and no wait within an epoch.

Where an assertion holds on a CPU too, the test runs there as well.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy_gpu import Watching, each_device, needs_cuda
from toy_observers import SignalAfter
from toy_training import training

from tlkit import api
from tlkit.engine import evaluation_forward
from tlkit.errors import Interrupted
from tlkit.plans.plan import PhasePlan, Plan
from tlkit.recipe import augmentations
from tlkit.record.formats import NotStored
from tlkit.run import torch_settings

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = {
    "sgd": ("optimizer={name='sgd', clip_norm=0.5, accumulate=2}", "head.options.dropout=0.5"),
    "adamw, ema": ("optimizer={name='adamw', ema=0.99}", "head={kind='mlp', options={widths=[32], dropout=0.5}}"),
}
PHASES = "freeze.stem={epochs=1}"
ARMS = """
[arms.large]
data = { batch_size = 8192 }
[arms.small]
data = { batch_size = 16 }
"""


def folder_of(runs: Path) -> Path:
    (folder,) = (path.parent for path in runs.glob("*/*/resolved.toml"))
    return folder


def result_of(runs: Path) -> dict[str, Any]:
    return json.loads((folder_of(runs) / "result.json").read_text())


def assert_same_weights(runs: Path, others: Path) -> None:
    mine, theirs = (load_file(folder_of(each) / "weights.safetensors") for each in (runs, others))
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


@each_device
@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_graph_has_the_bits_of_steps_without_one(
    toy_recipe: Path, tmp_path: Path, device: str, kind: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two phases, dropout, a short last batch, evaluation by a graph: passes if every weight and every epoch's losses are the same."""
    monkeypatch.setattr(evaluation_forward, "OFTEN", 2)
    settings = [*SETTINGS[kind], PHASES, f"precision={precision}", "data.options.train=210"]
    watching = Watching()
    for graph in (True, False):
        runs = tmp_path / f"graph {graph}"
        assert api.apply(toy_recipe, settings, device=device, graph=graph, runs=runs, observer=watching).failures == ()
    assert not [line for line in watching.notes if "graph" in line]
    assert_same_weights(tmp_path / "graph True", tmp_path / "graph False")
    lines = [(folder_of(tmp_path / f"graph {graph}") / "metrics.jsonl").read_text().splitlines() for graph in (True, False)]
    losses = [[(json.loads(line)["train"]["loss"], json.loads(line)["validation"]) for line in each] for each in lines]
    assert losses[0] == losses[1]
    assert losses[0][0][1]["loss"] > 0


NETWORKS = {
    "toy": (),
    "vgg11_bn at 128 px": ('backbone={name="vgg11_bn", weights="none"}', "data.image_size=128"),
    "a timm ViT": ('backbone={name="timm:vit_tiny_patch16_224", weights="none"}', "data.image_size=224"),
}


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=needs_cuda)])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_that_is_continued_in_a_new_process_has_the_same_bytes_or_says_why_not(
    toy_recipe: Path, tmp_path: Path, tlkit: Callable[..., subprocess.CompletedProcess[str]], device: str, network: str
) -> None:
    if device == "cpu" and network != "toy":
        pytest.skip("test_resume.py continues on the CPU; this one shows that the test itself works")
    settings = [*NETWORKS[network], "schedule.epochs=3", "head.options.dropout=0.3", "optimizer.name=adamw"]
    api.apply(toy_recipe, settings, device=device, runs=tmp_path / "whole")
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, settings, device=device, runs=tmp_path / "parts", observer=SignalAfter(2, step=4))
    torch.cuda.empty_cache()
    setting = [word for each in settings for word in ("--set", each)]
    done = tlkit("apply", toy_recipe, *setting, "--device", device, "--runs", tmp_path / "parts")
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path / "parts")
    if not result["exact"]:
        assert "deterministic" in result["why_inexact"]
        return
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


@each_device
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_prefix_that_is_computed_gives_what_is_stored(toy_recipe: Path, device: str, precision: str) -> None:
    """Passes if every batch of training and held-out rows has the same bits, read from the store or computed."""
    where = torch.device(device)
    settings = ["freeze.backbone=true", f"precision={precision}"]

    def without(plan: Plan) -> Plan:
        def bare(phase: PhasePlan) -> PhasePlan:
            fixed = replace(phase.fixed, train=None, evaluation=None, not_stored=NotStored.NOT_FASTER)
            return replace(phase, fixed=fixed)

        return replace(plan, phases=tuple(map(bare, plan.phases)))

    batches = []
    with torch_settings.applied(where):
        for change in (lambda plan: plan, without):
            mine = training(toy_recipe, *settings, change=change, device=where)
            feed, part = mine.fit._feed_of(1), mine.prepared.evaluated.parts["test"]
            order = mine.prepared.train.order(0)
            found = [*feed.train(order, 0), *feed.held_out(part)]
            batches.append([(x.clone(), targets.clone()) for x, targets in found])
    stored, computed = batches
    assert len(stored) == len(computed) > 4
    for (x, targets), (other, labels) in zip(stored, computed, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(targets, labels)


class TestOnAGpu:
    pytestmark = needs_cuda

    def test_memory_that_one_arm_lacked_is_there_for_the_next(self, toy_recipe: Path) -> None:
        """Passes if the first arm fails for want of memory, the second finishes, and little is held when it begins."""
        toy_recipe.write_text(toy_recipe.read_text().replace("batch_size = 16\n", "") + ARMS)
        held = [torch.cuda.memory_allocated()]
        watching = Watching(begin=lambda: held.append(torch.cuda.memory_allocated()))
        torch.cuda.empty_cache()  # of the tests before, which would be room too
        room = torch.cuda.memory_reserved() + 2**30
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
        try:
            settings = ["data.options.train=10000", "data.image_size=64"]
            applied = api.apply(toy_recipe, settings, device="cuda", observer=watching, runs=toy_recipe.parent / "runs")
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        problems = [failure.problem for failure in applied.failures]
        assert ["large" in each and "does not fit" in each for each in problems] == [True], problems
        assert applied.result["arms"]["small"]["seeds"]["0"]["status"] == "finished"
        assert held[2] - held[0] < 2**28, held  # 123 MB of them are the pictures

    def test_ten_arms_hold_no_more_memory_than_two(self, toy_recipe: Path) -> None:
        """Passes if the memory that torch holds is the same when each run begins, from the third on."""
        arms = "".join(f"[arms.a{at}]\nlr_groups = {{ backbone = 1e-3, head = {1e-3 * (at + 1)} }}\n" for at in range(10))
        toy_recipe.write_text(toy_recipe.read_text() + arms)
        held: list[int] = []
        watching = Watching(begin=lambda: held.append(torch.cuda.memory_reserved()))
        settings = [PHASES, "data.options.train=160"]
        api.apply(toy_recipe, settings, device="cuda", observer=watching, runs=toy_recipe.parent / "runs")
        assert len(held) == 10
        assert len(set(held[2:])) == 1, held

    @pytest.mark.parametrize("augment", ["", *augmentations.NAMES])
    def test_nothing_waits_for_the_gpu_within_an_epoch(self, toy_recipe: Path, augment: str) -> None:
        """From the fifth step of an epoch of 70 on, across a look at the loss: passes if torch's own watch finds no wait."""
        last = 70

        def step(number: int) -> None:
            torch.cuda.set_sync_debug_mode("error" if 4 <= number < last else "default")

        side = 14 if augment == "random_crop" else 16
        settings = [
            f"data.augment={json.dumps([augment] if augment else [])}",
            f"data.image_size={side}",
            f"data.options.train={last * 16}",
            "data.split.validation=0.0",
            "schedule.epochs=2",
        ]
        watching = Watching(step=step, end=lambda: torch.cuda.set_sync_debug_mode("default"))
        applied = api.apply(toy_recipe, settings, device="cuda", observer=watching, runs=toy_recipe.parent / "runs")
        assert applied.failures == ()
        assert not [line for line in watching.notes if "without a captured graph" in line]

    @pytest.mark.parametrize("augment", ["hflip", "random_resized_crop", "randaugment", "mixup"])
    def test_a_profile_of_an_epoch_has_no_wait_and_no_copy_from_pageable_memory(self, toy_recipe: Path, augment: str) -> None:
        """Passes if the host waits for no stream from the fifth step to the last; torch's watch does not see all waits."""
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        profile = torch.profiler.profile(activities=activities, acc_events=True)  # else torch 2.11 warns

        def step(number: int) -> None:
            if number == 4:  # steps that were taken
                profile.start()
            if number == 70:
                profile.stop()

        augmented = f"data.augment={json.dumps([augment])}"
        settings = [f"data.options.train={70 * 16}", "data.split.validation=0.0", "schedule.epochs=1", augmented]
        api.apply(toy_recipe, settings, device="cuda", observer=Watching(step=step), runs=toy_recipe.parent / "runs")
        names = [event.name for event in profile.events()]
        assert any("Graph" in name for name in names), "steps are replayed"
        # stopping the profiler waits once itself
        assert sum(name in ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize") for name in names) <= 1
        assert not [name for name in names if "Memcpy" in name and "Pageable" in name]
