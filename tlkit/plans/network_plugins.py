"""The plugins that a network is built from, with their checked options. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from tlkit.errors import RecipeError
from tlkit.plans import solved_heads
from tlkit.plugin import Backbone, Head, registry
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Arm


@dataclass(frozen=True)
class NetworkPlugins:
    """What a network is built from, without its data.

    Attributes:
        backbone: The plugin, cut at the arm's embedding point.
        head: The plugin.
        backbone_options: Checked; None where the backbone has none.
        head_options: Checked; None where the head has none.
    """

    backbone: Backbone
    head: Head
    backbone_options: BaseModel | None
    head_options: BaseModel | None


def network_of(arm: Arm) -> NetworkPlugins:
    """Return the backbone and head of an arm. Its data set need not be installed.

    Raises:
        PluginError: one is not installed.
        RecipeError: its options are wrong.
    """
    backbone, head = registry.get(Backbone, arm.backbone.name), registry.get(Head, arm.head.kind)
    if problems := list(solved_heads.problems(arm.head, head, backbone, arm.backbone.name)):
        raise RecipeError(problems)
    backbone = backbone.until(arm.head.embed, pooled=arm.head.pooled)
    return NetworkPlugins(
        backbone,
        head,
        parsing.options(backbone.options, arm.backbone.options, place="backbone.options"),
        with_dropout(parsing.options(head.options, arm.head.options, place="head.options"), head, backbone),
    )


def with_dropout(options: BaseModel | None, head: Head, backbone: Backbone) -> BaseModel | None:
    """Return a head's options with the backbone's dropout, if the recipe gives none."""
    dropout = head.usual_dropout(backbone)
    if options is None or not dropout or "dropout" in options.model_fields_set:
        return options
    return options.model_copy(update={"dropout": dropout})
