"""Shards and parquet files: what is read is what was written, in an order that seed and epoch decide, or one message says what is wrong."""

import gc
import io
import json
import logging
import os
import re
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shard_files
from conftest import served
from shard_files import CLASSES, images, png, samples, shards, table, tar

from tlkit.errors import DataError, ImageError, RecipeError, TlkitError
from tlkit.plugin import Dataset, Images, Split, Storage, registry
from tlkit.recipe import parsing
from tlkit.sources import data_files, datasets
from tlkit.sources import shards as shard_writer
from tlkit.sources.places import Places
from tlkit.store import cache
from tlkit_shards import contents as shard_contents
from tlkit_shards import index, places


def read(path: Path | str, name: str = "shards", **options: object) -> Images:
    return datasets.read_data(*found(path, name, **options))


def found(path: Path | str, name: str = "shards", **options: object):
    dataset = registry.get(Dataset, name)
    checked = parsing.options(dataset.options, {"path": str(path), **options}, place="data.options")
    return dataset, data_files.find_data(name, dataset, checked, Places(), fetch=False), checked


def contents(split: Split) -> list[tuple[int, bytes]]:
    return [(int(label), file.read_bytes()) for label, file in zip(split.targets, split.files, strict=True)]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_every_image_is_read_with_its_label(tmp_path: Path, suffix: str) -> None:
    found = read(shards(tmp_path, suffix=suffix))
    assert found.classes == ("0", "1")
    assert contents(found.splits["train"]) == [(number % 2, png(number)) for number in range(24)]
    assert contents(found.splits["test"]) == [(number % 2, png(number)) for number in range(1000, 1004)]
    assert (found.splits["train"].storage.buffer is None) == (suffix == ".tar")


def test_a_pattern_names_the_shards_and_options_the_classes(tmp_path: Path) -> None:
    shards(tmp_path)
    images = read(tmp_path / "train-{0000..0001}.tar", test="test-0000.tar", classes=["cat", "dog"])
    assert images.classes == CLASSES
    assert {name: len(split.targets) for name, split in images.splits.items()} == {"train": 16, "test": 4}


