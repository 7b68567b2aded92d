"""Find the fastest right kernel of a gradient, by checking and timing all that can compute it.

The rule: the library's own kernel stays unless another is right and clearly faster. Right means no further from float64 than the
library's own error allows; clearly means by more than noise makes, so that two machines of one kind choose alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tlkit.engine import clock
from tlkit.engine.formats import LAYOUTS, cast
from tlkit.engine.kernels.catalogue import candidates
from tlkit.engine.kernels.kernel import Kernel
from tlkit.record.kernels import NATIVE, Convolution, KernelTiming, Part

WORSE = 1.5  # times the error of the library's kernel is still right
WRONG = 0.1  # relative error that is not rounding any more: where the library's kernel has it, others may not
SPACING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-9}  # relative error of rounding, at most; bfloat16 up to twice that
FASTER = 0.9  # of the library's time is what another kernel must be below
# A gradient is left to the library without trying another where its time is less than so many seconds. Kernels that gain much or nothing are
# tried where it is more than so many times what it must take at least on a slow processor: bytes and operations a second of one thread.
FAR = 3.0
BYTES, OPERATIONS = 8e9, 4e10
WORTHWHILE = 2e-4
# A kernel that takes so many times the time of the fastest so far is not timed again. A first call takes longer: the library prepares it, for up to
# so many seconds.
_SLOWER, _HOPELESS = 1.5, 3.0
_PREPARED = 1e-3
_LONG = 5 * _PREPARED  # a first call of the library's kernel that takes so many seconds tells enough
_CLEARLY = (
    0.5  # of the library's time: what is faster than that is so after one more call of the library's kernel, else after some
)
_TIMES, _ENOUGH = 3, 0.01  # calls that are timed, fewer where they take more seconds together
_CHANNELS = 8  # whose gradients are compared with float64


@dataclass(frozen=True)
class Operands:
    """Random tensors of a convolution: input, weight and the gradient of its output."""

    image: Tensor
    weight: Tensor
    grad: Tensor

    def of(self, part: Part) -> tuple[Tensor, Tensor]:
        """Return what a kernel of a gradient computes it from."""
        return (self.grad, self.weight) if part == "input" else (self.image, self.grad)


@lru_cache(maxsize=1)  # both gradients of a convolution are measured one after the other
def operands(convolution: Convolution, images: int) -> Operands:
    """Return normally distributed tensors, always the same, of a number of images, which are alike: drawing numbers is slow."""
    generator = torch.Generator().manual_seed(0)
    shapes = (1, *convolution.image), convolution.weight, (1, *convolution.output)
    image, weight, grad = (cast(torch.randn(shape, generator=generator), convolution.compute_format) for shape in shapes)
    layout = LAYOUTS[convolution.compute_format.layout]

    def repeated(x: Tensor) -> Tensor:
        return torch.empty((images, *x.shape[1:]), dtype=x.dtype, memory_format=layout).copy_(x)

    return Operands(repeated(image), weight, repeated(grad))


def select(convolution: Convolution, part: Part, images: int, *, watch: Callable[[], None] = lambda: None) -> KernelTiming:
    """Return the kernel to use for a gradient of a convolution on this machine, with its time and that of the library's.

    Args:
        convolution: The convolution.
        part: The gradient that is computed.
        images: Number of images of a call.
        watch: Called between two timings; may raise to stop.
    """
    own, *others = candidates(convolution, part)
    given = operands(convolution, images)
    computed, native_seconds = call(own, convolution, given)  # a first call takes longer than a later one
    others = _worthwhile(others, native_seconds, convolution, images)
    if others and native_seconds < _LONG:
        native_seconds = seconds(own, convolution, given, times=1)
        others = _worthwhile(others, native_seconds, convolution, images)
    times: dict[str, float] = {}
    if others:
        watch()
        times = _times_of(others, convolution, given, native_seconds)
        best = min(times.values(), default=math.inf)
        for part_of_it, calls in ((0.0, 1), (_CLEARLY, _TIMES)):  # else one slow call, of a busy moment, would choose
            if part_of_it * native_seconds <= best < FASTER * native_seconds:
                native_seconds = min(native_seconds, seconds(own, convolution, given, times=calls))
    faster = [kernel for kernel in others if times.get(kernel.name, math.inf) < FASTER * native_seconds]
    name = _first_right(sorted(faster, key=lambda each: times[each.name]), convolution, part, given, computed)
    return KernelTiming(convolution, part, images, name, times.get(name, native_seconds), native_seconds)


def _worthwhile(kernels: Sequence[Kernel], native: float, convolution: Convolution, images: int) -> list[Kernel]:
    """Return the kernels to try where the library's own takes so many seconds."""
    if native <= WORTHWHILE:
        return []
    far = native > FAR * least_seconds(convolution, images)
    return [kernel for kernel in kernels if far or kernel.always]


