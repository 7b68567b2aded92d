"""Refuse the gradient of a gradient, which the kernels do not have."""

import torch


def once(name: str) -> None:
    """Call this at the beginning of a `backward`.

    `torch.autograd.function.once_differentiable` would let `torch.autograd.grad` return zeros where a gradient is not needed.

    Raises:
        RuntimeError: it runs with create_graph=True.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(f"{name}, as tlkit computes it while training, has no gradient of its gradient")
