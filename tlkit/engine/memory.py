"""How much memory there is, and how much a network will need. Estimates, from shapes alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlkit.network import Network


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be taken on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(line for line in file if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def activations(network: Network, *, cut: int, batch: int, image_size: int) -> int:
    """Return the bytes that a training step's activations take at their largest.

    What autograd keeps for the backward pass is counted by running the step's forward on the meta device; to it comes the
    largest input and output of one layer, which live while that layer runs.

    Args:
        network: On the meta device, set to its phase.
        cut: Leading stages that run without gradients.
        batch: Images in a step.
        image_size: Side, pixels.
    """
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    held: list[Tensor] = []  # keeps storages alive, so that no two share an id

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in parameters:
            held.append(tensor)
            kept[key] = storage.nbytes()
        return tensor

    x = torch.empty(batch, 3, image_size, image_size, device="meta")
    with _largest(network) as passing:
        with torch.no_grad():
            x = network.run(x, stop=cut)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network.finish(network.run(x, start=cut))
    return sum(kept.values()) + passing[0]


@contextmanager
def _largest(network: nn.Module) -> Iterator[list[int]]:
    """Watch for the largest input and output, in bytes, of any one layer."""
    largest = [0]

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        largest[0] = max(largest[0], sum(t.nbytes for t in (*inputs, output) if isinstance(t, Tensor)))

    handles = [module.register_forward_hook(hook) for module in network.modules() if not list(module.children())]
    try:
        yield largest
    finally:
        for handle in handles:
            handle.remove()
