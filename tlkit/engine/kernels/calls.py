"""Read calls of `torch.conv2d`: which convolution each is.

The rule: the network is not changed. A `TorchFunctionMode` sees its calls, of modules and of functions alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tlkit.record.formats import ComputeFormat, Precision
from tlkit.record.kernels import Convolution, Pair, Part

_PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_Sizes = int | Sequence[int]
# The gradients of convolutions that a backward pass needs, and how often each.
Gradients = dict[tuple[Convolution, Part], int]


@dataclass(frozen=True)
class Call:
    """One call of `torch.conv2d`.

    Attributes:
        image: (N, C, H, W).
        weight: (O, C / groups, kh, kw).
        bias: (O,); None where there is none.
        dtype: In which the convolution runs.
        convolution: What the kernels of its gradients depend on.
    """

    image: Tensor
    weight: Tensor
    bias: Tensor | None
    dtype: torch.dtype
    convolution: Convolution

    def cast(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return image, weight and bias as autocast casts them."""
        return self.image.to(self.dtype), self.weight.to(self.dtype), None if self.bias is None else self.bias.to(self.dtype)


def read(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Sizes = 1, padding: str | _Sizes = 0,
    dilation: _Sizes = 1, groups: int = 1,
) -> Call | None:  # fmt: skip
    """Return the call with these arguments of `torch.conv2d`, not cast yet; None for one that the library must compute.

    That is one on another device than the CPU, in another precision than float32 and bfloat16, of a single picture without a batch,
    or with padding that differs on two sides.
    """
    if input.ndim != 4 or input.device.type != "cpu":
        return None
    casts = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if casts else input.dtype
    sizes = _padding(padding, weight, dilation)
    if not (casts or weight.dtype == dtype) or dtype not in _PRECISIONS or sizes is None:
        return None
    if not input.is_contiguous() and not input.is_contiguous(memory_format=torch.channels_last):
        input = input.to(dtype)  # a part of a tensor, whose memory format casting settles
    layout = ComputeFormat(_PRECISIONS[dtype], "contiguous" if input.is_contiguous() else "channels_last")
    convolution = Convolution(
        (input.shape[1], input.shape[2], input.shape[3]),
        (weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3]),
        _pair(stride), sizes, _pair(dilation), groups, layout,
    )  # fmt: skip
    return Call(input, weight, bias, dtype, convolution)


@contextmanager
def recorded() -> Iterator[Gradients]:
    """Count the gradients of convolutions that the backward pass will need of what runs meanwhile.

    Yields:
        (convolution, part) -> how often, in the order of the network; it fills while the network runs.
    """
    found: Gradients = {}
    with _Counter(found):
        yield found


class _Counter(TorchFunctionMode):
    """Counts the gradients that the backward pass of what runs meanwhile will need."""

    def __init__(self, found: Gradients) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run a function of torch."""
        if func is torch.conv2d and torch.is_grad_enabled():
            call = read(*args, **(kwargs or {}))  # type: ignore[arg-type]  # as torch.conv2d was given them
            if call is not None:
                self._count(call)
        return func(*args, **(kwargs or {}))

    def _count(self, call: Call) -> None:
        needed: dict[Part, bool] = {"input": call.image.requires_grad, "weight": call.weight.requires_grad}
        for part in (part for part, requires in needed.items() if requires):
            self._found[call.convolution, part] = self._found.get((call.convolution, part), 0) + 1


def _pair(sizes: _Sizes) -> Pair:
    if isinstance(sizes, int):
        return sizes, sizes
    return (sizes[0], sizes[-1])


def _padding(padding: str | _Sizes, weight: Tensor, dilation: _Sizes) -> Pair | None:
    if padding == "valid":
        return 0, 0
    if padding != "same":
        return None if isinstance(padding, str) else _pair(padding)
    totals = [step * (taps - 1) for step, taps in zip(_pair(dilation), weight.shape[2:], strict=True)]
    return None if any(total % 2 for total in totals) else (totals[0] // 2, totals[1] // 2)
