"""How pixels reach weights: what a recipe says of it against what the weights were trained with. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from tlkit.plugin import CAFFE, IMAGENET, Convention
from tlkit.recipe.tables import InputTable
from tlkit.sources.weight_files import NONE


def given(value: Literal["torch", "caffe"] | InputTable, usual: Convention) -> Convention:
    """The convention that a recipe gives; what it does not say, and the part that the centre crop keeps, is the usual one.

    Args:
        value: backbone.input.
        usual: Of the weights.
    """
    if value == "torch" or value == "caffe":
        return replace(IMAGENET if value == "torch" else CAFFE, crop=usual.crop)
    said: dict[str, Any] = value.model_dump(exclude_none=True)
    said |= {name: tuple(said[name]) for name in ("mean", "std") if name in said}
    return replace(usual, **said)


def warnings(weights: str, given: Convention, own: Convention | None, *, said: bool) -> list[str]:
    """Where images may reach the weights otherwise than those want them.

    Args:
        weights: backbone.weights.
        given: That is used.
        own: That the weights were trained with; None where nothing says so.
        said: The recipe says it.
    """
    if own is None:
        if weights == NONE or said:
            return []
        return [
            f"backbone.input: nothing says what pixels {weights} wants; {given.pixels} is assumed: "
            'say "torch", "caffe" or a table'
        ]
    if replace(given, crop=own.crop, resize=own.resize) != own:
        return [
            f"backbone.input: {weights} was trained with {own.pixels}; of other pixels its features are worse: with another "
            "mean and std EfficientNet-Lite0 is right for 67 % of 153 pictures of ants and bees, with its own for 84 %"
        ]
    if given.resize != own.resize:
        return [f"backbone.input: {weights} was trained on pictures resized with the {own.resize} filter, not {given.resize}"]
    return []
