"""Simulate a pass over many images by many machines, from measured rates: hours, network, disk, index, failures.

    python -m benchmarks.scaling                                   # 1,000,000,000 images on 100 nodes
    python -m benchmarks.scaling --images 1e8 --nodes 10 --days-between-failures 10
    python -m benchmarks.shard_rates --images FOLDER --json > rates.json && python -m benchmarks.scaling --rates rates.json

Each shard is a job, as `tlkit embed` has it: a node takes the next shard, and the file of a shard is there whole or not at all. A node fails
at random (exponential times), is away for a while, and its shard is begun again by the next that is free. Nothing else is lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INDEX_BYTES = (
    90  # an image: names of 13 and labels of 1 to 4 bytes, three numbers, 32 bytes of digest; held by tests/benchmarks
)


@dataclass(frozen=True)
class Pass:
    """A pass over all images.

    Attributes:
        images: Number of images.
        image_bytes: Mean size of a file.
        shard_bytes: Size of a shard.
        nodes: Machines.
        images_per_second: That one node reads, decodes and embeds.
        features: Of an embedding, 4 bytes each.
        days_between_failures: Mean time between two failures of one node.
        minutes_away: That a node is away after a failure.
        spread: Standard deviation of a job's time, relative to its mean.
    """

    images: int = 1_000_000_000
    image_bytes: int = 110_000
    shard_bytes: int = 256_000_000
    nodes: int = 100
    images_per_second: float = 1000.0
    features: int = 512
    days_between_failures: float = 30.0
    minutes_away: float = 10.0
    spread: float = 0.1

    @property
    def images_per_shard(self) -> int:
        """Images in a shard."""
        return max(1, self.shard_bytes // self.image_bytes)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.images_per_shard)


@dataclass(frozen=True)
class Outcome:
    """What a pass takes.

    Attributes:
        hours: From the first job to the last.
        ideal_hours: Without failures and with jobs that all take the same time, split without a rest.
        failures: Of nodes.
        lost_share: Of all work, what was done twice.
        network_gigabytes_per_second: That all nodes read together.
        node_megabytes_per_second: That one node reads.
        source_terabytes: Size of all shards.
        result_terabytes: Size of all embeddings.
        index_gigabytes: Size of the indexes of all shards.
    """

    hours: float
    ideal_hours: float
    failures: int
    lost_share: float
    network_gigabytes_per_second: float
    node_megabytes_per_second: float
    source_terabytes: float
    result_terabytes: float
    index_gigabytes: float

    @property
    def failures_a_day(self) -> float:
        """Failures of nodes a day."""
        return self.failures / self.hours * 24


def simulate(planned: Pass, *, seed: int = 0) -> Outcome:
    """Carry out a pass job by job, in simulated time."""
    draws = random.Random(seed)
    mean = planned.images_per_shard / planned.images_per_second  # seconds
    between, away = planned.days_between_failures * 86_400, planned.minutes_away * 60
    free = [(0.0, node) for node in range(planned.nodes)]  # when each node is free
    fails = [draws.expovariate(1 / between) for _ in range(planned.nodes)]
    heapq.heapify(free)
    left, end, failures, lost = planned.shards, 0.0, 0, 0.0
    again: list[float] = []  # when a job that was cut off can be begun again
    while left or again:
        now, node = heapq.heappop(free)
        if fails[node] <= now:
            failures += 1
            heapq.heappush(free, (fails[node] + away if fails[node] + away > now else now, node))
            fails[node] = max(now, fails[node]) + away + draws.expovariate(1 / between)
            continue
        if left:
            left -= 1
        else:
            now = max(now, heapq.heappop(again))
        done = now + mean * max(0.1, draws.gauss(1, planned.spread))
        if fails[node] < done:
            lost += fails[node] - now
            heapq.heappush(again, fails[node])
            heapq.heappush(free, (fails[node], node))
            continue
        heapq.heappush(free, (done, node))
        end = max(end, done)
    rate = planned.nodes * planned.images_per_second
    ideal = planned.images / rate
    return Outcome(
        hours=end / 3600, ideal_hours=ideal / 3600, failures=failures, lost_share=lost / (planned.shards * mean),
        network_gigabytes_per_second=rate * planned.image_bytes / 1e9,
        node_megabytes_per_second=planned.images_per_second * planned.image_bytes / 1e6,
        source_terabytes=planned.images * planned.image_bytes / 1e12, result_terabytes=planned.images * planned.features * 4 / 1e12,
        index_gigabytes=planned.images * INDEX_BYTES / 1e9,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, and print what it takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    for field in dataclasses.fields(Pass):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=lambda text, kind=kind: kind(float(text)),
            default=None,
            help=f"({field.default:,})",
        )
    parser.add_argument("--rates", type=Path, help="what benchmarks.shard_rates --json printed")
    parser.add_argument("--json", action="store_true")
    options = vars(parser.parse_args(arguments))
    rates = json.loads(options["rates"].read_text()) if options["rates"] else {}
    known = {"images_per_second": rates.get("embedded"), "image_bytes": round(rates.get("image_bytes", 0))} | {
        field.name: options[field.name] for field in dataclasses.fields(Pass) if options[field.name] is not None
    }
    planned = Pass(**{name: value for name, value in known.items() if value})
    found = simulate(planned)
    if options["json"]:
        print(json.dumps({"pass": dataclasses.asdict(planned), "outcome": dataclasses.asdict(found)}, indent=2))
        return 0
    print(
        f"{planned.images:,} images in {planned.shards:,} shards on {planned.nodes:,} nodes, {planned.images_per_second:,.0f} images/s each"
    )
    print(
        f"  {found.hours:,.1f} h ({found.ideal_hours:,.1f} h without failures), {found.failures:,} failures, {found.failures_a_day:.1f} a day"
    )
    print(f"  {found.lost_share:.3%} of the work was done twice")
    each = f"{found.node_megabytes_per_second:,.0f} MB/s a node"
    print(f"  read: {found.source_terabytes:,.0f} TB, {found.network_gigabytes_per_second:.1f} GB/s in all, {each}")
    print(
        f"  written: {found.result_terabytes:.2f} TB of embeddings; an index of all shards has {found.index_gigabytes:,.0f} GB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
