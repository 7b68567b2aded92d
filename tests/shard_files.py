"""Small shards and parquet files for tests, written with tarfile and pyarrow alone."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def png(seed: int, side: int = 16) -> bytes:
    """Return the file of a picture: noise with a tint, so that the two classes can be told apart."""
    pixels = np.random.default_rng(seed).integers(0, 100, (side, side, 3), dtype=np.uint8) + np.uint8(100 * (seed % 2))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    """Write a tar archive of members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(numbers: Sequence[int]) -> dict[str, bytes]:
    """Return the members of samples: a picture and its label, which is its number modulo 2."""
    found = {}
    for number in numbers:
        found[f"{number:06d}.png"] = png(number)
        found[f"{number:06d}.cls"] = str(number % 2).encode()
    return found


def shards(folder: Path, count: int = 3, each: int = 8, suffix: str = ".tar") -> Path:
    """Write shards of `each` samples, and a test shard."""
    mode = "w:gz" if suffix.endswith("gz") else "w"
    for shard in range(count):
        tar(folder / f"train-{shard:04d}{suffix}", samples(range(shard * each, (shard + 1) * each)), mode)
    tar(folder / f"test-0000{suffix}", samples(range(1000, 1004)), mode)
    return folder


def images(folder: Path, train: int = 12, test: int = 4) -> Path:
    """Write pictures in folders of classes, below train and test."""
    for part, numbers in (("train", range(train)), ("test", range(1000, 1000 + test))):
        for number in numbers:
            path = folder / part / CLASSES[number % 2] / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
    return folder


def table(path: Path, numbers: Sequence[int], *, group: int = 4, names: bool = True) -> Path:
    """Write a parquet file as the library `datasets` does, with the names of the classes in the schema's metadata."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [{"bytes": png(number), "path": f"{number}.png"} for number in numbers]
    found = pyarrow.table({"image": pictures, "label": [number % 2 for number in numbers]})
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    if names:
        found = found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(found, path, row_group_size=group)
    return path
