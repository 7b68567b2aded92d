"""Check the recipe's preprocessing against the one the weights were trained with. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from tlkit.plugin import CAFFE, IMAGENET, Convention
from tlkit.recipe.recipe import Arm
from tlkit.recipe.tables import InputTable
from tlkit.sources.weight_files import NONE


def given(value: Literal["torch", "caffe"] | InputTable, usual: Convention) -> Convention:
    """Return the preprocessing that backbone.input asks for. Keys that it does not give, and the centre crop, are as in `usual`.

    Args:
        value: backbone.input.
        usual: The preprocessing of the weights.
    """
    if value == "torch" or value == "caffe":
        return replace(IMAGENET if value == "torch" else CAFFE, crop=usual.crop)
    said: dict[str, Any] = value.model_dump(exclude_none=True)
    said |= {name: tuple(said[name]) for name in ("mean", "std") if name in said}
    return replace(usual, **said)


def of_bands(value: object, usual: Convention) -> Convention:
    """Return the preprocessing of images of bands: their mean and std as backbone.input gives them, () where they are to be measured.

    Args:
        value: backbone.input, checked.
        usual: The preprocessing of the weights, which is kept where they were trained on bands.
    """
    table = value if isinstance(value, InputTable) else InputTable()
    mean, std = tuple(table.mean or ()), tuple(table.std or ())
    if usual.channels == "bands":
        return replace(usual, resize=table.resize or usual.resize, mean=mean or usual.mean, std=std or usual.std)
    return Convention(mean=mean, std=std, channels="bands", range=255.0, resize=table.resize or usual.resize, crop=usual.crop)


def used(arm: Arm, usual: Convention) -> Convention:
    """Return the preprocessing of an arm's images.

    Args:
        arm: Its tables.
        usual: The preprocessing of the weights.
    """
    if arm.data.channels is not None:
        usual = of_bands(arm.backbone.input, usual)
    elif arm.backbone.input is not None:
        usual = given(arm.backbone.input, usual)
    return usual if arm.data.crop is None else replace(usual, crop=arm.data.crop)


def spread(usual: Convention) -> float:
    """Return the standard deviation that ImageNet's images have in the input of a network with this preprocessing: 1 for torch's, 58 for Caffe's.

    Bands get the same, because weights expect it.
    """
    if usual.channels == "bands":
        return 1.0
    return sum(theirs * usual.range / own for theirs, own in zip(IMAGENET.std, usual.std, strict=True)) / 3


def warnings(weights: str, given: Convention, own: Convention | None, *, said: bool) -> list[str]:
    """Return a warning if the preprocessing may differ from the one that the weights were trained with.

    Args:
        weights: backbone.weights.
        given: The preprocessing that is used.
        own: The preprocessing that the weights were trained with; None if it is not known.
        said: Whether the recipe has backbone.input.
    """
    if given.channels == "bands":
        return []
    if own is None:
        if weights == NONE or said:
            return []
        return [
            f"backbone.input: the preprocessing of {weights} is not known; {given.pixels} is assumed. "
            'Set it to "torch", "caffe" or a table'
        ]
    if replace(given, crop=own.crop, resize=own.resize) != own:
        return [
            f"backbone.input: {weights} was trained with {own.pixels}; another preprocessing makes its features worse: "
            "EfficientNet-Lite0 classifies 67 % of 153 pictures of ants and bees correctly with another mean and std, 84 % with its own"
        ]
    if given.resize != own.resize:
        return [f"backbone.input: {weights} was trained on pictures resized with the {own.resize} filter, not {given.resize}"]
    return []
