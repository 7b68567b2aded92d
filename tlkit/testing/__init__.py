"""The contract of plugins, for us and for third parties: `tlkit check NAME`, or these functions in a test of your own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlkit.errors import TlkitError, nearest
from tlkit.plugin import Adapter, Backbone, Dataset, Executor, Head, Logger, registry
from tlkit.testing.adapters import check_adapter
from tlkit.testing.networks import check_backbone, check_head
from tlkit.testing.surroundings import check_dataset, check_executor, check_logger

__all__ = ["check", "check_adapter", "check_backbone", "check_dataset", "check_executor", "check_head", "check_logger"]


def check(name: str, *, data: Path | None = None) -> Iterator[str]:
    """Hold an installed backbone, head, data set, logger, adapter or executor to the contract.

    Args:
        name: As `tlkit list` shows it.
        data: Folder of a data set's files.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    if registry.offers(Backbone, name):
        yield from check_backbone(registry.get(Backbone, name))
    elif registry.offers(Dataset, name):
        yield from check_dataset(name, registry.get(Dataset, name), data=data)
    elif registry.offers(Head, name):
        yield from check_head(registry.get(Head, name))
    elif registry.offers(Logger, name):
        yield from check_logger(name, registry.get(Logger, name))
    elif registry.offers(Adapter, name):
        yield from check_adapter(registry.get(Adapter, name))
    elif registry.offers(Executor, name):
        yield from check_executor(name, registry.get(Executor, name))
    else:
        kinds = (Adapter, Backbone, Dataset, Executor, Head, Logger)
        names = [entry.name for kind in kinds for entry in registry.entries(kind)]
        raise TlkitError(
            f'there is no backbone, head, data set, logger, adapter or executor "{name}" installed.',
            "tlkit list shows what is",
            nearest(name, names),
        )
