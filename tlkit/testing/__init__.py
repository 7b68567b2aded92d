"""The contract of plugins, for us and for third parties: `tlkit check NAME`, or these functions in a test of your own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlkit.plugin import Adapter, Backbone, Dataset, Executor, Head, Logger, registry
from tlkit.plugin.kinds import KINDS, AnyPlugin
from tlkit.testing.adapters import check_adapter
from tlkit.testing.networks import check_backbone, check_head
from tlkit.testing.surroundings import check_dataset, check_executor, check_logger

__all__ = ["check", "check_adapter", "check_backbone", "check_dataset", "check_executor", "check_head", "check_logger"]


def check(name: str, *, data: Path | None = None) -> Iterator[str]:
    """Hold an installed plugin of any kind to the contract.

    Args:
        name: As `tlkit list` shows it.
        data: Folder of a data set's files.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    found = [kind.value for kind in KINDS if registry.offers(kind.value, name)]
    if not found:
        raise registry.unknown(name)
    for kind in found:
        yield from _check(name, registry.get(kind, name), data)


def _check(name: str, plugin: AnyPlugin, data: Path | None) -> Iterator[str]:
    match plugin:
        case Backbone():
            yield from check_backbone(plugin)
        case Dataset():
            yield from check_dataset(name, plugin, data=data)
        case Head():
            yield from check_head(plugin)
        case Logger():
            yield from check_logger(name, plugin)
        case Adapter():
            yield from check_adapter(plugin)
        case Executor():
            yield from check_executor(name, plugin)
