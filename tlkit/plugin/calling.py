"""Call a plugin's function by its name, and turn its failure into an error that names the plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module, metadata

from tlkit.errors import DataError, PluginError, TlkitError, reason


def call(target: str, *arguments: object) -> object:
    """Call the function "module:function"; an unexpected error names the plugin that it comes from.

    Raises:
        PluginError: the module does not import, has no such function, or the function fails.
        DataError: it could not read a file.
        TlkitError: as the function says it.
    """
    module, _, name = target.partition(":")
    try:
        function: Callable[..., object] = getattr(import_module(module), name)
    except (KeyboardInterrupt, TlkitError):
        raise
    except BaseException as error:  # whatever a third party's import raises, SystemExit too
        hint = (
            f"the plugin names a function that {module} has not"
            if _lacks(error, module, name)
            else f"reinstall {_owner(module)}"
        )
        raise PluginError(f"{target}: cannot be loaded: {reason(error)}.", hint) from error
    try:
        return function(*arguments)
    except (KeyboardInterrupt, TlkitError):
        raise
    except BaseException as error:  # likewise
        if isinstance(error, OSError) and error.filename:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error
        raise PluginError(f"{target}: failed: {reason(error)}.", f"it comes with {_owner(module)}") from error


def _lacks(error: BaseException, module: str, name: str) -> bool:
    return isinstance(error, AttributeError) and module in sys.modules and not hasattr(sys.modules[module], name)


def _owner(module: str) -> str:
    """The distribution that holds a module; the module's package where that is not known."""
    top = module.partition(".")[0]
    try:
        return metadata.packages_distributions()[top][0]
    except Exception:  # none says that it holds it, or another one's metadata is damaged
        return top
