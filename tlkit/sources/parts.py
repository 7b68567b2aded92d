"""The part of a file that came so far: kept when a download is stopped, and used by the next one.

The rule: one process at a time writes a part, which it locks; the system gives the lock up however that process ends. Where another
process holds it, or the system has no locks, a part of its own is written, of which nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlkit import units
from tlkit.plugin import Download

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

_WORTH = 1 << 20  # bytes; less than that is not kept


@dataclass(frozen=True)
class Part:
    """What came of a file.

    Attributes:
        path: Of its bytes; its last suffix is that of the file.
        unpacked: Folder into which it is unpacked.
        lasting: Whether it is kept when a download is stopped.
    """

    path: Path
    unpacked: Path
    lasting: bool

    @property
    def came(self) -> int:
        """Bytes that came."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def kept(self) -> str:
        """Say what is kept of a download that is stopped now; "" where nothing is."""
        if not self.lasting or self.came < _WORTH:
            return ""
        return f"{units.size(self.came)} are kept, and the next download goes on from there"

    def drop(self) -> None:
        """Forget what came."""
        os.truncate(self.path, 0)


@contextlib.contextmanager
def held(folder: Path, download: Download) -> Iterator[Part]:
    """Hold the part of a download within the block; afterwards it is there if it is worth it and was not moved away.

    Raises:
        OSError: the folder cannot be written.
    """
    key = hashlib.sha256(f"{download.url} {download.checksum}".encode()).hexdigest()[:8]
    path = folder / f".part-{key}-{download.filename}"
    handle = _locked(path)
    if handle is None:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as beside:
            yield Part(Path(beside) / download.filename, Path(beside) / "unpacked", lasting=False)
        return
    part = Part(path, folder / f".unpacked-{key}", lasting=True)
    try:
        shutil.rmtree(part.unpacked, ignore_errors=True)  # of a process that was killed
        yield part
    finally:
        if _is_at(path, handle):  # else it was moved away, and what lies there now is another process's
            shutil.rmtree(part.unpacked, ignore_errors=True)
            if not part.kept:
                part.path.unlink(missing_ok=True)
        os.close(handle)  # and with it the lock


def _locked(path: Path) -> int | None:
    """Open and lock a file; None where that cannot be."""
    if fcntl is None:
        return None
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, handle):  # and whoever held it did not move it away meanwhile
            return handle
    except OSError:  # held, gone, or a file system without locks
        pass
    os.close(handle)
    return None


def _is_at(path: Path, handle: int) -> bool:
    """Return whether an open file has this path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
