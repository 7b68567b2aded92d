"""Map files into memory: each file once in a process, and without a file descriptor.

Python's mmap keeps a descriptor of its own open as long as the mapping lives (`trackfd=False` came with Python 3.13). A process may
have 1,024 of them as a rule, and a store has a file for each 256 MB and for each run that was stopped, so the C library is called.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref
from pathlib import Path

_Key = tuple[int, int, int, int]  # device, inode, size, mtime; a mapped file keeps its inode, also when it is unlinked
_mapped: weakref.WeakValueDictionary[_Key, ctypes.Array[ctypes.c_ubyte]] = weakref.WeakValueDictionary()
_mapping = threading.Lock()

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def content(path: Path) -> tuple[os.stat_result, memoryview]:
    """Return a file's state, and its bytes, read-only and mapped; after that the file may be unlinked.

    Raises:
        OSError: the file is gone or cannot be read.
    """
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        if not state.st_size:
            return state, memoryview(b"")
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        with _mapping:
            whole = _mapped.get(key)
            if whole is None:
                whole = _mapped[key] = _map(file.fileno(), state.st_size)
    return state, memoryview(whole).toreadonly()


def _map(descriptor: int, size: int) -> ctypes.Array[ctypes.c_ubyte]:
    """Map a file; the mapping ends with the last reference to what is returned."""
    address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    whole = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(whole, _libc.munmap, address, size).atexit = False  # the end of the process unmaps what is still read
    return whole
