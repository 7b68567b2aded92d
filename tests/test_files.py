"""Bytes on disk: written whole or not at all, and hashes that are remembered and notice every change."""

import contextlib
import hashlib
import os
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tlkit import file_digests, files
from tlkit.errors import DataError, TlkitError
from tlkit.sources import data_files


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def whole(*parts: tuple[str, bytes]) -> str:
    """What `content` gives for names and bytes, by hashlib alone."""
    return sha(b"".join(os.fsencode(name) + b"\0" + sha(content).encode() + b"\n" for name, content in parts))


# replace


def test_file_is_written_whole(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", "grün")
    files.replace(tmp_path / "b", b"\0\xff")
    assert (tmp_path / "a").read_bytes() == "grün".encode()
    assert (tmp_path / "b").read_bytes() == b"\0\xff"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_who_may_read_a_file_is_for_the_umask_to_say(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.replace(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, contents = tmp_path / "a", [bytes([number]) * 200_000 for number in range(40)]
    files.replace(path, contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    for content in contents:
        files.replace(path, content)
    done.set()
    reader.join()
    assert seen <= set(contents)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 1000 bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("before", [None, b"old"])
def test_disk_that_is_full_leaves_the_folder_as_it_was(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "a"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(OSError, match="too large"):
        files.replace(path, b"x" * 100_000)
    assert os.listdir(tmp_path) == ([] if before is None else ["a"])
    assert before is None or path.read_bytes() == before


def test_place_that_cannot_be_taken_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == ["a"]


def test_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.replace(tmp_path / "no" / "a", b"x")
    assert os.listdir(tmp_path) == []


# content


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read to be hashed; and files count as old enough to be remembered at once."""
    names: list[str] = []
    hashed = file_digests.sha256

    def counted(path: Path) -> str:
        names.append(path.name)
        return hashed(path)

    monkeypatch.setattr(file_digests, "sha256", counted)
    monkeypatch.setattr(file_digests, "_RACY", 0)
    return names


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_hash_is_sha256_whatever_the_size(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    assert file_digests.sha256(tmp_path / "a") == sha(b"x" * size)


def test_content_is_of_the_bytes_in_order_and_of_names_where_they_count(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one, two = tmp_path / "one", tmp_path / "sub" / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    assert file_digests.content([one, two]) == whole(("", b"1"), ("", b"2"))
    assert file_digests.content([two, one]) == whole(("", b"2"), ("", b"1"))
    assert file_digests.content([one, two], root=tmp_path) == whole(("one", b"1"), ("sub/two", b"2"))


def test_file_that_did_not_change_is_read_once(tmp_path: Path, read: list[str]) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.write_text(path.name)
    first = file_digests.content(paths)
    assert file_digests.content(paths) == first
    assert file_digests.content(reversed(paths)) != first
    assert read == ["one", "two"]


def test_same_size_and_time_with_other_bytes_is_noticed(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"old")
    times = path.stat()
    first = file_digests.content([path])
    path.write_bytes(b"new")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_digests.content([path]) != first
    assert file_digests.content([path]) == whole(("", b"new"))
    assert read == ["one", "one"]


def test_another_file_renamed_into_the_place_is_noticed(tmp_path: Path, read: list[str]) -> None:
    path, other = tmp_path / "one", tmp_path / "other"
    path.write_bytes(b"old")
    file_digests.content([path])
    other.write_bytes(b"new")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert file_digests.content([path]) == whole(("", b"new"))


def test_file_that_was_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    """It may change again within one tick of the file system's clock."""
    path = tmp_path / "one"
    path.write_bytes(b"old")
    file_digests.content([path])
    with sqlite3.connect(files.cache_folder() / "hashes.sqlite") as memory:
        assert memory.execute("select count(*) from file").fetchone() == (0,)
    memory.close()


def test_links_to_one_file_are_one_file(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "link").symlink_to("one")
    assert file_digests.content([tmp_path / "one"]) == file_digests.content([tmp_path / "link"])
    assert read == ["one"]


def test_each_folder_is_resolved_once_and_links_lead_to_their_files(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    for name in "abc":
        (tmp_path / "real" / name).write_text(name)
    (tmp_path / "real" / "link").symlink_to("a")
    resolved: list[str] = []
    realpath = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(os.fspath(path)) or realpath(path))
    expected = [hashlib.sha256(name.encode()).digest() for name in "abc"]
    assert file_digests.digests(tmp_path / "real" / name for name in "abc") == expected
    assert resolved == [str(tmp_path / "real")]
    assert file_digests.digests(tmp_path / "linked" / name for name in ["a", "b", "c", "link"]) == [*expected, expected[0]]
    assert file_digests.digests([tmp_path / "real" / ".." / "linked" / "a"]) == expected[:1]
    assert read == ["a", "b", "c"]


def test_remembered_hashes_are_looked_up_in_one_transaction_that_ends_before_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "_RACY", 0)
    paths = [tmp_path / str(number) for number in range(9)]
    for path in paths:
        path.write_text(path.name)
    file_digests.digests(paths)
    said: list[str] = []
    connect = sqlite3.connect

    def watched(*args: object, **kwargs: object) -> sqlite3.Connection:
        made = connect(*args, **kwargs)
        made.set_trace_callback(said.append)
        return made

    monkeypatch.setattr(sqlite3, "connect", watched)
    file_digests.digests(paths)
    assert said.pop(0) == "pragma synchronous = off"  # waiting for the disk takes 20 ms of every change
    assert [line.split()[0].lower() for line in said] == ["create", "pragma", "begin", "select", "commit"]

    def hashed(path: Path) -> str:  # another process wants to write meanwhile
        with contextlib.closing(connect(files.cache_folder() / "hashes.sqlite", timeout=0)) as other, other:
            other.execute("insert into file values ('elsewhere', '', '', 0)")
        return sha(path.read_bytes())

    monkeypatch.setattr(file_digests, "sha256", hashed)
    paths[4].write_text("another")
    assert file_digests.digests(paths)[4].hex() == sha(b"another")


def test_name_that_is_no_utf8_is_a_name(tmp_path: Path, read: list[str]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(b"1")
    expected = sha(b"caf\xe9.png\0" + sha(b"1").encode() + b"\n")
    assert file_digests.content([path], root=tmp_path) == file_digests.content([path], root=tmp_path) == expected
    assert len(read) == 1


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: cannot be read: No such file"):
        file_digests.content([tmp_path / "gone"])
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        file_digests.content([tmp_path])


def spoil_folder(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("a file where the folder should be")


def spoil_file(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "hashes.sqlite").write_bytes(b"no data base" * 100)


def spoil_table(cache: Path) -> None:
    cache.mkdir(parents=True)
    with sqlite3.connect(cache / "hashes.sqlite") as memory:
        memory.execute("create table file (something integer)")
    memory.close()


@pytest.mark.parametrize(("spoil", "reads"), [(spoil_folder, 2), (spoil_file, 2), (spoil_table, 1)])
def test_memory_that_cannot_be_used_costs_time_and_no_error(tmp_path: Path, spoil: object, reads: int, read: list[str]) -> None:
    assert callable(spoil)
    spoil(files.cache_folder())
    (tmp_path / "one").write_bytes(b"1")
    assert file_digests.content([tmp_path / "one"]) == file_digests.content([tmp_path / "one"]) == whole(("", b"1"))
    assert read == ["one"] * reads  # a table with other columns is begun anew


def test_remembered_hash_with_a_bit_that_changed_is_not_believed(tmp_path: Path, read: list[str]) -> None:
    names = [f"{name}.png" for name in "abcdefgh"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    right = file_digests.digests(tmp_path / name for name in names)
    memory = files.cache_folder() / "hashes.sqlite"
    whole = memory.read_bytes()
    rows = whole.find(right[0].hex().encode())
    assert rows > 0
    for place in range(rows - 200, rows + 64, 3):  # in paths, states and hashes
        damaged = bytearray(whole)
        damaged[place] ^= 1
        memory.write_bytes(damaged)
        assert file_digests.digests(tmp_path / name for name in names) == right
        assert file_digests.known_content([tmp_path / names[0]]) in (None, file_digests.content([tmp_path / names[0]]))
    assert len(read) > 2 * len(names), "some were read again"


def test_damaged_memory_is_begun_anew(tmp_path: Path) -> None:
    spoil_file(files.cache_folder())
    path = tmp_path / "one"
    path.write_bytes(b"1")
    os.utime(path, (1e9, 1e9))
    for _ in range(2):
        file_digests.content([path])
    with contextlib.closing(sqlite3.connect(files.cache_folder() / "hashes.sqlite")) as memory:
        assert memory.execute("pragma quick_check").fetchone() == ("ok",)


def test_clearing_the_cache_removes_a_damaged_memory_and_keeps_a_whole_one(tmp_path: Path) -> None:
    from tlkit.store import cache

    spoil_file(files.cache_folder())
    assert cache.clear() == 1200
    assert not (files.cache_folder() / "hashes.sqlite").exists()
    (tmp_path / "one").write_bytes(b"1")
    file_digests.content([tmp_path / "one"])
    assert cache.clear() == 0
    assert (files.cache_folder() / "hashes.sqlite").exists()


def test_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.cache_folder() == Path.home() / ".cache" / "tlkit" / "store"
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "mine"))
    (tmp_path / "one").write_bytes(b"1")
    file_digests.content([tmp_path / "one"])
    assert (tmp_path / "mine" / "hashes.sqlite").is_file()


@pytest.mark.parametrize(
    ("variable", "folder"), [("TLKIT_CACHE", files.cache_folder), ("TLKIT_DATA", data_files.data_folder)], ids=["cache", "data"]
)
def test_a_home_folder_that_no_shell_resolved_is_resolved(
    variable: str, folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "~/mine")
    assert folder() == Path.home() / "mine"
    monkeypatch.setenv(variable, "~nobody-of-this-name/mine")
    with pytest.raises(TlkitError, match="there is no such home folder"):
        folder()


def test_a_variable_that_names_a_file_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"1")
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path / "net.safetensors"))
    with pytest.raises(TlkitError, match=r"net\.safetensors: is a file, and TLKIT_WEIGHTS names a folder"):
        files.named_folder("TLKIT_WEIGHTS")


@pytest.mark.usefixtures("read")
def test_hashes_of_files_that_are_gone_are_forgotten_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "_SWEPT", 4)
    paths = [tmp_path / str(number) for number in range(6)]

    def remembered() -> set[str]:
        with contextlib.closing(sqlite3.connect(files.cache_folder() / "hashes.sqlite")) as memory:
            return {Path(os.fsdecode(path)).name for (path,) in memory.execute("select path from file")}

    for path in paths:
        path.write_text(path.name)
    file_digests.digests(paths[:3])
    paths[1].unlink()
    assert remembered() == {"0", "1", "2"}
    file_digests.digests(paths[3:5])
    assert remembered() == {"0", "2", "3", "4"}
    paths[2].unlink()
    file_digests.digests(paths[5:])
    assert remembered() == {"0", "2", "3", "4", "5"}, "only each time that so many more are remembered"
