"""Measure the speed and the error of each compute format of the fixed prefix and the training step on real images.

The rule: what is timed is what will run, the prefix in its chunks and the step with its optimizer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tlkit import machine, tasks
from tlkit.compiler import kernel_choice
from tlkit.engine import formats, row_keys
from tlkit.engine.evaluate import evaluating
from tlkit.engine.kernels.calls import Gradients, recorded
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.fold import relative_error
from tlkit.engine.step.graph import WARM_UP, Backend, Captured, CudaBackend
from tlkit.engine.step.step import Batch, Step
from tlkit.errors import PluginError, reason
from tlkit.network import seeding
from tlkit.network.network import Network, pool
from tlkit.network.stages import copied
from tlkit.plans.choices import ASSUMED_RATE, flops, work
from tlkit.plans.plan import Plan
from tlkit.recipe.maps import HEAD
from tlkit.record.formats import CHUNK, COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat, PrefixPlan, chunk_on, compute_formats
from tlkit.record.kernels import ChosenKernel
from tlkit.record.timings import MARGIN, Measurements, Timing

# A run that trains for less than this, at the assumed rate, is over before measuring it could help: seconds.
WORTHWHILE = 5.0
PAYS = 0.25  # or that has less than so many times the work of measuring, which later runs have for nothing
_CALLS = 3  # of every form, more of the fastest
# Measuring is given up after so many seconds, or after so much of the run at the assumed rate where that is more. Where other
# programs keep the cores busy one step may take a minute, and what was timed would be wrong.
LIMIT = 60.0
_LIMIT_PART = 0.1
# Images of a measured training step, at most. Of small images there are more, as many as have the pixels of 16 with 224 on a side:
# calling operators takes as long for few images, and hides which form is faster for a batch.
_STEP_IMAGES, _STEP_SIDE = 16, 224
_REPLAYS = 20  # of what is timed on a GPU
_CONTENDS = 1.4  # a form whose first time is within this factor of the best so far is timed again,
_AGAIN = 2  # so often

Watch = Callable[[], None]


def too_short(plan: Plan) -> str:
    """Return why measuring is not worth its time for a run; empty if it is."""
    if work(plan) < max(WORTHWHILE * ASSUMED_RATE, PAYS * _work(plan)):
        return "the run is too short for measuring to pay"
    return ""


def _work(plan: Plan) -> float:
    """Return the floating-point operations that measuring a plan takes."""
    cuts = {len(phase.prefix) for phase in plan.phases}
    prefixes = sum(flops(plan, 0, cut) for cut in cuts) * CHUNK
    trained = 0 if len(plan.phases[-1].prefix) == plan.depth else 3 * plan.flops_per_image * _step_images(plan, "cpu")
    return float(len(COMPUTE_FORMATS) * _CALLS * (prefixes + trained))


def key(plan: Plan, *, build: str, weights: str, data: str, device: torch.device) -> dict[str, object]:
    """Return everything that the measurements of a plan depend on.

    Args:
        plan: The run's plan.
        build: "module:function" that builds the backbone; its code counts.
        weights: Digest of the weights that it begins from; "none" for random ones.
        data: Digest of its images' content: how far a form is from float32 depends on them.
        device: The device that it runs on.
    """
    tables = plan.tables
    last = plan.phases[-1]
    return {
        "backbone": tables.backbone.name,
        "options": tables.backbone.options,
        "weights": weights,
        "data": [tables.data.name, {name: value for name, value in tables.data.options.items() if name != "path"}, data],
        "head": [tables.head.kind, tables.head.options] if last.prefix else [],
        "read": [tables.head.embed, tables.head.pooled],
        "input": [plan.image_size, _input(plan)],
        "batch": _step_images(plan, device.type),
        "optimizer": tables.optimizer.name,
        "cuts": sorted({len(phase.prefix) for phase in plan.phases}),
        "trained": last.trained,
        "plugin": row_keys.plugin(build),
        "code": row_keys.code(
            "tlkit.network",
            "tlkit.compiler.timing",
            "tlkit.compiler.kernel_choice",
            "tlkit.engine.formats",
            "tlkit.engine.kernels",
            "tlkit.engine.prefix",
            "tlkit.engine.step",
        ),
        **row_keys.machine(device),
    }


def _input(plan: Plan) -> str:
    """Return how pixels reach the network; of bands what the recipe says of it, since a plan is made before they are measured."""
    if plan.input.channels != "bands":
        return repr(plan.input)
    return f"{plan.tables.data.channels} bands, {plan.tables.backbone.input!r}"


def measure(
    plan: Plan, network: Network, images: Tensor, *, device: torch.device, watch: Watch, anew: bool = False
) -> Measurements:
    """Time every compute format of a plan's prefixes, and of the training step of its last phase, which trains most.

    A form in which the network cannot be run takes for ever: seconds and error are infinite. Where all of it takes too long,
    nothing was measured, and `why` says so.

    Args:
        plan: The run's plan.
        network: The network with its weights, on the device; it is not changed.
        images: (n, 3, H, W) float32, normalised, real, at least one.
        device: The device that the network is on.
        watch: Called between two timings; may raise to stop.
        anew: Time the kernels of convolutions again which are known from other networks.

    Raises:
        PluginError: the network cannot be run as it is, in float32 and contiguous.
    """
    began, waited = time.perf_counter(), machine.waited()
    limit = max(LIMIT, _LIMIT_PART * work(plan) / ASSUMED_RATE)

    def watch_clock() -> None:
        watch()
        if time.perf_counter() - began > limit:
            raise _TooSlow

    cuts = sorted({len(phase.prefix) for phase in plan.phases} - {0})
    forms = compute_formats(formats.considered(device, plan.tables.precision))
    try:
        with seeding.kept(device):  # dropout draws
            prefixes = tuple((cut, _prefix(network, cut, images, forms, device, watch_clock)) for cut in cuts)
            trains = len(plan.phases[-1].prefix) < len(network.stages)
            trained = _step(plan, network, images, forms, device, watch_clock, anew) if trains else ()
    except _TooSlow:
        seconds = time.perf_counter() - began
        why = f"measuring was given up after {seconds:.0f} s, as happens where other programs keep the cores busy"
        return Measurements(seconds=seconds, why=why)
    seconds = time.perf_counter() - began
    part = min((machine.waited() - waited) / (seconds * torch.get_num_threads()), 1.0)
    return Measurements(trained, prefixes, seconds, "", waited=max(part, 0.0), taken=time.time())


class _TooSlow(Exception):
    pass


def _prefix(
    network: Network, cut: int, images: Tensor, forms: Sequence[ComputeFormat], device: torch.device, watch: Watch
) -> tuple[Timing, ...]:
    chunk, backend = chunk_on(device.type), CudaBackend(device) if device.type == "cuda" else None
    repeated = images.repeat(-(-chunk // len(images)), 1, 1, 1)[:chunk]
    expected = prefix.build(network, cut, PrefixPlan(folded=False, chunk=chunk), sample=images[:1])(repeated)
    expected_features = _features(network, expected, cut)

    def make(compute_format: ComputeFormat) -> tuple[Callable[[], object], float]:
        form = PrefixPlan(compute_format=compute_format, chunk=chunk)
        run = prefix.build(network, cut, form, sample=images[:1], backend=backend)
        found = run(repeated)
        error = relative_error(found, expected)
        if compute_format.precision != "float32":
            error = max(error, relative_error(_features(network, found, cut), expected_features))
        return lambda: run(repeated), error

    return _race(make, forms, chunk, device, watch)


def _features(network: Network, x: Tensor, cut: int) -> Tensor:
    """Return what the stages after a prefix make of its output, in float32: they may magnify what it lost."""
    with evaluating(network), torch.no_grad():
        return x if cut == len(network.stages) else pool(network.run(x.float(), start=cut))


def _step(
    plan: Plan,
    network: Network,
    images: Tensor,
    forms: Sequence[ComputeFormat],
    device: torch.device,
    watch: Watch,
    anew: bool,
) -> tuple[Timing, ...]:
    phase = plan.phases[-1]
    count = _step_images(plan, device.type)
    repeated = images.repeat(-(-count // len(images)), 1, 1, 1)[:count].contiguous()
    logits = next(stage.output for stage in plan.stages if stage.name == HEAD)
    targets = tasks.get(plan.task).targets.example((count, *logits)).to(device)
    with evaluating(network), torch.no_grad():
        expected = network.embed(repeated)
        x = network.run(repeated, stop=len(phase.prefix))

    def step(compute_format: ComputeFormat, kernels: tuple[ChosenKernel, ...] = ()) -> Step:
        one = Step(copied("of all", network), replace(plan, compute_format=compute_format, kernels=kernels), device)
        one.begin_(phase.first)
        one.set_rates_(0.0)
        return one

    gradients: dict[ComputeFormat, Gradients] = {}

    def make(compute_format: ComputeFormat) -> tuple[Callable[[], object], float]:
        one = step(compute_format)
        with evaluating(one.network), torch.no_grad():
            error = relative_error(one.features(x), expected)
        if device.type == "cuda":
            return _warm(one, [(x, targets)] * plan.tables.optimizer.accumulate, CudaBackend(device)), error
        with recorded() as gradients[compute_format]:
            return _warm(one, [(x, targets)], None), error

    def with_kernels(timing: Timing) -> Timing:
        needed = gradients.get(timing.compute_format, {}) if math.isfinite(timing.seconds) else ()
        kernels = kernel_choice.choose(needed, batch=plan.batch_size, device=device, watch=watch, anew=anew)
        if not kernels:
            return timing
        call = _warm(step(timing.compute_format, kernels), [(x, targets)], None)
        seconds = min(_watched(call, device, watch) for _ in range(1 + _AGAIN)) / count
        if seconds > timing.seconds * (1 - MARGIN):
            return timing
        return replace(timing, seconds=seconds, kernels=kernels, native_seconds=timing.seconds)

    return tuple(with_kernels(timing) for timing in _race(make, forms, count, device, watch))


def _step_images(plan: Plan, device: str) -> int:
    """Return the images of a measured batch: on a GPU those of the run, since a small batch is over before it is launched."""
    height, width = plan.image_size
    most = max(_STEP_IMAGES * _STEP_SIDE**2 // (height * width), _STEP_IMAGES)
    return min(plan.batch_size, most) if device == "cpu" else plan.batch_size


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


def _race(
    make: Callable[[ComputeFormat], tuple[Callable[[], object], float]],
    forms: Sequence[ComputeFormat],
    images: int,
    device: torch.device,
    watch: Watch,
) -> tuple[Timing, ...]:
    """Time each form, what contends again, one form after the other so that one of them is held at a time.

    Args:
        make: From a form to what is timed, warm, and its error.
        forms: To be timed; the first is float32, contiguous.
        images: Number of images of one call.
        device: The device that it runs on.
        watch: Called before each timing.
    """
    timings: list[Timing] = []
    best = math.inf
    for compute_format in forms:
        watch()
        try:
            call, error = make(compute_format)
            seconds = _time(call, device)
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as failure:  # whatever a third party's forward raises
            if compute_format == PLAIN_FORMAT:
                raise PluginError(f"the network cannot be run: {reason(failure)}.", "tlkit check says more") from failure
            timings.append(Timing(compute_format, math.inf, math.inf))
            continue
        for _ in range(_AGAIN if seconds <= best * _CONTENDS else 0):
            seconds = min(seconds, _watched(call, device, watch))
        best = min(best, seconds)
        timings.append(Timing(compute_format, seconds / images, error))
        del call  # it holds the form's copy of the network
    return tuple(timings)


def _watched(call: Callable[[], object], device: torch.device, watch: Watch) -> float:
    watch()
    return _time(call, device)


def _time(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call; on a GPU the mean of many, by events on the device, which no launch is part of."""
    if device.type == "cuda":
        return _by_events(call, torch.cuda.current_stream(device))
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _by_events(call: Callable[[], object], stream: torch.cuda.Stream) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    call()
    first.record(stream)
    for _ in range(_REPLAYS):
        call()
    last.record(stream)
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / _REPLAYS
