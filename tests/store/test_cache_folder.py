"""What lies in the cache folder: what is listed, what is cleared, and what killed processes left."""

import os
import time
from pathlib import Path

import pytest
from toy_store import SHAPE, kept, keys_of, no_cache, only, opened, present, refuse, rows_of, size_of, tree

from tlkit import files
from tlkit.store import cache, row_store, unfinished
from tlkit.store.usage import Kind


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return no_cache(tmp_path, monkeypatch)


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


def test_each_leftover_goes_also_where_the_description_is_gone(folder: Path) -> None:
    for name in (f"{'a' * 32}.rows", f".{'b' * 32}.part", f"{'c' * 32}.index"):
        kept(1)
        entry = only(folder, ".rows").parent
        (entry / "entry.json").unlink()
        (entry / name).write_bytes(b"x")
        cache.remove_abandoned()
        assert not (entry / name).exists()
        assert present(opened(), 1) == [1]
        cache.clear()


def test_entry_without_rows_goes_and_what_cannot_be_removed_stays(folder: Path) -> None:
    described, empty, begun, full = (folder / "features" / (each * 64) for each in "abcd")
    (folder / "pictures" / ("d" * 64)).mkdir(parents=True)
    for entry in (described, empty, begun, full):
        entry.mkdir(parents=True)
    for entry in (described, begun):
        (entry / "entry.json").write_bytes(b"{}")
    (begun / f".{'0' * 32}.part").write_bytes(b"x")
    (full / f"{'0' * 32}.rows").mkdir()
    cache.remove_abandoned()
    assert list(folder.glob("*/*")) == [full]
    assert not (folder / "pictures").exists()


def test_start_is_silent_where_the_store_cannot_be_locked(folder: Path) -> None:
    kept(1)
    stray = only(folder, ".rows").with_name(f"{'a' * 32}.rows")
    stray.write_bytes(b"x")
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()
    cache.remove_abandoned()
    assert stray.exists()


def test_part_of_a_file_system_without_locks_goes_after_an_hour(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "abandoned", lambda path: False)
    kept(1)
    part = only(folder, ".rows").with_name(f".{'a' * 32}.part")
    for age, stays in (3500, True), (3700, False):
        part.write_bytes(b"x")
        os.utime(part, (time.time() - age,) * 2)
        cache.remove_abandoned()
        assert part.exists() is stays


def test_segment_may_be_removed_twice(folder: Path) -> None:
    kept(1)
    path = only(folder, ".rows")
    cache.remove(path)
    cache.remove(path)
    assert not path.exists()


def test_error_of_the_system_is_said_in_its_words_and_any_other_in_its_own(folder: Path) -> None:
    hint = "name another folder with TLKIT_CACHE, or make room with `tlkit cache clear`"
    for error, why in (
        (OSError(28, "No space left on device", "a"), "No space left on device"),
        (OSError("odd"), "odd"),
        (NotImplementedError("no such lock"), "no such lock"),
    ):
        assert str(cache.unwritable(error)) == f"store: {files.shown(folder)}: cannot be written: {why}.\n  {hint}"
    for error in (
        PermissionError(13, "Permission denied"),
        OSError(30, "Read-only file system"),
    ):  # where clearing does not help
        assert cache.unwritable(error).hints == ("name another folder with TLKIT_CACHE, or make this one writable",)


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


def test_text_of_many_entries_is_in_memory_once(folder: Path) -> None:
    for number in range(2):
        kept(number, weights="w" * 50, number=number)
    first, second = (each.origin["weights"] for each in cache.listing())
    assert first == "w" * 50
    assert first is second


def test_measurements_and_indexes_of_shards_are_counted_and_cleared(folder: Path) -> None:
    assert cache.others() == {}
    own = {"measured": f"{'a' * 64}.json", "indexes": f"{'b' * 64}.npz"}
    for name, file in own.items():
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_bytes(b"own")
        old = folder / name / "notes.txt"
        old.write_bytes(b"not ours")
        os.utime(old, (1e9, 1e9))
        (folder / name / f"{'c' * 64}.json").symlink_to(old)
    assert cache.others() == {"measured": 3, "indexes": 3}
    kept(1)
    assert cache.clear(Kind.FEATURES) == size_of(1)
    (folder / "hashes.sqlite").write_bytes(b"not a database" * 100)
    assert cache.others() == {"hashes.sqlite": 1400, "measured": 3, "indexes": 3}
    assert cache.clear() == 6 + 1400
    assert cache.others() == {}
    assert len(list(folder.rglob("notes.txt"))) == len(list(folder.rglob("c*.json"))) == 2


def test_record_that_another_process_removed_frees_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.setattr(cache, "_records", lambda name: [(folder / name / "gone.json", 7)])
    assert cache.clear() == 0
