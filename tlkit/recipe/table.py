"""The base of every table of a recipe."""

from __future__ import annotations

from tlkit.plugin.options import Options

LARGEST = 1e38  # of a learning rate or weight decay: float32, which they become, ends at 3.4e38


class Table(Options):
    """A table of a recipe, as strict as a plugin's options."""
