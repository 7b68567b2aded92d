"""How near the fixed prefix comes to what the machine can do: ResNet-18, folded, in each form, beside a matrix product.

    python -m benchmarks.prefix [--images 128] [--side 224] [--rounds 5] [--json]

Every stage of ResNet-18 with random weights runs as a run's fixed prefix does, in chunks of 32 pictures. A round is the rate of a
2048 x 2048 matrix product in each precision, and then every form of the prefix on the same pictures; figures are medians over the
rounds. A multiply-add counts as two operations, on either side.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.prefix import Prefix
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head, registry
from tlkit.record.formats import COMPUTE_FORMATS, ComputeFormat, PrefixPlan
from tlkit_heads import LinearOptions

TO_REACH = 0.40  # of the matrix product's rate in bfloat16, by the fastest form
_PRECISIONS = tuple(dict.fromkeys(compute_format.precision for compute_format in COMPUTE_FORMATS))


@dataclass(frozen=True)
class Row:
    """What a form reaches.

    Attributes:
        compute_format: Precision and memory format.
        images_per_second: Of the median round.
        gflops: 10^9 operations a second of it.
        rate: The same of the matrix product in that precision.
        part: `gflops` as a part of `rate`.
    """

    compute_format: ComputeFormat
    images_per_second: float
    gflops: float
    rate: float
    part: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line for each form."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefix", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128, help="of a round, in full chunks of 32 (128)")
    parser.add_argument("--side", type=int, default=224, help="of a picture, pixels (224)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each form takes its turn (5)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    chunks = max(1, -(-options.images // PrefixPlan().chunk))
    rows = measure(side=options.side, chunks=chunks, rounds=options.rounds)
    rates = {row.compute_format.precision: row.rate for row in rows}
    best = max(rows, key=lambda row: row.gflops)
    reached = best.gflops / rates["bfloat16"]
    images = chunks * PrefixPlan().chunk
    if options.json:
        compute_formats = [vars(row) | {"compute_format": str(row.compute_format)} | vars(row.compute_format) for row in rows]
        print(
            json.dumps(
                {"side": options.side, "images": images, "rounds": options.rounds, "forms": compute_formats, "reached": reached}
            )
        )
        return
    print(
        f"resnet18, folded prefix, {options.side} px, {images} pictures, median of {options.rounds}, {torch.get_num_threads()} threads"
    )
    print(f"{'compute format':24} {'images/s':>10} {'GFLOP/s':>10}  of the matrix product's rate")
    for row in rows:
        share = f"{100 * row.part:.0f} % of {row.rate:,.1f}"
        print(f"{row.compute_format!s:24} {row.images_per_second:10,.1f} {row.gflops:10,.1f}  {share}")
    print(f"the fastest, {best.compute_format}, reaches {reached:.0%} of the rate in bfloat16; the goal is {TO_REACH:.0%}")


def measure(*, side: int, chunks: int, rounds: int) -> list[Row]:
    """Run every form in turns.

    Args:
        side: Of a picture, pixels.
        chunks: Of a turn, each of as many pictures as a plan's.
        rounds: How often each form takes its turn.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whole = network()
    count = flops(whole, side=side)
    whole = whole.to(device)
    x = torch.randn(PrefixPlan().chunk, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    built = {
        compute_format: prefix.build(whole, len(whole.stages), PrefixPlan(compute_format=compute_format), sample=x[:1])
        for compute_format in COMPUTE_FORMATS
    }
    for each in built.values():  # warm up
        _seconds(each, x, 1)
    seconds: dict[ComputeFormat, list[float]] = {compute_format: [] for compute_format in COMPUTE_FORMATS}
    rates: dict[str, list[float]] = {name: [] for name in _PRECISIONS}
    for _ in range(rounds):
        for name, found in rates.items():
            found.append(machine.rate(name))
        for compute_format, each in built.items():
            seconds[compute_format].append(_seconds(each, x, chunks))
    images = chunks * len(x)
    return [
        row(f, images=images, seconds=seconds[f], flops=count, rate=statistics.median(rates[f.precision]))
        for f in COMPUTE_FORMATS
    ]


def row(compute_format: ComputeFormat, *, images: int, seconds: Sequence[float], flops: int, rate: float) -> Row:
    """Return the figures of a form.

    Args:
        compute_format: Which.
        images: Of a turn.
        seconds: Of each turn.
        flops: Operations of one picture.
        rate: Operations a second of the matrix product in that precision.
    """
    per_second = images / statistics.median(seconds)
    return Row(compute_format, per_second, per_second * flops / 1e9, rate / 1e9, per_second * flops / rate)


def network() -> Network:
    """Build ResNet-18 with random weights."""
    return building.build(
        registry.get(Backbone, "resnet18"), registry.get(Head, "linear"), classes=10, backbone_options=None,
        head_options=LinearOptions(), seed=0,
    )  # fmt: skip


def flops(whole: Network, *, side: int) -> int:
    """Return the operations of the stages on one picture; BatchNorm, which is folded away, ReLU and pooling count nothing."""
    meta = copy.deepcopy(whole).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta.run(torch.empty(1, 3, side, side, device="meta"))
    return int(counter.get_total_flops())


def _seconds(run: Prefix, x: Tensor, chunks: int) -> float:
    began = time.perf_counter()
    for _ in range(chunks):
        out = run(x)
    out[0, 0].item()  # waits for a GPU
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
