"""Compute formats (precision and memory format), stores and timings of the parts of a plan. Imports no torch.

The rule: what is chosen here changes speed, memory and rounding, never what is learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from tlkit.errors import TlkitError
from tlkit.plugin import Convention

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
When = Literal["every", "end"]
MemoryFormat = Literal["contiguous", "channels_last"]

# A form may be chosen where its features of real images are no further than this from those of the network as it is, in float32
# and unfolded: |found - expected| / |expected|, Euclidean over all images. bfloat16 rounds each value by up to 2^-9, 0.2 %; trained
# ResNet-20 and ResNet-56 come to 1 %, with which accuracy on 2,000 test images of CIFAR-10 stays within 0.05 points and 99.3 % and
# 99.7 % of the answers are the same. EfficientNet-Lite0 comes to 4 %, and is left in float32.
TOLERANCE = 0.02
# Images that the fixed prefix takes at a time: on a CPU few, whose outputs stay in its caches; a GPU is not busy with so few.
CHUNK = 32
GPU_CHUNK = 128
# A form must be faster than plain float32 by so much, or noise would choose.
MARGIN = 0.05


@dataclass(frozen=True)
class ComputeFormat:
    """The precision and memory format in which a part of the network runs.

    Attributes:
        precision: "float32"; "tf32": convolutions and products on float32 values, of which an NVIDIA GPU reads 10 bits; "bfloat16" or
            "float16": on values of that type. Weights that train, their gradients and the optimizer's state are float32 in each.
        layout: Memory format of pictures and convolution weights.
    """

    precision: Precision = "float32"
    layout: MemoryFormat = "contiguous"

    def __str__(self) -> str:
        return f"{self.precision} {self.layout}"


PLAIN_FORMAT = ComputeFormat()
_LAYOUTS: tuple[MemoryFormat, ...] = ("contiguous", "channels_last")


def compute_formats(precisions: Sequence[Precision]) -> tuple[ComputeFormat, ...]:
    """Return every compute format of some precisions."""
    return tuple(ComputeFormat(precision, layout) for precision in precisions for layout in _LAYOUTS)


COMPUTE_FORMATS = compute_formats(("float32", "bfloat16"))  # that are considered on a CPU


@dataclass(frozen=True)
class StorePlan:
    """Outputs of leading stages that are computed once per image and stored.

    Attributes:
        stages: Number of leading stages; if it is all of them, the pooled features are stored.
        bytes_per_image: Bytes of one stored output.
        images: Number of stored outputs, one for each view of an image.
        saves: Seconds that an epoch is shorter, from measured or else estimated cost.
        reason: The sum, in words.
    """

    stages: int
    bytes_per_image: int
    images: int
    saves: float
    reason: str


class NotStored(StrEnum):
    """Why outputs of the fixed prefix are not stored."""

    CHANGES = "changes"  # an image is another one in every epoch
    NO_ROOM = "no room"  # the store is too small
    NOT_FASTER = "not faster"  # than computing them again


def chunk_on(device: str) -> int:
    """Return how many images the fixed prefix takes at a time on a type of device, "cpu" or "cuda"."""
    return CHUNK if device == "cpu" else GPU_CHUNK


@dataclass(frozen=True)
class PrefixPlan:
    """How the fixed prefix of a phase runs.

    Attributes:
        compute_format: Precision and memory format.
        folded: BatchNorm is folded into the convolutions before it.
        chunk: Images at a time, always; the last chunk is padded. See `chunk_on`.
        train: What is stored of the training images; None if they differ in every epoch or do not fit.
        evaluation: What is stored of the validation and test images; None if they do not fit.
        reason: Why nothing is stored of the training images; empty if something is.
        evaluation_reason: Why nothing is stored of the validation and test images; empty if something is.
        not_stored: The kind of `reason`; None if something is stored.
        evaluation_not_stored: The kind of `evaluation_reason`; None if something is stored.
    """

    compute_format: ComputeFormat = PLAIN_FORMAT
    folded: bool = True
    chunk: int = CHUNK
    train: StorePlan | None = None
    evaluation: StorePlan | None = None
    reason: str = ""
    evaluation_reason: str = ""
    not_stored: NotStored | None = None
    evaluation_not_stored: NotStored | None = None


@dataclass(frozen=True)
class Timing:
    """The measured time of one part of the network in one compute format on this machine.

    Attributes:
        compute_format: The compute format of the part.
        seconds: Time for one image; infinite if the part cannot run in this format.
        error: Relative error on real images against float32, unfolded, contiguous: |found - expected| / |expected|.
    """

    compute_format: ComputeFormat
    seconds: float
    error: float


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

    def prefix(self, stages: int) -> tuple[Timing, ...]:
        """Return the timings of a prefix of so many stages; none if it was not measured."""
        return dict(self.prefixes).get(stages, ())


@dataclass(frozen=True)
class SharedPrecision:
    """The precision of all arms of a recipe that leave it to tlkit.

    Attributes:
        precision: In which their networks run.
        reason: Why, in words.
    """

    precision: Precision
    reason: str


@dataclass(frozen=True)
class WhenTested:
    """When test images, and the other data sets of `also`, are evaluated.

    Attributes:
        when: After every epoch, or once at the end for the best epoch.
        reason: Why, in words.
    """

    when: When
    reason: str


@dataclass(frozen=True)
class EarlierChoices:
    """The measured choices that a run started with and continues with.

    Attributes:
        batch_size: The batch size, also if "auto" chose it.
        step: Compute format of the training step.
        prefixes: Number of leading stages -> compute format of that prefix.
        input: The preprocessing of images of bands, whose mean and std were measured; None of colour pictures.
    """

    batch_size: int
    step: ComputeFormat = PLAIN_FORMAT
    prefixes: Mapping[int, ComputeFormat] = field(default_factory=dict)
    input: Convention | None = None


def choose(timings: Sequence[Timing], precision: Precision, *, why: str, exactly: bool = False) -> tuple[ComputeFormat, str]:
    """Return the faster compute format of a precision, and the reason as text.

    Args:
        timings: Timings of every compute format, or none.
        precision: The precision that the network runs in.
        why: Why there are no timings.
        exactly: The recipe asks for this precision, so how far it is from float32 does not count.

    Raises:
        TlkitError: the network cannot be run in the precision.
    """
    if not timings:
        return ComputeFormat(precision), "as the recipe says; memory format: " + why if exactly else why
    mine = [each for each in timings if each.compute_format.precision == precision]
    if not mine:  # it was decided on another device
        return ComputeFormat(precision), f"{precision} was not measured here"
    accurate = [each for each in mine if each.error <= TOLERANCE or exactly] or mine
    usual = next(each for each in mine if each.compute_format == ComputeFormat(precision))
    best = min(accurate, key=lambda each: each.seconds)
    if usual in accurate and not best.seconds <= usual.seconds * (1 - MARGIN):
        best = usual
    if math.isinf(best.seconds):
        raise TlkitError(f"precision: the network cannot be run in {precision}.", 'precision = "auto"')
    others = [each for each in timings if each.compute_format != best.compute_format and (each in mine or not exactly)]
    against = ", ".join(f"{each.compute_format} {_time(each)}" for each in sorted(others, key=lambda each: each.seconds))
    reason = f"{_time(best)} an image; {against}"
    if (off := _off(others)) and not exactly and best.error <= TOLERANCE:
        reason += f" (* {off} off float32 on real images, allowed is {TOLERANCE:.0%})"
    elif best.compute_format.precision != "float32":
        reason += f"; {best.error:.1%} off float32 on real images"
        reason += f", where {TOLERANCE:.0%} is the most that tlkit would choose" if best.error > TOLERANCE else ""
    return best.compute_format, reason


def _off(timings: Sequence[Timing]) -> str:
    """Return how far from float32 each precision is that is too far; empty where none is."""
    worst: dict[Precision, float] = {}
    for each in timings:
        if each.error > TOLERANCE and math.isfinite(each.error):
            precision = each.compute_format.precision
            worst[precision] = max(worst.get(precision, 0.0), each.error)
    return ", ".join(f"{precision} is {error:.1%}" for precision, error in worst.items())


def _time(timing: Timing) -> str:
    if math.isinf(timing.seconds):
        return "cannot be run"
    return f"{timing.seconds * 1000:.3g} ms" + ("" if timing.error <= TOLERANCE else "*")
