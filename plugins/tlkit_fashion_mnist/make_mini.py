"""Make fashion_mnist_mini.npz: the first 200 training and 100 test images of each class, in file order.

    python -m tlkit_fashion_mnist.make_mini FOLDER [OUTPUT]

FOLDER holds the four official .gz files. The same zlib gives the same bytes: numpy dates every entry 1980.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Split
from tlkit_fashion_mnist import fashion_mnist as dataset
from tlkit_fashion_mnist.read import CLASSES, fashion_mnist

PER_CLASS = {"train": 200, "test": 100}


def make(folder: Path, output: Path) -> None:
    """Write the subset of the official files in a folder.

    Raises:
        DataError: the files are not Fashion-MNIST's, or a class has too few images.
    """
    images = fashion_mnist(DataFiles(folder, tuple(folder / name for name in dataset.files)))
    where = {name: _first(images.splits[name].targets, PER_CLASS[name], where=f"{folder}: {name}") for name in PER_CLASS}
    with output.open("wb") as file:
        np.savez_compressed(
            file,
            train_images=_grey(images.splits["train"])[where["train"]],
            train_labels=images.splits["train"].targets[where["train"]].astype(np.uint8),
            test_images=_grey(images.splits["test"])[where["test"]],
            test_labels=images.splits["test"].targets[where["test"]].astype(np.uint8),
        )


def _grey(split: Split) -> NDArray[np.uint8]:
    """Return (N, 28, 28): one of the three equal channels."""
    assert split.pixels is not None
    return split.pixels[..., 0]


def _first(labels: NDArray[np.integer], count: int, *, where: str) -> NDArray[np.intp]:
    """Return the positions, ascending, of the first `count` images of each class."""
    of_class = [np.flatnonzero(labels == label)[:count] for label in range(len(CLASSES))]
    for name, positions in zip(CLASSES, of_class, strict=True):
        if len(positions) < count:
            raise DataError(f'{where}: class "{name}" has {len(positions)} images, fewer than {count}.')
    return np.sort(np.concatenate(of_class))


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if len(arguments) not in (1, 2):
        raise SystemExit("usage: python -m tlkit_fashion_mnist.make_mini FOLDER [OUTPUT]")
    output = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).with_name("fashion_mnist_mini.npz")
    try:
        make(Path(arguments[0]), output)
    except DataError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:])
