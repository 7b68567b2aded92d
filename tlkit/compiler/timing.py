"""Measure the speed and the error of each compute format of the fixed prefix and the training step on real images.

The rule: what is timed is what will run, the prefix in its chunks and the step with its optimizer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from tlkit import machine
from tlkit.compiler import format_timing, step_timing
from tlkit.compiler.format_timing import Made, Watch
from tlkit.compiler.step_timing import step_images
from tlkit.engine import clock, formats, row_keys
from tlkit.engine.evaluate import evaluating
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.fold import relative_error
from tlkit.engine.step.graph import CudaBackend
from tlkit.network import seeding
from tlkit.network.network import Network, pool
from tlkit.plans.choices import ASSUMED_RATE, flops, work
from tlkit.plans.plan import Plan
from tlkit.record.formats import CHUNK, ComputeFormat, PrefixPlan, chunk_on, compute_formats
from tlkit.record.timings import Measurements, Timing

# A run that trains for less than this, at the assumed rate, is over before measuring it could help: seconds.
WORTHWHILE = 5.0
PAYS = 0.25  # or that has less than so many times the work of measuring, which later runs have for nothing
# On a GPU measuring takes as long whatever a step takes: for each form cuDNN builds a plan of each convolution. An H100 took 2 to 14 s for
# ResNet-18, and trains it so many floating-point operations in 1.6 s in bfloat16, see benchmarks/README.md; in float32 it takes several times that.
GPU_WORTHWHILE = 2e14
_CPU = torch.device("cpu")
_CALLS = 3  # of every form, more of the fastest
# Measuring is given up after so many seconds, or after so much of the run at the assumed rate where that is more. Where other
# programs keep the cores busy one step may take a minute, and what was timed would be wrong.
LIMIT = 60.0
_LIMIT_PART = 0.1


def too_short(plan: Plan, device: torch.device) -> str:
    """Return why measuring is not worth its time for a run on a device; empty if it is."""
    least = GPU_WORTHWHILE if device.type == "cuda" else max(WORTHWHILE * ASSUMED_RATE, PAYS * _work(plan))
    if work(plan) < least:
        return "the run is too short for measuring to pay"
    return ""


def _work(plan: Plan) -> float:
    """Return the floating-point operations that measuring a plan takes on a CPU."""
    cuts = {len(phase.prefix) for phase in plan.phases}
    prefixes = sum(flops(plan, 0, cut) for cut in cuts) * CHUNK
    trained = 0 if len(plan.phases[-1].prefix) == plan.depth else 3 * plan.flops_per_image * step_images(plan, _CPU.type)
    forms = compute_formats(formats.considered(_CPU, plan.tables.precision))
    return float(len(forms) * _CALLS * (prefixes + trained))


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
        "batch": step_images(plan, device.type),
        "optimizer": tables.optimizer.name,
        "cuts": sorted({len(phase.prefix) for phase in plan.phases}),
        "trained": last.trained,
        "precision": tables.precision,  # other kernels are tried only where it may choose them
        "plugin": row_keys.plugin(build),
        "code": row_keys.code(
            "tlkit.network",
            "tlkit.compiler.timing",
            "tlkit.compiler.step_timing",
            "tlkit.compiler.format_timing",
            "tlkit.compiler.kernel_choice",
            "tlkit.engine.formats",
            "tlkit.engine.kernels",
            "tlkit.engine.other_functions",
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

    A form in which the network cannot be run takes for ever: seconds and error are infinite. Where all of it takes too long, or more
    memory than there is, nothing was measured, and `why` says so.

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
            trained: tuple[Timing, ...] = ()
            if trains:
                trained = step_timing.measure(plan, network, images, forms, device=device, watch=watch_clock, anew=anew)
    except _TooSlow:
        seconds = time.perf_counter() - began
        why = f"measuring was given up after {seconds:.0f} s, as happens where other programs keep the cores busy"
        return Measurements(seconds=seconds, why=why)
    except (RuntimeError, MemoryError) as error:
        if not machine.is_out_of_memory(error):
            raise
        why = f"measuring was given up, for it takes more memory than {device} has"
        return Measurements(seconds=time.perf_counter() - began, why=why)
    seconds = time.perf_counter() - began
    part = min((machine.waited() - waited) / (seconds * torch.get_num_threads()), 1.0)
    return Measurements(trained, prefixes, seconds, "", waited=max(part, 0.0), taken=time.time())


class _TooSlow(Exception):
    pass


def _prefix(
    network: Network, cut: int, images: Tensor, forms: Sequence[ComputeFormat], device: torch.device, watch: Watch
) -> tuple[Timing, ...]:
    height, width = images.shape[-2:]
    chunk, backend = chunk_on(device.type, height * width), CudaBackend(device) if device.type == "cuda" else None
    repeated = images.repeat(-(-chunk // len(images)), 1, 1, 1)[:chunk]
    expected = prefix.build(network, cut, PrefixPlan(folded=False, chunk=chunk), sample=images[:1])(repeated)
    expected_features = _features(network, expected, cut)

    def make(compute_format: ComputeFormat) -> Made:
        form = PrefixPlan(compute_format=compute_format, chunk=chunk)
        run = prefix.build(network, cut, form, sample=images[:1], backend=backend)
        began = clock.now()
        found = run(repeated)
        seconds = clock.now() - began
        error = relative_error(found, expected)
        if compute_format.precision != "float32":
            error = max(error, relative_error(_features(network, found, cut), expected_features))
        return Made(lambda: run(repeated), error, seconds)

    return format_timing.time_each(make, forms, chunk, device, watch)


def _features(network: Network, x: Tensor, cut: int) -> Tensor:
    """Return what the stages after a prefix make of its output, in float32: they may magnify what it lost."""
    with evaluating(network), torch.no_grad():
        return x if cut == len(network.stages) else pool(network.run(x.float(), start=cut))
