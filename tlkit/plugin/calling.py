"""Call a plugin's function by its name, and turn its failure into an error that names the plugin.

The rule: what a plugin prints goes to stderr, for stdout has results; Python's and NumPy's random state are put back; and one that leaves
another working directory is refused.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from importlib import import_module, metadata

import numpy as np

from tlkit.errors import DataError, PluginError, TlkitError, reason


def call(target: str, *arguments: object) -> object:
    """Call the function "module:function"; an unexpected error names the plugin that it comes from.

    Raises:
        PluginError: the module does not import, has no such function, or the function fails, or changes the working directory.
        DataError: it could not read a file.
        TlkitError: as the function says it.
    """
    module, _, name = target.partition(":")
    with _apart(target):
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
            raise PluginError(f"{target}: failed: {reason(error)}.", comes_with(target)) from error


@contextlib.contextmanager
def blamed(target: str) -> Iterator[None]:
    """Add the distribution of "module:function", with its version, to each PluginError of the context."""
    try:
        yield
    except PluginError as error:
        hint = comes_with(target)
        if hint in error.hints or not error.problem.startswith(target):
            raise
        raise PluginError(error.problem, *error.hints, hint) from error


def comes_with(target: str) -> str:
    """Return a line that names the distribution of "module:function", with its version."""
    return f"it comes with {_owner(target.partition(':')[0])}"


@contextlib.contextmanager
def _apart(target: str) -> Iterator[None]:
    """Keep what a plugin prints away from stdout, and what it changes of this process away from the rest of the program."""
    before, draws, arrays = _working_directory(), random.getstate(), np.random.get_state()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        random.setstate(draws)
        np.random.set_state(arrays)
        after = _working_directory()
        if before is not None and after != before:
            os.chdir(before)
            raise PluginError(
                f"{target}: changes the working directory, to {after}, in which no relative path is what it was.",
                comes_with(target),
            )


def _working_directory() -> str | None:
    """Return the working directory; None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _lacks(error: BaseException, module: str, name: str) -> bool:
    return isinstance(error, AttributeError) and module in sys.modules and not hasattr(sys.modules[module], name)


def _owner(module: str) -> str:
    """The distribution that holds a module, with its version; the module's package where that is not known."""
    top = module.partition(".")[0]
    try:
        name = metadata.packages_distributions()[top][0]
        return f"{name} {metadata.version(name)}"
    except Exception:  # none says that it holds it, or another one's metadata is damaged
        return _offering(top) or top


def _offering(package: str) -> str:
    """Return the distribution, with its version, of whose entry points one lies in a package; "" where none does."""
    from tlkit.plugin import registry  # which imports this module

    found = (each for each in registry.scan().entries if each.target.partition(":")[0].partition(".")[0] == package)
    return next((f"{each.distribution} {each.version}" for each in found), "")
