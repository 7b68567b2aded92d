"""Fashion-MNIST: the idx files as gzip and numpy read them, and the shipped subset."""

import gzip
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import tlkit_fashion_mnist
from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Dataset, Images, call
from tlkit_fashion_mnist import fashion_mnist, fashion_mnist_mini

DATA = Path(os.environ.get("TLKIT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PACKAGE = Path(tlkit_fashion_mnist.__file__).parent
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = fashion_mnist.files


def read(dataset: Dataset, folder: Path) -> Images:
    return call(dataset.read, DataFiles(folder, tuple(folder / name for name in dataset.files)), None)


def idx_images(count: int, *, magic: int = 0x803, sizes: tuple[int, int] = (28, 28), values: int | None = None) -> bytes:
    pixels = np.arange(count * 784 if values is None else values) % 251
    return struct.pack(">4I", magic, count, *sizes) + pixels.astype(np.uint8).tobytes()


def idx_labels(labels: list[int], *, magic: int = 0x801, count: int | None = None) -> bytes:
    return struct.pack(">2I", magic, len(labels) if count is None else count) + bytes(labels)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / TRAIN_IMAGES).write_bytes(gzip.compress(idx_images(5)))
    (tmp_path / TRAIN_LABELS).write_bytes(gzip.compress(idx_labels([0, 1, 2, 9, 0])))
    (tmp_path / TEST_IMAGES).write_bytes(gzip.compress(idx_images(3)))
    (tmp_path / TEST_LABELS).write_bytes(gzip.compress(idx_labels([9, 8, 7])))
    return tmp_path


@pytest.fixture
def official() -> Path:
    if not (DATA / "fashion_mnist").is_dir():
        pytest.skip(f"no Fashion-MNIST below {DATA} (TLKIT_TEST_DATA)")
    return DATA / "fashion_mnist"


def plain(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def test_idx_files_become_grey_in_three_channels_without_a_copy(small: Path) -> None:
    images = read(fashion_mnist, small)
    train = images.splits["train"]
    assert train.pixels.shape == (5, 28, 28, 3)
    assert train.pixels.dtype == np.uint8
    assert train.pixels.strides[-1] == 0
    assert train.pixels[1, 2, 3].tolist() == [(784 + 2 * 28 + 3) % 251] * 3
    assert train.targets.dtype == np.int64
    assert train.targets.tolist() == [0, 1, 2, 9, 0]
    assert images.splits["test"].targets.tolist() == [9, 8, 7]
    assert images.classes[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (TRAIN_IMAGES, idx_images(5, magic=0x801), "begins with 0x00000801, not 0x00000803"),
        (TRAIN_LABELS, idx_images(5), "begins with 0x00000803, not 0x00000801"),
        (TRAIN_IMAGES, idx_images(5, magic=0x03080000), "begins with 0x03080000"),
        (TRAIN_IMAGES, idx_images(5, sizes=(32, 32)), "holds images of 32x32, not 28x28"),
        (TRAIN_IMAGES, idx_images(5, values=100), "holds 100 values, not 3920"),
        (TRAIN_IMAGES, idx_images(5, values=3921), "holds more than 3920 values"),
        (TRAIN_IMAGES, idx_images(5)[:10], "ends after 10 bytes, inside its header"),
        (TRAIN_LABELS, b"", "ends after 0 bytes, inside its header"),
        (TRAIN_LABELS, idx_labels([], count=0), "its header says 0 items"),
        (TRAIN_LABELS, idx_labels([], count=2**32 - 1), "its header says 4294967295 items"),
        (TRAIN_LABELS, idx_labels([0, 1, 2, 3]), "holds 4 labels, but train-images-idx3-ubyte.gz holds 5 images"),
        (TRAIN_LABELS, idx_labels([0, 1, 10, 3, 4]), "the label at position 2 is 10"),
    ],
)
def test_a_wrong_file_is_named(small: Path, name: str, content: bytes, message: str) -> None:
    (small / name).write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=re.escape(f"{small / name}: {message}")):
        read(fashion_mnist, small)


