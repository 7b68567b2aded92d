"""Memory of the process and of a device: how much is free, and how freed blocks are kept."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import torch

from tlkit import machine

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@cache
def keep_blocks() -> bool:
    """Tell glibc to keep large freed blocks of memory for reuse; return whether that worked.

    Else every step's activations are given back to the system and taken again, zeroed a page at a time. Blocks come from the
    heap instead of from mmap, and the heap's top is not given back. For the rest of the process; call it before training.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.free_memory()
