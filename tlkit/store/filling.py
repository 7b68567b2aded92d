"""One process at a time computes the rows of an entry: another one that needs them waits, and finds them stored.

The rule: this saves work and nothing depends on it. The system gives the lock of a process up when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.record import file_lock, lock_holder

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
    waited = False
    with contextlib.ExitStack() as stack:
        while not _entered(stack, digest):
            if not waited:
                note(f"another process computes outputs of the same frozen stages; this one waits for them{_holder(digest)}")
            waited = True
            watch()
        yield waited


def _entered(stack: contextlib.ExitStack, digest: str) -> bool:
    """Enter the lock of an entry within a moment; return whether nobody is waited for: it is held, or there are no locks here."""
    from filelock import Timeout  # here, since the command line imports the store at its start

    try:
        folder = files.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(file_lock.held(folder / f".filling-{digest[0]}.lock", timeout=_ASK))
        stack.enter_context(lock_holder.said(folder / f".filling-{digest[0]}.holder"))
    except Timeout:
        return False
    except (OSError, TlkitError):  # no folder, or one that cannot be written
        return True
    return True


def _holder(digest: str) -> str:
    """Return who computes, in words."""
    return lock_holder.words(files.cache_folder() / f".filling-{digest[0]}.holder")