def test_labels_may_be_in_json_and_without_test_shards_some_are_held_out(tmp_path: Path) -> None:
    members = {}
    for number in range(20):
        members |= {f"{number:03d}.jpg": png(number), f"{number:03d}.json": json.dumps({"kind": CLASSES[number % 2]}).encode()}
    tar(tmp_path / "a.tar", members)
    images = read(tmp_path, label="kind")
    assert images.classes == CLASSES
    assert images.test_held_out
    assert {name: np.bincount(split.targets).tolist() for name, split in images.splits.items()} == {
        "train": [8, 8],
        "test": [2, 2],
    }


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # it leaves files open
def test_the_webdataset_library_reads_what_tlkit_shard_writes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    shard_writer.write(images(tmp_path / "images"), tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    listed = sorted(str(path) for path in (tmp_path / "out").glob("train-*.tar"))
    assert len(listed) > 1
    theirs = {
        sample["__key__"]: (int(sample["cls"]), sample["png"]) for sample in webdataset.WebDataset(listed, shardshuffle=False)
    }
    ours = contents(read(tmp_path / "out").splits["train"])
    assert [theirs[key] for key in sorted(theirs)] == ours
    gc.collect()


def test_shards_hold_the_images_of_the_folder_in_its_order(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    record = shard_writer.write(folder, tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    theirs = read(folder, "folder")
    ours = read(tmp_path / "out")
    assert ours.classes == theirs.classes
    for name, split in theirs.splits.items():
        assert contents(ours.splits[name]) == contents(split)
    assert sum(shard["images"] for shard in record["shards"].values()) == 16
    assert max(shard["bytes"] for shard in record["shards"].values()) <= 10_240 + 10**4


def test_the_same_folder_gives_the_same_shards(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    for out in ("one", "two"):
        shard_writer.write(folder, tmp_path / out, size=10**4, progress=lambda *_: None, notify=print)
    for path in (tmp_path / "one").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_index_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards(tmp_path)
    first = found(tmp_path)[1]
    monkeypatch.setattr(index, "made", None)
    second = found(tmp_path)[1]
    assert first == second


def test_indexes_are_parsed_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 raises SystemError where two threads parse literals at once and one collects garbage meanwhile."""
    shards(tmp_path)
    read(tmp_path)
    inside, load = [], np.load

    def loading(*given: Any, **named: Any) -> object:
        inside.append(index._PARSING.locked())
        return load(*given, **named)

    monkeypatch.setattr(np, "load", loading)
    read(tmp_path)
    assert len(inside) > 1
    assert all(inside)


def test_the_content_of_shards_decides_the_digest_and_not_how_they_are_cut(tmp_path: Path) -> None:
    def content(folder: str) -> str:
        return found(tmp_path / folder)[1].content

    shards(tmp_path / "a", count=3, each=8)
    shards(tmp_path / "b", count=2, each=12)
    shards(tmp_path / "c", count=2, each=8)
    assert content("a") == content("b") != content("c")


# ---- bad input


def test_a_shard_that_changed_is_indexed_again(tmp_path: Path) -> None:
    shards(tmp_path)
    before = found(tmp_path)[1].content
    tar(tmp_path / "train-0001.tar", samples(range(100, 108)))
    assert found(tmp_path)[1].content != before


def assert_noticed_when_changed(images: Images, shard: Path) -> None:
    """A changed byte of the first training image is noticed when it is read."""
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ImageError, match=r"train-0000\.tar/000000\.png: changed since it was indexed"):
        images.splits["train"].files[0].read_bytes()


def test_an_image_that_changes_after_it_was_indexed_is_an_error(tmp_path: Path) -> None:
    images = read(shards(tmp_path))
    assert_noticed_when_changed(images, tmp_path / "train-0000.tar")


def test_a_shard_that_is_another_than_was_written_is_an_error(tmp_path: Path) -> None:
    shard_writer.write(images(tmp_path / "images"), tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    tar(tmp_path / "out" / "train-000000.tar", samples(range(100)))
    with pytest.raises(DataError, match=r"train-000000\.tar: changed since it was indexed: it has"):
        read(tmp_path / "out")


@pytest.mark.parametrize("seen", [True, False], ids=["indexed before", "never indexed"])
def test_a_flip_in_a_shard_of_the_same_size_is_noticed(tmp_path: Path, seen: bool) -> None:
    shard_writer.write(images(tmp_path / "images"), tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    if seen:
        read(tmp_path / "out")
    path = tmp_path / "out" / "train-000000.tar"
    before = path.stat().st_mtime_ns
    name = _flip(path)
    time = before if seen else path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(time, time))
    for _ in range(2):
        with pytest.raises(DataError, match=rf"train-000000\.tar/{re.escape(name)}: changed since it was indexed"):
            read(tmp_path / "out")
    _flip(path)
    assert found(tmp_path / "out")[1].content  # it is as it was, whatever its time says


def _flip(path: Path) -> str:
    """Change the last bit of the last image of an archive, which can still be decoded; return its name."""
    with tarfile.open(path) as archive:
        member = [each for each in archive if each.name.endswith(".png")][-1]
    content = bytearray(path.read_bytes())
    content[member.offset_data + member.size - 1] ^= 1
    path.write_bytes(content)
    return member.name


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"a.png": png(0)}, r"a has no label, only png"),
        ({"a.cls": b"1"}, r"a has no image, only cls"),
        ({"a.png": png(0), "a.jpg": png(1), "a.cls": b"0"}, r"a has several images: jpg, png"),
        ({"a.png": png(0), "a.json": b"{"}, r"a\.json is no JSON"),
        ({"a.png": png(0), "a.json": b"{}"}, r'a has no member a\.cls, and a\.json has no key "label"'),
        ({"a.png": png(0), "a.json": b'{"label": [1]}'}, r"a has the label \[1\]"),
        ({"readme": b"x"}, r"holds no images"),
    ],
)
def test_a_sample_that_lacks_a_member_is_named(tmp_path: Path, members: dict[str, bytes], problem: str) -> None:
    tar(tmp_path / "x.tar", members)
    with pytest.raises(DataError, match=rf"x\.tar: {problem}"):
        read(tmp_path)


@pytest.mark.parametrize("keep", [0.3, 0.6])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_truncated_archive_is_an_error(tmp_path: Path, suffix: str, keep: float) -> None:
    path = next(shards(tmp_path, suffix=suffix).glob("train-0002*"))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(DataError, match=r"train-0002.*truncated"):
        read(tmp_path)


def test_an_archive_that_ends_between_two_members_is_truncated(tmp_path: Path) -> None:
    path = shards(tmp_path) / "train-0002.tar"
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-2]
    path.write_bytes(path.read_bytes()[: last.offset])
    with pytest.raises(DataError, match=r"train-0002.*truncated"):
        read(tmp_path)


def test_what_is_no_archive_and_what_is_not_there_are_errors(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive" * 200)
    with pytest.raises(DataError, match=r"x\.tar: cannot be read as a tar archive"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"train-7\.tar: cannot be read"):
        read(tmp_path / "train-{7..8}.tar")


def test_a_label_that_is_no_class_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'image of class "1", which is none of the 1 classes') as error:
        read(shards(tmp_path), classes=["cat"])
    assert "data.options.classes names them in order" in error.value.hints


def test_a_number_is_a_position_where_classes_are_called_by_numbers(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for number in range(3 * count):
            path = tmp_path / "images" / part / ("1", "10", "2")[number % 3] / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
    shard_writer.write(tmp_path / "images", tmp_path / "out", size=10**6, progress=lambda *_: None, notify=print)
    ours, theirs = read(tmp_path / "out"), read(tmp_path / "images", "folder")
    assert ours.classes == theirs.classes == ("1", "10", "2")
    for name, split in theirs.splits.items():
        assert contents(ours.splits[name]) == contents(split)


def test_a_number_that_no_training_image_has_is_no_position_among_those_that_they_have(tmp_path: Path) -> None:
    for part, labels in (("train", "1212"), ("test", "0")):
        members = {}
        for number, label in enumerate(labels):
            members |= {f"{part}{number}.jpg": png(number), f"{part}{number}.cls": label.encode()}
        tar(tmp_path / f"{part}-0.tar", members)
    with pytest.raises(DataError, match=r'image of class "0", which is none of the 2 classes'):
        read(tmp_path)


def test_shard_leaves_nothing_where_it_fails(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    (folder / "train" / "cat" / "0000").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match="is not an image"):
        shard_writer.write(folder, tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(TlkitError, match="is there already"):
        shard_writer.write(folder, tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    (tmp_path / "link").symlink_to(folder)
    for source, out in ((folder, folder), (folder, folder / "in" / "side"), (tmp_path / "link", folder / "inside")):
        with pytest.raises(TlkitError, match="whose images are written"):
            shard_writer.write(source, out, size=10**4, progress=lambda *_: None, notify=print)
    assert sorted(path.name for path in folder.iterdir()) == ["test", "train"]
    with pytest.raises(DataError, match="nowhere: there is no such folder") as caught:
        shard_writer.write(tmp_path / "nowhere", tmp_path / "new", size=10**4, progress=lambda *_: None, notify=print)
    assert "sub-folder per class" in str(caught.value), "and no key of a recipe"


# ---- order


def test_images_are_shuffled_a_stated_number_at_a_time() -> None:
    file = np.repeat(np.arange(10, dtype=np.int32), 20)
    storage = Storage(tuple(map(str, range(10))), file, np.arange(200), buffer=50)
    chosen = np.flatnonzero(np.arange(200) % 7 != 0)

    def order(epoch: int) -> np.ndarray:
        return storage.shuffled(chosen, np.random.Generator(np.random.Philox(key=[3, epoch])))

    first = order(0)
    assert sorted(first.tolist()) == chosen.tolist()
    assert (first == order(0)).all()
    assert (first != order(1)).any()
    for start in range(0, len(first), 50):
        assert len(set(file[first[start : start + 50]].tolist())) <= 4  # those in which 50 images lie
    assert (np.diff(first[:50]) < 0).sum() > 10  # within a block they are shuffled


# ---- behind addresses


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    with served(partial(_Quiet, directory=str(shards(tmp_path)))) as url:
        yield url


def test_shards_behind_an_address_are_read_from_beginning_to_end(address: str) -> None:
    """Python's server sends no part of a file, so each shard is copied, and images are shuffled in a buffer."""
    images = read(f"{address}/train-{{0000..0002}}.tar", test="test-0000.tar")
    assert images.splits["train"].storage.buffer == 10_000
    assert contents(images.splits["train"]) == [(number % 2, png(number)) for number in range(24)]


def test_an_image_that_the_server_sends_otherwise_than_it_was_indexed_is_an_error(address: str, tmp_path: Path) -> None:
    """The first reading is believed; each later one is held against its digests."""
    images = read(f"{address}/train-{{0000..0002}}.tar", test="test-0000.tar")
    assert_noticed_when_changed(images, tmp_path / "train-0000.tar")


def test_a_shard_that_the_address_has_not_is_an_error(address: str) -> None:
    with pytest.raises(DataError, match=r"train-0009\.tar: there is no such file"):
        read(f"{address}/train-{{0000..0009..9}}.tar")


def test_an_address_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(DataError, match=r"s3://x: does not answer within 0\.1 s"):
        places.asked("s3://x", lambda: time.sleep(1), patience=0.1)
    assert places.PATIENCE <= 15


def test_a_server_that_cannot_be_reached_is_not_a_missing_file() -> None:
    pytest.importorskip("aiohttp")
    with served(_Quiet) as url:
        pass  # nobody listens there any more
    with pytest.raises(DataError, match=r"a\.tar: does not answer: ClientConnectorError"):
        read(f"{url}/a.tar")


@pytest.mark.parametrize("path", ["nothing://bucket/a.tar", "ftps://h/a.tar"])
def test_an_address_of_an_unknown_kind_is_an_error(path: str) -> None:
    with pytest.raises(DataError, match=r":// is no kind of address"):
        read(path)


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """A server of S3 on this machine, with shards in its bucket, and credentials for it."""
    server_of = pytest.importorskip("moto.server", reason="needs moto[s3], flask and flask-cors")
    s3fs = pytest.importorskip("s3fs", reason="needs the extra tlkit[shards]")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "name")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        system = s3fs.S3FileSystem()
        system.mkdir("bucket")
        system.put(str(shards(Path(folder) / "photos")), "bucket/", recursive=True)
        yield
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.usefixtures("s3")
def test_shards_in_s3_are_read_at_any_position_and_known_by_their_etag() -> None:
    images = read("s3://bucket/photos")
    assert {name: len(split.targets) for name, split in images.splits.items()} == {"train": 24, "test": 4}
    assert images.splits["train"].storage.buffer is None
    assert contents(images.splits["train"]) == [(number % 2, png(number)) for number in range(24)]
    ((place, state), *_) = shard_contents.shards_of("s3://bucket/photos/train-{0001..0002}.tar")
    assert (place, state.split()[:2]) == ("s3://bucket/photos/train-0001.tar", ["30720", "bytes"])
    assert len(state.split()[2].strip('"')) == 32  # S3's MD5 of the file


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("credentials", "place", "words"),
    [
        (True, "s3://bucket/photos/train-0009.tar", "there is no such file"),
        (True, "s3://nobody/a.tar", "there is no such file: NoSuchBucket"),
        (True, "s3://bucket/nothing", r"holds no file that ends in \.tar"),
        (False, "s3://bucket/photos", "no access: NoCredentialsError"),
    ],
)
def test_what_is_wrong_in_s3_is_one_message(credentials: bool, place: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    if not credentials:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=rf"^{re.escape(place[:11])}.*: {words}") as error:
        read(place)
    assert credentials or "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(error.value)


def test_offline_asks_no_address() -> None:
    dataset = registry.get(Dataset, "shards")
    options = parsing.options(dataset.options, {"path": "https://127.0.0.1/a.tar"}, place="data.options")
    with pytest.raises(DataError, match="offline"):
        data_files.find_data("shards", dataset, options, Places(offline=True), fetch=False)


def test_ranges_are_asked_for_a_few_megabytes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where images are read in the order in which they lie, one question brings many."""
    from tlkit_shards.readers import reader

    content, asked = bytes(range(256)) * 1000, []

    def part(place: str, begin: int, size: int) -> bytes:
        asked.append(size)
        return content[begin : begin + size]

    monkeypatch.setattr(places, "part", part)
    read_ = reader("tar", seekable=True, column="", most=None)
    for begin in range(0, 200_000, 1000):
        assert read_("s3://b/x.tar", 0, begin, 900) == content[begin : begin + 900]
    assert len(asked) == 1


# ---- parquet


@pytest.mark.parametrize("names", [True, False])
def test_parquet_files_of_the_hugging_face_layout_are_read(tmp_path: Path, names: bool) -> None:
    pytest.importorskip("pyarrow")
    for shard in range(2):
        table(tmp_path / "data" / f"train-{shard:05d}-of-00002.parquet", range(shard * 10, shard * 10 + 10), names=names)
    table(tmp_path / "data" / "test-00000-of-00001.parquet", range(1000, 1004), names=names)
    images = read(tmp_path, "parquet")
    assert images.classes == (CLASSES if names else ("0", "1"))
    assert sorted(contents(images.splits["train"])) == sorted((number % 2, png(number)) for number in range(20))
    assert len(images.splits["test"].targets) == 4


def test_parquet_files_that_name_their_classes_in_another_order_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    table(tmp_path / "train-0.parquet", range(8))
    monkeypatch.setattr(shard_files, "CLASSES", CLASSES[::-1])
    table(tmp_path / "test-0.parquet", range(1000, 1004))
    with pytest.raises(DataError, match=r"test-0.parquet: names the classes dog, cat, and .*train-0.parquet names cat, dog"):
        read(tmp_path, "parquet")
    assert read(tmp_path, "parquet", classes=["cat", "dog"]).classes == CLASSES


def test_a_parquet_file_without_the_column_or_truncated_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = table(tmp_path / "train-0.parquet", range(8))
    with pytest.raises(DataError, match="has no column images") as error:
        read(tmp_path, "parquet", image="images")
    assert 'did you mean "image"?' in error.value.hints
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as a parquet file"):
        read(tmp_path, "parquet")


def test_wrong_options_are_named() -> None:
    with pytest.raises(RecipeError, match="buffer"):
        found(Path("x"), buffer=0)


def test_the_cache_knows_the_indexes_and_clears_them(tmp_path: Path) -> None:
    before = found(shards(tmp_path))[1]
    assert cache.others()[index.FOLDER] > 0
    cache.clear()
    assert cache.others().get(index.FOLDER, 0) == 0
    assert found(tmp_path)[1].content == before.content


def test_an_index_that_claims_more_than_its_file_holds_is_none(tmp_path: Path) -> None:
    header, about = (
        io.BytesIO(),
        {"format": index._FORMAT, "place": "a", "classes": [], "size": 1, "version": "", "seekable": True},
    )
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**11,)})  # 745 GiB
    np.savez(tmp_path / "a.npz", about=np.array(json.dumps(about)))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("names.npy", header.getvalue())
    assert index._read(tmp_path / "a.npz", "") is None
