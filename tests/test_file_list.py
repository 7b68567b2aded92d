"""A list of many files is what a tuple of paths is, in a fraction of its memory."""

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from tlkit.file_list import FileList, texts

BLOCKS = [("/a", ["1.png", "2.png"]), ("/a/b", ["ä.png"]), ("/c", ["\udcff.png", "x"]), ("/a", ["3.png"])]
PATHS = tuple(Path(folder) / name for folder, names in BLOCKS for name in names)


@pytest.mark.parametrize("files", [FileList(BLOCKS), FileList.of(PATHS)])
def test_it_is_read_as_a_tuple_of_paths(files: FileList) -> None:
    assert tuple(files) == PATHS == tuple(files[index] for index in range(len(files)))
    assert files[-1] == PATHS[-1]
    assert files[1:5:2] == PATHS[1:5:2]
    assert list(texts(files)) == list(map(str, PATHS))
    assert [(folder, each.tolist()) for folder, each in files.blocks()] == [
        ("/a", [0, 1]),
        ("/a/b", [2]),
        ("/c", [3, 4]),
        ("/a", [5]),
    ]
    with pytest.raises(IndexError):
        files[6]


def test_lists_of_the_same_files_are_equal() -> None:
    assert FileList(BLOCKS) == FileList.of(PATHS)
    assert hash(FileList(BLOCKS)) == hash(FileList.of(PATHS))
    assert FileList(BLOCKS) != FileList(BLOCKS[:-1])


def test_a_list_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    files, same = FileList(BLOCKS), FileList(BLOCKS)
    monkeypatch.setattr("tlkit.file_list.hashlib.sha256", lambda content, of=hashlib.sha256: asked.append(1) or of(content))
    assert hash(files) == hash(same)
    once = len(asked)
    assert files == same
    assert len({files, same}) == 1
    assert len(asked) == once


def test_a_file_takes_its_name_and_20_bytes() -> None:
    tracemalloc.start()
    try:
        files = FileList((f"/images/{block}", [f"{index:08d}.png" for index in range(1000)]) for block in range(50))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(files) < 12 + 20
