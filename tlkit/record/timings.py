"""What was measured of a plan's speed on this machine, and the compute format that it chooses. Imports no torch.

The rule: what is chosen here changes speed, memory and rounding, never what is learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tlkit.errors import TlkitError
from tlkit.plugin import Convention
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat, MemoryFormat, Precision
from tlkit.record.kernels import ChosenKernel

# What computes features that nothing adapts to, a fixed prefix or an evaluation, may be chosen where its features of real images are
# no further than this from those of the network as it is, in float32 and unfolded: |found - expected| / |expected|, Euclidean over
# all images. bfloat16 rounds each value by up to 2^-9, 0.2 %; trained ResNet-20 and ResNet-56 come to 1 %, with which accuracy on
# 2,000 test images of CIFAR-10 stays within 0.05 points and 99.3 % and 99.7 % of the answers are the same. EfficientNet-Lite0 comes
# to 4 %, and is left in float32.
TOLERANCE = 0.02
# A training step may be further off, because the weights learn with its rounding, as in all mixed-precision training: Micikevicius et
# al. 2018, arXiv:1710.03740, and torch.amp compare no features at all. EfficientNet-Lite0 at 4.6 %, fine-tuned in quickstart, has a
# test accuracy of 85.8, 86.1 and 87.7 % in bfloat16, and of 86.0, 88.1 and 86.9 % in float32. Rounding errors of layers add up like
# independent ones, so a sound network of 400 layers stays below 0.2 % * sqrt(400) = 4 %. What is at more than 10 % subtracts large
# numbers from each other or leaves the range of the precision: its gradients are those of another function, and it is refused, as is
# a network whose features are not finite.
STEP_TOLERANCE = 0.1
# A form must be faster than plain float32 by so much, or noise would choose.
MARGIN = 0.05


@dataclass(frozen=True)
class Timing:
    """The measured time of one part of the network in one compute format on this machine.

    Attributes:
        compute_format: The compute format of the part.
        seconds: Time for one image; infinite if the part cannot run in this format.
        error: Relative error on real images against float32, unfolded, contiguous: |found - expected| / |expected|.
        kernels: Of a training step: the gradients of convolutions that other kernels than the library's compute.
        native_seconds: Time for one image with the library's kernels alone; None where `kernels` is empty.
    """

    compute_format: ComputeFormat
    seconds: float
    error: float
    kernels: tuple[ChosenKernel, ...] = ()
    native_seconds: float | None = None


@dataclass(frozen=True)
class Measurements:
    """All timings of an arm on this machine; empty if nothing was measured.

    Attributes:
        step: Timings of the training step, in the phase that trains most.
        prefixes: Number of leading stages, and the timings of the folded prefix of so many stages.
        seconds: Time that measuring took.
        why: Why nothing was measured; empty if something was.
        waited: The part of the time, 0 to 1, in which threads waited for a processor that another program had.
        taken: When, in seconds since 1970.
    """

    step: tuple[Timing, ...] = ()
    prefixes: tuple[tuple[int, tuple[Timing, ...]], ...] = ()
    seconds: float = 0.0
    why: str = field(default="not measured on this machine yet")
    waited: float = 0.0
    taken: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything was measured."""
        return bool(self.step or self.prefixes)

    def of_step(self, compute_format: ComputeFormat) -> Timing | None:
        """Return the timing of the training step in a compute format; None if it was not measured."""
        return next((each for each in self.step if each.compute_format == compute_format), None)

    def prefix(self, stages: int) -> tuple[Timing, ...]:
        """Return the timings of a prefix of so many stages; none if it was not measured."""
        return dict(self.prefixes).get(stages, ())


@dataclass(frozen=True)
class SharedSpeed:
    """How fast some processes trained a run together on this machine.

    Attributes:
        processes: How many.
        images_per_second: The median of its epochs.
        communication: Seconds that adding up took, as a part of a step, 0 to 1; None where the step of one process was not measured.
    """

    processes: int
    images_per_second: float
    communication: float | None = None


