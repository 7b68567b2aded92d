"""Rows that are kept: what comes back is what was put in, whatever was damaged in between."""

import functools
import gc
import hashlib
import json
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_store import ROW, SHAPE, kept, keys_of, no_cache, only, opened, present, refuse, rows_of, spoil, tree

from tlkit import file_digests, files
from tlkit.errors import DataError
from tlkit.store import cache, row_store, row_writer, segments
from tlkit.store.segments import Rows
from tlkit.store.usage import Kind


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return no_cache(tmp_path, monkeypatch)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as old enough to be trusted at once."""
    monkeypatch.setattr(file_digests, "_RACY", 0)


# ---- what is kept


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 4, 3), "uint8"), ((7,), "float32"), ((), "float32"), ((2, 1, 5), "uint16"), ((50, 50), "float32")]
)
@pytest.mark.parametrize("segment_bytes", [1, 300, 1 << 30])
def test_rows_come_back_as_they_were(
    shape: tuple[int, ...], dtype: str, segment_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", segment_bytes)
    keys, rows = keys_of(*range(23)), rows_of(*range(23), shape=shape, dtype=dtype)
    for number in range(2):
        entry = row_store.open_(Kind.PICTURES, {"side": 4}, shape=shape, dtype=dtype, note=refuse)
        assert entry.missing(keys).tolist() == [number == 0] * 23
        if number == 0:
            entry.append(keys, [rows[:5], rows[5:5], rows[5:20], rows[20:]])
        order = np.random.default_rng(0).permutation(23)
        found = entry.gather(keys[order])
        assert found.dtype == rows.dtype
        assert np.array_equal(found, rows[order])


@pytest.mark.parametrize("shape", [(3,), (3000,)])
@pytest.mark.parametrize("segment_bytes", [7 * 3000 * 4, 1 << 30])
def test_located_rows_are_gathered_by_position(
    shape: tuple[int, ...], segment_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", segment_bytes)
    numbers = list(range(20))
    entry = row_store.open_(Kind.FEATURES, {}, shape=shape, dtype="float32", note=refuse)
    entry.append(keys_of(*numbers), [rows_of(*numbers, shape=shape)])
    part = [15, 2, 2, 7, 19, 0]
    located = entry.locate(keys_of(*part))
    assert len(located) == 6
    positions = np.array([5, 0, 1, 1, -1])
    expected = rows_of(0, 15, 2, 2, 0, shape=shape)
    out = np.zeros((5, *shape), np.float32)
    assert np.array_equal(located.gather(positions), expected)
    assert located.gather(positions, out) is out
    assert np.array_equal(out, expected)
    assert located.gather(np.arange(0)).shape == (0, *shape)
    with pytest.raises(IndexError):
        located.gather(np.array([6]))


def test_rows_that_are_not_there_are_missing() -> None:
    kept(1, 2)
    entry = opened()
    assert entry.missing(keys_of(0, 1, 2, 3)).tolist() == [True, False, False, True]
    for keys, count in (keys_of(0, 1, 3), "2 of 3"), (keys_of(1, 0), "1 of 2"):
        with pytest.raises(KeyError, match=f"^'{count} rows are missing'$"):
            entry.gather(keys)


def test_no_rows_are_no_rows() -> None:
    entry = opened()
    assert entry.missing(keys_of()).shape == (0,)
    assert entry.gather(keys_of()).shape == (0, *SHAPE)
    entry.append(keys_of(), [])
    kept(1)
    assert opened().gather(keys_of()).shape == (0, *SHAPE)


def test_key_that_comes_twice_is_one_row() -> None:
    keys, rows = keys_of(1, 1, 2), rows_of(1, 1, 2)
    opened().append(keys, [rows])
    assert np.array_equal(opened().gather(keys), rows)


def test_key_in_two_segments_is_found_in_the_first() -> None:
    entry, numbers = opened(), range(40)
    for rows in (rows_of(*numbers), rows_of(*reversed(numbers))):
        entry.append(keys_of(*numbers), [rows])
    assert np.array_equal(entry.gather(keys_of(*numbers)), rows_of(*numbers))


def test_keys_are_compared_by_every_bit() -> None:
    tails = [b"", b"\0", b"\1", b"\0\1", b"\xff", b"\x7f", b"\x80", b"\0\xff"]
    keys = np.frombuffer(b"".join(tail.ljust(16, b"\0") for tail in tails), np.uint8).reshape(-1, 16)
    keys = np.unique(np.concatenate([keys, keys[:, ::-1]]), axis=0)
    rows = rows_of(*range(len(keys)))
    entry = opened()
    for number in range(0, len(keys), 2):
        entry.append(keys[number : number + 1], [rows[number : number + 1]])
    assert entry.missing(keys).tolist() == [bool(number % 2) for number in range(len(keys))]
    assert np.array_equal(entry.gather(keys[::2]), rows[::2])


@pytest.mark.parametrize(
    "other", [{"network": "other"}, {"network": "toy", "fold": True}, {"network": None}, {"Network": "toy"}]
)
def test_other_facts_are_another_entry(other: dict[str, cache.Scalar]) -> None:
    kept(1)
    assert opened(**other).missing(keys_of(1)).all()


def test_other_shape_dtype_or_kind_is_another_entry() -> None:
    kept(1)
    for kind, shape, dtype in [
        (Kind.PICTURES, SHAPE, "float32"),
        (Kind.FEATURES, (3, 2), "float32"),
        (Kind.FEATURES, SHAPE, "int32"),
    ]:
        assert row_store.open_(kind, {"network": "toy"}, shape=shape, dtype=dtype, note=refuse).missing(keys_of(1)).all()


def test_order_of_facts_does_not_count(folder: Path) -> None:
    kept(1, a=1, b=2)
    assert present(opened(b=2, a=1), 1) == [1]
    assert json.loads(only(folder, "entry.json").read_text())["origin"] == {"a": 1, "b": 2}


def test_entry_lies_below_the_digest_of_its_own_description(folder: Path) -> None:
    kept(1)
    path = only(folder, "entry.json")
    described = {"dtype": "float32", "format": 1, "kind": "features", "order": sys.byteorder, "origin": {"network": "toy"}}
    assert path.read_text() == json.dumps(described | {"shape": [2, 3]}, indent=2) + "\n"
    assert path.parent.name == hashlib.sha256(path.read_bytes()).hexdigest() == opened().digest
    assert path.parent.parent == folder / "features"


def test_opening_writes_nothing(folder: Path) -> None:
    opened().missing(keys_of(1))
    assert not folder.exists()


def test_rows_that_are_not_the_entrys_are_refused(folder: Path) -> None:
    entry = opened()
    with pytest.raises(ValueError, match="2 keys, but 1 rows"):
        entry.append(keys_of(1, 2), [rows_of(1)])
    for keys in (keys_of(1).astype(np.int64), keys_of(1)[:, :15], keys_of(1)[0]):
        with pytest.raises(ValueError, match="keys are") as raised:
            entry.missing(keys)
        assert str(raised.value) == f"keys are (N, 16) uint8, not {keys.shape} {keys.dtype}"
    with pytest.raises(ValueError, match=r"^rows of shape \(3, 0\) hold nothing$"):
        row_store.open_(Kind.FEATURES, {}, shape=(3, 0), dtype="uint8", note=refuse)
    for value, problem in (
        (cast("int", [1]), r"^origin: \['a'\] are not text, numbers, true, false or null$"),
        (math.nan, "JSON"),
    ):
        with pytest.raises(ValueError, match=problem):
            row_store.open_(Kind.FEATURES, {"b": 1, "a": value}, shape=(3,), dtype="uint8", note=refuse)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupted_fill_keeps_what_was_written(folder: Path, stop: type[BaseException]) -> None:
    def blocks() -> Iterator[Rows]:
        yield rows_of(1, 2)
        yield rows_of(3)
        raise stop

    entry = opened()
    with pytest.raises(stop):
        entry.append(keys_of(1, 2, 3, 4), blocks())
    assert present(entry, 1, 2, 3, 4) == [1, 2, 3]
    assert present(opened(), 1, 2, 3, 4) == [1, 2, 3]
    assert not list(folder.rglob("*.part"))


def test_slow_fill_is_cut_by_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_SECONDS", -1.0)
    with opened().writer(3) as writer:
        for number in (1, 2, 3):
            writer.write(keys_of(number), rows_of(number))
            assert present(opened(), 1, 2, 3) == list(range(1, number + 1))


def test_more_rows_than_were_announced_are_kept() -> None:
    with opened().writer(1) as writer:
        writer.write(keys_of(1, 2, 3), rows_of(1, 2, 3))
        writer.write(keys_of(4), rows_of(4))
    assert present(opened(), 1, 2, 3, 4) == [1, 2, 3, 4]


# ---- damage


@pytest.mark.usefixtures("settled")
def test_damaged_rows_are_said_and_the_others_stay(folder: Path) -> None:
    kept(*range(200))
    for number in (0, 77, 199):
        spoil(only(folder, ".rows"), number * ROW + 5)
    notes: list[str] = []
    entry = opened(notes)
    assert present(entry, *range(200)) == [number for number in range(200) if number not in (0, 77, 199)]
    assert notes == [f"store: 3 of 200 rows of {shown(folder, '.rows')} are damaged and are computed again"]
    entry.append(keys_of(0, 77, 199), [rows_of(0, 77, 199)])
    assert len(present(entry, *range(200))) == 200
    assert len(present(opened(), *range(200))) == 200  # and silent


def shown(folder: Path, suffix: str) -> str:
    """The name of a file in a message: its kind, the beginning of its entry's digest, and its own."""
    path = only(folder, suffix)
    return f"{path.parent.parent.name}/{path.parent.name[:8]}/{path.name}"


