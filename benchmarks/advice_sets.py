"""The image sets that advice is judged on, as folders train/ and test/ of class folders, made of the real images of TLKIT_TEST_DATA.

Which images are tested depends on their names alone: a digest's first digits, of a patient's or an emoji's name where images belong together.
So does which are left out where a set has more than 450 training or 600 test images: what is measured has to end within hours.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Named = tuple[str, str, str, bytes]  # part ("" where the name decides), class, file name, bytes
_TESTED = 0.3  # of the images, where a set has no test images of its own
MOST = {"train": 450, "test": 600}  # images of a part


@dataclass(frozen=True)
class ImageSet:
    """A set of images.

    Attributes:
        family: Sets of one family are left out together.
        size: Side of the network's input, pixels.
        read: Yields its images, given the folder of the real data.
        without: Backbones that were trained on it.
        of_source: Its classes or pictures belong to ImageNet, nearly so where not all do.
    """

    family: str
    size: int
    read: Callable[[Path], Iterator[Named]]
    without: tuple[str, ...] = ()
    of_source: bool = False


def make(name: str, data: Path, into: Path) -> Path:
    """Write a set's folder where it is not there yet, and return it."""
    folder = into / name
    if (folder / "done").is_file():
        return folder
    found: dict[str, list[Named]] = {}
    for part, kind, file, content in SETS[name].read(data):
        own = part or ("test" if _is_tested(file) else "train")
        found.setdefault(own, []).append((own, kind, file, content))
    for own, images in found.items():
        for part, kind, file, content in sorted(images, key=lambda each: _number(f"{each[1]}/{each[2]}"))[: MOST[own]]:
            path = folder / part / kind / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (folder / "done").write_text("all images are written\n")
    return folder


def _is_tested(file: str) -> bool:
    key = file.partition("_")[0] if file.startswith("person") else file
    return _number(key) < _TESTED


def _number(text: str) -> float:
    """Return a number, 0 to 1, that depends on a text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _tar(archive: str, below: str = "", parts: Mapping[str, str] | None = None) -> Callable[[Path], Iterator[Named]]:
    """Read class folders of an archive, below one of its folders; `parts` are folders above the classes that are splits."""

    def read(data: Path) -> Iterator[Named]:
        with tarfile.open(data / archive) as tar:
            for member in tar:
                path = Path(member.name)
                if not member.isfile() or path.suffix.lower() not in (".jpg", ".png") or not member.name.startswith(below):
                    continue
                content = tar.extractfile(member)
                part = (parts or {}).get(path.parts[0], "")
                yield part, path.parent.name, path.name, content.read() if content is not None else b""

    return read


def _png(pixels: NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _pneumonia(data: Path) -> Iterator[Named]:
    with np.load(data / "pneumoniamnist.npz") as arrays:
        for part, most in (("train", 1000), ("test", 624)):
            labels = arrays[f"{part}_labels"].reshape(-1)
            for row, pixels in enumerate(arrays[f"{part}_images"][:most]):
                yield part, ("normal", "pneumonia")[int(labels[row])], f"{row}.png", _png(pixels)


def _fashion(data: Path) -> Iterator[Named]:
    folder = data / "fashion_mnist"
    for part, prefix, most in (("train", "train", 1000), ("test", "t10k", 1000)):
        pixels = np.frombuffer(gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
        labels = np.frombuffer(gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
        for row, picture in enumerate(pixels.reshape(-1, 28, 28)[:most]):
            yield part, str(labels[row]), f"{row}.png", _png(picture)


def _cifar(data: Path) -> Iterator[Named]:
    with np.load(data / "cifar10" / "cifar10_lossless4000.npz") as arrays:
        for row, (picture, label) in enumerate(zip(arrays["x"][:3000], arrays["y"][:3000], strict=True)):
            yield "train" if row < 2000 else "test", str(arrays["class_names"][int(label)]), f"{row}.png", _png(picture)


def _retina(data: Path) -> Iterator[Named]:
    """Patches of 64 pixels of DRIVE whose centre is a vessel, and as many without any vessel at the centre; by picture."""
    with tarfile.open(data / "retina.tar") as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isfile() and member.name.startswith("DRIVE/")}
        bytes_of = {name: file.read() for name, file in found.items() if file is not None}
    for name in sorted(bytes_of):
        path = Path(name)
        if path.parent.name != "images":
            continue
        number, part = path.name.partition("_")[0], "test" if "test" in path.parts else "train"
        mask = next(each for each in bytes_of if f"/{path.parts[1]}/1st_manual/{number}_" in each)
        picture = np.asarray(Image.open(BytesIO(bytes_of[name])).convert("RGB"))
        vessel = np.asarray(Image.open(BytesIO(bytes_of[mask])).convert("L")) > 127
        draws = np.random.default_rng(int(number))
        for kind, where in (("vessel", vessel), ("none", ~vessel & (picture.sum(2) > 60))):
            rows, columns = np.nonzero(where[32:-32, 32:-32])
            for each in draws.choice(len(rows), 20, replace=False):
                row, column = int(rows[each]), int(columns[each])
                yield part, kind, f"{number}_{row}_{column}.png", _png(picture[row : row + 64, column : column + 64])


_CIFAR = ("cifar_resnet20", "cifar_resnet56")
SETS: Mapping[str, ImageSet] = {  # those of few images first
    "hymenoptera": ImageSet(
        "hymenoptera", 64, _tar("hymenoptera.tar", parts={"train": "train", "val": "test"}), of_source=True
    ),
    "cifar": ImageSet("cifar", 64, _cifar, without=_CIFAR),
    "dslr": ImageSet("office31", 64, _tar("office31.tar", "office31/dslr/images/")),
    "google": ImageSet("emoji", 64, _tar("emoji.tar", "google/")),
    "pneumonia": ImageSet("x-rays", 64, _pneumonia),
    "retina": ImageSet("retina", 64, _retina),
    "fashion": ImageSet("fashion", 64, _fashion),
    "art": ImageSet("pacs", 64, _tar("pacs_photo_art.tar", "art_painting/"), of_source=True),
    "twitter": ImageSet("emoji", 64, _tar("emoji.tar", "twitter/")),
    "chest": ImageSet("x-rays", 64, _tar("chest_xray.tar")),
    "webcam": ImageSet("office31", 64, _tar("office31.tar", "office31/webcam/images/")),
    "photo": ImageSet("pacs", 64, _tar("pacs_photo_art.tar", "photo/"), of_source=True),
    "amazon": ImageSet("office31", 64, _tar("office31.tar", "office31/amazon/images/")),
}