@dataclass(frozen=True)
class EarlierChoices:
    """The measured choices that a run started with and continues with.

    Attributes:
        batch_size: The batch size, also if "auto" chose it.
        step: Compute format of the training step.
        prefixes: Number of leading stages -> compute format of that prefix.
        kernels: The gradients of convolutions that other kernels than the library's compute.
        evaluation: Compute format in which the trained stages are evaluated; None for that of the training step.
        input: The preprocessing of images of bands, whose mean and std were measured; None of colour pictures.
        rates: The learning rates that a range test chose, by group.
        batch_norm: How BatchNorm normalises where several processes share a batch; None where one process began the run.
        pieces: Parts of a batch that pass the network one after the other, since memory ran out.
    """

    batch_size: int
    step: ComputeFormat = PLAIN_FORMAT
    prefixes: Mapping[int, ComputeFormat] = field(default_factory=dict)
    kernels: tuple[ChosenKernel, ...] = ()
    evaluation: ComputeFormat | None = None
    input: Convention | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    batch_norm: Literal["local", "sync"] | None = None
    pieces: int = 1


def choose(
    timings: Sequence[Timing], precision: Precision | None, *, limit: float, why: str, exactly: bool = False,
    layout: MemoryFormat = "contiguous",
) -> tuple[ComputeFormat, str]:  # fmt: skip
    """Return the fastest compute format, and the reason as text.

    Args:
        timings: Timings of every compute format, or none.
        precision: The precision that it has; None for any that is near enough to float32.
        limit: How far from float32 a compute format may be.
        why: Why there are no timings.
        exactly: The recipe asks for this precision, so how far it is from float32 does not count.
        layout: Memory format of a lower precision where nothing is known, or the other one is not clearly faster.

    Raises:
        TlkitError: the network cannot be run in the precision.
    """
    usual_format = PLAIN_FORMAT if precision in (None, "float32") else ComputeFormat(precision, layout)
    if not timings:
        return usual_format, "as the recipe says; memory format: " + why if exactly else why
    mine = [each for each in timings if precision in (None, each.compute_format.precision)]
    if not mine:  # it was decided on another device
        return usual_format, f"{precision} was not measured here"
    accurate = [each for each in mine if each.error <= limit or exactly] or mine
    usual = next(each for each in mine if each.compute_format == usual_format)
    best = min(accurate, key=lambda each: each.seconds)
    if usual in accurate and not best.seconds <= usual.seconds * (1 - MARGIN):
        best = usual
    if math.isinf(best.seconds):
        raise TlkitError(f"precision: the network cannot be run in {precision}.", 'precision = "auto"')
    others = [each for each in timings if each.compute_format != best.compute_format and (each in mine or not exactly)]
    against = ", ".join(f"{each.compute_format} {_time(each, limit)}" for each in sorted(others, key=lambda each: each.seconds))
    reason = f"{_time(best, limit)} an image; {against}"
    if (off := _off(others, limit)) and not exactly and best.error <= limit:
        reason += f" (* {off} off float32 on real images, allowed is {limit:.0%})"
    elif best.compute_format.precision != "float32":
        reason += f"; {best.error:.1%} off float32 on real images"
        reason += f", where {limit:.0%} is the most that tlkit would choose" if best.error > limit else ""
    return best.compute_format, reason


def _off(timings: Sequence[Timing], limit: float) -> str:
    """Return how far from float32 each precision is that is too far; empty where none is."""
    worst: dict[Precision, float] = {}
    for each in timings:
        if each.error > limit and math.isfinite(each.error):
            precision = each.compute_format.precision
            worst[precision] = max(worst.get(precision, 0.0), each.error)
    return ", ".join(f"{precision} is {error:.1%}" for precision, error in worst.items())


def _time(timing: Timing, limit: float) -> str:
    if math.isinf(timing.seconds):
        return "cannot be run"
    return f"{timing.seconds * 1000:.3g} ms" + ("" if timing.error <= limit else "*")
