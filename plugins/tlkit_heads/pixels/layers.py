"""Layers that several heads of maps have."""

from torch import Tensor, nn

Size = tuple[int, int]


class ConvNormReLU(nn.Sequential):
    """A convolution that keeps the size, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


def enlarged(x: Tensor, size: Size, *, corners: bool = True) -> Tensor:
    """Resize maps (N, C, h, w) bilinearly to a height and width.

    Args:
        x: The maps.
        size: Height and width.
        corners: The centres of the corners of both are at one place, not the corners themselves.
    """
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=corners)


def initialise_(decoder: nn.Module, last: nn.Module) -> None:
    """Draw the weights of a decoder and of the layer that answers, as segmentation_models_pytorch does."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in last.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
