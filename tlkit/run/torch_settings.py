"""Torch's settings of the whole process, as a run needs them: set while it computes, and put back as the program had them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from tlkit import machine

Item = TypeVar("Item")


@contextmanager
def applied(device: torch.device) -> Iterator[None]:
    """Set what a run on a device needs for as long as the context lasts.

    Torch starts no more threads than there are processors to use, of which a container's quota tells it nothing; OMP_NUM_THREADS
    and MKL_NUM_THREADS count before that. On a GPU cuDNN takes only algorithms that give the same bits every time.
    """
    cudnn, threads = torch.backends.cudnn, torch.get_num_threads()
    before = cudnn.deterministic, cudnn.benchmark
    wanted = min(threads, machine.processors()) if not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys() else threads
    try:
        if wanted != threads:
            torch.set_num_threads(wanted)
        if device.type == "cuda":
            cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        if wanted != threads:
            torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark = before


def applied_between(items: Iterator[Item], device: torch.device) -> Iterator[Item]:
    """Yield items; the settings are applied while each is computed, not while the caller has it."""
    while True:
        with applied(device):
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
