"""Seed torch's generators for a while, and give the program's own back as they were.

The rule: only the CPU's generator and that of one GPU are touched. torch.manual_seed seeds those of all GPUs, and of those that are used
later; torch.random.fork_rng(devices=[]) gives none of them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

CPU = torch.device("cpu")


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Give back the generators that computing on a device draws from, as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
        yield


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed the generators that computing on a device draws from, and give them back as they were before."""
    with kept(device):
        seed_(seed, device)
        yield


def seed_(seed: int, device: torch.device = CPU) -> None:
    """Seed the generators that computing on a device draws from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
