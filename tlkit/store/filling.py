"""One process at a time computes the rows of an entry: another one that needs them waits, and finds them stored.

The rule: this saves work and nothing depends on it. The system gives the lock of a process up when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tlkit import files
from tlkit.errors import TlkitError

_ASK = 0.5  # seconds between two looks at a signal


@contextlib.contextmanager
def alone(digest: str, *, watch: Callable[[], None], note: Callable[[str], None]) -> Iterator[bool]:
    """Wait until no other process computes rows of an entry, and keep others from it meanwhile.

    Entries share sixteen locks, so that their files do not pile up. Where there are no locks nobody waits.

    Args:
        digest: Of the entry.
        watch: Called while another process is waited for; may raise to stop.
        note: Told that one is.

    Yields:
        Whether one was waited for: what it stored is there now.
    """
    from filelock import FileLock, Timeout  # here, since the command line imports the store at its start

    waited = False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError, TlkitError):
            folder = files.cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f".filling-{digest[0]}.lock", timeout=_ASK)
            while not lock.is_locked:
                try:
                    stack.enter_context(lock)
                except Timeout:
                    if not waited:
                        note("another process computes outputs of the same frozen stages; this one waits for them")
                    waited = True
                    watch()
        yield waited
