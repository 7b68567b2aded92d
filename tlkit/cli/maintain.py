"""Commands that show and clear the cache, and show the versions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import JsonOption, choice
from tlkit.errors import TlkitError
from tlkit.store.usage import Kind

if TYPE_CHECKING:
    from tlkit.store.cache import Listed

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")  # Linux, Linux on Windows, Windows
cache_verbs = typer.Typer(help="Show the cache of decoded images and stored features, or clear it.", rich_markup_mode=None)


@cache_verbs.callback(invoke_without_command=True)
def list_cache(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show the cache of decoded images and stored features: rows, size, when each was last used, and the limit."""
    if context.invoked_subcommand is not None:
        return
    from tlkit.reports import tables
    from tlkit.store import cache, cache_limit

    folder = _folder()
    entries, others, limit = cache.listing(), cache.others(), cache_limit.limit()
    if as_json:
        record = {"format": 1, "folder": folder, "limit": limit, "total": sum(each.bytes for each in entries)}
        record |= {"entries": [_record(each) for each in entries], "others": others}
        console.as_json(record)
        return
    console.show(tables.cache(folder, entries, others=others, limit=limit))


def _record(entry: Listed) -> dict[str, object]:
    return {"kind": entry.kind, "origin": entry.origin, "rows": entry.rows, "bytes": entry.bytes, "used": entry.used}


@cache_verbs.command("clear")
def clear_cache(
    kind: Annotated[Kind | None, choice(tuple(Kind), "Only these; without it, remembered measurements go as well.")] = None,
) -> None:
    """Clear the cache and say how much was freed. What a run is writing at this moment stays."""
    from tlkit import units
    from tlkit.store import cache

    _folder()
    freed = units.size(cache.clear(kind))
    console.line(f"{kind or 'cache'}: {freed} freed.")


def versions() -> str:
    """Return the versions that a report of a problem should name, and the device that `--device auto` takes."""
    import platform
    from importlib import metadata

    from tlkit import __version__

    device = "cpu (no NVIDIA driver found)"
    if any(Path(driver).exists() for driver in _DRIVERS):  # only then is it worth the seconds that importing torch takes
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu (torch cannot use the NVIDIA driver)"
    lines = {"tlkit": __version__, **{name: metadata.version(name) for name in ("torch", "torchvision")}}
    lines |= {"Python": platform.python_version(), "device": device}
    return "\n".join(f"{name} {version}" for name, version in lines.items())


def _folder() -> str:
    """Return the cache's folder as it is shown; it need not be there."""
    from tlkit import files

    folder = files.cache_folder()
    if os.path.lexists(folder) and not folder.is_dir():
        raise TlkitError(f"{files.shown(folder)}: is not a folder.", "remove it, or set TLKIT_CACHE to another folder")
    return files.shown(folder)
