"""Measure on a GPU: training against its bare replay, the same work by others, and the lectures' recipes beside their figures.

    python -m benchmarks.cuda [--only engine,loops,lectures] [--minutes 10] [--json cuda.json] [--images 8192] [--batch 128]

Nothing is begun, and no epoch of a lecture's recipe, after --minutes. What cannot be measured is named with its reason, and the rest is
measured. The figures are written after each piece of work.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.cuda import engine, lectures, loops
from tlkit.errors import RecipeError

PARTS = ("engine", "loops", "lectures")
_VAL = 512  # pictures that the loops evaluate on

Piece = tuple[str, Callable[[float], Any]]  # its name, and what is called with the seconds that are left


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables, and write a JSON file; return 1 where something failed."""
    options = _options(arguments)
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.cuda: needs a CUDA device, and torch finds none here")
    device = torch.device("cuda:0")
    record: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "settings": {key: value for key, value in vars(options).items() if key != "json"},
        "matrix_rate": engine.matrix_rate(device),
    }
    print(f"{record['gpu']}, torch {torch.__version__}")
    print(f"a matrix product of side {engine.SIDE} in bfloat16: {record['matrix_rate'] / 1e12:,.0f} TFLOP/s")
    return measure(options, record, device=device)


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
    with tempfile.TemporaryDirectory() as scratch:
        for part in options.only:
            rows, skipped = [], {}
            for name, do in pieces(part, options, Path(scratch), device, **smaller):
                left = ends - time.perf_counter()
                if left < 0:
                    skipped[name] = f"--minutes {options.minutes:g} are over"
                    continue
                print(f"{part}: {name}", file=sys.stderr, flush=True)
                try:
                    rows.append(do(left))
                except (Exception, SystemExit) as error:  # the others are measured all the same
                    skipped[name] = f"{type(error).__name__}: {error}"
                    failed |= not isinstance(error, LookupError | RecipeError)
                gc.collect()
                torch.cuda.empty_cache()
                record[part] = {"rows": [asdict(row) for row in rows], "skipped": skipped}
                options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            record[part] = {"rows": [asdict(row) for row in rows], "skipped": skipped}
            print(f"\n{part}\n{_TABLES[part](rows)}")
            for name, why in skipped.items():
                print(f"{name}: skipped: {why}")
    options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {options.json}")
    return int(failed)


def pieces(
    part: str, options: argparse.Namespace, scratch: Path, device: torch.device, *,
    backbone: str = "resnet18", precision: str = "bfloat16", names: Sequence[str] = tuple(loops.CONTENDERS), val: int = _VAL,
    short: int = 256, settings: Sequence[str] = (),
) -> Iterator[Piece]:  # fmt: skip
    """Yield what a part measures, one after the other.

    Args:
        part: One of PARTS.
        options: Of the command line.
        scratch: For files.
        device: To measure on.
        backbone: Of the engine's part.
        precision: Of the engine's part.
        names: Of the loops.
        val: Pictures that loops evaluate on.
        short: Side of the loops' pictures, pixels.
        settings: "key=value", of the lectures' recipes.
    """
    sizes = {"batch": options.batch, "side": options.side}
    if part == "engine":
        for name in engine.AUGMENTATIONS:
            yield name, lambda _, name=name: engine.measure(
                name, device=device, images=options.images, epochs=options.epochs, backbone=backbone, precision=precision, **sizes
            )  # fmt: skip
    elif part == "loops":
        train = max(options.images // 2 // options.batch, 1) * options.batch  # timm's loader leaves out a last small batch
        work = loops.prepare(scratch / "pictures", train=train, val=val, short=short, **sizes)
        for number, name in enumerate(names):  # each may take its share of what is left, so that one that hangs ends no other
            share = 1 / (len(names) - number)
            yield (
                name,
                lambda left, name=name, share=share: loops.measure(
                    name, work, epochs=options.epochs, venvs=scratch / "venvs", train=train, limit=left * share
                ),
            )
    else:
        for recipe, figure in lectures.arms():
            yield (
                f"{recipe}, {figure.arm}",
                lambda left, recipe=recipe, figure=figure: lectures.measure(
                    recipe, figure, device=device.type, seconds=left, settings=settings
                ),
            )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=f"of {', '.join(PARTS)}, with commas (all)")
    parser.add_argument("--minutes", type=float, default=10.0, help="nothing is begun after that (10)")
    parser.add_argument("--json", type=Path, default=Path("cuda.json"), help="where the figures go (cuda.json)")
    parser.add_argument(
        "--images", type=int, default=8192, help="training images of the engine, twice those of the loops (8192)"
    )
    parser.add_argument("--batch", type=int, default=128, help="images of a step (128)")
    parser.add_argument("--side", type=int, default=224, help="of a picture, pixels (224)")
    parser.add_argument("--epochs", type=int, default=3, help="of engine and loops, of which the last one counts (3)")
    return parser.parse_args(arguments)


def _parts(text: str) -> list[str]:
    found = text.split(",")
    if unknown := [name for name in found if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: one or more, with commas, of {', '.join(PARTS)}")
    return found


_TABLES: dict[str, Callable[[Sequence[Any]], str]] = {
    "engine": engine.table,
    "loops": lambda rows: loops.table(list(rows)),
    "lectures": lectures.table,
}


if __name__ == "__main__":
    sys.exit(main())
