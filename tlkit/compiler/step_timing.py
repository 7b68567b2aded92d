"""Measure a plan's training step: in each compute format, then with the kernels of convolutions that are faster in it.

The rule: it is the step of the last phase, which trains most, with its optimizer, behind its fixed prefix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tlkit import tasks
from tlkit.compiler import format_timing, kernel_choice
from tlkit.compiler.format_timing import AGAIN, Watch
from tlkit.engine.evaluate import evaluating
from tlkit.engine.kernels.calls import Gradients, recorded
from tlkit.engine.prefix.fold import relative_error
from tlkit.engine.step.graph import WARM_UP, Backend, Captured, CudaBackend
from tlkit.engine.step.step import Batch, Step
from tlkit.network.network import Network
from tlkit.network.stages import copied
from tlkit.plans.plan import Plan
from tlkit.recipe.maps import HEAD
from tlkit.record.formats import ComputeFormat
from tlkit.record.kernels import ChosenKernel
from tlkit.record.timings import MARGIN, Timing

# Images of a measured training step, at most. Of small images there are more, as many as have the pixels of 16 with 224 on a side:
# calling operators takes as long for few images, and hides which form is faster for a batch.
_STEP_IMAGES, _STEP_SIDE = 16, 224


def measure(
    plan: Plan, network: Network, images: Tensor, forms: Sequence[ComputeFormat], *,
    device: torch.device, watch: Watch, anew: bool,
) -> tuple[Timing, ...]:  # fmt: skip
    """Time the training step in some compute formats; the other arguments are those of `timing.measure`."""
    sample = _sample(plan, network, images, device)
    gradients: dict[ComputeFormat, Gradients] = {}

    def make(compute_format: ComputeFormat) -> tuple[Callable[[], object], float]:
        step = sample.step(compute_format)
        error = sample.error(step)
        if device.type == "cuda":
            return _warm(step, [sample.batch] * plan.tables.optimizer.accumulate, CudaBackend(device)), error
        with recorded() as gradients[compute_format]:
            return _warm(step, [sample.batch], None), error

    return tuple(
        _with_kernels(timing, sample, gradients.get(timing.compute_format, {}), watch=watch, anew=anew)
        for timing in format_timing.time_each(make, forms, len(sample.batch[1]), device, watch)
    )


def step_images(plan: Plan, device: str) -> int:
    """Return the images of a measured batch: on a GPU those of the run, since a small batch is over before it is launched."""
    height, width = plan.image_size
    most = max(_STEP_IMAGES * _STEP_SIDE**2 // (height * width), _STEP_IMAGES)
    return min(plan.batch_size, most) if device == "cpu" else plan.batch_size


@dataclass(frozen=True)
class _Sample:
    """What steps are timed on.

    Attributes:
        plan: The run's.
        network: Is copied for every step.
        device: That it is on.
        batch: Real images behind the fixed prefix, in float32, and targets.
        expected: Their features in float32.
    """

    plan: Plan
    network: Network
    device: torch.device
    batch: Batch
    expected: Tensor

    def step(self, compute_format: ComputeFormat, kernels: tuple[ChosenKernel, ...] = ()) -> Step:
        """Return a step whose rates are 0."""
        plan = replace(self.plan, compute_format=compute_format, kernels=kernels)
        step = Step(copied("of all", self.network), plan, self.device)
        step.begin_(plan.phases[-1].first)
        step.set_rates_(0.0)
        return step

    def error(self, step: Step) -> float:
        """Return how far a step's features are from float32."""
        with evaluating(step.network), torch.no_grad():
            return relative_error(step.features(self.batch[0]), self.expected)


def _sample(plan: Plan, network: Network, images: Tensor, device: torch.device) -> _Sample:
    count = step_images(plan, device.type)
    repeated = images.repeat(-(-count // len(images)), 1, 1, 1)[:count].contiguous()
    logits = next(stage.output for stage in plan.stages if stage.name == HEAD)
    targets = tasks.get(plan.task).targets.example((count, *logits)).to(device)
    with evaluating(network), torch.no_grad():
        x = network.run(repeated, stop=len(plan.phases[-1].prefix))
        return _Sample(plan, network, device, (x, targets), network.embed(repeated))


def _warm(step: Step, batches: Sequence[Batch], backend: Backend | None) -> Callable[[], object]:
    """Return what takes a step as the run does it, after the first ones: with a backend, a captured step where that is possible."""
    if backend is None:
        step(batches)
        return lambda: step(batches)
    captured = Captured(step, backend, note=lambda _: None)
    captured.begin_(step.plan.phases[-1].first)
    for _ in range(WARM_UP + 1):
        captured(batches)
    return lambda: captured(batches)


def _with_kernels(timing: Timing, sample: _Sample, gradients: Gradients, *, watch: Watch, anew: bool) -> Timing:
    """Return a timing with the kernels that are faster in its compute format, if the whole step is clearly faster with them."""
    if not math.isfinite(timing.seconds):
        return timing
    kernels = kernel_choice.choose(gradients, batch=sample.plan.batch_size, device=sample.device, watch=watch, anew=anew)
    if not kernels:
        return timing
    call = _warm(sample.step(timing.compute_format, kernels), [sample.batch], None)
    seconds = min(format_timing.watched(call, sample.device, watch) for _ in range(1 + AGAIN)) / len(sample.batch[1])
    if seconds > timing.seconds * (1 - MARGIN):
        return timing
    return replace(timing, seconds=seconds, kernels=kernels, native_seconds=timing.seconds)
