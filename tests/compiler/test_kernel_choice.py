"""Kernels are measured once on a machine, remembered by what they depend on, and kept by the run that began with them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_observers import SignalAfter
from toy_step import batch, made, still, table
from toy_training import CPU

from tlkit import api
from tlkit.compiler import format_timing, kernel_choice, timing
from tlkit.compiler.kernel_choice import Choice
from tlkit.engine.kernels import selection
from tlkit.engine.kernels.calls import Gradients, recorded
from tlkit.engine.kernels.kernel import Kernel
from tlkit.engine.step.step import Step
from tlkit.errors import Interrupted, RunFolderError
from tlkit.plans import choices, plan_json
from tlkit.record import kernels, run_folder
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat
from tlkit.record.kernels import ChosenKernel, Convolution, KernelTiming, Part
from tlkit.record.timings import Measurements, Timing

HALF_LAST = ComputeFormat("bfloat16", "channels_last")
BLOCK2 = Convolution((8, 8, 8), (16, 8, 3, 3), (1, 1), (1, 1), (1, 1), 1, HALF_LAST)  # of the toy
CHOSEN = ChosenKernel(BLOCK2, "weight", "float32")
DEPTHWISE = Convolution((4, 7, 7), (4, 1, 5, 5), (2, 2), (2, 2), (1, 1), 4, PLAIN_FORMAT)


@pytest.fixture
def selected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Part, int]]:
    """What is measured, with a number of images; windows are the fastest of a weight's gradient."""
    taken: list[tuple[Part, int]] = []

    def select(convolution: Convolution, part: Part, images: int, **_: object) -> KernelTiming:
        taken.append((part, images))
        return KernelTiming(convolution, part, images, *(("windows", 0.5) if part == "weight" else ("native", 1.0)), 1.0)

    monkeypatch.setattr(selection, "select", select)
    return taken


def choose(device: torch.device = CPU, *, batch: int = 40, anew: bool = False) -> Choice:
    both: Gradients = {(DEPTHWISE, "input"): 1, (DEPTHWISE, "weight"): 2}
    return kernel_choice.choose(both, batch=batch, device=device, watch=lambda: None, anew=anew)


def test_a_kernel_is_measured_once(selected: list[tuple[Part, int]]) -> None:
    images = 40  # of such small ones
    chosen = Choice((ChosenKernel(DEPTHWISE, "weight", "windows"),), saved=2 * 0.5 / images)
    assert choose() == chosen
    assert [part for part, _ in selected] == ["input", "weight"]
    assert choose() == chosen
    assert len(selected) == 2
    choose(batch=1)
    assert selected[2:] == [("input", 1), ("weight", 1)], "of fewer images it is another measurement"
    choose(anew=True)
    assert len(selected) == 6


def test_other_devices_than_the_cpu_keep_the_librarys_kernels(selected: list[tuple[Part, int]]) -> None:
    assert choose(torch.device("cuda")) == Choice()
    assert not selected


def test_what_was_measured_before_a_stop_is_kept(selected: list[tuple[Part, int]]) -> None:
    calls = iter([None, KeyboardInterrupt()])

    def watch() -> None:
        if (error := next(calls)) is not None:
            raise error

    both: list[tuple[Convolution, Part]] = [(DEPTHWISE, "input"), (DEPTHWISE, "weight")]
    with pytest.raises(KeyboardInterrupt):
        kernel_choice.timed(both, batch=40, watch=watch)
    choose()
    assert [part for part, _ in selected] == ["input", "weight"]


def test_kernels_round_trip_through_toml() -> None:
    rows = kernels.to_rows([CHOSEN, ChosenKernel(DEPTHWISE, "input", "phases")])
    assert rows[0] == {
        "gradient": "weight", "kernel": "float32", "image": [8, 8, 8], "weight": [16, 8, 3, 3], "stride": [1, 1],
        "padding": [1, 1], "dilation": [1, 1], "groups": 1, "precision": "bfloat16", "memory_format": "channels_last",
    }  # fmt: skip
    assert kernels.from_rows(rows) == (CHOSEN, ChosenKernel(DEPTHWISE, "input", "phases"))
    with pytest.raises((ValueError, KeyError)):
        kernels.from_rows([{**rows[0], "gradient": "bias"}])


