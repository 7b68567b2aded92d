"""How long a folder of many files takes to be found and hashed: the first time, and when its hashes are remembered.

    python -m benchmarks.scan --count 1000000

Writes so many tiny files in 1,000 class folders, and prints seconds, those of processors beside them (which other programs do not
lengthen), and bytes of memory a file that Python holds afterwards.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tlkit.plugin import Dataset, registry
from tlkit.recipe import parsing
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places

_CLASSES = 1000
Answer = TypeVar("Answer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, and time the scans."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="files (1000000)")
    count = parser.parse_args(arguments).count
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TLKIT_CACHE"] = str(Path(scratch) / "cache")
        folder = Path(scratch) / "images"
        _files(folder, count)
        time.sleep(3)  # a file that was written a moment ago is not remembered
        for name in ("first", "later"):
            seconds: dict[str, tuple[float, float]] = {}
            found = _timed(seconds, "list", partial(_found, folder))
            _timed(seconds, "hash", partial(data_files.data_content, _dataset(), found))
            _timed(seconds, "read", partial(datasets.read_data, _dataset(), found, None))
            parts = [f"{part} {wall:.1f} s ({busy:.1f} s of processors)" for part, (wall, busy) in seconds.items()]
            print(f"{name}: {', '.join(parts)}", flush=True)
        tracemalloc.start()
        found = _found(folder)
        images = datasets.read_data(_dataset(), found, None)
        held, most = tracemalloc.get_traced_memory()
        total = sum(len(split.targets) for split in images.splits.values())
        print(f"held: {held / total:.0f} bytes a file, {most / total:.0f} at the most")
    return 0


def _files(folder: Path, count: int) -> None:
    for label in range(_CLASSES):
        (folder / f"class{label:03d}").mkdir(parents=True)
    for index in range(max(count, 2 * _CLASSES)):
        (folder / f"class{index % _CLASSES:03d}" / f"{index:08d}.png").write_bytes(index.to_bytes(64))


def _dataset() -> Dataset:
    return registry.get(Dataset, "folder")


def _found(folder: Path) -> data_files.DataFiles:
    options = parsing.options(_dataset().options, {}, place="data.options")
    return data_files.find_data("folder", _dataset(), options, Places(data=folder), fetch=False)


def _timed(seconds: dict[str, tuple[float, float]], name: str, work: Callable[[], Answer]) -> Answer:
    began, busy = time.perf_counter(), time.process_time()
    answer = work()
    seconds[name] = time.perf_counter() - began, time.process_time() - busy
    return answer


if __name__ == "__main__":
    sys.exit(main())
