"""Estimate the memory of a training step's activations from shapes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlkit.network.network import Network
from tlkit.units import Size


def activation_bytes(
    network: Network, *, cut: int, chunk: int, batch: int, image_size: Size, aux_heads: Sequence[str] = (), channels: int = 3
) -> int:
    """Return the peak bytes of a training step's activations.

    What autograd keeps for the backward pass is counted by running the step's forward on the meta device; to it comes the
    largest input and output of one layer, which live while that layer runs.

    Args:
        network: The network on the meta device, set to the phase that is estimated.
        cut: Leading stages that run without gradients,
        chunk: and for how many images at a time.
        batch: Images in a step.
        image_size: Height and width, pixels.
        aux_heads: Auxiliary classifiers that run.
        channels: Of the input.
    """
    saved: dict[int, int] = {}
    parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    alive: list[Tensor] = []  # holds storages, so that no two share an id

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in parameters:
            alive.append(tensor)
            saved[key] = storage.nbytes()
        return tensor

    x = torch.empty(chunk if cut else batch, channels, *image_size, device="meta")
    with _largest(network) as passing:
        if cut:
            with torch.no_grad():
                x = network.run(x, stop=cut)
            x = torch.empty(batch, *x.shape[1:], device="meta")
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            network.forward_with_aux(x, aux_heads=aux_heads, start=cut)
    return sum(saved.values()) + passing[0]


def answer_bytes(network: Network, *, cut: int = 0, images: int, image_size: Size, channels: int = 3) -> int:
    """Return the peak bytes of inputs and outputs of layers that live at the same time while a network answers without gradients.

    Args:
        network: The network on the meta device, in eval mode.
        cut: Leading stages whose output it is given,
        images: of so many images at a time.
        image_size: Height and width, pixels.
        channels: Of the input.
    """
    alive: list[weakref.ref[Tensor]] = []
    peak = 0

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal peak
        alive.extend(weakref.ref(tensor) for tensor in (*inputs, output) if isinstance(tensor, Tensor))
        living = [tensor.untyped_storage() for each in alive if (tensor := each()) is not None]
        alive[:] = [each for each in alive if each() is not None]
        peak = max(peak, sum({storage._cdata: storage.nbytes() for storage in living}.values()))

    with torch.no_grad():
        one = network.run(torch.empty(1, channels, *image_size, device="meta"), stop=cut)
        x = torch.empty(images, *one.shape[1:], device="meta")
        alive.append(weakref.ref(x))
        with _after_each_layer(network, hook):
            network.read_and_answer(x, start=cut)
    return peak


@contextmanager
def _largest(network: nn.Module) -> Iterator[list[int]]:
    """Find the largest input and output of any layer, in bytes."""
    largest = [0]

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        largest[0] = max(largest[0], sum(t.nbytes for t in (*inputs, output) if isinstance(t, Tensor)))

    with _after_each_layer(network, hook):
        yield largest


@contextmanager
def _after_each_layer(network: nn.Module, hook: Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in network.modules() if not list(module.children())]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
