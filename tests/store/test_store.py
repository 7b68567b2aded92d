"""Rows that are kept: what comes back is what was put in, whatever was damaged, evicted, killed or full in between."""

import contextlib
import functools
import gc
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import file_digests, files
from tlkit.errors import DataError, StoreError, TlkitError
from tlkit.store import cache, row_store, row_writer, segments, usage
from tlkit.store.segments import Keys, Rows
from tlkit.store.usage import Kind

SHAPE = (2, 3)
ROW = 2 * 3 * 4  # bytes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TLKIT_CACHE_BYTES", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as old enough to be trusted at once."""
    monkeypatch.setattr(file_digests, "_RACY", 0)


def keys_of(*numbers: int) -> Keys:
    return np.array([list(hashlib.sha256(str(number).encode()).digest()[:16]) for number in numbers], np.uint8).reshape(-1, 16)


def rows_of(*numbers: int, shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> Rows:
    made = [np.random.default_rng(number).integers(0, 250, shape) for number in numbers]
    return np.array(made, dtype).reshape(-1, *shape)


def opened(notes: list[str] | None = None, /, **facts: cache.Scalar) -> row_store.Entry:
    note = notes.append if notes is not None else refuse
    return row_store.open_(Kind.FEATURES, facts or {"network": "toy"}, shape=SHAPE, dtype="float32", note=note)


def refuse(line: str) -> None:
    raise AssertionError(f"said: {line}")


def kept(*numbers: int, **facts: cache.Scalar) -> None:
    """Keep rows in segments of their own."""
    opened(**facts).append(keys_of(*numbers), [rows_of(*numbers)])


def present(entry: row_store.Entry, *numbers: int) -> list[int]:
    """Which rows are there; and they are what they should be."""
    there = [number for number, missing in zip(numbers, entry.missing(keys_of(*numbers)), strict=True) if not missing]
    assert np.array_equal(entry.gather(keys_of(*there)), rows_of(*there))
    return there


def tree(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file() and not path.name.endswith(".lock")}


def only(folder: Path, suffix: str) -> Path:
    [path] = folder.rglob(f"*{suffix}")
    return path


def spoil(path: Path, at: int, by: int = 1) -> None:
    """Change one byte and put the times back, as a disk does that forgets."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= by
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


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
    with pytest.raises(KeyError, match="2 of 3 rows are missing"):
        entry.gather(keys_of(0, 1, 3))


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
    assert path.parent.name == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.parent.parent == folder / "features"


def test_opening_writes_nothing(folder: Path) -> None:
    opened().missing(keys_of(1))
    assert not folder.exists()


def test_rows_that_are_not_the_entrys_are_refused(folder: Path) -> None:
    entry = opened()
    for rows in (rows_of(1, shape=(3, 2)), rows_of(1, dtype="float64"), rows_of(1, 2)):
        with pytest.raises(ValueError, match="not"):
            entry.append(keys_of(1), [rows])
    with pytest.raises(ValueError, match="2 keys, but 1 rows"):
        entry.append(keys_of(1, 2), [rows_of(1)])
    with pytest.raises(ValueError, match="uint8"):
        entry.missing(keys_of(1).astype(np.int64))
    with pytest.raises(ValueError, match="hold nothing"):
        row_store.open_(Kind.FEATURES, {}, shape=(3, 0), dtype="uint8", note=refuse)
    with pytest.raises(ValueError, match="'a'"):
        row_store.open_(Kind.FEATURES, {"a": [1]}, shape=(3,), dtype="uint8", note=refuse)


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
    [note] = notes
    assert note.startswith("store: 3 of 200 rows of features/")
    assert note.endswith(" are damaged and are computed again")
    entry.append(keys_of(0, 77, 199), [rows_of(0, 77, 199)])
    assert len(present(entry, *range(200))) == 200
    assert len(present(opened(), *range(200))) == 200  # and silent


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
    assert "entry.json is damaged" in notes[0]
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


# ---- how much


@pytest.mark.parametrize(("free", "expected"), [(10**12, 20 * 10**9), (10**10, 2 * 10**9), (0, 0)])
def test_limit_is_20_gb_or_20_percent_of_the_free_disk(free: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert cache.limit() == expected


def test_what_the_store_holds_counts_as_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    monkeypatch.setattr(cache, "SHARE", 0.5)
    kept(*range(10))
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in (".rows", ".index"))
    assert cache.limit() == (10_000 + held) // 2


@pytest.mark.parametrize("value", ["-1", "20GB", "1e9", "9" * 30, " "])
def test_limit_that_is_no_number_is_a_message(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE_BYTES", value)
    with pytest.raises(TlkitError, match="is not a whole number of bytes") as raised:
        cache.limit()
    assert "TLKIT_CACHE_BYTES" in str(raised.value)


def size_of(count: int) -> int:
    """Bytes of one segment of so many rows with its index, by hand."""
    return count * (ROW + 24) + 88


@pytest.mark.parametrize("short", [0, 1])
def test_what_does_not_fit_is_refused_before_anything_is_written(
    short: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(1, 2, network="other")
    before = tree(folder)
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(size_of(5) - short))
    entry = opened()
    assert entry.fits(5) is not bool(short)
    if short:
        with pytest.raises(StoreError, match=f"5 rows of {size_of(5)} bytes in all do not fit"):
            entry.append(keys_of(*range(5)), [rows_of(*range(5))])
        assert tree(folder) == before
    else:
        entry.append(keys_of(*range(5)), [rows_of(*range(5))])
        assert present(opened(), *range(5)) == list(range(5))
        assert present(opened(network="other"), 1, 2) == []


def test_entries_are_not_searched_for_what_can_go_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20,000 entries that took 6 s of a segment's 9."""
    kept(1)
    monkeypatch.setattr(cache, "_sweep", lambda entry: pytest.fail("searched"))
    kept(2)
    assert present(opened(), 1, 2) == [1, 2]


def test_least_recently_used_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        kept(number, number=number)
        for path in folder.rglob("*.index"):
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
    assert present(opened(number=0), 0) == [0]  # used again
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(4 * size_of(1)))
    kept(4, number=4)
    assert [number for number in range(5) if present(opened(number=number), number)] == [0, 2, 3, 4]
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(2 * size_of(1)))
    present(opened(number=0), 0)
    time.sleep(0.02)
    present(opened(number=3), 3)
    kept(5, number=5)
    assert [number for number in range(6) if present(opened(number=number), number)] == [3, 5]
    assert len(list((folder / "features").iterdir())) == 2  # nothing is left of the others