@pytest.mark.usefixtures("settled")
def test_damage_is_left_out_where_the_store_cannot_be_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1, 2)
    spoil(only(folder, ".rows"), 5)
    before = tree(folder)

    def refused(path: Path, content: bytes) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(files, "replace", refused)
    assert present(opened([]), 1, 2) == [2]
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()
    assert present(opened([]), 1, 2) == [2]
    assert tree(folder) == before


def test_row_is_readable_whose_use_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a cache of another user."""
    kept(1)

    def refused(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr("tlkit.store.row_store.os.utime", refused)
    assert present(opened(), 1) == [1]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were checked, each time that some were."""
    counts: list[int] = []
    good = segments.good

    def counted(segment: segments.Segment) -> object:
        counts.append(len(segment.records))
        return good(segment)

    monkeypatch.setattr(segments, "good", counted)
    return counts


def test_rows_are_not_checked_by_the_entry_that_wrote_them(checked: list[int]) -> None:
    entry = opened()
    entry.append(keys_of(1, 2), [rows_of(1, 2)])
    assert present(entry, 1, 2) == [1, 2]
    assert checked == []


def test_rows_are_checked_once_after_they_were_written(checked: list[int], folder: Path, settled: None) -> None:
    kept(1, 2, 3)
    for _ in range(3):
        present(opened(), 1, 2, 3)
    assert checked == []


