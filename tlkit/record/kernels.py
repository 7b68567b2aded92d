"""Which kernel computes the gradient of which convolution, as data. Imports no torch.

The rule: a kernel changes speed and rounding, never what is learned; a run keeps the kernels that it began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from tlkit.record.formats import ComputeFormat

Part = Literal["input", "weight"]
Pair = tuple[int, int]
NATIVE = "native"  # the library's own kernel


@dataclass(frozen=True)
class Convolution:
    """What the kernels of a two-dimensional convolution depend on, except the number of images.

    Attributes:
        image: Channels, height and width of the input.
        weight: Output channels, input channels of a group, kernel height and width.
        stride: Vertical and horizontal.
        padding: Zeros on either side, vertical and horizontal.
        dilation: Distance of two taps of the kernel, vertical and horizontal.
        groups: Groups of channels.
        compute_format: Precision and memory format of the input.
    """

    image: tuple[int, int, int]
    weight: tuple[int, int, int, int]
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    compute_format: ComputeFormat

    @property
    def output(self) -> tuple[int, int, int]:
        """Channels, height and width of the output."""
        sizes = zip(self.image[1:], self.weight[2:], self.stride, self.padding, self.dilation, strict=True)
        height, width = ((size + 2 * pad - step * (taps - 1) - 1) // stride + 1 for size, taps, stride, pad, step in sizes)
        return self.weight[0], height, width

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads one input channel, and there is one for each."""
        return self.groups == self.image[0] == self.weight[0] > 1

    def __str__(self) -> str:
        """For instance "96 channels, 112x112 pixels, 3x3, stride 2, depthwise, bfloat16 channels_last"."""
        channels, height, width = self.image
        out, _, rows, columns = self.weight
        words = [f"{channels} channels" if out == channels else f"{channels} to {out} channels"]
        words += [f"{height}x{width} pixels", f"{rows}x{columns}"]
        words += [f"stride {_pair(self.stride)}"] if self.stride != (1, 1) else []
        words += [f"dilation {_pair(self.dilation)}"] if self.dilation != (1, 1) else []
        words += ["depthwise"] if self.depthwise else [f"{self.groups} groups"] if self.groups > 1 else []
        return ", ".join([*words, str(self.compute_format)])


@dataclass(frozen=True)
class ChosenKernel:
    """A gradient of a convolution that another kernel than the library's computes.

    Attributes:
        convolution: The convolution.
        part: Which gradient: of its input, or of its weight.
        kernel: The kernel's name in `tlkit.engine.kernels`.
    """

    convolution: Convolution
    part: Part
    kernel: str


@dataclass(frozen=True)
class KernelTiming:
    """The fastest right kernel of a gradient of a convolution on this machine.

    Attributes:
        convolution: The convolution.
        part: Which gradient.
        images: Number of images of a call.
        kernel: The kernel's name; "native" for the library's own.
        seconds: Time of a call with that kernel.
        native_seconds: Time of a call with the library's own.
    """

    convolution: Convolution
    part: Part
    images: int
    kernel: str
    seconds: float
    native_seconds: float

    @property
    def saved(self) -> float:
        """Seconds that the kernel saves for one image."""
        return (self.native_seconds - self.seconds) / self.images

    @property
    def chosen(self) -> ChosenKernel | None:
        """The kernel as a run keeps it; None where it is the library's own."""
        return None if self.kernel == NATIVE else ChosenKernel(self.convolution, self.part, self.kernel)


def to_rows(kernels: Sequence[ChosenKernel]) -> list[dict[str, Any]]:
    """Return kernels as resolved.toml has them: a table of plain values for each."""
    rows = []
    for each in kernels:
        convolution = asdict(each.convolution)
        compute_format = convolution.pop("compute_format")
        sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in convolution.items()}
        form = {"precision": compute_format["precision"], "memory_format": compute_format["layout"]}
        rows.append({"gradient": each.part, "kernel": each.kernel, **sizes, **form})
    return rows


def from_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[ChosenKernel, ...]:
    """Return what `to_rows` made tables of.

    Raises:
        ValueError, KeyError, TypeError: the tables are not its.
    """
    return tuple(map(_from_row, rows))


def _from_row(row: Mapping[str, Any]) -> ChosenKernel:
    values = dict(row)
    part, kernel = values.pop("gradient"), values.pop("kernel")
    values["compute_format"] = {"precision": values.pop("precision"), "layout": values.pop("memory_format")}
    return _ADAPTER.validate_python({"convolution": values, "part": part, "kernel": kernel})


_ADAPTER = TypeAdapter(ChosenKernel)


def _pair(values: Pair) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]}x{values[1]}"