def test_what_this_process_reads_is_not_evicted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1, 2, network="read")
    reading = opened(network="read").locate(keys_of(2))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(size_of(2) + size_of(1)))
    kept(3)
    with pytest.raises(StoreError, match="do not fit"):
        kept(3, 4)
    assert np.array_equal(reading.gather(np.array([0])), rows_of(2))
    del reading
    kept(3, 4)
    assert present(opened(network="read"), 1, 2) == []


def test_long_fill_does_not_evict_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 2 * ROW)
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(3 * size_of(2)))
    entry = opened()
    with entry.writer(1) as writer:
        writer.write(keys_of(*range(6)), rows_of(*range(6)))
        with pytest.raises(StoreError, match="no room"):
            writer.write(keys_of(6), rows_of(6))
    assert present(entry, *range(8)) == list(range(6))


def test_nothing_is_kept_where_nothing_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    assert not opened().fits(1)
    with pytest.raises(StoreError):
        kept(1)
    assert not folder.exists()


def test_what_a_killed_writer_left_goes_at_the_next_start(folder: Path) -> None:
    kept(1)
    entry = only(folder, ".rows").parent
    names = [f"{'c' * 32}.index", f"{'a' * 32}.rows", f".{'b' * 32}.part", f".{'d' * 32}.index.x_1y", ".entry.json.abcdefgh"]
    for name in names:
        (entry / name).write_bytes(only(folder, ".index").read_bytes() if name.startswith("c") else b"x")
    (entry / "notes.txt").write_bytes(b"not ours")
    cache.remove_abandoned()
    assert not any((entry / name).exists() for name in names)
    assert (entry / "notes.txt").exists()
    notes: list[str] = []
    assert present(opened(notes), 1) == [1]


def test_rows_that_are_being_written_stay(folder: Path) -> None:
    entry = opened()
    with entry.writer(2) as writer:
        writer.write(keys_of(1), rows_of(1))
        cache.remove_abandoned()
        assert only(folder, ".part").exists()
        writer.write(keys_of(2), rows_of(2))
    assert present(opened(), 1, 2) == [1, 2]


def test_a_start_makes_no_cache_folder(folder: Path) -> None:
    cache.remove_abandoned()
    assert not folder.exists()


def test_clear_touches_only_what_is_ours(folder: Path) -> None:
    kept(1)
    row_store.open_(Kind.PICTURES, {}, shape=SHAPE, dtype="float32", note=refuse).append(keys_of(1), [rows_of(1)])
    others = [
        "hashes.sqlite",
        "photo.rows",
        "pictures/mine/a.rows",
        f"features/{'0' * 64}/holiday.rows",
        f"pictures/{'1' * 64}/x.part",
    ]
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    before = tree(folder)
    assert cache.clear(Kind.PICTURES) == size_of(1)
    assert [each.kind for each in cache.listing()] == [Kind.FEATURES]
    assert cache.clear() == size_of(1)
    assert cache.listing() == []
    assert sorted(tree(folder)) == sorted(name for name in before if name in others)
    assert cache.clear() == 0


