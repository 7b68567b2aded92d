"""Free memory of a device."""

from __future__ import annotations

import torch

from tlkit import machine


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.free_memory()
