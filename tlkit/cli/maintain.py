"""The verbs for what grows beside the runs: the cache, and the history of the benchmarks."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console
from tlkit.errors import TlkitError, nearest
from tlkit.store.cache import Kind

JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
cache_verbs = typer.Typer(help="Show what is kept so that it is not computed again, or clear it.", rich_markup_mode=None)


def bench(
    baselines: Annotated[
        Path, typer.Option("--baselines", metavar="DIR", help="where make bench-track keeps the history")
    ] = Path("benchmarks/baselines"),
    machine: Annotated[str | None, typer.Option("--machine", metavar="NAME", help="only this kind of machine")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the history of the benchmarks, and draw the trend of each recipe beside it."""
    from tlkit.record import benchmarks as benches
    from tlkit.reports import trend

    machines = benches.machines(baselines)
    if machine is not None and machine not in machines:
        raise TlkitError(
            f"{baselines / machine}: holds no history.", f"machines: {', '.join(machines)}", nearest(machine, machines)
        )
    if not machines:
        raise TlkitError(f"{baselines}: holds no history.", "make bench-track writes one; --baselines names another folder")
    shown = {name: benches.history(baselines / name) for name in machines if machine in (None, name)}
    if as_json:
        lists = {name: [record.model_dump(mode="json") for record in records] for name, records in shown.items()}
        console.as_json({"format": 1, "machines": lists})
        return
    for name, records in shown.items():
        picture = baselines / name / "trend.svg"
        console.show(trend.table(name, records))
        if records:
            trend.write(picture, name, records)
            console.line(f"trend: {picture}\n")


@cache_verbs.callback(invoke_without_command=True)
def list_cache(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show what is kept so that it is not computed again: rows, size, when it was last used, and the limit."""
    if context.invoked_subcommand is not None:
        return
    from tlkit.reports import tables
    from tlkit.store import cache

    folder = _folder()
    entries, others, limit = cache.listing(), cache.others(), cache.limit()
    if as_json:
        record = {"format": 1, "folder": folder, "limit": limit, "total": sum(each.bytes for each in entries)}
        record |= {"entries": [dataclasses.asdict(each) for each in entries], "others": others}
        console.as_json(record)
        return
    console.show(tables.cache(folder, entries, others=others, limit=limit))


@cache_verbs.command("clear")
def clear_cache(
    kind: Annotated[Kind | None, typer.Option("--kind", help="only these; without it, measurements go as well")] = None,
) -> None:
    """Remove what is kept, and say how much was freed; what a run writes at this moment stays."""
    from tlkit import units
    from tlkit.store import cache

    _folder()
    freed = units.size(cache.clear(kind))
    console.line(f"{kind or 'cache'}: {freed} freed.")


def _folder() -> str:
    """Return the cache's folder as it is shown; it need not be there."""
    from tlkit import files

    folder = files.cache_folder()
    if os.path.lexists(folder) and not folder.is_dir():
        raise TlkitError(f"{files.shown(folder)}: is not a folder.", "remove it, or set TLKIT_CACHE to another folder")
    return files.shown(folder)