def test_file_changed_a_moment_ago_is_not_trusted(checked: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change again within one tick of the file system's clock; when it is older, one check settles it."""
    kept(1, 2, 3)
    present(opened(), 1)
    present(opened(), 1)
    assert checked == [3, 3]
    monkeypatch.setattr(file_digests, "_RACY", 700_000_000)
    time.sleep(0.75)
    present(opened(), 1)
    assert checked == [3, 3, 3]
    present(opened(), 1)
    assert checked == [3, 3, 3]


def test_copied_cache_is_checked_and_used(checked: list[int], folder: Path, settled: None, tmp_path: Path) -> None:
    kept(1, 2, 3)
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)
    assert present(opened(), 1, 2, 3) == [1, 2, 3]
    assert present(opened(), 1, 2, 3) == [1, 2, 3]
    assert checked == [3]


def test_verify_finds_what_no_time_shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1, 2, 3)
    spoil(only(folder, ".rows"), ROW)
    monkeypatch.setattr(segments, "trusted", lambda segment, now: True)
    assert not opened().missing(keys_of(1, 2, 3)).any()
    notes: list[str] = []
    entry = row_store.open_(Kind.FEATURES, {"network": "toy"}, shape=SHAPE, dtype="float32", note=notes.append, verify=True)
    assert present(entry, 1, 2, 3) == [1, 3]
    assert "1 of 3 rows" in notes[0]


@pytest.mark.parametrize(("length", "left"), [(0, 0), (1, 0), (ROW, 1), (3 * ROW - 1, 2), (3 * ROW + 1, 3), (9 * ROW, 3)])
@pytest.mark.usefixtures("settled")
def test_rows_cut_short_are_missing(folder: Path, length: int, left: int) -> None:
    kept(1, 2, 3)
    path = only(folder, ".rows")
    path.write_bytes(path.read_bytes()[:length].ljust(length, b"\0"))
    notes: list[str] = []
    entry = opened(notes)
    assert present(entry, 1, 2, 3) == [1, 2, 3][:left]
    assert [line.split(" rows")[0] for line in notes] == ([f"store: {3 - left} of 3"] if left < 3 else [])
    if left < 3:
        entry.append(keys_of(1, 2, 3), [rows_of(1, 2, 3)])
    assert present(opened(), 1, 2, 3) == [1, 2, 3]


