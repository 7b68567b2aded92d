"""The first convolution of a network for another number of channels than the three colours that libraries build it for.

The rule: what pretrained weights expect of three colours is kept as far as it can be: grey is read by the sum over the colours, k bands by
the colours in turn, times 3/k. So the response to the same value in all channels is the same, or nearly, where k is no multiple of 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tlkit.errors import TlkitError
from tlkit.network.stages import Rescale

COLOURS = 3


def widen_(stages: Mapping[str, nn.Module], channels: int, *, backbone: str) -> None:
    """Give the first convolution of newly built stages random weights for so many channels.

    They are drawn from torch's generator, with the deviation of the layer's own weights times sqrt(3 / channels): so the variance of the
    output stays (He et al. 2015, arXiv:1502.01852, eq. 10).

    Args:
        stages: In order; the first is changed in place.
        channels: Of the input.
        backbone: Names the backbone's build function in messages.

    Raises:
        TlkitError: the network does not begin with a convolution of three colours.
    """
    if channels == COLOURS:
        return
    first = next(iter(stages.values()))
    convolution = next((module for module in first.modules() if isinstance(module, nn.Conv2d)), None)
    if any(isinstance(module, Rescale) for module in first.modules()):
        raise _refused(backbone, "changes the mean of three colours before its first convolution", channels)
    if convolution is None or convolution.in_channels != COLOURS or convolution.groups != 1:
        raise _refused(backbone, "does not begin with a convolution of three colours", channels)
    old = convolution.weight.detach()
    with torch.no_grad():
        drawn = torch.randn(old.shape[0], channels, *old.shape[2:], dtype=old.dtype, device=old.device)
        convolution.weight = nn.Parameter(drawn * (old.std() * math.sqrt(COLOURS / channels)))
    convolution.in_channels = channels


def first_weight(first: nn.Module) -> str | None:
    """Return the name of the first convolution's weight in the library; None where the first stage has none."""
    return next((f"{name}.weight" for name, module in first.named_modules() if isinstance(module, nn.Conv2d)), None)


def carried_over(weight: Tensor, channels: int) -> Tensor:
    """Return the weight of a first convolution (O, 3, h, w) for so many channels, (O, channels, h, w).

    Source: timm.models.adapt_input_conv; Carreira & Zisserman 2017, arXiv:1705.07750, divide by the number of copies likewise.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, [channel % COLOURS for channel in range(channels)]] * (COLOURS / channels)


def carry_over(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], first: nn.Module) -> dict[str, Tensor]:
    """Return a file's tensors with the first convolution carried over, where the network has another number of channels.

    Args:
        tensors: The file's, by the library's names.
        wanted: The network's own.
        first: The network's first stage.
    """
    name = first_weight(first)
    if name is None or name not in tensors or name not in wanted:
        return dict(tensors)
    weight, channels = tensors[name], wanted[name].shape[1]
    if weight.ndim != 4 or weight.shape[1] != COLOURS or channels == COLOURS:
        return dict(tensors)
    return {**tensors, name: carried_over(weight, channels)}


def described(channels: int) -> tuple[str, str]:
    """Return how a first convolution of three colours is carried over, and why, in words."""
    if channels == 1:
        return "carried over: the sum over the three colours", "grey has the same value in all three"
    if channels == COLOURS:
        return "as it is", "bands 1, 2, 3 take the place of the three colours, in the order of the weights"
    nearly = "" if channels % COLOURS == 0 else "nearly "
    return (
        f"carried over: the three colours in turn, times 3/{channels}",
        f"the response to the same value in all channels stays {nearly}the same",
    )


def _refused(backbone: str, why: str, channels: int) -> TlkitError:
    return TlkitError(
        f"data.channels: {backbone} {why}, so it cannot take {channels}.", "another backbone: resnet18, for instance"
    )
