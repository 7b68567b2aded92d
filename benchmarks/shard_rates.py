"""What limits a pass over shards: read, hash, decode, compute and write, each alone, in images a second on this machine.

    python -m benchmarks.shard_rates --images FOLDER               # a folder of photographs
    python -m benchmarks.shard_rates --images FOLDER --json > rates.json

Each part is measured for itself on one shard of the folder's images, repeated to --count. "embedded" is what `tlkit embed` does.
Images a second of one processor's time are beside it, which other programs on the machine hardly change; they do not see waiting for a disk.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from tlkit import machine
from tlkit.engine.images import decode
from tlkit.model import backbone_features
from tlkit.run import shard_embeddings, torch_settings
from tlkit.run.stored_embeddings import StoredEmbeddings
from tlkit.sources import image_files
from tlkit_shards import contents

_PARTS = ("read", "hashed", "decoded", "computed", "written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the rates."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shard_rates", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=512, help="images in the shard (512)")
    parser.add_argument("--backbone", default="resnet18", help="with random weights (resnet18)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rates = measure(options.images, options.count, backbone=options.backbone, device=torch.device(options.device))
    if options.json:
        print(json.dumps(rates, indent=2))
        return 0
    print(
        f"{options.backbone} on {options.device}, {options.count:,} images of {rates['image_bytes']:,.0f} bytes, {machine.processors()} cores"
    )
    for name in (*_PARTS, "embedded"):
        print(f"  {name:<9}{rates[name]:>12,.0f} images/s{rates[f'{name}_a_processor']:>12,.0f} images/s of a processor")
    slowest = min(_PARTS, key=lambda name: rates[name])
    print(f"  what limits: {slowest}")
    return 0


def measure(folder: Path, count: int, *, backbone: str, device: torch.device) -> dict[str, float]:
    """Return images a second of each part, the same of one processor's time, and the mean size of a file."""
    files = image_files.below(folder, where="shard_rates")
    with tempfile.TemporaryDirectory() as scratch, torch_settings.applied(device):
        shard = _shard(Path(scratch) / "x.tar", files, count)
        predictor = backbone_features.load(backbone, weights="none", device=device, offline=True)
        found = StoredEmbeddings(predictor, note=print)
        members = list(contents.images_of(str(shard)))
        geometry, pictures = predictor.geometry, [member.read_bytes() for member in members]
        with ThreadPoolExecutor(machine.processors()) as pool:
            decoded = list(pool.map(lambda member: decode.picture(member, geometry), members[:16]))
            batch = torch.stack([torch.from_numpy(each.copy()) for each in decoded])

            def compute() -> None:
                for _ in range(-(-count // len(batch))):
                    predictor.embed(batch.numpy())

            rates = {
                **_rate("read", count, lambda: [None for _ in _names(shard)]),
                **_rate("hashed", count, lambda: [hashlib.sha256(picture).digest() for picture in pictures]),
                **_rate("decoded", count, lambda: list(pool.map(lambda member: decode.picture(member, geometry), members))),
                **_rate("computed", count, compute),
            }
        out = Path(scratch) / "out"
        network = shard_embeddings.network_of(predictor, None)
        (job,) = shard_embeddings.jobs(str(shard), out, network)
        shard_embeddings.begin(out, network)
        rates |= _rate("embedded", count, lambda: shard_embeddings.embed(job, found, progress=lambda _: None))
        rows = [[0.0] * found.features] * count
        rates |= _rate("written", count, lambda: _write(Path(scratch) / "y.parquet", rows))
        return {"image_bytes": sum(map(len, pictures)) / count, **rates}


def _shard(path: Path, files: Sequence[Path], count: int) -> Path:
    with tarfile.open(path, "w") as archive:
        for number, file in enumerate(itertools.islice(itertools.cycle(files), count)):
            content = file.read_bytes()
            info = tarfile.TarInfo(f"{number:06d}{file.suffix.lower()}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _names(shard: Path) -> list[int]:
    with tarfile.open(shard, "r|") as archive:
        return [len(opened.read()) for member in archive if (opened := archive.extractfile(member)) is not None]


def _write(path: Path, rows: list[list[float]]) -> None:
    import numpy as np

    from tlkit.record import embeddings

    embeddings.write(path, [str(each) for each in range(len(rows))], np.array(rows, np.float32))


def _rate(name: str, count: int, work: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """Return images a second and images a second of a processor, each the best of a few times."""
    walls, busies = [], []
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - began)
        busies.append(time.process_time() - busy)
    return {name: count / min(walls), f"{name}_a_processor": count / min(busies)}


if __name__ == "__main__":
    sys.exit(main())
