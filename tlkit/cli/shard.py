"""The command that writes images as shards: shard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import JsonOption

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def shard(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder of images in classes, as the data set `folder` reads it.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write, which is not there or empty.")],
    size: Annotated[str, typer.Option("--size", metavar="SIZE", help="Size of a shard, at most.")] = "256MB",
    as_json: JsonOption = False,
) -> None:
    """Write a folder of images as WebDataset tar shards with indexes, and check them. `data.name = "shards"` trains on them."""
    from tlkit import units
    from tlkit.sources import shards

    with console.counting("writing") as progress:
        record = shards.write(folder, out, size=_bytes(size), progress=progress, notify=console.say)
    if as_json:
        console.as_json({"out": str(out), **record})
        return
    counts: dict[str, int] = {}
    for each in record["shards"].values():
        counts[each["split"]] = counts.get(each["split"], 0) + each["images"]
    total = sum(each["bytes"] for each in record["shards"].values())
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    console.line(f"{out}: {len(record['shards']):,} shards written and checked, {units.size(total)}, images: {parts}")


def _bytes(text: str) -> int:
    """Return a size in bytes: "256MB"."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(KB|MB|GB)", text.strip().upper())
    if match is None or not float(match.group(1)):
        raise typer.BadParameter(f'--size: is "{text}"; a number above 0 and KB, MB or GB, such as 256MB')
    return int(float(match.group(1)) * _UNITS[match.group(2)])
