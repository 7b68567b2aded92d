"""Compute formats (precision and memory format) and stores of the parts of a plan. Imports no torch.

The rule: what is chosen here changes speed, memory and rounding, never what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
When = Literal["every", "end"]
MemoryFormat = Literal["contiguous", "channels_last"]

# Images that the fixed prefix takes at a time: on a CPU few, whose outputs stay in its caches; a GPU is not busy with so few. Large
# pictures are fewer, so that they fit into a GPU's memory.
CHUNK = 32
GPU_CHUNK = 128
_GPU_PIXELS = GPU_CHUNK * 299 * 299


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


def chunk_on(device: str, pixels: int) -> int:
    """Return how many images the fixed prefix takes at a time on a type of device, "cpu" or "cuda".

    Args:
        device: Its type.
        pixels: Of the largest image.
    """
    return CHUNK if device == "cpu" else max(1, min(GPU_CHUNK, _GPU_PIXELS // pixels))


def usual_layout(device: str) -> MemoryFormat:
    """Return the memory format of lower precisions on a type of device where none is clearly faster: that of a GPU's matrix units.

    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html.
    """
    return "channels_last" if device == "cuda" else "contiguous"


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
class SharedPrecision:
    """The precision of the training steps of all arms of a recipe that leave it to tlkit.

    Attributes:
        precision: In which their trained stages run.
        reason: Why, in words.
    """

    precision: Precision
    reason: str


@dataclass(frozen=True)
class SharedPrefix:
    """The compute format of a fixed prefix in all arms of a recipe that have it and leave the precision to tlkit.

    Attributes:
        network: What tells its network apart: see `plans.precision.network`.
        stages: Number of leading stages.
        compute_format: Precision and memory format.
        reason: Why, in words.
    """

    network: str
    stages: int
    compute_format: ComputeFormat
    reason: str


@dataclass(frozen=True)
class SharedFormats:
    """What the arms of a recipe that leave the precision to tlkit have in common.

    Attributes:
        step: Precision of their training steps; None where no arm has a step that takes time.
        prefixes: Compute formats of their fixed prefixes.
    """

    step: SharedPrecision | None = None
    prefixes: tuple[SharedPrefix, ...] = ()

    def prefix(self, network: str, stages: int) -> SharedPrefix | None:
        """Return what was decided for a fixed prefix; None where nothing was."""
        return next((each for each in self.prefixes if (each.network, each.stages) == (network, stages)), None)


@dataclass(frozen=True)
class WhenTested:
    """When test images, and the other data sets of `also`, are evaluated.

    Attributes:
        when: After every epoch, or once at the end for the best epoch.
        reason: Why, in words.
    """

    when: When
    reason: str
