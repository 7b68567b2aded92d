"""Measure on a GPU: training against its bare replay, the same work by others, and the lectures' recipes beside their figures.

    python -m benchmarks.cuda [--only engine,tasks,loops,lectures] [--minutes 10] [--json cuda.json] [--images 8192] [--batch 128]
    python -m benchmarks.cuda --only loops --minutes 4 [--peer "tutorial, tuned"]
    python -m benchmarks.cuda --open [--minutes 9.5]

Nothing is begun after --minutes. What cannot be measured is named with its reason, and the rest is
measured. Each line is printed, and the JSON file written, as soon as a piece of work is done. `--open` measures what no GPU has measured yet,
the most wanted first, each part within its own minutes, 14 in all, and what others leave; then once more what was not done in its time.
Typed again with the same file it goes on with what is missing on this GPU with this torch.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import cifar
from benchmarks.cuda import engine, loops, uninstalled
from benchmarks.cuda.pieces import OPEN, PARTS, TABLES, Piece, pieces
from tlkit import machine
from tlkit.errors import Interrupted, RecipeError
from tlkit.sources import data_files

TRIED = ("data.split.train=100", "schedule.epochs=6", "precision=float32")  # of recipes, where a CPU tries them
_KEPT = 4000  # characters of where an error came from


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables, and write a JSON file; return 1 where something failed."""
    options = _options(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("benchmarks.cuda: needs a CUDA device, and torch finds none here; --device cpu tries what it does")
    machine.let_cublas_repeat()  # as the command line does, for all that is measured
    # loops and tests have sessions of their own, and are ended before this ends
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        uninstalled.offer_plugins(Path(folder))
        return _measured(options, torch.device(options.device))


def _measured(options: argparse.Namespace, device: torch.device) -> int:
    record: dict[str, Any] = {"torch": torch.__version__, "settings": {**vars(options), "json": str(options.json)}}
    if device.type == "cuda":
        record |= {"gpu": torch.cuda.get_device_name(device), "matrix_rate": engine.matrix_rate(device)}
        print(f"{record['gpu']}, torch {torch.__version__}")
        print(f"a matrix product of side {engine.SIDE} in bfloat16: {record['matrix_rate'] / 1e12:,.0f} TFLOP/s")
    if missing := cifar.missing_files(data_files.data_folder()):
        record["not_official"] = missing
        print(f"Where images of CIFAR-10 are there at all, accuracy says nothing: {missing}")
    return measure(options, record, device=device, settings=() if device.type == "cuda" else TRIED)


def measure(options: argparse.Namespace, record: dict[str, Any], *, device: torch.device, **smaller: Any) -> int:
    """Measure the parts that are asked for; return 1 where something failed.

    Args:
        options: Of the command line.
        record: What the JSON file holds already.
        device: To measure on.
        smaller: Arguments of `pieces`, to try it with less.
    """
    ends = time.perf_counter() + 60 * options.minutes
    failed = False
    earlier = json.loads(options.json.read_text(encoding="utf-8")) if options.open and options.json.is_file() else {}
    record |= {part: earlier[part] for part in PARTS if part in earlier}
    late: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        part_of = partial(pieces, options=options, scratch=Path(scratch), device=device, **smaller)
        for place, part in enumerate(options.only):
            part_ends = ends
            if options.open:
                todo = [each for each in options.only[place:] if any(part_of(each, wanted=_missing(each, record)))]
                part_ends = min(ends, time.perf_counter() + _seconds(part, todo, ends - time.perf_counter()))
            known = [row for row in _rows(part, record) if row.get("passed", True)]  # tests that failed run again
            record[part] = {"rows": known, "skipped": {}}
            failed |= _measure_part(part, part_of(part, wanted=_missing(part, record)), options, record, part_ends, late)
        for part, names in late.items() if options.open and time.perf_counter() < ends else ():
            failed |= _measure_part(part, part_of(part, wanted=names.__contains__), options, record, ends, {})
    _write(options.json, record)
    print(f"\nwritten to {options.json}")
    return int(failed)


def _seconds(part: str, todo: Sequence[str], left: float) -> float:
    """Return the seconds of a part: its minutes, and as much more in proportion as the parts that have something to do leave over."""
    wanted = 60 * sum(OPEN[each] for each in todo)
    return 60 * OPEN[part] * max(1.0, left / wanted if wanted else 1.0)


def _rows(part: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    return list(record.get(part, {"rows": []})["rows"])


def _on(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("gpu", "torch") if name in record}


def _missing(part: str, record: dict[str, Any]) -> Callable[[str], bool]:
    """Return whether a piece was not measured yet on this GPU with this torch, or is tests of which one failed."""
    on = _on(record)
    done = {row.get("piece", "") for row in _rows(part, record) if row.get("on") == on and row.get("passed", True)}
    return lambda name: name not in done


def _measure_part(
    part: str, found: Iterator[Piece], options: argparse.Namespace, record: dict[str, Any], ends: float, late: dict[str, set[str]]
) -> bool:  # fmt: skip
    """Measure pieces of a part until it ends; return whether something failed.

    Args:
        part: One of PARTS.
        found: The pieces.
        options: Of the command line.
        record: What the JSON file holds, with the part; changed.
        ends: When nothing more is begun, as `time.perf_counter` tells it.
        late: Gets the names of pieces for which there was no time.
    """
    known, skipped = record[part]["rows"], record[part]["skipped"]
    before, rows, failed, on = [row.get("piece", "") for row in known], [], False, _on(record)
    for name, do in found:
        skipped.pop(name, None)
        left = ends - time.perf_counter()
        if left < 0:
            skipped[name] = f"--minutes {options.minutes:g} are over"
            late.setdefault(part, set()).add(name)
            continue
        print(f"{part}: {name}", file=sys.stderr, flush=True)
        try:
            row = do(left)
        except Interrupted as signal:
            raise SystemExit(signal.exit_code) from signal
        except (Exception, SystemExit) as error:  # the others are measured all the same
            skipped[name] = f"{type(error).__name__}: {error}"
            if isinstance(error, TimeoutError):
                late.setdefault(part, set()).add(name)
            if not isinstance(error, LookupError | RecipeError | TimeoutError):
                failed = True
                skipped[name] += f"\n{traceback.format_exc()[-_KEPT:]}"
            print(f"{name}: skipped: {_short(skipped[name])}", file=sys.stderr, flush=True)
        else:
            rows.append(row)
            known.append({"piece": name, "on": on, **asdict(row)})
            print(TABLES[part](rows).splitlines()[-1], file=sys.stderr, flush=True)
        _write(options.json, record)
        gc.collect()
        with suppress(RuntimeError):  # after an error of the device; what has a process of its own can go on
            torch.cuda.empty_cache()
    print(f"\n{part}\n{TABLES[part](rows)}")
    for name, why in skipped.items():
        print(f"{name}: skipped: {_short(why)}")
    if before:
        print(f"measured before: {', '.join(sorted(before))}")
    return failed


def _short(why: str) -> str:
    """Return the first line of a reason, and the last one of a traceback; the JSON file has all of it."""
    lines = why.splitlines()
    return f"{lines[0]} ... {lines[-1]}" if "Traceback" in why else lines[0]


def _write(path: Path, record: dict[str, Any]) -> None:
    whole = path.with_name(f"{path.name}.new")  # a machine that is taken away leaves the old one or this one
    whole.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    whole.replace(path)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", type=_parts, help=f"of {', '.join(PARTS)}, with commas (engine,loops,lectures)")
    what.add_argument("--open", action="store_true", help="what no GPU has measured yet, the most wanted first; goes on")
    parser.add_argument(
        "--peer", action="append", choices=list(loops.CONTENDERS), help="only this one of the loops; may be repeated"
    )
    parser.add_argument("--peer-seconds", type=float, default=60.0, help="that a loop may take at most (60)")
    parser.add_argument("--minutes", type=float, help="nothing is begun after that (10; with --open 14)")
    parser.add_argument("--json", type=Path, default=Path("cuda.json"), help="where the figures go (cuda.json)")
    parser.add_argument(
        "--images", type=int, default=8192, help="training images of the engine, twice those of the loops (8192)"
    )
    parser.add_argument("--batch", type=int, default=128, help="images of a step (128)")
    parser.add_argument("--side", type=int, default=224, help="of a picture, pixels (224)")
    parser.add_argument("--epochs", type=int, default=3, help="of engine and loops, of which the last one counts (3)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only tries what this does")
    options = parser.parse_args(arguments)
    options.minutes = options.minutes if options.minutes is not None else 14.0 if options.open else 10.0
    options.only = list(OPEN) if options.open else options.only or ["engine", "loops", "lectures"]
    return options


def _parts(text: str) -> list[str]:
    found = text.split(",")
    if unknown := [name for name in found if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: one or more, with commas, of {', '.join(PARTS)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