def test_listing_says_what_lies_there(folder: Path) -> None:
    kept(1, 2, side=32)
    for path in folder.rglob("*.index"):
        os.utime(path, (1000, 1000))
    kept(3, side=64)
    new, old = cache.listing()
    assert (old.origin, old.rows, old.used) == ({"side": 32}, 2, 1000.0)
    assert (new.origin, new.rows) == ({"side": 64}, 1)
    assert new.kind == Kind.FEATURES
    assert size_of(1) < new.bytes == sum(path.stat().st_size for path in folder.rglob("*") if b'"side": 64' in siblings(path))


def siblings(path: Path) -> bytes:
    description = path.parent / "entry.json"
    return description.read_bytes() if path.is_file() and description.is_file() else b""


# ---- other processes, disks that are full


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Run code in a process of its own that has this module's functions."""
    whole = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom test_store import *\n{code}"
    return subprocess.Popen([sys.executable, "-c", whole, *arguments], stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_two_processes_may_write_the_same_rows() -> None:
    code = """
row_writer.SEGMENT_BYTES = 40 * ROW
print("ready", flush=True)
entry = opened()
entry.append(keys_of(*range(300)), (rows_of(*range(at, at + 10)) for at in range(0, 300, 10)))
assert present(entry, *range(300)) == list(range(300))
"""
    both = [python(code), python(code)]
    while any(each.poll() is None for each in both):
        present(opened(), *range(300))  # a reader meanwhile sees what is whole, in silence
    assert [each.wait(60) for each in both] == [0, 0]
    for each in both:
        each.communicate()
    assert present(opened(), *range(300)) == list(range(300))


def test_killed_writer_leaves_a_store_that_works(folder: Path) -> None:
    code = """
row_writer.SEGMENT_BYTES = 3 * ROW
with opened().writer(10**6) as writer:
    for number in range(10**6):
        writer.write(keys_of(number), rows_of(number))
        print(number, flush=True)
"""
    chance, numbers = random.Random(0), range(2000)
    for _ in range(4):
        process = python(code)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            process.stdout.readline()
        time.sleep(chance.random() / 100)
        process.kill()
        last = int((process.communicate()[0].splitlines() or ["0"])[-1])
        there = present(opened(), *numbers)
        assert there == list(range(len(there)))
        assert len(there) % 3 == 0
        assert len(there) >= min(last - 4, len(numbers) // 3 * 3)
    assert len(present(opened(), *numbers)) > 0
    kept(5000)
    assert present(opened(), 5000) == [5000]


@pytest.mark.parametrize("step", range(8))
def test_writer_killed_at_any_step_leaves_a_whole_store(step: int, folder: Path) -> None:
    """Killed before the step-th call that changes the disk of the second segment; the steps are counted, not named."""
    kept(1, 2)
    code = """
steps = int(sys.argv[1])
def counted(call):
    def called(*arguments, **options):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return call(*arguments, **options)
    return called
for name in ("fsync", "chmod", "replace", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
kept(3, 4)
"""
    process = python(code, str(step))
    process.communicate()
    there = present(opened(), 1, 2, 3, 4)
    assert there == ([1, 2] if step < 5 else [1, 2, 3, 4])
    kept(3, 4)
    assert present(opened(), 1, 2, 3, 4) == [1, 2, 3, 4]
    assert process.returncode == (-9 if step < 7 else 0)


def test_eviction_by_another_process_does_not_break_a_reader(folder: Path) -> None:
    kept(*range(50))
    entry = opened()
    located = entry.locate(keys_of(*range(50)))
    evicting = python("cache.clear()")
    evicting.communicate()
    assert evicting.returncode == 0
    assert not list(folder.rglob("*.rows"))
    assert np.array_equal(located.gather(np.arange(50)), rows_of(*range(50)))
    assert present(opened(), 1) == []
    entry.append(keys_of(60), [rows_of(60)])
    assert present(opened(), 1, 60) == [60]


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Do something in so many processes at once that are forked from this one, and wait for them."""
    children = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            try:
                work(number)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_rows_of_eight_processes_are_all_there_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes rows of its own and rows that others write too, into entries that they share."""
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 7 * ROW)

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(3):
            entry = opened(network=f"shared {chance.randrange(2)}")
            mine = [*range(100 * number, 100 * number + 20), *chance.sample(range(1000, 1040), 20)]
            missing = [each for each in mine if each not in present(entry, *mine)]
            entry.append(keys_of(*missing), (rows_of(each) for each in missing))
            assert present(entry, *mine) == mine
        for each in ("shared 0", "shared 1"):  # so that every process has written to both
            rest = [row for row in range(100 * number, 100 * number + 20) if row not in present(opened(network=each), row)]
            opened(network=each).append(keys_of(*rest), (rows_of(row) for row in rest))

    in_processes(8, work)
    for each in ("shared 0", "shared 1"):
        own = [row for number in range(8) for row in range(100 * number, 100 * number + 20)]
        assert present(opened(network=each), *own) == own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_eight_processes_that_evict_each_others_rows_read_right_ones_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20_000
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(limit))
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 10 * ROW)

    def work(number: int) -> None:
        chance, said = random.Random(number), list[str]()
        for turn in range(6):
            entry = opened(said, network=f"of {chance.randrange(6)}")
            rows = list(range(chance.randrange(20) * 10, 300))[:60]
            located = present(entry, *rows)  # what is there is right, whoever removes it meanwhile
            missing = [each for each in rows if each not in located]
            with contextlib.suppress(StoreError):  # there is no room beside what the others read
                entry.append(keys_of(*missing), (rows_of(each) for each in missing))
            present(opened(said, network=f"of {(number + turn) % 6}"), *rows)
        assert not [line for line in said if "damaged" in line], said

    in_processes(8, work)
    assert sum(path.stat().st_size for path in files.cache_folder().rglob("*.rows")) <= limit
    kept(5000, network="after")
    assert present(opened(network="after"), 5000) == [5000]


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Let no file of this process grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Two segments of 50 rows have 1200 bytes each, their indexes 1288, and entry.json some 180.
@pytest.mark.parametrize("most", [0, 1, 100, 1199, 1200, 1287])
def test_disk_that_is_full_is_one_small_error_and_no_stray_file(
    most: int, folder: Path, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 50 * ROW)
    entry, numbers = opened(), range(100)
    small_disk(most)
    with pytest.raises(StoreError, match="cannot be written: File too large"):
        entry.append(keys_of(*numbers), [rows_of(*numbers)])
    assert {name for name in tree(folder) if not name.endswith("entry.json")} == set()
    assert present(entry, *numbers) == []
    small_disk(100_000)
    entry.append(keys_of(*numbers), [rows_of(*numbers)])
    assert present(opened(), *numbers) == list(numbers)


