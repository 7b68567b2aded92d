"""Rows on their way to the disk: what is reserved and synced, and what is left where a write fails or is stopped."""

import contextlib
import io
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_store import ROW, SHAPE, kept, keys_of, no_cache, only, opened, present, rows_of, size_of, tree

from tlkit import files
from tlkit.errors import StoreError
from tlkit.store import cache, cache_limit, row_writer, usage


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return no_cache(tmp_path, monkeypatch)


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Let no file of this process grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Stopped(io.FileIO):
    """A file that takes seven bytes at a time; `after` so many calls the write is interrupted."""

    after = -1

    def write(self, content: object) -> int:
        Stopped.after -= 1
        if Stopped.after == 0:
            raise KeyboardInterrupt
        return super().write(memoryview(content)[:7])


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> type[Stopped]:
    monkeypatch.setattr(Stopped, "after", -1)
    whole = Path.open

    def open_(path: Path, mode: str = "r", **options: object) -> object:
        return Stopped(path, "x") if path.name.endswith(".part") else whole(path, mode, **options)

    monkeypatch.setattr(Path, "open", open_)
    return Stopped


def test_write_that_takes_a_part_of_the_bytes_goes_on_with_the_rest(stopped: type[Stopped], folder: Path) -> None:
    opened().append(keys_of(1, 2), [rows_of(1, 2)])
    assert only(folder, ".rows").read_bytes() == rows_of(1, 2).tobytes()


def test_row_that_an_interruption_left_incomplete_is_cut_off(stopped: type[Stopped], folder: Path) -> None:
    with opened().writer(3) as writer:
        writer.write(keys_of(1, 2), rows_of(1, 2))
        stopped.after = 2
        with pytest.raises(KeyboardInterrupt):
            writer.write(keys_of(3), rows_of(3))
    assert only(folder, ".rows").read_bytes() == rows_of(1, 2).tobytes()


def test_rows_are_with_the_system_as_soon_as_they_are_written(folder: Path) -> None:
    with opened().writer(2) as writer:
        writer.write(keys_of(1), rows_of(1))
        assert only(folder, ".part").read_bytes()[:ROW] == rows_of(1).tobytes()


def test_part_of_a_segment_has_the_size_of_what_is_to_come(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 4 * ROW)
    with opened().writer(10) as writer:
        for rows, expected in ([0, 1, 2, 3, 4], size_of(4)), ([5, 6, 7], None), ([8], size_of(2)):
            writer.write(keys_of(*rows), rows_of(*rows))
            assert [path.stat().st_size for path in folder.rglob("*.part")] == ([] if expected is None else [expected])


def test_more_rows_than_were_announced_reserve_no_more_than_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 2 * ROW)
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(size_of(2) + size_of(1)))
    with opened().writer(1) as writer:
        writer.write(keys_of(1, 2, 3), rows_of(1, 2, 3))
    assert present(opened(), 1, 2, 3) == [1, 2, 3]


def test_remembered_look_counts_what_was_written_and_no_more(
    small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_SLOW", -1)
    kept(1)
    with opened().writer(5) as writer:
        writer.write(keys_of(2, 3), rows_of(2, 3))
    small_disk(2 * ROW)
    with pytest.raises(StoreError):
        kept(4, 5, 6)
    known = usage.remembered()
    assert known.total == size_of(1) + size_of(2)
    assert known.total == usage.look().total


def test_limit_that_was_lowered_during_a_fill_holds_for_the_index_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for least, whole in (size_of(2), True), (size_of(2) - 1, False):
        monkeypatch.delenv("TLKIT_CACHE_BYTES", raising=False)
        cache.clear()
        writer = opened().writer(2)
        writer.write(keys_of(1, 2), rows_of(1, 2))
        monkeypatch.setenv("TLKIT_CACHE_BYTES", str(least))
        with contextlib.nullcontext() if whole else pytest.raises(StoreError, match="no room for 136 bytes more: at most 183"):
            writer.__exit__(None, None, None)
        assert len(list(folder.rglob("*.rows"))) == whole


def test_error_at_the_end_of_a_fill_is_raised_unless_there_is_another(small_disk: Callable[[int], None]) -> None:
    def fill(error: Exception | None) -> None:
        small_disk(100_000)
        with opened().writer(1) as writer:
            writer.write(keys_of(1), rows_of(1))
            small_disk(0)
            if error:
                raise error

    with pytest.raises(StoreError, match="cannot be written: File too large"):
        fill(None)
    with pytest.raises(ZeroDivisionError):
        fill(ZeroDivisionError())


def test_rows_are_synced_before_they_have_their_name_and_that_before_the_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str | int] = []
    replace = os.replace

    def replaced(source: str, target: str) -> None:
        calls.append(Path(target).suffix)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(os.fstat(handle).st_ino))
    monkeypatch.setattr(os, "replace", replaced)
    kept(1)
    rows, index, description = (only(folder, name) for name in (".rows", ".index", "entry.json"))
    inode, parent = rows.stat().st_ino, rows.parent.stat().st_ino
    described = [description.stat().st_ino, ".json", parent]
    assert calls == [inode, ".rows", parent, *described, index.stat().st_ino, ".index", parent]
    calls.clear()
    kept(2)
    assert ".json" not in calls, "described once"


def test_place_without_a_folder_is_not_described() -> None:
    place = row_writer.Place(None, "", "", SHAPE, np.dtype("float32"))
    place.describe()
    assert not place.described()


def test_blocks_that_are_not_the_entrys_are_refused() -> None:
    with opened().writer(1) as writer:
        for keys, rows in (
            (keys_of(1), rows_of(1, shape=(3, 2))),
            (keys_of(1), rows_of(1, dtype="float64")),
            (keys_of(1), rows_of(1, 2)),
            (keys_of(1)[:, :15], rows_of(1)),
        ):
            with pytest.raises(ValueError, match="and a key each") as raised:
                writer.write(keys, rows)
            shapes = f"rows {rows.shape} {rows.dtype}, keys {keys.shape}"
            assert str(raised.value) == f"{shapes}: not (2, 3) float32 and a key each"
    assert present(opened(), 1) == []


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
        with pytest.raises(StoreError, match="cannot be written: File too large"):
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
    with pytest.raises(StoreError) as raised:
        kept(1)
    hint = "name another folder with TLKIT_CACHE, or make room with `tlkit cache clear`"
    assert str(raised.value) == f"store: {files.shown(folder)}: cannot be written: Not a directory.\n  {hint}"
    assert cache.listing() == []


def test_machine_without_a_home_has_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TLKIT_CACHE")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    entry = opened()
    assert entry.missing(keys_of(1)).all()
    assert not entry.fits(1)
    assert cache_limit.limit() == 0
    with pytest.raises(StoreError) as raised:
        entry.append(keys_of(1), [rows_of(1)])
    assert str(raised.value) == "store: there is no cache folder.\n  set HOME, or TLKIT_CACHE"
    cache.remove_abandoned()  # in silence
