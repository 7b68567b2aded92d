"""The census of convolutions of many networks: `tlkit bench kernels` of each, kept, and the table of docs/kernels.md.

    python -m benchmarks.census                        # every backbone that has no result of this torch and these kernels
    python -m benchmarks.census --minutes 20           # of them as many as are done in that time; the same command goes on
    python -m benchmarks.census mobilenet_v2 resnet18  # of these, those that have none
    python -m benchmarks.census mobilenet_v2 --again   # also where it has one
    python -m benchmarks.census --table                # only write the table again

Each result is kept as soon as it is there, in baselines/<machine>/census.jsonl. A network that fails is named, and the
others go on. One thread, so that times are processor time, which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import table as peers_table
from tlkit import files
from tlkit.errors import TlkitError
from tlkit.plugin import Backbone, Head, registry
from tlkit.record import benchmarks
from tlkit.record.formats import ComputeFormat

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "kernels.md"
IMAGES, FORM = 8, ComputeFormat("bfloat16", "channels_last")
WORST = 0.01  # part of the step from which a row is kept
Result = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and write the table; return 3 where a network failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.census", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="backbones (all)")
    parser.add_argument("--again", action="store_true", help="measure also what has a result of this torch and these kernels")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no other network after so many")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--page", type=Path, default=PAGE, help="file with the table's markers (docs/kernels.md)")
    options = parser.parse_args(arguments)
    path = ROOT / "benchmarks" / "baselines" / benchmarks.kind(machine.gpu()) / "census.jsonl"
    there = {each["network"]: each for each in read(path)}
    wanted = [] if options.table else options.networks or _networks()
    names = [name for name in wanted if options.again or not _is_current(there.get(name))]
    began = time.monotonic()
    failed = []
    for count, name in enumerate(names):
        if time.monotonic() - began > options.minutes * 60:
            more = "name them" if options.again else "the same command goes on"
            print(f"{len(names) - count} of {len(names)} networks are left, from {name} on: {more}", flush=True)
            break
        try:
            there[name] = measure(name)
        except TlkitError as error:
            failed.append(name)
            print(error, flush=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, "".join(json.dumps(each) + "\n" for _, each in sorted(there.items())))
        peers_table.fill(options.page, {"census": table(list(there.values()))})
        print(line(there[name]), flush=True)
    peers_table.fill(options.page, {"census": table(list(there.values()))})
    return 3 if failed else 0


def read(path: Path) -> list[Result]:
    """Return the results that are kept; none without a file."""
    return [json.loads(each) for each in path.read_text().splitlines()] if path.is_file() else []


def _networks() -> list[str]:
    """Return all backbones but those of families."""
    names = sorted(entry.name for entry in registry.entries(Backbone))
    return [name for name in names if registry.family(Backbone, name) is None]


def _is_current(result: Result | None) -> bool:
    """Whether there is a result of this torch and of these kernels."""
    return result is not None and all(result.get(name) == value for name, value in _versions().items())


@cache
def _versions() -> dict[str, str]:
    import torch

    from tlkit.engine import row_keys

    return {"torch": torch.__version__, "kernels": row_keys.code("tlkit.engine.kernels")}


def measure(name: str) -> Result:
    """Return a network's census, of the rows those that count, with the date and the version of torch; images have its own size."""
    from tlkit.compiler.census import census

    backbone, head = registry.get(Backbone, name), registry.get(Head, "linear")
    found = census(name, backbone, head, image_size=None, images=IMAGES, compute_format=FORM, threads=1)
    whole: Result = found.to_json()
    kept = ("words", "part", "count", "kernel", "seconds", "native_seconds", "share", "times_the_best_rate")
    rows = [{name: row[name] for name in kept} for row in whole["rows"] if row["share"] >= WORST]
    return {"date": datetime.now(UTC).date().isoformat(), **_versions(), **whole, "rows": rows}


def table(results: Sequence[Result]) -> str:
    """Return the table as Markdown, the networks that gain most first; a row of other kernels than today's has a star."""
    earlier = {each["network"] for each in results if each.get("kernels") != _versions()["kernels"]}
    rows = [line(each, star=each["network"] in earlier) for each in sorted(results, key=lambda each: -each["speedup"])]
    dates = sorted({each["date"] for each in results})
    versions = ", ".join(sorted({each["torch"] for each in results}))
    head = "| network | pixels | step, ms | in convolutions | other kernels | step faster | furthest below the best rate |"
    said = f"Batches of {IMAGES}, {FORM}, 1 thread, processor time, each the least of 2 or 3 steps or 2 to 5 calls. Machine:"
    said += f" {benchmarks.kind()}; torch {versions}; {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}." if dates else ""
    stars = ["\\* Measured with the kernels of an earlier version of tlkit, not yet with today's."] if earlier else []
    return "\n".join(
        [head, "|---|---|---|---|---|---|---|", *rows, "", *stars, said, "`python -m benchmarks.census` measures it."]
    )


def line(result: Result, *, star: bool = False) -> str:
    """Return a network's line of the table, its name with a star where it is asked for."""
    height, width = result["image_size"]
    worst = max(result["rows"], key=lambda row: row["times_the_best_rate"], default=None)
    said = "" if worst is None else f"{worst['times_the_best_rate']:.0f} times: {_part(worst)}"
    cells = [
        result["network"] + " \\*" * star,
        str(height) if height == width else f"{height}x{width}",
        f"{result['step_seconds'] * 1e3:,.0f}",
        f"{result['convolutions']:.0%}",
        str(result["replaced"]),
        f"{result['speedup']:.2f} times",
        said,
    ]
    return f"| {' | '.join(cells)} |"


def _part(row: Mapping[str, Any]) -> str:
    what = {"forward": "forward", "input": "gradient of the input", "weight": "gradient of the weight"}[row["part"]]
    return f"{row['words'].removesuffix(f', {FORM}')}, {what}"


if __name__ == "__main__":
    sys.exit(main())
