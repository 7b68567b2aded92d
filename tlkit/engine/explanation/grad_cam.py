"""Grad-CAM: which part of a picture speaks for a class."""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.engine.estimators import FittedHead
from tlkit.engine.evaluate import evaluating
from tlkit.network.network import Network


def grad_cam(network: Network, x: Tensor, classes: Tensor) -> Tensor | None:
    """Return for each image where the last stage speaks for a class (N, h, w), 0 to 1; None where the network has no such map.

    Args:
        network: In any mode; nothing of it changes.
        x: Images (N, 3, H, W), normalised.
        classes: (N,) the class of each that is explained.

    Source: Selvaraju et al. 2017, "Grad-CAM", arXiv:1610.02391, eq. 1 and 2.
    """
    if isinstance(network.head, FittedHead):
        return None
    with evaluating(network):
        with torch.no_grad():
            carried = network.carry(x)
        activations = carried.last  # (N, C, h, w)
        if activations.ndim != 4 or activations.shape[-1] * activations.shape[-2] == 1:
            return None
        with torch.enable_grad():
            activations.requires_grad_()
            scores = network.answer_of(carried).gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(scores, activations)
    weights = gradient.double().mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    maps = (weights * activations.detach()).sum(1).relu()  # (N, h, w)
    return (maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-30)).nan_to_num().float()
