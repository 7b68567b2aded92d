"""A plugin's own options: a pydantic model that a recipe's `options` table fills."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tlkit.errors import PluginError


class Options(BaseModel):
    """Base class of a plugin's options and of every table of a recipe. Unknown keys, NaN and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def check_options(target: str, options: object) -> None:
    """Raise PluginError where a plugin's options are no model."""
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise PluginError(f"{target}: options is {options!r}.", "a subclass of tlkit.plugin.Options, or None")
