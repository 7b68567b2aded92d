"""A family: many plugins of one kind behind one entry point."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Plugins of one kind under names of their own: the entry point `medmnist` offers "medmnist:pneumoniamnist" and others.

    Attributes:
        make: "module:function"(name) -> Backbone, Dataset, Head or Logger; it raises `tlkit.errors.PluginError` for a name that it has not.
        names: The usual ones, as `tlkit show` lists them; there may be more.
        summary: One line.
    """

    make: str
    names: tuple[str, ...]
    summary: str = ""
