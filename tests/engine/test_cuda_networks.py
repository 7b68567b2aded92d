"""Networks on a GPU: each family is captured in each precision, folded as on a CPU, and timed as it runs.

Where an assertion holds on a CPU too, the test runs there as well, on few networks.
"""

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_capture import Recorder
from torch import Tensor, nn
from toy_gpu import CUDA, each_device, needs_cuda
from toy_step import LATE_STEM, assert_same, batch, copies, made, still, table, train
from toy_training import CPU, training

from tlkit.compiler import timing
from tlkit.engine import formats
from tlkit.engine.prefix import prefix
from tlkit.engine.step.graph import Backend, Captured, CudaBackend
from tlkit.engine.step.step import Step
from tlkit.network.network import Network
from tlkit.record.formats import ComputeFormat, PrefixPlan, compute_formats
from tlkit.record.timings import STEP_TOLERANCE, choose
from tlkit.run import torch_settings

# Of each family one, with the smallest image that it takes, or little more.
NETWORKS = {
    "alexnet": 64, "densenet121": 32, "efficientnet_lite0": 56, "googlenet": 64, "inception_v3": 96, "lenet5": 32, "mobilenet_v2": 32,
    "resnet18": 32, "cifar_resnet20": 8, "squeezenet1_1": 64, "vgg11_bn": 32, "timm:convnext_atto": 64, "timm:vit_tiny_patch16_224": 224,
    "timm:regnetx_002": 64, "timm:mobilenetv3_small_050": 64, "timm:resnest14d": 64, "timm:mixer_s32_224": 224,
}  # fmt: skip
FORMS = compute_formats(("float32", "tf32", "bfloat16", "float16"))


def on(device: torch.device, recipe: Path, name: str, side: int, *settings: str) -> tuple[Network, object]:
    mine = training(
        recipe, f'backbone={{name="{name}", weights="none"}}', f"data.image_size={side}", "data.options.train=16",
        "data.split.validation=0.0", "data.batch_size=8", *settings, keep=False,
    )  # fmt: skip
    return mine.network.to(device), mine.plan


def backend_of(device: torch.device) -> Backend:
    return CudaBackend(device) if device.type == "cuda" else Recorder()


@each_device
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "cifar_resnet20" else []) for name in NETWORKS]
)
def test_six_steps_of_a_family_are_captured_in_every_precision(toy_recipe: Path, device: str, name: str) -> None:
    """Passes if the fourth step is captured and nothing is noted, in every precision and memory format, and all weights stay finite."""
    where = torch.device(device)
    if device == "cpu" and name not in ("cifar_resnet20", "lenet5"):
        pytest.skip("the stand-in for a device, of which two networks are enough")
    network, plan = on(where, toy_recipe, name, NETWORKS[name])
    draw, found = torch.Generator().manual_seed(0), {}
    x = torch.randn(8, 3, NETWORKS[name], NETWORKS[name], generator=draw).to(where)
    labels = (torch.arange(8) % plan.classes).to(where)
    with torch_settings.applied(where) if device == "cuda" else nullcontext():
        for form in FORMS:
            notes: list[str] = []
            step = Step(copy.deepcopy(network), replace(plan, compute_format=form), where, static=True)
            captured = Captured(step, backend_of(where), note=notes.append)
            captured.begin_(1)
            captured.step.set_rates_(1e-3)
            for _ in range(6):
                captured([(x, labels)])
            finite = all(bool(torch.isfinite(each).all()) for each in step.network.parameters())
            found[str(form)] = captured.captured, notes, finite, step.sums().bad
            captured.release()
    assert found == {str(form): (True, [], True, -1) for form in FORMS}


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "densenet121", "timm:regnetx_002"])
@pytest.mark.parametrize("device", [pytest.param(CUDA, marks=needs_cuda)])
def test_as_many_norms_are_folded_as_on_a_cpu(toy_recipe: Path, device: torch.device, name: str) -> None:
    """With torch's default flags, under which convolutions are rounded to TF32. Passes if the number of BatchNorm layers left is the same."""
    network, _ = on(CPU, toy_recipe, name, NETWORKS[name])
    x = torch.randn(1, 3, NETWORKS[name], NETWORKS[name], generator=torch.Generator().manual_seed(0))
    left = []
    for where in (CPU, device):
        made = prefix.build(network.to(where), len(network.stages), PrefixPlan(chunk=4), sample=x.to(where))
        left.append(sum(isinstance(module, nn.BatchNorm2d) for stage in made._stages for module in stage.modules()))
    assert left[0] == left[1]