def test_rows_that_are_gone_are_missing_without_a_word(folder: Path) -> None:
    kept(1, 2)
    entry = opened()
    only(folder, ".rows").unlink()
    for each in (entry, opened()):
        assert present(each, 1, 2) == []
    entry.append(keys_of(1), [rows_of(1)])
    assert present(opened(), 1, 2) == [1]


@pytest.mark.parametrize("length", [0, 13, 16, 48, 87])
def test_index_that_is_cut_short_is_damaged_and_not_of_another_version(length: int, folder: Path) -> None:
    kept(1)
    path = only(folder, ".index")
    path.write_bytes(path.read_bytes()[:length])
    opened(notes := []).missing(keys_of(1))
    assert len(notes) == 1
    assert "damaged" in notes[0]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_index_is_never_believed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(folder))
        kept(1, 2, 3)
        path = only(folder, ".index")
        before = path.read_bytes()
        at = data.draw(st.integers(0, len(before) - 1))
        flipped = before[:at] + bytes([before[at] ^ data.draw(st.integers(1, 255))]) + before[at + 1 :]
        after = data.draw(st.sampled_from([flipped, before[:at], before + before[at:], before[at:]]))
        path.write_bytes(after)
        notes: list[str] = []
        entry = opened(notes)
        assert present(entry, 1, 2, 3) == ([1, 2, 3] if after == before else [])
        other = after[:16] in [b"tlkit rows %d\n\0\0\0" % number for number in range(10) if number != 1]  # of another version
        assert [line.split(" features")[0] for line in notes] == (
            ["store: the index of"] if after != before and not other else []
        )
        entry.append(keys_of(1, 2), [rows_of(1, 2)])
        assert present(opened(), 1, 2) == [1, 2]


def test_file_of_the_store_that_is_not_used_is_named(folder: Path) -> None:
    """One of another version, one that is damaged, and those that cannot be read: here, folders."""
    kept(1)
    rows, index = only(folder, ".rows"), only(folder, ".index")
    rows.with_name(f".{'0' * 32}.index").write_bytes(b"not finished")
    whole, content = index.read_bytes(), rows.read_bytes()
    named = shown(folder, ".rows")

    def said() -> list[str]:
        notes: list[str] = []
        assert present(opened(notes), 1) == []
        return notes

    index.write_bytes(whole.replace(b"rows 1", b"rows 2"))
    assert said() == [f"store: {named} is of another version of tlkit: its rows are computed again"]
    index.unlink()
    index.mkdir()
    assert said() == [f"store: {named} cannot be read: Is a directory: it is computed again"]
    index.rmdir()
    index.write_bytes(whole)
    rows.unlink()
    rows.mkdir()
    assert said() == [f"store: {named} cannot be read: Is a directory: it is computed again"]
    rows.rmdir()
    rows.write_bytes(content)
    index.write_bytes(whole[:-1])
    assert said() == [f"store: the index of {named} is damaged: its rows are computed again"]
    assert not index.exists(), "removed, with its rows"
    assert not rows.exists()
    index.write_bytes(whole[:-1])
    assert said() == [f"store: the index of {named} is damaged: its rows are computed again"], "also where it is alone"
    assert not index.exists()


def test_segment_of_another_entry_is_not_believed(folder: Path) -> None:
    kept(1, network="one")
    one = only(folder, ".rows")
    kept(2, network="two")
    two = next(path for path in folder.rglob("*.rows") if path != one).parent
    for path in (one, one.with_suffix(".index")):
        shutil.copy(path, two)
    notes: list[str] = []
    assert present(opened(notes, network="two"), 1, 2) == [2]
    assert len(notes) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"origin": 3}', b"[" * 100_000])
def test_damaged_description_is_written_again(folder: Path, content: bytes) -> None:
    kept(1)
    path = only(folder, "entry.json")
    before = path.read_bytes()
    path.write_bytes(content)
    assert cache.listing()[0].origin == {}
    notes: list[str] = []
    assert present(opened(notes), 1) == [1]
    assert notes == [f"store: {shown(folder, 'entry.json')} is damaged: it is written again"]
    assert path.read_bytes() == before
    assert present(opened(), 1) == [1]


ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True)),
    st.tuples(st.just("damage"), st.lists(st.integers(0, 9), min_size=1, max_size=3)),
    st.tuples(st.just("evict"), st.lists(st.integers(0, 9), min_size=1, max_size=1)),
    st.tuples(st.just("open"), st.just([0])),
)


