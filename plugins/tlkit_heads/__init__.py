"""Trained heads: linear, mlp, cosine, conv, binary, multilabel; fcn, unet, fpn and deeplab for every pixel; fcos and retinanet for
objects. Those that are solved: `tlkit_heads.solved`.
"""

from typing import Annotated

from pydantic import Field

from tlkit.plugin import Head, Options


class LinearOptions(Options):
    """Options of the linear head."""

    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="of the pooled features, while training. Default: as the backbone's library has before its classifier, else 0",
    )


class MlpOptions(Options):
    """Options of the mlp head."""

    widths: list[Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: [256], description="of the hidden layers")
    norm: bool = Field(default=False, description="BatchNorm after every hidden layer, before its ReLU")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="after every hidden layer, while training")


class CosineOptions(Options):
    """Options of the cosine head."""

    scale: float = Field(default=16.0, gt=0, le=1000, description="of the cosines, which it learns from there")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the pooled features, while training")


class ConvOptions(Options):
    """Options of the conv head."""

    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the feature map, while training")


class FcnOptions(Options):
    """Options of the fcn head."""

    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the feature map, while training")


class UnetOptions(Options):
    """Options of the unet head."""

    widths: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None,
        description="channels after each doubling of the maps' size, from the deepest one; by default the last ones of 256, 128, 64, 32, 16",
    )


class FpnOptions(Options):
    """Options of the fpn head."""

    pyramid: int = Field(
        default=256, ge=1, description="channels of the maps that are added up, from the deepest to the largest"
    )
    width: int = Field(default=128, ge=32, multiple_of=32, description="channels of the maps that are brought to one size")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="of whole channels before the last layer, while training")


class DeeplabOptions(Options):
    """Options of the deeplab head."""

    width: int = Field(default=256, ge=1, description="channels of the decoder")
    rates: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=lambda: [6, 12, 18], min_length=1, description="of the dilated convolutions on the deepest map"
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the deepest map's features, while training")


class FcosOptions(Options):
    """Options of the fcos head."""

    width: int = Field(default=256, ge=32, multiple_of=32, description="channels of the pyramid and of the convolutions on it")
    convolutions: int = Field(
        default=4, ge=1, description="3x3 convolutions before the last one, for classes and for boxes each"
    )
    smallest: int = Field(
        default=8, ge=1, description="stride of the largest map; 4 finds smaller objects, and takes four times as long"
    )


class RetinanetOptions(Options):
    """Options of the retinanet head."""

    width: int = Field(default=256, ge=1, description="channels of the pyramid and of the four convolutions on it")
    smallest: int = Field(
        default=8, ge=1, description="stride of the largest map, whose smallest anchor has four times as many pixels a side"
    )


linear = Head(
    build="tlkit_heads.build:Linear", options=LinearOptions, linear=True, takes_dropout=True, starts_solved=True,
    summary="one linear layer",
)  # fmt: skip
binary = Head(
    build="tlkit_heads.build:Linear",
    options=LinearOptions,
    takes_dropout=True,
    starts_solved=True,
    task="binary",
    summary="one logit for one of two classes, with binary cross-entropy; head.positive names the class",
)
multilabel = Head(
    build="tlkit_heads.build:Linear",
    options=LinearOptions,
    linear=True,
    takes_dropout=True,
    task="multi_label",
    summary="a logit for every class, each for itself: for images of several classes or none",
)
mlp = Head(
    build="tlkit_heads.build:mlp", options=MlpOptions, summary="hidden layers with ReLU and dropout, then a linear layer"
)
conv = Head(
    build="tlkit_heads.build:Conv",
    options=ConvOptions,
    linear=True,
    maps=True,
    summary="SqueezeNet's: a 1x1 convolution on the feature map, ReLU, mean over the picture",
)
cosine = Head(
    build="tlkit_heads.build:Cosine",
    options=CosineOptions,
    summary="cosines between the features and a direction of each class, times a learned scale (Gidaris & Komodakis 2018)",
)
fcn = Head(
    build="tlkit_heads.pixels.fcn:Fcn",
    options=FcnOptions,
    pixels=True,
    task="segmentation",
    summary="a class for every pixel: a 1x1 convolution on the last map, enlarged (Long et al. 2015)",
)
unet = Head(
    build="tlkit_heads.pixels.unet:unet",
    options=UnetOptions,
    reads="strides",
    pixels=True,
    task="segmentation",
    summary="a class for every pixel: a decoder that joins the map of every stride (Ronneberger et al. 2015)",
)
fpn = Head(
    build="tlkit_heads.pixels.fpn:Fpn",
    options=FpnOptions,
    reads="strides",
    pixels=True,
    task="segmentation",
    summary="a class for every pixel: a feature pyramid, its maps added up (Kirillov et al. 2019)",
)
deeplab = Head(
    build="tlkit_heads.pixels.deeplab:Deeplab",
    options=DeeplabOptions,
    reads="strides",
    pixels=True,
    task="segmentation",
    summary="a class for every pixel: dilated convolutions on the last map, joined with that of stride 4 (DeepLab v3+, Chen et al. 2018)",
)
fcos = Head(
    build="tlkit_heads.boxes.fcos:Fcos",
    options=FcosOptions,
    reads="strides",
    task="point_detection",
    summary="objects in boxes: every place of a feature pyramid says how far the sides are (FCOS, Tian et al. 2019)",
)
retinanet = Head(
    build="tlkit_heads.boxes.retinanet:Retinanet",
    options=RetinanetOptions,
    reads="strides",
    task="anchor_detection",
    summary="objects in boxes: nine anchors at every place of a feature pyramid (RetinaNet, Lin et al. 2017)",
)
