"""CIFAR batches: what is read equals what pickle and numpy read, and nothing in a pickle is executed."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Dataset, Images, call
from tlkit_cifar import cifar10, cifar100

DATA = Path(os.environ.get("TLKIT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def read(dataset: Dataset, folder: Path) -> Images:
    return call(dataset.read, DataFiles(folder, tuple(folder / name for name in dataset.files)), None)


def write(path: Path, content: object, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def batch(count: int, *, classes: int = 10, key: bytes = b"labels", seed: int = 0) -> dict[bytes, object]:
    rng = np.random.default_rng(seed)
    return {
        b"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
        key: rng.integers(0, classes, count).tolist(),
        b"filenames": [b"a.png"] * count,
    }


@pytest.fixture
def small10(tmp_path: Path) -> Path:
    write(tmp_path / "batches.meta", {b"label_names": [f"name{i}".encode() for i in range(10)], b"num_vis": 3072})
    for number, name in enumerate(cifar10.files[1:]):
        write(tmp_path / name, batch(3 + number, seed=number))
    return tmp_path


@pytest.fixture
def small100(tmp_path: Path) -> Path:
    write(tmp_path / "meta", {b"fine_label_names": [f"name{i}".encode() for i in range(100)], b"coarse_label_names": []})
    write(tmp_path / "train", batch(7, classes=100, key=b"fine_labels"))
    write(tmp_path / "test", batch(4, classes=100, key=b"fine_labels", seed=1))
    return tmp_path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_gives_the_same_pixels(small10: Path, protocol: int) -> None:
    content = batch(6, seed=9)
    write(small10 / "test_batch", content, protocol)
    test = read(cifar10, small10).splits["test"]
    expected = np.asarray(content[b"data"])
    assert test.pixels[2, 5, 7].tolist() == [expected[2, channel * 1024 + 5 * 32 + 7] for channel in range(3)]
    assert test.targets.tolist() == content[b"labels"]


def test_names_of_numpy_1_and_2_are_both_understood(small10: Path) -> None:
    raw = pickle.dumps(batch(2), protocol=2)
    old, new = raw.replace(b"numpy._core", b"numpy.core"), raw.replace(b"cnumpy.core", b"cnumpy._core")
    assert old != new
    for variant in (old, new):
        (small10 / "test_batch").write_bytes(variant)
        assert len(read(cifar10, small10).splits["test"].targets) == 2


def test_a_pickle_written_by_python_2_is_read(small10: Path) -> None:
    # What Python 2's cPickle writes: protocol 2, text as SHORT_BINSTRING and BINSTRING, which Python 3 never writes.
    raw = bytes(range(256)) * 12
    parts = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tbU\x06labels]K\x07au."
    )
    expected = pickle.loads(parts, encoding="bytes")
    (small10 / "test_batch").write_bytes(parts)
    test = read(cifar10, small10).splits["test"]
    assert test.targets.tolist() == [7] == expected[b"labels"]
    np.testing.assert_array_equal(test.pixels.transpose(0, 3, 1, 2).reshape(1, 3072), expected[b"data"])


def test_cifar10_joins_the_batches_in_order(small10: Path) -> None:
    images = read(cifar10, small10)
    train = images.splits["train"]
    assert images.classes == tuple(f"name{i}" for i in range(10))
    assert train.pixels.shape == (3 + 4 + 5 + 6 + 7, 32, 32, 3)
    assert train.pixels.dtype == np.uint8
    assert train.pixels.flags.c_contiguous
    assert train.targets.dtype == np.int64
    assert train.targets.tolist() == [
        label for number in range(5) for label in np.asarray(batch(3 + number, seed=number)[b"labels"])
    ]


def test_cifar100_uses_the_fine_labels(small100: Path) -> None:
    images = read(cifar100, small100)
    assert len(images.classes) == cifar100.classes == 100
    assert images.splits["train"].targets.tolist() == batch(7, classes=100, key=b"fine_labels")[b"fine_labels"]
    assert len(images.splits["test"].targets) == 4


def test_labels_may_be_an_array(small10: Path) -> None:
    write(small10 / "test_batch", batch(3) | {b"labels": np.array([9, 0, 4])})
    assert read(cifar10, small10).splits["test"].targets.tolist() == [9, 0, 4]


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(small10: Path, tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "executed"
    write(small10 / "data_batch_3", batch(2) | {b"labels": Evil(os.system, f"touch {mark}")}, protocol)
    with pytest.raises(DataError, match=r"data_batch_3: the pickle asks for \"posix.system\", so it was not read") as caught:
        read(cifar10, small10)
    assert not mark.exists()
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("function", [eval, getattr, np.load, np.frombuffer, pickle.loads, bytearray.fromhex, type])
def test_no_function_is_within_reach_of_a_pickle(small10: Path, function: object) -> None:
    write(small10 / "test_batch", {b"data": Evil(function, "1")}, 4)
    with pytest.raises(DataError, match="the pickle asks for"):
        read(cifar10, small10)


def test_only_latin1_text_becomes_bytes(small10: Path) -> None:
    import _codecs

    write(small10 / "test_batch", {b"data": Evil(_codecs.encode, "1", "zip")})
    with pytest.raises(DataError, match='encoding "zip"'):
        read(cifar10, small10)


@pytest.mark.parametrize("dtype", ["f4", "O8", "S3"])
def test_other_arrays_than_integers_are_refused(small10: Path, dtype: str) -> None:
    write(small10 / "test_batch", batch(2) | {b"data": np.zeros((2, 3072), dtype)})
    with pytest.raises(DataError, match=f'array of "{dtype}"'):
        read(cifar10, small10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"data": np.zeros((4, 3071), np.uint8)}, '"data" is (4, 3071) uint8, not (N, 3072) uint8'),
        ({b"data": np.zeros((4, 3, 1024), np.uint8)}, '"data" is (4, 3, 1024) uint8'),
        ({b"data": np.zeros((4, 3072), np.int16)}, '"data" is (4, 3072) int16'),
        ({b"data": np.zeros((0, 3072), np.uint8)}, '"data" is (0, 3072) uint8'),
        ({b"data": [1, 2, 3]}, '"data" is list, not an array'),
        ({b"labels": [0, 10, 2, 3]}, '"labels" has 10 at position 1'),
        ({b"labels": [0, 1, -1, 3]}, '"labels" has -1 at position 2'),
        ({b"labels": [0, 1, 2]}, "holds 4 images but 3 labels"),
        ({b"labels": [0, 1, 2, "3"]}, '"labels" is not a list of whole numbers'),
        ({b"labels": np.zeros((2, 2), np.int64)}, '"labels" is not a list of whole numbers'),
    ],
)
def test_wrong_content_is_named(small10: Path, change: dict[bytes, object], message: str) -> None:
    write(small10 / "data_batch_2", batch(4) | change, 4)
    with pytest.raises(DataError, match=re.escape(f"{small10 / 'data_batch_2'}: {message}")):
        read(cifar10, small10)


def test_a_missing_entry_shows_those_that_are_there(small10: Path) -> None:
    write(small10 / "test_batch", batch(4, key=b"fine_labels"))
    with pytest.raises(DataError, match='test_batch: has no entry "labels"') as caught:
        read(cifar10, small10)
    assert caught.value.hints == ("entries: data, filenames, fine_labels",)


@pytest.mark.parametrize("names", [[b"cat"] * 10, [b"cat", b"dog"]])
def test_wrong_class_names_are_an_error(small10: Path, names: list[bytes]) -> None:
    write(small10 / "batches.meta", {b"label_names": names})
    with pytest.raises(DataError, match=f"names {len(set(names))} different classes, not 10"):
        read(cifar10, small10)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}", b"not a pickle", b"\x80\x02]q\x01.", b"\x80\x02K\x01."])
def test_a_damaged_file_is_an_error(small10: Path, content: bytes) -> None:
    (small10 / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch: (is damaged or no pickle|holds (list|int), not a dictionary)"):
        read(cifar10, small10)


@pytest.mark.parametrize("content", [b"F" + b"7" * 30_000 + b"x\n.", b"c" + b"m" * 30_000 + b"\nname\n."])
def test_a_message_does_not_repeat_a_whole_damaged_file(small10: Path, content: bytes) -> None:
    (small10 / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch: .*\.\.\.") as caught:
        read(cifar10, small10)
    assert len(caught.value.problem) < 500


def test_a_truncated_batch_is_an_error(small10: Path) -> None:
    whole = (small10 / "test_batch").read_bytes()
    (small10 / "test_batch").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="test_batch: is damaged or no pickle"):
        read(cifar10, small10)


def test_a_missing_file_is_an_error(small10: Path) -> None:
    (small10 / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch: cannot be read: No such file"):
        read(cifar10, small10)


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch"])
def test_real_batches_equal_what_pickle_reads(name: str) -> None:
    folder = DATA / "cifar10" / "cifar-10-batches-py"
    if not folder.is_dir():
        pytest.skip(f"no CIFAR-10 below {DATA} (TLKIT_TEST_DATA)")
    expected = pickle.loads((folder / name).read_bytes(), encoding="bytes")
    images = read(cifar10, folder)
    split = images.splits["test" if name == "test_batch" else "train"]
    start = 8000 if name == "data_batch_5" else 0
    assert images.classes[0] == "airplane"
    assert images.classes[9] == "truck"
    np.testing.assert_array_equal(
        split.pixels[start : start + 2000].transpose(0, 3, 1, 2).reshape(2000, 3072), expected[b"data"]
    )
    np.testing.assert_array_equal(split.targets[start : start + 2000], expected[b"labels"])


def test_real_class_names_are_those_of_the_exact_copy() -> None:
    exact = DATA / "cifar10" / "cifar10_lossless4000.npz"
    if not exact.is_file():
        pytest.skip(f"no CIFAR-10 below {DATA} (TLKIT_TEST_DATA)")
    with np.load(exact) as arrays:
        names = [str(name) for name in arrays["class_names"]]
    assert tuple(names) == read(cifar10, DATA / "cifar10" / "cifar-10-batches-py").classes
