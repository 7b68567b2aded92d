"""A plugin's own options: a pydantic model that a recipe's `options` table fills."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tlkit.errors import PluginError


class Options(BaseModel):
    """Base class of a plugin's options and of every table of a recipe. Unknown keys, NaN and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _from_black_to_white(value: float | list[float]) -> float | list[float]:
    black, white = value if isinstance(value, list) else (0.0, value)
    if black >= white:
        raise ValueError(f"is {value}: white is more than black")
    return value


PixelRange = Annotated[float | Annotated[list[float], Field(min_length=2, max_length=2)], AfterValidator(_from_black_to_white)]
"""The option `range` of a data set of files: the value of white where a file has more than 8 bits, or [black, white]."""

Channels = Annotated[int | None, Field(exclude=True)]
"""The option `channels` of a data set that can read images of bands. The key `data.channels` of a recipe fills it in; it is no key of
[data.options]."""


_NAMES_FILES = object()
DataPath = Annotated[str, _NAMES_FILES]
"""An option of a data set that names a file or a folder: below its folder, or by its whole path. `path`, the folder itself, needs no mark."""


def check_installed(what: str, needs: str, install: str) -> None:
    """Raise PluginError where the module that a plugin needs is not installed: `Logger.check_installed` and that of an executor."""
    if needs and importlib.util.find_spec(needs) is None:
        raise PluginError(f"{what}: needs {needs}, which is not installed.", f"pip install '{install or needs}'")


def path_options(options: type[BaseModel] | None) -> frozenset[str]:
    """Return the options, beside `path`, that say of themselves that they name files: `DataPath` and `pathlib.Path`."""
    fields = {} if options is None else options.model_fields
    return frozenset(
        name
        for name, field in fields.items()
        if name != "path" and (_NAMES_FILES in field.metadata or _is_path(field.annotation))
    )


def _is_path(annotation: object) -> bool:
    return annotation is Path or any(each is _NAMES_FILES or _is_path(each) for each in get_args(annotation))


def check_options(target: str, options: object) -> None:
    """Raise PluginError where a plugin's options are no model."""
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise PluginError(f"{target}: options is {options!r}.", "a subclass of tlkit.plugin.Options, or None")