def test_a_step_counts_its_gradients_and_uses_its_kernels(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("plain sgd"), "freeze={stem=true}", compute_format=HALF_LAST)
    still(network)
    step = Step(network, replace(plan, kernels=(CHOSEN,)), CPU)
    step.begin_(1)
    step.set_rates_(0.0)
    images = batch(network, plan)
    plain = Step(network, plan, CPU)
    plain.begin_(1)
    plain.set_rates_(0.0)
    gradients = []
    for each in (step, plain):
        with recorded() as found:
            each([images])
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.requires_grad])
    assert [(convolution.weight, part) for convolution, part in found] == [
        ((8, 8, 3, 3), "weight"), ((16, 8, 3, 3), "input"), ((16, 8, 3, 3), "weight"),
    ]  # fmt: skip
    assert (BLOCK2, "weight") in found
    differ = [not torch.equal(mine, own) for mine, own in zip(*gradients, strict=True)]
    assert differ.count(True) == 1, "only the gradient of that weight is rounded otherwise"


def test_the_plan_says_what_kernels_gain(toy_recipe: Path) -> None:
    _, plan = made(toy_recipe)
    rows = tuple(Timing(each, 0.01, 0.0) for each in COMPUTE_FORMATS if each != HALF_LAST)
    measured = Measurements((*rows, Timing(HALF_LAST, 0.001, 0.0, (CHOSEN,), 0.0021)), why="")
    decided = choices.decide(replace(plan, choices=()), measured, room=0)
    assert decided.kernels == (CHOSEN,)
    (said,) = (choice for choice in decided.choices if choice.what == "kernels")
    assert said.value == "1 gradient by other kernels than the library's"
    assert said.reason == "a step is 2.1 times faster, measured"
    assert plan_json.from_json(plan_json.to_json(decided)) == decided


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[ComputeFormat, float], float], list[tuple[ComputeFormat, bool]]]:
    """Let a step take so many seconds in each form, and so many times as long with kernels; returns what is timed, and whether with kernels."""

    def scripted(seconds: dict[ComputeFormat, float], times: float) -> list[tuple[ComputeFormat, bool]]:
        taken: list[tuple[ComputeFormat, bool]] = []

        def seconds_of(call: partial[None], *_: object) -> float:
            call()
            plan = call.func.plan
            taken.append((plan.compute_format, bool(plan.kernels)))
            return seconds[plan.compute_format] * (times if plan.kernels else 1.0)

        monkeypatch.setattr(format_timing, "seconds_of", seconds_of)
        return taken

    return scripted


@pytest.mark.parametrize("faster", [True, False])
def test_kernels_stay_only_where_the_whole_step_is_faster(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, steps: Callable[..., object], faster: bool
) -> None:
    network, plan = made(toy_recipe)
    monkeypatch.setattr(kernel_choice, "choose", lambda gradients, **_: Choice((CHOSEN,), 0.01))
    steps(dict.fromkeys(COMPUTE_FORMATS, 1.0), 0.5 if faster else 1.0)
    found = timing.measure(plan, network, torch.randn(4, 3, 16, 16), device=CPU, watch=lambda: None).of_step(HALF_LAST)
    assert found.kernels == ((CHOSEN,) if faster else ())
    assert found.seconds * 16 == (0.5 if faster else 1.0)
    assert found.native_seconds == (1 / 16 if faster else None)