@given(actions=st.lists(ACTIONS, max_size=14), per_segment=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_store_is_a_dictionary_that_may_forget_what_was_damaged_or_evicted(
    actions: list[tuple[str, list[int]]], per_segment: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a plain model: number of a row -> in how many places it lies that are whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(folder := tmp_path_factory.mktemp("cache")))
        patch.setattr(file_digests, "_RACY", 0)
        patch.setattr(row_writer, "SEGMENT_BYTES", per_segment * ROW)
        entry, expected = opened([]), set[int]()
        for action, numbers in actions:
            if action == "append":
                new = [number for number, gone in zip(numbers, entry.missing(keys_of(*numbers)), strict=True) if gone]
                assert set(numbers) - set(new) == set(numbers) & expected
                entry.append(keys_of(*new), [rows_of(each) for each in new])
                expected |= set(numbers)
                continue
            del entry  # maps of files that are changed below show the change: a new reader has to find it
            for path in folder.rglob("*.rows") if action != "open" else ():
                content = path.read_bytes()
                for number in set(numbers) & expected:
                    at = content.find(rows_of(number).tobytes())
                    if action == "damage" and at >= 0:
                        spoil(path, at)
                        expected.discard(number)
                    elif action == "evict" and at >= 0:
                        cache.remove(path)
                        expected -= {each for each in range(10) if rows_of(each).tobytes() in content}
            entry = opened([])
            assert set(present(entry, *range(10))) == expected
        assert set(present(entry, *range(10))) == expected
        assert set(present(opened(), *range(10))) == expected


# ---- row keys of files


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "a"]
    for path in paths:
        path.write_bytes(path.name.encode())
    assert file_digests.digests(paths) == [hashlib.sha256(content).digest() for content in (b"a", b"b", b"a")]
    assert file_digests.digests([]) == []
    with pytest.raises(DataError, match="gone: cannot be read: No such file"):
        file_digests.digests([paths[0], tmp_path / "gone"])


@pytest.mark.usefixtures("settled")
def test_file_is_hashed_once_for_its_digest_and_its_content_or_again_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "a", list[str]()
    path.write_bytes(b"a")
    hashed = file_digests.sha256

    def counted(path: Path) -> str:
        read.append(path.name)
        return hashed(path)

    monkeypatch.setattr(file_digests, "sha256", counted)
    first, content = file_digests.digests([path]), file_digests.content([path])
    assert len(read) == 1
    assert file_digests.digests([path], again=True) == first
    assert file_digests.content([path], again=True) == content
    assert len(read) == 3


def test_an_entry_that_may_not_be_read_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a cache of another user; the tests may run as one who may read everything."""
    keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    open_ = functools.partial(row_store.open_, Kind.PICTURES, {"a": 1}, shape=(4,), dtype="uint8")
    open_(note=print).append(keys, [np.ones((2, 4), np.uint8)])

    def refused(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tlkit.store.row_store.os.listdir", refused)
    notes: list[str] = []
    entry = open_(note=notes.append)
    assert entry.missing(keys).all()
    path = files.cache_folder() / "pictures" / entry.digest
    assert notes == [f"store: {files.shown(path)} cannot be read: Permission denied: its rows are computed again"]


def mapped_times(name: str) -> int:
    """How often this process has a file mapped."""
    return sum(name in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_open_files_do_not_limit_how_many_segments_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_ROWS", 1)
    numbers = range(60)
    kept(*numbers)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, hard))
    try:
        entries = [opened() for _ in range(3)]
        assert [present(entry, *numbers) for entry in entries] == [list(numbers)] * 3
        assert len(os.listdir("/dev/fd")) <= before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="shown by Linux alone")
def test_entries_of_one_process_share_what_is_mapped_and_the_last_reader_unmaps_it(folder: Path) -> None:
    kept(1, 2)
    path = only(folder, ".rows")
    first, second = opened(), opened()
    assert present(first, 1, 2) == present(second, 1, 2) == [1, 2]
    assert mapped_times(path.name) == 1
    located = second.locate(keys_of(1, 2))
    del first, second
    path.unlink()
    gc.collect()
    assert np.array_equal(located.gather(np.arange(2)), rows_of(1, 2))
    del located
    gc.collect()
    assert mapped_times(path.name) == 0