@pytest.mark.parametrize("damage", ["short", "bits", "plain", "trailing", "empty header"])
def test_a_damaged_gzip_file_is_an_error(small: Path, damage: str) -> None:
    path = small / TEST_IMAGES
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "short": whole[:-9],
            "bits": whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 8]) + whole[middle + 8 :],
            "plain": idx_images(3),
            "trailing": whole + b"more",
            "empty header": whole[:5],
        }[damage]
    )
    with pytest.raises(DataError, match=re.escape(f"{path}: is truncated or no gzip file")):
        read(fashion_mnist, small)


def test_a_missing_file_is_an_error(small: Path) -> None:
    (small / TEST_LABELS).unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: cannot be read: No such file"):
        read(fashion_mnist, small)


def test_official_files_equal_what_gzip_and_numpy_read(official: Path) -> None:
    images = read(fashion_mnist, official)
    for name, (pixels, labels) in {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}.items():
        split = images.splits[name]
        assert len(split.targets) == fashion_mnist.nominal_images()[name]
        np.testing.assert_array_equal(split.pixels[..., 1], plain(official / pixels, 16).reshape(-1, 28, 28))
        np.testing.assert_array_equal(split.targets, plain(official / labels, 8))


def test_mini_is_balanced_and_needs_nothing_but_the_package() -> None:
    images = read(fashion_mnist_mini, PACKAGE)
    for name, each in {"train": 200, "test": 100}.items():
        split = images.splits[name]
        assert split.pixels.shape == (fashion_mnist_mini.nominal_images()[name], 28, 28, 3)
        assert split.targets.dtype == np.int64
        assert np.bincount(split.targets).tolist() == [each] * 10
    assert fashion_mnist_mini.inside == PACKAGE.name
    assert "MIT License" in (PACKAGE / "LICENSE.fashion_mnist").read_text(encoding="utf-8")


def test_mini_is_the_first_images_of_each_class_in_file_order(official: Path) -> None:
    images = read(fashion_mnist_mini, PACKAGE)
    for name, pixels, labels in (("train", TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        split = images.splits[name]
        assert split.pixels is not None
        whole, of = plain(official / pixels, 16).reshape(-1, 28, 28), plain(official / labels, 8).tolist()
        seen = [0] * 10
        chosen = []
        for position, label in enumerate(of):
            seen[label] += 1
            if seen[label] <= len(split.targets) // 10:
                chosen.append(position)
        np.testing.assert_array_equal(split.pixels[..., 2], whole[chosen])
        assert split.targets.tolist() == [of[position] for position in chosen]


def test_making_mini_again_gives_the_same_arrays(official: Path, tmp_path: Path) -> None:
    from tlkit_fashion_mnist.make_mini import main

    main([str(official), str(tmp_path / "again.npz")])
    with np.load(PACKAGE / "fashion_mnist_mini.npz") as shipped, np.load(tmp_path / "again.npz") as again:
        assert sorted(shipped.files) == sorted(again.files)
        for name in shipped.files:
            np.testing.assert_array_equal(shipped[name], again[name])


def test_making_mini_from_too_few_images_is_an_error(small: Path, tmp_path: Path) -> None:
    from tlkit_fashion_mnist.make_mini import main

    with pytest.raises(SystemExit, match='train: class "T-shirt/top" has 2 images, fewer than 200'):
        main([str(small), str(tmp_path / "again.npz")])
    with pytest.raises(SystemExit, match="usage: "):
        main([])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, 'has no array "train_images"'),
        ({"train_images": np.zeros((2000, 28, 27), np.uint8)}, "train_images is (2000, 28, 27) uint8"),
        ({"train_images": np.full(3, None)}, "is damaged"),
    ],
)
def test_a_damaged_mini_is_an_error(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "fashion_mnist_mini.npz", **arrays)
    with pytest.raises(DataError, match=re.escape(message)):
        read(fashion_mnist_mini, tmp_path)


@pytest.mark.parametrize("length", [0, 3, 100, 500_000])
def test_a_truncated_mini_is_an_error(tmp_path: Path, length: int) -> None:
    whole = (PACKAGE / "fashion_mnist_mini.npz").read_bytes()
    (tmp_path / "fashion_mnist_mini.npz").write_bytes(whole[:length])
    with pytest.raises(DataError, match=r"fashion_mnist_mini\.npz: is damaged"):
        read(fashion_mnist_mini, tmp_path)
