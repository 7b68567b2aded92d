"""Seed torch's generators for a while, and give the program's own back as they were.

The rule: only the CPU's generator and that of one GPU are touched. torch.manual_seed seeds those of all GPUs, and of those that are used
later; torch.random.fork_rng(devices=[]) gives none of them back. The process has one generator of the CPU, so one thread at a time has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from tlkit.network.turns import Turn

_CPU, _CUDA = "random/cpu", "random/cuda"
CPU = torch.device("cpu")
_one_thread = Turn()


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Give back the generators that computing on a device draws from, as they were before; another thread waits for them."""
    with _one_thread, torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
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


def states(device: torch.device = CPU) -> dict[str, Tensor]:
    """Return the states of the generators that computing on a device draws from, by name."""
    found = {_CPU: torch.default_generator.get_state()}
    return found | ({_CUDA: torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_states_(saved: Mapping[str, Tensor], device: torch.device = CPU) -> None:
    """Set the generators that computing on a device draws from to what `states` returned; one that is not there stays as it is."""
    if _CPU in saved:
        torch.default_generator.set_state(saved[_CPU])
    if _CUDA in saved and device.type == "cuda":
        torch.cuda.set_rng_state(saved[_CUDA], device)