def test_disk_that_fills_up_keeps_what_was_whole(
    folder: Path, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 50 * ROW)
    with opened().writer(100) as writer:
        writer.write(keys_of(*range(70)), rows_of(*range(70)))
        small_disk(30 * ROW)
        with pytest.raises(StoreError):
            writer.write(keys_of(*range(70, 100)), rows_of(*range(70, 100)))
    assert present(opened(), *range(100)) == list(range(50))
    assert len(tree(folder)) == 3


def test_folder_that_cannot_be_had_is_one_small_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a file where the folder should be")
    entry = opened()
    assert entry.missing(keys_of(1)).all()
    with pytest.raises(StoreError, match="cannot be written"):
        entry.append(keys_of(1), [rows_of(1)])
    assert cache.listing() == []
    assert folder.read_text() == "a file where the folder should be"


def test_entry_folder_that_cannot_be_had_is_one_small_error(folder: Path) -> None:
    folder.mkdir()
    (folder / "features").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        kept(1)
    assert cache.listing() == []


def test_machine_without_a_home_has_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TLKIT_CACHE")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    entry = opened()
    assert entry.missing(keys_of(1)).all()
    assert not entry.fits(1)
    with pytest.raises(StoreError):
        entry.append(keys_of(1), [rows_of(1)])


