"""Many arms, many runs and many entries of the cache: seconds and memory of each command.

    python -m benchmarks.load                                   # 200 arms, 1,000 runs, 100,000 entries
    python -m benchmarks.load --arms 20 --seeds 2 --entries 5000   # quicker

A recipe of many arms on a few synthetic images is planned and applied with one seed; its runs are copied as those of other seeds, and all are
listed, reported, planned and applied again. Entries of the cache are copies of one small entry; the cache is then at its limit, and another
recipe is applied with it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tomli_w

ROOT = Path(__file__).parents[1]
_MEGA = 1e6
_LINKS = 10_000  # of one file, fewer than any file system allows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--arms", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5, help="of each arm, for many runs (5)")
    parser.add_argument("--entries", type=int, default=100_000, help="of the cache (100000)")
    parser.add_argument("--only", choices=["runs", "cache"], help="one of the two parts")
    parser.add_argument("--within", help="folder for all files; a file system in memory saves hours of a busy disk")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.within) as scratch:
        if options.only != "cache":
            runs(Path(scratch) / "runs", options.arms, options.seeds)
        if options.only != "runs":
            cache(Path(scratch) / "cache", options.entries)
    return 0


def runs(place: Path, arms: int, seeds: int) -> None:
    """Plan and apply a recipe of many arms, and read its runs."""
    place.mkdir()
    recipe = place / "load.toml"
    recipe.write_text(tomli_w.dumps(_recipe("load", arms, seeds=[0])))
    for name, command in {
        "validate": ["validate", "load.toml"],
        "plan": ["plan", "load.toml"],
        "apply": ["apply", "load.toml"],
        "apply again": ["apply", "load.toml"],
    }.items():
        timed(f"{arms:,} arms: {name}", command, place)
    recipe.write_text(tomli_w.dumps(_recipe("load", arms, seeds=list(range(seeds)))))
    copy(place / "runs" / "load", seeds)
    for name, command in {
        "apply, nothing to train": ["apply", "load.toml"],
        "apply again": ["apply", "load.toml"],
        "apply --verify": ["apply", "load.toml", "--verify"],
        "plan": ["plan", "load.toml"],
        "runs": ["runs", "runs"],
        "report": ["report", "runs/load"],
    }.items():
        timed(f"{arms * seeds:,} runs: {name}", command, place)


def copy(folder: Path, seeds: int) -> None:
    """Copy the runs of seed 0 as runs of other seeds."""
    for run in list(folder.glob("*-s0-*")):
        for seed in range(1, seeds):
            other = folder / run.name.replace("-s0-", f"-s{seed}-")
            shutil.copytree(run, other, copy_function=os.link)
            record = json.loads((run / "result.json").read_text()) | {"seed": seed}
            (other / "result.json").unlink()
            (other / "result.json").write_text(json.dumps(record, indent=2) + "\n")


def cache(place: Path, entries: int) -> None:
    """Apply a recipe whose images are stored, with few and with many entries in the cache, and at its limit."""
    place.mkdir()
    for name, images in (("first", 100), ("small", 101), ("large", 102), ("limit", 103)):
        (place / f"{name}.toml").write_text(tomli_w.dumps(_recipe(name, 1, seeds=[0], images=images)))
    timed("an empty cache: apply", ["apply", "first.toml"], place)
    timed("a small cache: apply", ["apply", "small.toml"], place)
    began = time.perf_counter()
    size = fill(place / "store", entries)
    print(f"{entries:,} entries were written in {time.perf_counter() - began:.0f} s", flush=True)
    timed(f"{entries:,} entries: apply again", ["apply", "small.toml"], place)
    timed(f"{entries:,} entries: apply", ["apply", "large.toml"], place)
    timed(f"{entries:,} entries: cache", ["cache"], place)
    timed(f"{entries:,} entries at the limit: apply", ["apply", "limit.toml"], place, TLKIT_CACHE_BYTES=str(size))
    timed(f"{entries:,} entries: cache clear", ["cache", "clear"], place)


def fill(store: Path, entries: int) -> int:
    """Copy an entry of the cache until there are so many; return the bytes of all rows and indexes."""
    (kind,) = [each for each in (store / "pictures", store / "features") if each.is_dir()][-1:]
    pattern = min(
        (each for each in kind.iterdir() if each.is_dir()), key=lambda each: sum(p.stat().st_size for p in each.iterdir())
    )
    content = {path.name: path.read_bytes() for path in pattern.iterdir()}
    rows = store / "rows"
    long_ago = time.time() - 86400
    for number in range(entries):
        folder, segment = kind / secrets.token_hex(32), secrets.token_hex(16)
        folder.mkdir()
        if number % _LINKS == 0:
            rows.unlink(missing_ok=True)
            rows.write_bytes(bytes(1024))
        os.link(rows, folder / f"{segment}.rows")
        for name, data in content.items():
            if not name.endswith(".rows"):
                path = folder / (name if name.endswith(".json") else f"{segment}.index")
                path.write_bytes(data)
        os.utime(folder / f"{segment}.index", (long_ago + number / 10, long_ago + number / 10))
    rows.unlink()
    return sum(path.stat().st_size for path in store.rglob("*") if path.suffix in (".rows", ".index"))


def timed(what: str, command: list[str], place: Path, **environment: str) -> None:
    """Run a command of tlkit, and print its seconds, of the clock and of processors, and its peak of memory."""
    more = {"TLKIT_CACHE": str(place / "store"), "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    began = time.perf_counter()
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "tlkit", *command],
            cwd=place,
            env={**os.environ, **more, **environment},
            stdout=said,
            stderr=said,
        )
        _, status, used = os.wait4(process.pid, 0)
    took, code = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
    process.returncode = code
    print(
        f"{what}: {took:,.1f} s, {used.ru_utime + used.ru_stime:,.1f} s of processors, {used.ru_maxrss * 1024 / _MEGA:,.0f} MB"
        + (f", exit {code}: {(place / 'said').read_text(errors='replace')[-400:]}" if code else ""),
        flush=True,
    )


def _recipe(name: str, arms: int, *, seeds: list[int], images: int = 64) -> dict[str, object]:
    return {
        "format": 1,
        "name": name,
        "seeds": seeds,
        "backbone": {"name": "lenet5", "weights": "none"},
        "data": {
            "name": "synthetic",
            "image_size": 32,
            "batch_size": 32,
            "options": {"classes": 4, "train": images, "test": 32, "size": 32},
        },
        "freeze": {"backbone": True},
        "lr_groups": {"backbone": 1e-3, "head": 1e-3},
        "optimizer": {"name": "sgd"},
        "schedule": {"name": "constant", "epochs": 1},
        "arms": {
            f"a{number:03d}": {"optimizer": {"momentum": round(0.9 * (number + 1) / (arms + 1), 6)}} for number in range(arms)
        },
    }


if __name__ == "__main__":
    sys.exit(main())
