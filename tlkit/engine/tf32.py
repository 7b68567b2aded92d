"""TF32 on NVIDIA GPUs: whether convolutions and matrix products of float32 numbers keep 10 bits of each factor, or all 23.

The rule: float32 means all 23 bits, whatever the program had set; torch's own default rounds convolutions to TF32. Torch has two
interfaces to the same flags, and where a program mixed them, the older one raises; so they are read through the newer one.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html, "TensorFloat-32 (TF32) on Ampere (and later) devices".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, Protocol, cast

import torch

_EXACT: Literal["ieee"] = "ieee"  # torch's word for float32 as it is
_TF32: Literal["tf32"] = "tf32"


class _Flag(Protocol):
    fp32_precision: str


class _Cudnn(_Flag, Protocol):
    conv: _Flag


_CUDNN = cast(_Cudnn, torch.backends.cudnn)  # torch leaves the flags untyped


def described() -> str:
    """Return how convolutions and matrix products of float32 numbers are rounded on a GPU now, in torch's words."""
    convolutions, products = _CUDNN.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    return f"convolutions {_word(convolutions)}, products {_word(products)}"


@contextmanager
def forbidden() -> Iterator[None]:
    """Compute float32 in float32 as long as the context lasts, and put the flags back as they were."""
    with _FLAGS.as_(_EXACT):
        yield


@contextmanager
def allowed() -> Iterator[None]:
    """Round the factors of float32 convolutions and products to TF32 as long as the context lasts, and put the flags back."""
    with _FLAGS.as_(_TF32):
        yield


class _Flags:
    """The flags of the process. Of several threads the last one that began says how they are, and the last to end puts them back."""

    def __init__(self) -> None:
        self._lock, self._set = threading.Lock(), ExitStack()
        self._wanted: dict[object, Literal["ieee", "tf32"]] = {}

    @contextmanager
    def as_(self, wanted: Literal["ieee", "tf32"]) -> Iterator[None]:
        """Have them so within the block."""
        mine = object()
        with self._lock:
            self._wanted[mine] = wanted
            self._follow()
        try:
            yield
        finally:
            with self._lock:
                del self._wanted[mine]
                self._follow()

    def _follow(self) -> None:
        self._set.close()
        for wanted in list(self._wanted.values())[-1:]:
            self._set.enter_context(_products(wanted))
            self._set.enter_context(_convolutions(wanted))


_FLAGS = _Flags()


def _word(precision: str) -> str:
    return _EXACT if precision == "none" else precision


@contextmanager
def _convolutions(wanted: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Set the flag of all of cuDNN, which convolutions follow unless somebody set theirs, and then set that too."""
    cudnn = _CUDNN
    every, own, pinned = cudnn.fp32_precision, cudnn.conv.fp32_precision, False
    try:
        cudnn.fp32_precision = wanted
        pinned = cudnn.conv.fp32_precision != wanted
        if pinned:
            cudnn.conv.fp32_precision = wanted
        yield
    finally:
        if pinned:
            cudnn.conv.fp32_precision = own
        cudnn.fp32_precision = "none"  # then it follows torch.backends.fp32_precision, as it does unless somebody set it
        if cudnn.fp32_precision != every:
            cudnn.fp32_precision = every


@contextmanager
def _products(wanted: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Set the flag through the older interface, which keeps both in step: kernels of cuBLAS refuse flags that contradict each other."""
    matmul, own, word = torch.backends.cuda.matmul, torch.backends.cuda.matmul.fp32_precision, _older_word()
    try:
        matmul.allow_tf32 = wanted == _TF32
        yield
    finally:
        matmul.allow_tf32 = word == "high"
        if word == "medium":
            torch.set_float32_matmul_precision(word)
        matmul.fp32_precision = "none"
        if matmul.fp32_precision != own:
            matmul.fp32_precision = own


def _older_word() -> str:
    """Return what the older interface was told of products: "highest", "high", or "medium"."""
    for read in (torch.get_float32_matmul_precision, lambda: "high" if torch.backends.cuda.matmul.allow_tf32 else "highest"):
        try:
            return str(read())
        except RuntimeError:  # it was told one thing and the newer interface another, here or of the CPU
            continue
    return "highest"
