"""Torch's settings of the whole process, as a run needs them: set while it computes, and put back as the program had them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch.utils import deterministic

from tlkit import machine
from tlkit.engine import tf32
from tlkit.engine.step.repeatable import REFUSAL

Item = TypeVar("Item")


@contextmanager
def applied(device: torch.device) -> Iterator[None]:
    """Set what a run on a device needs for as long as the context lasts.

    Torch starts no more threads than there are processors to use, of which a container's quota tells it nothing; OMP_NUM_THREADS
    and MKL_NUM_THREADS count before that. On a GPU float32 means float32, operators give the same bits every time, and a GPU that is named
    by its number is the current one: else torch would take memory of the first one too, once for each process of a run. Default type and
    device, gradients and autocast are torch's own, see `usual`.
    """
    here = torch.cuda.device(device) if device.type == "cuda" and device.index is not None else nullcontext()
    threads = torch.get_num_threads()
    wanted = min(threads, machine.processors()) if not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys() else threads
    try:
        if wanted != threads:
            torch.set_num_threads(wanted)
        with here, usual(), _EXACT() if device.type == "cuda" else nullcontext():
            yield
    finally:
        if wanted != threads:
            torch.set_num_threads(threads)


@contextmanager
def usual() -> Iterator[None]:
    """Set the modes that torch starts with, in which networks are built and computed whatever mode the program has.

    Tensors are float32 and on the CPU where nothing else is said, gradients are kept, and nothing is cast by itself.
    """
    with _FLOATS(), ExitStack() as stack:  # what follows are modes of this thread
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


class _OfProcess:
    """Settings of the whole process: the first thread that needs them sets them, and the last one puts them back.

    Args:
        settings: Sets them as long as its context lasts.
    """

    def __init__(self, settings: Callable[[], AbstractContextManager[None]]) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._users, self._stack = 0, ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Have them within the block."""
        with self._lock:
            if not self._users:
                self._stack.enter_context(self._settings())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._stack.close()


@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _same_bits() -> Iterator[None]:
    """Take algorithms that give the same bits every time; an operator that has none runs as it does, and a training step says so.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    mode = torch.get_deterministic_debug_mode()
    fills = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch leaves it untyped
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        torch.set_deterministic_debug_mode("warn")
        # Filling takes a kernel for each new tensor: 424 of the 2,176 operators of a step of ResNet-18 with SGD, counted on the CPU with
        # torch 2.14.1. Nothing here reads what it did not write: filled with NaN, training has the same bits, as a test says.
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # likewise
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f".*({REFUSAL})")
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags
        torch.set_deterministic_debug_mode(mode)
        deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]  # likewise


@contextmanager
def _exact() -> Iterator[None]:
    with tf32.forbidden(), _same_bits():
        yield


_FLOATS, _EXACT = _OfProcess(_float32), _OfProcess(_exact)


def applied_between(items: Iterator[Item], device: torch.device) -> Iterator[Item]:
    """Yield items of a training; settings are applied and freed memory is kept while each is computed, not while the caller has it."""
    while True:
        with machine.kept_blocks, applied(device):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def why_inexact(device: torch.device) -> str:
    """Say why a run may not give the same bits again, where a setting is missing that only the environment can give; "" else.

    Source: cuBLAS's documentation, "Results reproducibility".
    """
    if device.type == "cuda" and os.environ.get(machine.CUBLAS, "") not in machine.CUBLAS_REPEATS:
        return f"{machine.CUBLAS} is not set, so cuBLAS may add in another order; {machine.CUBLAS}={machine.CUBLAS_REPEATS[0]} fixes it"
    return ""
