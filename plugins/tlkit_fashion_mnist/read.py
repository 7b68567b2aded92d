"""Read Fashion-MNIST from its idx files, and the shipped subset from its .npz.

Grey is handed over as a broadcast view (N, 28, 28, 3) of (N, 28, 28): read-only, and no copy.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Images, Split

# Label order of https://github.com/zalandoresearch/fashion-mnist
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# First four bytes of an idx file: 0, 0, 8 for unsigned bytes, and the number of axes (http://yann.lecun.com/exdb/mnist/).
_MAGIC_IMAGES = 0x00000803
_MAGIC_LABELS = 0x00000801
_LARGEST = 60_000  # items of the official training set; a header that says more is damaged
_MINI = {"train": 2_000, "test": 1_000}  # images of the shipped subset
_AGAIN = "fetch the official file again"
_REINSTALL = "install tlkit again"


def fashion_mnist(found: DataFiles, options: None = None) -> Images:
    """Return "train" and "test" of the four idx files.

    Raises:
        DataError: a file is damaged, or its header, sizes or labels are not Fashion-MNIST's.
    """
    train_images, train_labels, test_images, test_labels = found.files
    return Images(
        classes=CLASSES,
        splits={"train": _idx_split(train_images, train_labels), "test": _idx_split(test_images, test_labels)},
    )


def fashion_mnist_mini(found: DataFiles, options: None = None) -> Images:
    """Return the shipped subset: 2,000 training and 1,000 test images, balanced, in the order of the official files.

    These are the first 200 and the first 100 of each class (`make_mini.py`).

    Raises:
        DataError: the file is damaged.
    """
    (path,) = found.files
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.", _REINSTALL) from error
    except Exception as error:  # a damaged archive raises nearly anything
        raise DataError(f"{path}: is damaged: {type(error).__name__}: {error}.", _REINSTALL) from error
    return Images(classes=CLASSES, splits={name: _mini_split(path, content, name) for name in _MINI})


def _idx_split(images: Path, labels: Path) -> Split:
    grey = _idx(images, magic=_MAGIC_IMAGES, sizes=(28, 28))
    label = _idx(labels, magic=_MAGIC_LABELS, sizes=())
    if len(grey) != len(label):
        raise DataError(f"{labels}: holds {len(label)} labels, but {images.name} holds {len(grey)} images.", _AGAIN)
    return _split(labels, grey, label)


def _idx(path: Path, *, magic: int, sizes: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the items (N, *sizes) of a gzipped idx file."""
    try:
        with gzip.open(path) as file:
            count = _idx_count(path, file.read(4 * (2 + len(sizes))), magic=magic, sizes=sizes)
            values = np.frombuffer(file.read(count * prod(sizes)), np.uint8)
            longer = bool(file.read(1))  # reaching the end also makes gzip compare its own checksum
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is truncated or no gzip file: {error}.", _AGAIN) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if longer or len(values) != count * prod(sizes):
        held = f"more than {len(values)}" if longer else len(values)
        raise DataError(f"{path}: holds {held} values, not {count * prod(sizes)} as its header says.", _AGAIN)
    return values.reshape(count, *sizes)


def _idx_count(path: Path, header: bytes, *, magic: int, sizes: tuple[int, ...]) -> int:
    """Return the number of items that a checked header states."""
    if len(header) != 4 * (2 + len(sizes)):
        raise DataError(f"{path}: ends after {len(header)} bytes, inside its header.", _AGAIN)
    found, count, *rest = (int(number) for number in np.frombuffer(header, ">u4"))
    if found != magic:
        raise DataError(f"{path}: begins with 0x{found:08x}, not 0x{magic:08x}.", "are images and labels exchanged?")
    if tuple(rest) != sizes:
        raise DataError(f"{path}: holds images of {'x'.join(map(str, rest))}, not 28x28.", "is this another idx data set?")
    if not 1 <= count <= _LARGEST:
        raise DataError(f"{path}: its header says {count} items, not 1 to {_LARGEST}.", _AGAIN)
    return count


def _mini_split(path: Path, content: dict[str, NDArray[np.uint8]], name: str) -> Split:
    for key, shape in ((f"{name}_images", (_MINI[name], 28, 28)), (f"{name}_labels", (_MINI[name],))):
        if key not in content:
            raise DataError(f'{path}: has no array "{key}".', _REINSTALL)
        if content[key].shape != shape or content[key].dtype != np.uint8:
            raise DataError(f"{path}: {key} is {content[key].shape} {content[key].dtype}, not {shape} uint8.", _REINSTALL)
    return _split(path, content[f"{name}_images"], content[f"{name}_labels"])


def _split(path: Path, grey: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    if labels.max() >= len(CLASSES):
        position = int(np.argmax(labels >= len(CLASSES)))
        raise DataError(f"{path}: the label at position {position} is {labels[position]}.", f"labels: 0 to {len(CLASSES) - 1}")
    return Split(targets=labels.astype(np.int64), pixels=np.broadcast_to(grey[..., None], (*grey.shape, 3)))
