"""How much the store keeps: its limit, what goes first, and many entries."""

import hashlib
import os
import shutil
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_store import ROW, kept, keys_of, no_cache, only, opened, present, rows_of, size_of, tree

from tlkit import files
from tlkit.errors import StoreError, TlkitError
from tlkit.store import cache, cache_limit, row_writer, usage


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return no_cache(tmp_path, monkeypatch)


# ---- how much


@pytest.mark.parametrize(("free", "expected"), [(10**12, 20 * 10**9), (10**10, 2 * 10**9), (0, 0)])
def test_limit_is_20_gb_or_20_percent_of_the_free_disk(
    free: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage_of(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage_of)
    assert cache_limit.limit() == expected
    assert asked == [tmp_path], "the folder that is there, of those above the cache"


def test_what_the_store_holds_counts_as_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    monkeypatch.setattr(cache_limit, "SHARE", 0.5)
    kept(*range(10))
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in (".rows", ".index"))
    assert cache_limit.limit() == (10_000 + held) // 2


@pytest.mark.parametrize("value", ["-1", "20GB", "1e9", "9" * 30, " "])
def test_limit_that_is_no_number_is_a_message(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE_BYTES", value)
    with pytest.raises(TlkitError) as raised:
        cache_limit.limit()
    assert str(raised.value) == f"TLKIT_CACHE_BYTES={value}: is not a whole number of bytes.\n  20000000000 is 20 GB"


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
        with pytest.raises(StoreError) as raised:
            entry.append(keys_of(*range(5)), [rows_of(*range(5))])
        assert str(raised.value) == (
            f"store: 5 rows of {size_of(5)} bytes in all do not fit: at most {size_of(5) - 1} are kept, and {size_of(5) - 1} of "
            "them can be freed beside what this run reads."
        )
        assert tree(folder) == before
    else:
        entry.append(keys_of(*range(5)), [rows_of(*range(5))])
        assert present(opened(), *range(5)) == list(range(5))
        assert present(opened(network="other"), 1, 2) == []


def test_entries_are_not_searched_for_what_can_go_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20,000 entries that took 6 s of a segment's 9."""
    kept(1)
    monkeypatch.setattr(cache, "sweep", lambda entry: pytest.fail("searched"))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(2 * size_of(1)))  # exactly what it takes
    kept(2)
    assert present(opened(), 1, 2) == [1, 2]


def test_one_byte_too_many_is_a_segment_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1)
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(2 * size_of(1) - 1))
    kept(2)
    assert present(opened(), 1, 2) == [2]


def test_small_disk_keeps_its_share_and_evicts_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def usage_of(path: Path) -> SimpleNamespace:
        """As of a disk of so many bytes, which holds the store alone."""
        return SimpleNamespace(free=6 * size_of(1) - usage.look().total)

    monkeypatch.setattr(shutil, "disk_usage", usage_of)
    monkeypatch.setattr(cache_limit, "SHARE", 0.5)
    for number in range(4):
        kept(number, number=number)
        time.sleep(0.01)
    assert [number for number in range(4) if present(opened(number=number), number)] == [1, 2, 3]
    assert usage.look().total == cache_limit.limit() == 3 * size_of(1)
    assert cache_limit.room() == 3 * size_of(1)
    read = [opened(number=number).locate(keys_of(number)) for number in (1, 2, 3)]
    with cache.lock(), pytest.raises(StoreError, match=f"no room for 1 bytes more: at most {3 * size_of(1)} are kept"):
        cache_limit.make_room(1)
    assert len(read) == 3


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
        with pytest.raises(StoreError) as raised:
            writer.write(keys_of(6), rows_of(6))
    assert str(raised.value) == f"store: no room for {size_of(1)} bytes more: at most {3 * size_of(2)} are kept."
    assert present(entry, *range(8)) == list(range(6))


def test_nothing_is_kept_where_nothing_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    assert not opened().fits(1)
    with pytest.raises(StoreError, match="at most 0 are kept, and 0 of them"):
        kept(1)
    assert not folder.exists()
    monkeypatch.delenv("TLKIT_CACHE_BYTES")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(StoreError) as raised:
            kept(1)
    hint = f"{folder} takes a fifth of its free disk at most: name another folder with TLKIT_CACHE"
    assert raised.value.note("they are computed again").endswith(f"; they are computed again; {hint}")
    kept(1)
    reading = opened().locate(keys_of(1))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    with pytest.raises(StoreError, match="at most 0 are kept, and 0 of them"):  # and not fewer
        kept(2)
    assert len(reading) == 1


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
    assert cache_limit.limit() >= usage.look().total
    assert [number for number in range(8) if present(opened(number=number), number)] == [0, 3, 4, 5, 6, 7]


def test_row_that_was_used_since_the_last_look_goes_where_nothing_else_can(
    folder: Path, slow_look: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(1)
    usage.look()
    os.utime(only(folder, ".index"), (4e9, 4e9))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(2 * size_of(1) - 1))
    slow_look.clear()
    kept(2)
    assert slow_look == [1]
    assert present(opened(), 1, 2) == [2]


def test_start_looks_once_and_remembers_what_it_saw(slow_look: list[int]) -> None:
    kept(1)
    slow_look.clear()
    cache.remove_abandoned()
    assert slow_look == [1]
    known = usage.remembered()
    assert (known.total, len(known.segments)) == (size_of(1), 1)


def test_what_another_process_wrote_counts_without_a_look(slow_look: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    kept(0)
    before = usage.remembered()
    most = before.most()
    with cache.lock():
        monkeypatch.setattr(usage, "_known", None)  # as of another process
        usage.add(1000)
    assert before.most() == (most or 0) + 1000
    assert not before.alone()
    monkeypatch.setattr(usage, "_known", before)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    monkeypatch.setattr(cache_limit, "SHARE", 0.5)
    assert cache_limit.limit() == (10_000 + size_of(1) + 1000) // 2


def test_rows_of_another_process_can_be_evicted_though_the_last_look_does_not_know_them(
    folder: Path, slow_look: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(0)
    usage.look()
    known = usage.remembered()
    monkeypatch.setattr(usage, "_known", None)  # as of another process
    kept(1, number=1)
    monkeypatch.setattr(usage, "_known", known)
    assert known is not None
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(2 * size_of(1)))
    assert cache_limit.room() == size_of(1)
    slow_look.clear()
    assert cache_limit.fits(size_of(1))
    assert slow_look == []
    assert cache_limit.fits(2 * size_of(1))
    assert slow_look == [2]
    assert not cache_limit.fits(2 * size_of(1) + 1)


def test_rows_that_are_read_stay_in_a_remembered_look_until_they_are_not(
    slow_look: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        kept(number, number=number)
        time.sleep(0.01)
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(3 * size_of(1)))
    usage.look()
    reading = opened(number=0).locate(keys_of(0))
    usage.look()
    present(opened(number=1), 1)  # used later than the row that is read
    present(opened(number=2), 2)
    usage.look()
    slow_look.clear()
    kept(3, number=3)
    assert np.array_equal(reading.gather(np.arange(1)), rows_of(0))
    del reading
    kept(4, number=4)
    assert slow_look == []
    assert [number for number in range(5) if present(opened(number=number), number)] == [2, 3, 4]


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
    assert cache_limit.limit() > 0
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