def _times_of(kernels: Sequence[Kernel], convolution: Convolution, given: Operands, native: float) -> dict[str, float]:
    """Return the seconds of kernels that were not slow at once, by name.

    Args:
        kernels: In the order of the catalogue.
        convolution: The convolution.
        given: Its operands.
        native: Seconds of the library's kernel.
    """
    times: dict[str, float] = {}
    for kernel in reversed(kernels):  # the library's own in other formats are last: they may be the slowest
        best = min([native, *times.values()])
        try:
            first = seconds(kernel, convolution, given, times=1)
        except RuntimeError:  # an operator that a build of the library does not have
            continue
        if first <= min(_HOPELESS * best, _SLOWER * best + _PREPARED):
            times[kernel.name] = min(first, seconds(kernel, convolution, given, best=best))
    return times


def _first_right(kernels: Sequence[Kernel], convolution: Convolution, part: Part, given: Operands, native: Tensor) -> str:
    """Return the name of the first kernel that is right, the library's where none is; the other arguments are those of `Check`."""
    check: Check | None = None
    for kernel in kernels:
        check = check or Check(convolution, part, given, native)
        if check(kernel):
            return kernel.name
    return NATIVE


def seconds(kernel: Kernel, convolution: Convolution, given: Operands, *, times: int = _TIMES, best: float = math.inf) -> float:
    """Return the least seconds of some calls of a kernel.

    Args:
        kernel: The kernel.
        convolution: The convolution.
        given: Its operands.
        times: Calls at most; fewer where they take long.
        best: Seconds of the fastest kernel so far: a call that is clearly slower is the last, and so is the second one where neither is faster.
    """
    least, left = math.inf, _ENOUGH
    for count in range(times):
        _, taken = call(kernel, convolution, given)
        least, left = min(least, taken), left - taken
        if left <= 0 or taken > _SLOWER * best or (count and least > best):
            break
    return least


def call(kernel: Kernel, convolution: Convolution, given: Operands) -> tuple[Tensor, float]:
    """Return what a kernel computes, and the seconds that it took."""
    began = clock.now()
    computed = kernel.compute(convolution, *given.of(kernel.part))
    return computed, clock.now() - began


def least_seconds(convolution: Convolution, images: int) -> float:
    """Return a time that a good kernel of a gradient takes: to move the operands once, and to multiply and add."""
    size = 4 if convolution.compute_format.precision == "float32" else 2
    _, inner, rows, columns = convolution.weight
    outputs = math.prod(convolution.output)
    moved = (images * (math.prod(convolution.image) + outputs) + math.prod(convolution.weight)) * size / BYTES
    operations = 2 * images * outputs * inner * rows * columns / OPERATIONS
    return (moved + operations) / torch.get_num_threads()


class Check:
    """Whether kernels compute a gradient as exactly as the library's, within `WORSE`, of the same operands.

    Some channels are compared with float64, and all with the library's result.

    Args:
        convolution: The convolution.
        part: The gradient.
        given: The operands.
        native: What the library's kernel makes of them.
    """

    def __init__(self, convolution: Convolution, part: Part, given: Operands, native: Tensor) -> None:
        self._convolution = convolution
        self._part = part
        self._given = given
        self._native = native
        self._length = float(torch.linalg.vector_norm(native, dtype=torch.float32))
        self._exact, self._some = _in_float64(convolution, part, given)
        self.native_error = relative_error(native[self._some], self._exact)

    def error(self, found: Tensor) -> float:
        """Return the relative error of a result, Euclidean, against float64."""
        return relative_error(found[self._some], self._exact)

    def __call__(self, kernel: Kernel) -> bool:
        """Return whether a kernel is right."""
        found, _ = call(kernel, self._convolution, self._given)
        if found.shape != self._native.shape or found.dtype != self._native.dtype:
            return False
        allowed = min(WORSE * max(self.native_error, SPACING[found.dtype]), WRONG)
        off = float(torch.linalg.vector_norm(found - self._native, dtype=torch.float32))
        return self.error(found) <= allowed and off <= (self.native_error + allowed) * self._length


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return |found - expected| / |expected|, Euclidean, in float64; 0 where both are 0."""
    off = float(torch.linalg.vector_norm(found.double() - expected))
    return off / float(torch.linalg.vector_norm(expected)) if off else 0.0


Index = tuple[slice, ...]


def _in_float64(convolution: Convolution, part: Part, given: Operands) -> tuple[Tensor, Index]:
    """Return a part of a gradient in float64, and which: of few channels, since float64 is slow, and of the input's of one image.

    A gradient of the weight needs only the input and output channels that it joins, one of the input all output channels of its group.
    """
    groups, inner = convolution.groups, convolution.weight[1]
    out = convolution.weight[0] // groups
    some = min(groups, _CHANNELS)  # groups, which are independent
    few = inner if groups > 1 else min(inner, _CHANNELS)
    ins, outs = slice(0, some * few), slice(0, some * out if groups > 1 or part == "input" else min(out, _CHANNELS))
    image, weight, grad = given.image[:, ins].double(), given.weight[outs, :few].double(), given.grad[:, outs].double()
    which: Index = (outs, slice(0, few))
    if part == "input":  # images are independent
        image, grad, which = image[:1], grad[:1], (slice(0, 1), ins)
    exact = torch.ops.aten.convolution_backward(
        grad, image, weight, None, convolution.stride, convolution.padding, convolution.dilation, False, (0, 0), some,
        [part == "input", part == "weight", False],
    )  # fmt: skip
    return exact[0 if part == "input" else 1], which
