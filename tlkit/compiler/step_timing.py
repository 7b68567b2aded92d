"""Measure a plan's training step: in each compute format, then with the kernels of convolutions that are faster in it.

The rule: it is the step of the last phase, which trains most, with its optimizer, behind its fixed prefix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from tlkit import tasks
from tlkit.compiler import format_timing, kernel_choice
from tlkit.compiler.format_timing import Made, Watch
from tlkit.compiler.kernel_choice import Choice
from tlkit.engine.evaluate import evaluating
from tlkit.engine.kernels.calls import Gradients, recorded
from tlkit.engine.prefix.fold import relative_error
from tlkit.engine.step.graph import WARM_UP, Backend, Captured, CudaBackend
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.network.network import Network
from tlkit.network.stages import copied
from tlkit.plans.choices import batch_images
from tlkit.plans.plan import Plan
from tlkit.recipe.maps import HEAD
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat
from tlkit.record.kernels import ChosenKernel
from tlkit.record.timings import MARGIN, STEP_TOLERANCE, Timing

# Floating-point operations of a measured batch's forward pass for each thread: with fewer images, calling operators and casting weights, which take
# as long for few images, hide which form is faster for a batch. Of small images that is many, of large networks `_FEWEST`.
_WORK, _FEWEST = 1.6e9, 2
# A form may become the fastest if its first call takes up to so many times the seconds that are expected of the fastest with its kernels, and a
# second one, which is warm, only a little longer: in float32 a step gains a few percent. Kernels gain most in the lower precision in channels_last,
# which is measured first.
_NEAR, _WARM, _HOPELESS = 1.3, 1.1, 4.0
# Of a step's time with the library's kernels, what is expected of it with others at least, since kernels are not measured at the same moment.
_LEAST = 0.2
_PAYS = 0.8 * MARGIN  # of a step is what kernels must be expected to save


def measure(
    plan: Plan, network: Network, images: Tensor, forms: Sequence[ComputeFormat], *,
    device: torch.device, watch: Watch, anew: bool,
) -> tuple[Timing, ...]:  # fmt: skip
    """Time the training step in some compute formats; the other arguments are those of `timing.measure`."""
    sample = _sample(plan, network, images, device)
    gradients: dict[ComputeFormat, Gradients] = {}

    def make(compute_format: ComputeFormat) -> Made:
        step = sample.step(compute_format)
        error = 0.0 if compute_format == PLAIN_FORMAT else sample.error(step)
        if device.type == "cuda":
            taking = _captured(step, [sample.batch] * plan.tables.optimizer.accumulate, CudaBackend(device))
            return replace(taking, error=error)
        call = partial(step, [sample.batch])
        with recorded() as gradients[compute_format]:
            return Made(call, error, format_timing.seconds_of(call, device))

    count = len(sample.batch[1])
    if device.type == "cuda":
        return format_timing.time_each(make, forms, count, device, watch)
    timings = format_timing.time_each(make, forms, count, device, watch, again=0)
    return _finals(timings, sample, gradients, watch=watch, anew=anew)


def step_images(plan: Plan, device: str) -> int:
    """Return the images of a measured batch: on a GPU those of the run, since a small batch is over before it is launched."""
    most = max(int(_WORK * torch.get_num_threads() / plan.flops_per_image), _FEWEST)
    return min(plan.batch_size, most) if device == "cpu" else batch_images(plan)


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


def _captured(step: Step, batches: Sequence[Batch], backend: Backend) -> Made:
    """Return what takes a step as the run does it, after the first ones: captured where that is possible."""
    captured = Captured(step, backend, note=lambda _: None)
    captured.begin_(step.plan.phases[-1].first)
    for _ in range(WARM_UP + 1):
        captured(batches)
    calls = {} if captured.captured else {"calls": format_timing.EAGER}
    return Made(partial(captured, batches), 0.0, math.inf, **calls)


def _finals(
    timings: Sequence[Timing], sample: _Sample, gradients: Mapping[ComputeFormat, Gradients], *, watch: Watch, anew: bool
) -> tuple[Timing, ...]:
    """Time the forms again that may be the fastest, measure their kernels, and time them with those."""
    asked = _choosable(timings, sample.plan)
    found: dict[ComputeFormat, Choice] = {}
    expected = {timing.compute_format: timing.seconds for timing in asked}
    native = dict(expected)
    for timing in sorted(asked, key=lambda each: (each.compute_format.precision == "float32", each.compute_format.layout)):
        form = timing.compute_format
        gains = form.precision != "float32" and form.layout == "channels_last"
        if timing.seconds > (_HOPELESS if gains else _NEAR) * min(expected.values()):
            continue
        native[form] = expected[form] = min(timing.seconds, _least(sample, form, (), watch, calls=1))
        if gains or native[form] <= _WARM * min(expected.values()):
            found[form] = kernel_choice.choose(
                gradients[form], batch=sample.plan.batch_size, device=sample.device, watch=watch, anew=anew
            )
            expected[form] = max(native[form] - found[form].saved, native[form] * _LEAST)
    near = {form for form in found if expected[form] <= _NEAR * min(expected.values())}
    return tuple(
        _with_kernels(replace(timing, seconds=native[timing.compute_format]), found[timing.compute_format], sample, watch)
        if timing.compute_format in near
        else replace(timing, seconds=native.get(timing.compute_format, timing.seconds))
        for timing in timings
    )


def _choosable(timings: Sequence[Timing], plan: Plan) -> list[Timing]:
    """Return the timings of the forms that the recipe may choose, if this arm alone decides."""
    asked = plan.tables.precision
    if asked != "auto":
        mine = [each for each in timings if each.compute_format.precision == asked]
    else:
        mine = [each for each in timings if each.error <= STEP_TOLERANCE]
    return [each for each in mine if math.isfinite(each.seconds)]


def _with_kernels(timing: Timing, choice: Choice, sample: _Sample, watch: Watch) -> Timing:
    """Time a form with kernels if they are expected to pay; they are kept if the whole step is clearly faster with them."""
    native = timing.seconds
    if choice.saved >= _PAYS * native:
        seconds = _least(sample, timing.compute_format, choice.kernels, watch, calls=3, enough=native * (1 - 2 * MARGIN))
        if seconds <= native * (1 - MARGIN):
            return replace(timing, seconds=seconds, kernels=choice.kernels, native_seconds=native)
    return timing


def _least(
    sample: _Sample,
    compute_format: ComputeFormat,
    kernels: tuple[ChosenKernel, ...],
    watch: Watch,
    *,
    calls: int,
    enough: float = 0.0,
) -> float:
    """Return the least seconds of a step for one image; of two calls where they are below `enough`."""
    call = partial(sample.step(compute_format, kernels), [sample.batch])
    least = math.inf
    for count in range(calls):
        least = min(least, format_timing.watched(call, sample.device, watch) / len(sample.batch[1]))
        if count and least <= enough:
            break
    return least
