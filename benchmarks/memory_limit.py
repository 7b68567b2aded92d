"""A limit of the memory that a process may take, so that what allocates without end fails and not the machine. Imports nothing of tlkit."""

from __future__ import annotations

import resource
from pathlib import Path


def set_(more: int) -> None:
    """Let this process take no more than so many bytes of address space beside what it has: an allocation beyond them fails.

    A process that it starts may take as much in all as this one. There is no way back.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
