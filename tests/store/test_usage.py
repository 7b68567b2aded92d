"""A look at the store: what it counts, how long it is remembered, and what other processes add meanwhile."""

import os
import secrets
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.store import usage
from tlkit.store.usage import Kind, StoredSegment, Usage

PICTURES, FEATURES, ROWS = "a" * 64, "b" * 64, "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(usage, "_known", None)
    return files.cache_folder()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds since some time, and seconds of a processor that the next look takes."""
    state, busy = SimpleNamespace(now=1000.0, takes=0.25), [0.0]

    def thread_time() -> float:
        busy.append(busy[-1] + (state.takes if len(busy) % 2 == 0 else 0.0))
        return busy[-1]

    monkeypatch.setattr(usage, "time", SimpleNamespace(thread_time=thread_time, monotonic=lambda: state.now))
    return state


def put(entry: Path, *, rows: int, index: int, used: int = 0, name: str = ROWS) -> None:
    """Write a segment, of so many bytes of rows and of its index."""
    entry.mkdir(parents=True, exist_ok=True)
    (entry / f"{name}.rows").write_bytes(b"r" * rows)
    (entry / f"{name}.index").write_bytes(b"i" * index)
    os.utime(entry / f"{name}.index", (used, used))


def number(folder: Path, content: bytes | None) -> None:
    """Write the number beside the store, or remove it."""
    path = folder / ".written.lock"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def no_home() -> Path:
    raise TlkitError("there is no home folder")


def seen(folder: Path, *, total: int = 100, written: int = 7) -> Usage:
    return Usage(folder, total, [], written, 0.0)


def test_a_look_counts_all_files_of_all_entries_but_their_descriptions(folder: Path) -> None:
    put(folder / "pictures" / PICTURES, rows=10, index=88 + 2 * 24, used=1000)
    put(folder / "features" / FEATURES, rows=20, index=88 + 3 * 24 + 23, used=2000)
    put(folder / "features" / FEATURES, rows=30, index=40, used=1500, name="f" * 32)
    (folder / "features" / FEATURES / "entry.json").write_bytes(b"a description")
    (folder / "features" / FEATURES / f".{ROWS}.part").write_bytes(b"12345")
    (folder / "features" / FEATURES / "notes.txt").write_bytes(b"of another program")
    put(folder / "features" / "mine", rows=1000, index=1000)
    number(folder, b"00000000000000000050")
    found = usage.look()
    entry = folder / "features" / FEATURES
    assert found.segments == [
        StoredSegment(entry / f"{ROWS}.rows", 3, 20 + 183, 2000.0),
        StoredSegment(entry / f"{'f' * 32}.rows", 0, 30 + 40, 1500.0),
        StoredSegment(folder / "pictures" / PICTURES / f"{ROWS}.rows", 2, 10 + 136, 1000.0),
    ]
    assert (found.folder, found.total, found.written) == (folder, 203 + 70 + 146 + 5, 50)
    number(folder, b"damaged")
    assert usage.look().written == 0


def test_rows_without_an_index_and_an_index_without_rows_are_no_segment(folder: Path) -> None:
    put(entry := folder / PICTURES, rows=10, index=88)
    (entry / f"{ROWS}.index").rename(entry / f"{'f' * 32}.index")
    stats, segments = usage.files_of(entry)
    assert ({name: stat.st_size for name, stat in stats.items()}, segments) == (
        {f"{ROWS}.rows": 10, f"{'f' * 32}.index": 88},
        [],
    )


def test_an_entry_is_a_folder_that_is_named_by_a_digest(folder: Path) -> None:
    assert usage.entries() == []
    for name in (PICTURES, "a" * 63, "a" * 65, "g" * 64):
        (folder / "features" / name).mkdir(parents=True)
    assert usage.entries() == [folder / "features" / PICTURES]
    (folder / "pictures" / FEATURES).mkdir(parents=True)
    assert usage.entries() == [folder / "pictures" / FEATURES, folder / "features" / PICTURES]
    assert list(Kind) == ["pictures", "features"]


def test_files_that_are_removed_meanwhile_or_are_links_of_others_are_not_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(entry := folder / PICTURES, rows=10, index=88)
    (large := folder / "large").write_bytes(b"1" * 5000)
    (entry / "entry.json").symlink_to(large)
    assert stat.S_ISLNK(usage.stats_of(entry)["entry.json"].st_mode)
    real = os.stat

    def gone(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.endswith(".rows"):
            raise FileNotFoundError(path)
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "stat", gone)
    assert usage.stats_of(entry).keys() == {"entry.json", f"{ROWS}.index"}
    assert usage.files_of(folder / FEATURES) == ({}, [])


@pytest.mark.parametrize(("takes", "lasts"), [(0.25, 60.0), (3.0, 60.0), (4.0, 80.0)])
def test_a_slow_look_is_remembered_for_a_minute_or_twenty_times_as_long_as_it_took(
    takes: float, lasts: float, clock: SimpleNamespace
) -> None:
    clock.takes = takes
    found = usage.look()
    assert usage.remembered() is found
    clock.now += lasts
    assert usage.remembered() is found
    clock.now += 0.5
    assert usage.remembered() is None


def test_a_quick_look_is_not_remembered_and_takes_the_place_of_a_slow_one(clock: SimpleNamespace) -> None:
    usage.look()
    clock.takes = 0.2
    usage.look()
    assert usage.remembered() is None


def test_a_look_is_of_one_cache_folder(clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = usage.look()
    (other := tmp_path / "other").mkdir()
    monkeypatch.setenv("TLKIT_CACHE", str(other))
    assert usage.remembered() is None
    assert usage.add(5) is None
    assert found.total == 0
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    assert usage.remembered() is found


def test_what_will_be_written_is_added_to_the_look_and_to_a_number_that_all_processes_read(
    clock: SimpleNamespace, folder: Path
) -> None:
    path = folder / ".written.lock"
    assert usage.add(30) is None, "there was no look"
    assert path.read_bytes() == b"00000000000000000030"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, "other users may share the cache"
    found = usage.look()
    assert usage.add(12) is found
    assert path.read_bytes() == b"00000000000000000042"
    assert (found.total, found.written, found.alone(), found.most()) == (12, 42, True, 12)


def test_damaged_number_begins_anew_where_no_other_process_takes_it_for_its_own(
    clock: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def randbits(bits: int) -> int:
        drawn.append(bits)
        return 10**17

    monkeypatch.setattr(secrets, "randbits", randbits)
    found = usage.look()
    number(folder, b"damaged")
    assert (found.alone(), found.most()) == (False, None)
    assert usage.add(5) is found
    assert (folder / ".written.lock").read_bytes() == b"%020d" % (10**17 + 5)
    assert (found.total, found.written, found.most(), drawn) == (5, 10**17 + 5, 5, [60])
    number(folder, b"damaged")
    monkeypatch.setattr(usage, "_known", None)
    assert usage.add(5) is None
    assert drawn == [60, 60]


def test_number_that_cannot_be_written_is_removed_without_an_error(
    clock: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, content: bytes) -> int:
        raise OSError("no space left on device")

    found, before = usage.look(), len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert usage.add(5) is found
    assert not (folder / ".written.lock").exists()
    (folder / ".written.lock").mkdir()
    usage.add(5)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(
    ("content", "alone", "most"),
    [(b"7", True, 100), (b"8", False, 101), (b"6", False, None), (None, False, None), (b"x", False, None), (b"", False, None)],
)
def test_what_other_processes_wrote_is_the_number_less_what_it_was(
    content: bytes | None, alone: bool, most: int | None, folder: Path
) -> None:
    number(folder, content)
    assert (seen(folder).alone(), seen(folder).most()) == (alone, most)


def test_store_without_a_number_has_had_nothing_written(folder: Path) -> None:
    assert seen(folder, written=0).alone()
    assert seen(folder, written=0).most() == 100


def test_bytes_that_were_not_written_are_taken_back_from_the_look_that_counted_them(clock: SimpleNamespace) -> None:
    counted = usage.look()
    usage.add(50)
    assert usage.counts(counted)
    assert not usage.counts(None)
    usage.take_back(counted, 20)
    usage.take_back(None, 20)
    assert counted.total == 30
    later = usage.look()
    assert not usage.counts(counted)
    usage.take_back(counted, 20)
    assert (counted.total, later.total) == (30, 0)


def test_forgetting_a_look_removes_the_number_for_every_process(
    clock: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage.look()
    usage.add(5)
    usage.forget()
    assert usage.remembered() is None
    assert list(folder.iterdir()) == []
    usage.forget()
    (folder / ".written.lock").mkdir()
    usage.forget()  # a folder cannot be removed as a file
    monkeypatch.setattr(files, "cache_folder", no_home)
    usage.forget()