def test_only_forms_that_may_be_the_fastest_are_tried_with_kernels(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, steps: Callable[..., list[tuple[ComputeFormat, bool]]]
) -> None:
    """bfloat16 channels_last is slow with the library's kernels, and expected to take half the time with others."""
    network, plan = made(toy_recipe)
    tried: list[ComputeFormat] = []

    def choose(gradients: Gradients, **_: object) -> Choice:
        tried.append(next(iter(gradients))[0].compute_format)
        return Choice((CHOSEN,), 0.5 / 16)

    monkeypatch.setattr(kernel_choice, "choose", choose)
    single, single_last, half, half_last = COMPUTE_FORMATS
    taken = steps({single: 2.0, single_last: 0.9, half: 0.8, half_last: 1.0}, 0.5)
    found = timing.measure(plan, network, torch.randn(4, 3, 16, 16), device=CPU, watch=lambda: None).step
    assert tried == [half_last]
    assert taken == [(form, False) for form in (*COMPUTE_FORMATS, half_last)] + [(half_last, True)] * 2
    assert [each.seconds * 16 for each in found] == [2.0, 0.9, 0.8, 0.5]
    tried.clear()
    only = replace(plan, tables=plan.tables.model_copy(update={"precision": "float32"}))
    timing.measure(only, network, torch.randn(4, 3, 16, 16), device=CPU, watch=lambda: None)
    assert tried == [single_last], "what the recipe asks for"


def test_few_steps_and_gradients_are_computed_to_choose(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as take about 3 s of a network at 224 px: a count, which a busy machine changes little."""
    network, plan = made(toy_recipe)
    monkeypatch.setattr(selection, "WORTHWHILE", 0.0)
    monkeypatch.setattr(selection, "FAR", 0.0)
    computed: list[tuple[Convolution, str]] = []
    taken: list[int] = []
    original, step = selection.call, Step.__call__

    def call(kernel: Kernel, convolution: Convolution, given: selection.Operands) -> tuple[torch.Tensor, float]:
        computed.append((convolution, kernel.name))
        return original(kernel, convolution, given)

    monkeypatch.setattr(selection, "call", call)
    monkeypatch.setattr(Step, "__call__", lambda *given: taken.append(1) or step(*given))
    timing.measure(plan, network, torch.randn(4, 3, 16, 16), device=CPU, watch=lambda: None, anew=True)
    assert 4 <= len(taken) <= 4 + 4 * (1 + 3), "each form once, and close ones without kernels and with them"
    gradients = {(convolution, kernel) for convolution, kernel in computed}
    assert 0 < len(computed) <= 8 * len(gradients)


def test_a_run_keeps_the_kernels_that_it_began_with(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(chosen: tuple[ChosenKernel, ...]) -> None:
        rows = tuple(Timing(each, 0.001 if each == HALF_LAST else 0.01, 0.0, chosen, 0.002) for each in COMPUTE_FORMATS)
        monkeypatch.setattr("tlkit.run.measuring.recall_or_measure", lambda *_, **__: Measurements(rows, (), 0.0, ""))

    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    whole, broken, other = (toy_recipe.parent / name for name in ("whole", "broken", "other"))
    settings = ["freeze={}", "schedule.epochs=2"]
    measured((CHOSEN,))
    api.apply(toy_recipe, settings, runs=whole)
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, settings, runs=broken, observer=SignalAfter(1))
    (path,) = broken.rglob("resolved.toml")
    text = path.read_text()
    assert tomllib.loads(text)["kernels"] == kernels.to_rows([CHOSEN])
    measured(())
    api.apply(toy_recipe, settings, runs=broken)
    assert path.read_text() == text
    api.apply(toy_recipe, settings, runs=other)
    ours, theirs, without = (load_file(next(runs.rglob("state-*.safetensors"))) for runs in (broken, whole, other))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert not all(torch.equal(tensor, without[name]) for name, tensor in ours.items())
    plan = json.loads(next(broken.rglob("plan.json")).read_text())
    assert plan["kernels"][0]["kernel"] == "float32"


def test_a_run_of_a_version_without_kernels_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "state-1.safetensors").touch()
    old = 'format = 1\nbatch_size = 4\nprecision = "float32"\nmemory_format = "contiguous"\nprefixes = []\n'
    pixels = "\n[input]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    (tmp_path / "resolved.toml").write_text(old + pixels)
    found = run_folder.earlier_choices(tmp_path)
    assert (found.kernels, found.evaluation) == ((), None)
    (tmp_path / "resolved.toml").write_text(
        old.replace("prefixes", 'kernels = [{gradient = "weight", kernel = "float32"}]\nprefixes') + pixels
    )
    with pytest.raises(RunFolderError, match="kernels"):
        run_folder.earlier_choices(tmp_path)
