"""Pretrained weights as data: where to download them, and the preprocessing that they need. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Values = Literal["uint8", "uint16", "float32"]
"""Type of the values in files of bands."""


@dataclass(frozen=True)
class Convention:
    """The preprocessing that a set of weights needs.

    A pixel value v of 0..255 becomes (v * range / 255 - mean) / std, per channel, in the order of `channels`.

    Attributes:
        channels: Order of the three colours; or "bands", any number of them in the order of the files, with `range` 255.
        range: What the brightest pixel is before mean and std: 1.0 (torch) or 255.0 (Caffe).
        mean: Per channel, in units of `range`; () of bands until it is measured.
        std: Per channel, in units of `range`; likewise.
        resize: Filter of the antialiased resize.
        crop: Part of the resized picture that the centre crop keeps, of height and of width, 0 < crop <= 1.
        values: Type of the values in files of bands. It is no part of the text that a digest covers, because the files are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Literal["rgb", "bgr", "bands"] = "rgb"
    range: float = 1.0
    resize: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    crop: float = 0.875
    values: Values = field(default="uint8", repr=False)

    @property
    def pixels(self) -> str:
        """The preprocessing of a pixel as text."""
        if self.channels == "bands":
            told = [_first(values) for values in (self.mean, self.std)]
            scaling = f"mean {told[0]}, std {told[1]}" if self.mean else "mean and std measured on the training images"
            return f"bands of {self.values} as in the files, {scaling}"
        scale = "0..1" if self.range == 1 else f"0..{self.range:g}"
        numbers = [", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std)]
        return f"{self.channels.upper()} {scale}, mean {numbers[0]}, std {numbers[1]}"

    @property
    def mean_colour(self) -> tuple[float, ...]:
        """The mean as RGB, 0..255, or of each band: a picture is padded with it, because the network sees it as (almost) zero."""
        if self.channels == "bands":
            return self.mean if self.values == "float32" else tuple(round(value) for value in self.mean)
        values = [min(max(round(255 * value / self.range), 0), 255) for value in self.mean]
        red, green, blue = values if self.channels == "rgb" else reversed(values)
        return red, green, blue


def _first(values: tuple[float, ...]) -> str:
    """Return numbers as text; of many, the first and how many there are."""
    shown = ", ".join(f"{value:g}" for value in values[:4])
    return shown if len(values) <= 4 else f"{shown}, ... ({len(values)})"


IMAGENET = Convention(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Mean and std of ImageNet's training images, RGB 0..1: Krizhevsky et al. 2012 as used by torchvision's reference training."""

CAFFE = Convention(mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), channels="bgr", range=255.0)
"""The same means in Caffe's units, BGR 0..255, no std: the networks of Simonyan & Zisserman 2014 (arXiv:1409.1556) and those that
were trained with their pixels."""

HUB = "hub"
"""As the checksum of a `Download`: the hub states the checksum of this file."""

HUB_SITE = "https://huggingface.co"
"""Where the Hugging Face hub is, unless `HF_ENDPOINT` names another place."""


@dataclass(frozen=True)
class Download:
    """A file to download, and its checksum.

    Attributes:
        url: http or https address; the checksum is what is trusted.
        checksum: "sha256:<hex>" or "md5:<hex>"; sha256 may be a prefix of at least 8 digits, as in torch's file names. `HUB` for a
            file of huggingface.co that publishes none beforehand: then it is the sha256 that the hub names when it is asked.
        filename: Name under which it is kept.
        archive: Unpack it (.tar.gz, .zip) after the check.
        into: Folder, below the data set's, in which it is kept or unpacked.
        inner: Name of an archive inside it, unpacked where it lies; "" where there is none.
        holds: Folder that comes out of an archive, which is not fetched again where that folder is; "" where it always is.
    """

    url: str
    checksum: str
    filename: str
    archive: bool = False
    into: str = ""
    inner: str = ""
    holds: str = ""


@dataclass(frozen=True)
class Weights:
    """One set of trained weights that a backbone offers.

    Attributes:
        source: A Download, or "package:DISTRIBUTION:PATH" for a file inside an installed distribution
            (PATH relative to site-packages).
        input: The convention these weights were trained with.
        rename: "module:function", applied to the loaded tensors {name: tensor} -> {name: tensor} where the file does not
            use the library's names; "" where it does. The tensors come in the file's order, classifier included.
        classes: Number of classes of the classifier in the file.
        read: "module:function"(path) -> {name: tensor}, for a file of a kind that tlkit does not read; "" for .safetensors, .npz and
            torch files.
        licence: Licence of the weights.
        summary: One line.
    """

    source: Download | str
    input: Convention
    rename: str = ""
    classes: int = 1000
    licence: str = ""
    summary: str = ""
    read: str = ""


# The README of torchvision, "Pre-trained Model License": the weights "may have their own licenses or terms and conditions derived from
# the dataset used for training"; its BSD-3-Clause is that of the code.
_TORCHVISION = (
    "torchvision's code is BSD-3-Clause; its README: weights may have terms derived from their data set, here ImageNet"
)


def pytorch(file: str, convention: Convention = IMAGENET, *, rename: str = "") -> Weights:
    """Return ImageNet-1k weights that torchvision offers, by their official file name.

    Args:
        file: "resnet18-f37072fd.pth"; the digits are the beginning of the file's sha256.
        convention: As torchvision's own preprocessing for them.
        rename: As in `Weights`.
    """
    digits = file.removesuffix(".pth").rpartition("-")[2]
    source = Download(url=f"https://download.pytorch.org/models/{file}", checksum=f"sha256:{digits}", filename=file)
    licence, summary = _TORCHVISION, "ImageNet-1k, torchvision"
    return Weights(source=source, input=convention, rename=rename, licence=licence, summary=summary)