def test_lock_that_is_not_given_up_is_one_small_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1)
    process = python("with cache.lock():\n    print('held', flush=True)\n    time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setattr(cache, "_PATIENCE", 0.1)
    try:
        assert present(opened(), 1) == [1]
        with pytest.raises(StoreError, match="cannot be written"):
            kept(2)
    finally:
        process.kill()
        process.communicate()
    kept(2)
    assert present(opened(), 1, 2) == [1, 2]


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
    assert open_(note=notes.append).missing(keys).all()
    assert "cannot be read: Permission denied" in notes[0]


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


# ---- many entries


@pytest.fixture
def slow_look(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a look at the store count as one that takes long; gives the number of entries that each look saw."""
    looks: list[int] = []
    real = usage.looked

    def looked(found: Iterator[tuple[usage.Stats, list[usage.StoredSegment]]]) -> usage.Usage:
        seen = list(found)
        looks.append(len(seen))
        return real(seen)

    monkeypatch.setattr(usage, "_SLOW", -1)
    monkeypatch.setattr(usage, "looked", looked)
    return looks


def test_entries_are_looked_at_once_however_many_segments_are_written(
    slow_look: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        kept(number, number=number)
    assert slow_look == [0]
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(5 * size_of(1)))
    slow_look.clear()
    for number in range(5, 9):
        time.sleep(0.01)
        kept(number, number=number)
        assert usage.look().total <= 5 * size_of(1)
    assert [number for number in range(9) if present(opened(number=number), number)] == [4, 5, 6, 7, 8]


def test_limit_is_kept_by_a_remembered_look_without_another(slow_look: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        kept(number, number=number)
        time.sleep(0.01)
    usage.look()
    assert present(opened(number=0), 0) == [0]  # used after the look
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(6 * size_of(1)))
    slow_look.clear()
    for number in range(6, 8):
        kept(number, number=number)
    assert slow_look == []
    monkeypatch.setattr(usage, "_SLOW", 10**9)
    usage.forget()
    assert cache.limit() >= usage.look().total
    assert [number for number in range(8) if present(opened(number=number), number)] == [0, 3, 4, 5, 6, 7]


def test_what_another_process_wrote_counts_without_a_look(slow_look: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    kept(0)
    before = usage.remembered()
    assert before is not None
    most = before.most()
    with cache.lock():
        monkeypatch.setattr(usage, "_known", None)  # as of another process
        usage.add(1000)
    assert before.most() == (most or 0) + 1000
    assert not before.alone()


def test_look_counts_what_is_reserved_and_not_written_yet(slow_look: list[int]) -> None:
    with opened().writer(3) as writer:
        writer.write(keys_of(1), rows_of(1))
        assert usage.look().total >= size_of(3)
    assert usage.look().total == size_of(1)


def test_number_beside_the_store_that_is_damaged_costs_a_look(slow_look: list[int]) -> None:
    kept(0)
    (files.cache_folder() / usage._WRITTEN).write_bytes(b"no number")
    slow_look.clear()
    kept(1)
    assert slow_look
    slow_look.clear()
    kept(2)
    assert slow_look == []
    assert present(opened(), 0, 1, 2) == [0, 1, 2]


def test_listing_is_one_look_and_does_not_keep_what_entries_are_made_from(folder: Path, slow_look: list[int]) -> None:
    kept(1, weights="w" * 5000)
    (pattern,) = (folder / "features").iterdir()
    for number in range(200):
        shutil.copytree(pattern, folder / "features" / hashlib.sha256(b"%d" % number).hexdigest(), copy_function=os.link)
    cache.listing()  # what is made once
    slow_look.clear()
    tracemalloc.start()
    listed = cache.listing()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cache.limit() > 0
    assert slow_look == [201], "the limit is known by the look of the listing"
    assert taken < 4000 * len(listed), "and not 5000 for each"
    assert {each.origin["weights"] for each in listed} == {"w" * 5000}


@pytest.mark.slow
def test_segment_costs_as_much_in_a_store_of_many_entries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_SLOW", 0.02)  # 5,000 entries take longer on every machine

    def seconds() -> float:
        began = time.process_time()
        for number in range(20):
            kept(number, number=number)
        return time.process_time() - began

    few = seconds()
    pattern = tree(only(folder / "features" / opened(number=0).digest, ".rows").parent)
    for number in range(5000):
        entry = folder / "features" / hashlib.sha256(b"%d" % number).hexdigest()
        entry.mkdir()
        for name, content in pattern.items():
            (entry / name).write_bytes(content)
    cache.remove_abandoned()
    assert usage.remembered() is not None
    assert seconds() < 3 * few + 0.5


# ---- a clock that goes back


def test_files_from_the_future_are_read_evicted_and_swept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a clock that was set back: no row is lost or wrong, and the limit holds."""
    for number in range(3):
        kept(number, number=number)
    (only_part := next(folder.rglob("*.rows")).parent / f".{'b' * 32}.part").write_bytes(b"of a process that was killed")
    for path in folder.rglob("*"):
        os.utime(path, (4e9, 4e9))  # in 2096
    cache.remove_abandoned()
    assert not only_part.exists()
    for number in range(3):
        assert present(opened(number=number), number) == [number]
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(3 * size_of(1)))
    for number in range(3, 5):
        kept(number, number=number)
        assert present(opened(number=number), number) == [number]
    assert usage.look().total <= 3 * size_of(1)
