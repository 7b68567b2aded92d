"""The plugins that a network is built from, with their checked options."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from tlkit.plugin import Backbone, Head


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
