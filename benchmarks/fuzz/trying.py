"""Try inputs one after the other, and say what came of each."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tlkit.errors import SOME_FAILED, PluginError, TlkitError

SECONDS = 30.0  # of the processor that one input may take: the slowest take 1, and many times that on a machine that is busy
MEMORY = 2_000_000_000  # bytes that one input may take beside what the process has
LONGEST = 20_000  # characters of a message
ACCEPTED, REFUSED = "accepted", "refused"

Attempt = Callable[[int, Random], None]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: On the command line.
        what: One line.
        count: Inputs of a whole run.
        prepare: Given an empty folder, returns what makes an input, writes it there, and reads it as tlkit does.
    """

    name: str
    what: str
    count: int
    prepare: Callable[[Path], Attempt]


class _TooLong(BaseException):
    """An input took more than its time."""


def outcome(attempt: Attempt, kind: str, number: int, *, seed: int) -> str:
    """Try one input; return "accepted", "refused", or what is wrong with what came of it."""
    draw, began = Random(f"{seed} {kind} {number}"), time.process_time()
    try:
        with _clock(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files; a command shows them
            attempt(number, draw)
    except TlkitError as error:
        found = _of_message(error)
    except (Exception, _TooLong) as error:
        found = f"{type(error).__name__}: {error}"[:500]
    else:
        found = ACCEPTED
    took = time.process_time() - began
    return f"took {took:.1f} s" if took > SECONDS else found


def _of_message(error: TlkitError) -> str:
    text = str(error)
    if error.exit_code not in (1, SOME_FAILED):
        return f"exit code {error.exit_code}: {text[:500]}"
    if isinstance(error, PluginError) and ": failed: " in error.problem:  # an unexpected error of a plugin, here one of ours
        return text[:500]
    if not error.problem.strip() or "Traceback" in text or "\n" in error.problem:
        return f"message: {text[:500]}"
    return REFUSED if len(text) <= LONGEST else f"a message of {len(text):,} characters: {text[:500]}"


@contextmanager
def _clock() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong(f"stopped after {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
