"""The base class of every table of a recipe."""

from __future__ import annotations

from tlkit.plugin.options import Options

LARGEST = 1e38  # largest learning rate or weight decay; both become float32, whose largest number is 3.4e38


class Table(Options):
    """A table of a recipe: unknown keys, NaN and silent conversions are errors, as in a plugin's options."""
