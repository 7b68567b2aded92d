"""What a disk holds after a power failure at any call of an apply: a record of the calls, replayed without what was not synced.

After Pillai et al. 2014, "All file systems are not created equal" (ALICE). Of the orders in which a file system may write, the two ends
are tried: `kept` drops every name and every byte that was not synced, `names` drops bytes alone, so that a file that was renamed
before its content was synced is empty.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = -1  # the number of what is no file
Tree = dict[str, bytes | None]  # content by path below the root; None of a folder


@dataclass(frozen=True)
class Call:
    """A call that changed the disk, or made a change outlive a power failure.

    Attributes:
        what: "name", "unlink", "move", "sync" or "sync folder".
        path: Below the root.
        number: Of the file, whatever its name is; FOLDER for a folder.
        target: Of a move.
        content: Of a file that is synced.
    """

    what: str
    path: str
    number: int = FOLDER
    target: str = ""
    content: bytes = b""


class Record:
    """Records the calls of this process below a folder, from now on."""

    def __init__(self, root: Path) -> None:
        self.calls: list[Call] = []
        self._root, self._numbers, self._made = os.path.realpath(root), dict[tuple[int, int], int](), 0
        self._open, self._io_open, self._fsync = os.open, io.open, os.fsync
        for name in ("replace", "rename", "link", "unlink", "rmdir", "mkdir"):
            setattr(os, name, self._watched(name, getattr(os, name)))
        os.open, os.fsync = self._opened, self._synced
        builtins.open = io.open = self._file

    def _below(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return a path below the root; None of another."""
        text = os.fsdecode(path)
        folder = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        whole = os.path.normpath(os.path.join(folder, text))
        return os.path.relpath(whole, self._root) if whole.startswith(f"{self._root}/") else None

    def _number(self, stat: os.stat_result, *, new: bool = False) -> int:
        key = (stat.st_dev, stat.st_ino)
        if new or key not in self._numbers:
            self._made += 1
            self._numbers[key] = self._made
        return self._numbers[key]

    def _watched(self, name: str, real: Any) -> Any:
        def call(path: Any, *args: Any, **more: Any) -> Any:
            where = self._below(path, more.get("dir_fd", more.get("src_dir_fd")))
            number = FOLDER
            if where is not None and name in ("replace", "rename", "link"):
                assert os.path.isfile(path), f"{path}: a folder is moved, which is not replayed"
                number = self._number(os.stat(path))
            found = real(path, *args, **more)
            if where is not None:
                target = (self._below(args[0], more.get("dst_dir_fd")) or "") if number != FOLDER else ""
                what = {"mkdir": "name", "link": "name", "rmdir": "unlink", "unlink": "unlink"}.get(name, "move")
                self.calls.append(Call(what, target if name == "link" else where, number, target))
            return found

        return call

    def _opened(self, path: Any, flags: int, *args: Any, **more: Any) -> int:
        there = not flags & os.O_CREAT or os.path.exists(path)
        handle = self._open(path, flags, *args, **more)
        if not there:
            self._name(path, handle)
        return handle

    def _file(self, file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        there = isinstance(file, int) or not set("wxa") & set(mode) or os.path.exists(file)
        opened = self._io_open(file, mode, *args, **more)
        if not there:
            self._name(file, opened.fileno())
        return opened

    def _name(self, path: Any, handle: int) -> None:
        where = self._below(path)
        if where is not None:
            self.calls.append(Call("name", where, self._number(os.fstat(handle), new=True)))

    def _synced(self, handle: int) -> None:
        self._fsync(handle)
        path = os.readlink(f"/proc/self/fd/{handle}")
        if path == self._root:
            self.calls.append(Call("sync folder", "."))
        elif (where := self._below(path)) is not None:
            if os.path.isdir(path):
                self.calls.append(Call("sync folder", where))
            else:
                with self._io_open(f"/proc/self/fd/{handle}", "rb") as file:
                    self.calls.append(Call("sync", where, self._number(os.fstat(handle)), content=file.read()))


def failures(calls: list[Call]) -> Iterator[tuple[int, str, Tree]]:
    """Yield what a disk may hold after a power failure behind each call, where that is something new: its number, how, and what."""
    seen: list[Tree] = [{}]
    names, kept, content = dict[str, int](), dict[str, int](), dict[int, bytes]()
    for count, call in enumerate(calls, 1):
        match call.what:
            case "name":
                names[call.path] = call.number
            case "unlink":
                names.pop(call.path, None)
            case "move":
                names.pop(call.path, None)
                names[call.target] = call.number
            case "sync":
                content[call.number] = call.content
            case "sync folder":
                kept = {path: number for path, number in kept.items() if _folder(path) != call.path}
                kept |= {path: number for path, number in names.items() if _folder(path) == call.path}
        for how, known in (("kept", kept), ("names", names)):
            tree = _tree(known, content)
            if tree not in seen:
                seen.append(tree)
                yield count, how, tree


def write(tree: Tree, root: Path) -> None:
    """Write what a disk holds."""
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


def _folder(path: str) -> str:
    return os.path.dirname(path) or "."


def _tree(names: dict[str, int], content: dict[int, bytes]) -> Tree:
    """Return the files that can be reached; a folder without a name has taken what is in it along."""
    tree: Tree = {}
    for path, number in sorted(names.items()):  # a folder before what is in it
        if _folder(path) == "." or tree.get(_folder(path), b"") is None:
            tree[path] = None if number == FOLDER else content.get(number, b"")
    return tree
