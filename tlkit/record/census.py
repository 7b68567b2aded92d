"""The speed of every convolution of a network's training step, as data. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from tlkit.record.formats import ComputeFormat
from tlkit.record.kernels import NATIVE, Convolution
from tlkit.units import Size

CensusPart = Literal["forward", "input", "weight"]


@dataclass(frozen=True)
class CensusRow:
    """The speed of one part of a distinct convolution.

    Attributes:
        convolution: The convolution.
        part: The forward pass, the gradient of the input, or that of the weight.
        count: How often the training step computes it.
        kernel: The fastest right kernel; "native" is the library's own.
        seconds: Time of a call with that kernel.
        native_seconds: Time of a call with the library's own.
        flops: Floating-point operations of a call, a multiply-add counted as two.
    """

    convolution: Convolution
    part: CensusPart
    count: int
    kernel: str
    seconds: float
    native_seconds: float
    flops: int

    @property
    def rate(self) -> float:
        """Operations per second with the fastest kernel."""
        return self.flops / self.seconds


@dataclass(frozen=True)
class Census:
    """The speed of every convolution of a network that trains.

    Attributes:
        network: Name of the backbone.
        image_size: Height and width of the input, pixels.
        images: Images of a batch.
        compute_format: Precision and memory format of the step.
        threads: That torch computed with.
        step_seconds: Time of a step with the library's kernels: forward pass, loss and backward pass, no optimizer.
        rows: The convolutions.
    """

    network: str
    image_size: Size
    images: int
    compute_format: ComputeFormat
    threads: int
    step_seconds: float
    rows: tuple[CensusRow, ...]

    @property
    def best_rate(self) -> float:
        """The highest rate of all rows, operations per second; NaN without rows."""
        return max((row.rate for row in self.rows), default=math.nan)

    @property
    def convolutions(self) -> float:
        """Part of the step that is spent in convolutions, with the library's kernels."""
        return sum(map(self.share, self.rows))

    @property
    def replaced(self) -> int:
        """Number of gradients for which another kernel than the library's is the fastest."""
        return sum(row.count for row in self.rows if row.kernel != NATIVE)

    @property
    def speedup(self) -> float:
        """How many times faster the step is expected to be with the fastest kernels."""
        saved = sum(row.count * (row.native_seconds - row.seconds) for row in self.rows)
        return self.step_seconds / (self.step_seconds - saved)

    def share(self, row: CensusRow) -> float:
        """Return the part of the step that a row takes, with the library's kernels."""
        return row.count * row.native_seconds / self.step_seconds

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON's types, rows with their rate and their share."""
        rows = [
            asdict(row) | {"words": str(row.convolution), "rate": row.rate, "share": self.share(row)}
            | {"times_the_best_rate": self.best_rate / row.rate}
            for row in self.rows
        ]  # fmt: skip
        whole = {"convolutions": self.convolutions, "replaced": self.replaced, "speedup": self.speedup}
        return {"format": 1, **asdict(self), **whole, "rows": rows}