@each_device
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_convolution_in_float32_is_float32(device: str, layout: torch.memory_format) -> None:
    """Passes if it is within 1e-6 of float64; TF32 would be 3e-4 off."""
    where, draw = torch.device(device), torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(64, 64, 3, padding=1).to(where, memory_format=layout)
    x = torch.randn(8, 64, 28, 28, generator=draw).to(where, memory_format=layout)
    with torch_settings.applied(where), torch.no_grad():
        found = convolution(x).double()
        expected = copy.deepcopy(convolution).double()(x.double())
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("device", [pytest.param(CUDA, marks=needs_cuda)])
def test_the_form_that_is_chosen_is_the_fastest_of_replays(toy_recipe: Path, device: torch.device) -> None:
    """ResNet-18, 128 images of 128 px. Passes if no allowed form is more than 5 % faster by CUDA events over 30 replays."""
    network, plan = on(device, toy_recipe, "resnet18", 128, "data.options.train=128", "data.batch_size=128")
    images = torch.randn(32, 3, 128, 128, generator=torch.Generator().manual_seed(0)).to(device)
    labels = (torch.arange(128) % plan.classes).to(device)
    seconds: dict[ComputeFormat, float] = {}
    with torch_settings.applied(device):
        known = timing.measure(plan, network, images, device=device, watch=lambda: None)
        for form in compute_formats(formats.considered(device, "auto")):
            captured = Captured(
                Step(copy.deepcopy(network), replace(plan, compute_format=form), device), CudaBackend(device), note=pytest.fail
            )
            captured.begin_(1)
            captured.step.set_rates_(0.0)
            x = images.repeat(4, 1, 1, 1)
            for _ in range(10):
                captured([(x, labels)])
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(30):
                captured([(x, labels)])
            end.record()
            end.synchronize()
            seconds[form] = begin.elapsed_time(end) / 30
            captured.release()
    for precision in formats.considered(device, "auto"):
        chosen, reason = choose(known.step, precision, limit=STEP_TOLERANCE, why="", exactly=True)
        best = min(value for form, value in seconds.items() if form.precision == precision)
        assert seconds[chosen] <= 1.05 * best, (reason, seconds)


def _synchronize(device: torch.device) -> None:
    torch.cuda.synchronize(device)


def _raise(device: torch.device) -> None:
    if torch.cuda.is_current_stream_capturing():
        raise ValueError("a mistake in a plugin")


def _exhaust(device: torch.device) -> None:
    if torch.cuda.is_current_stream_capturing():
        torch.empty(2**50, dtype=torch.uint8, device=device)


FAILURES = {
    "a wait": (_synchronize, "captur"),
    "a mistake": (_raise, "ValueError: a mistake in a plugin"),
    "memory": (_exhaust, "OutOfMemoryError"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cuda:0", marks=needs_cuda),
        pytest.param(
            "cuda:1",
            marks=[*needs_cuda, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second CUDA device")],
        ),
    ],
)
def test_a_failure_within_a_capture_is_noted_once_and_leaves_no_trace(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, device: str, failure: str
) -> None:
    """Passes if the one note names the cause, all weights have the bits of steps without a graph, and the next phase is captured."""
    where, (fail, said) = torch.device(device), FAILURES[failure]
    network, plan = made(toy_recipe, table("adamw"), LATE_STEM, "head.options.dropout=0.5")
    network.to(where)
    notes: list[str] = []
    plain = Step(copy.deepcopy(network), plan, where)
    captured = Captured(Step(network, plan, where), CudaBackend(where), note=notes.append)
    answer_of, current = Network.answer_of, torch.cuda.current_device()

    def failing(self: Network, carried: Any) -> Tensor:
        fail(where)
        return answer_of(self, carried)

    with torch_settings.applied(where):
        for step in (captured, plain):
            torch.manual_seed(0)
            with monkeypatch.context() as patch:
                if step is captured:
                    patch.setattr(Network, "answer_of", failing)
                step.begin_(1)
                train(step, steps=6)
            step.begin_(2)
            train(step, steps=6, epoch=2)
    assert len(notes) == 1
    assert said in notes[0]
    assert captured.captured
    assert torch.cuda.current_device() == current
    assert_same(copies(captured.step), copies(plain))
    captured.release()


@each_device
def test_a_step_in_float16_is_captured_and_learns(toy_recipe: Path, device: str) -> None:
    """Passes if the loss of one batch falls to less than half in 60 steps, with few of them skipped."""
    where = torch.device(device)
    network, plan = made(toy_recipe, table("adamw"), compute_format=ComputeFormat("float16", "channels_last"))
    still(network.to(where))
    notes: list[str] = []
    captured = Captured(Step(network, plan, where, static=True), backend_of(where), note=notes.append)
    given, losses = batch(network, plan), []
    for epoch in (1, 2):
        captured.begin_(epoch)
        captured.step.set_rates_(1.0)
        for _ in range(30):
            captured([given])
        losses.append(captured.step.sums().loss)
        assert captured.step.skipped() < 5
    assert notes == []
    assert losses[1] < losses[0] / 2
    captured.release()
