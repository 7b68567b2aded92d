"""Catch what Pillow warns of while images are decoded, and report it in a line of our own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def reported(note: Callable[[str], None]) -> Iterator[None]:
    """Report each kind of Pillow's warnings once; a warning of anybody else is passed on.

    Python's warning filters belong to the process, so this is entered by the thread that starts the decoding threads.

    Args:
        note: Called with one line for each kind.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    texts = {str(each.message).strip().rstrip(".") for each in caught if _of_pillow(each)}
    for text in sorted(texts):
        note(f"an image file is damaged or unusual, and was decoded all the same: Pillow says: {text}")
    for each in caught:
        if not _of_pillow(each):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def _of_pillow(caught: warnings.WarningMessage) -> bool:
    return "/PIL/" in caught.filename.replace("\\", "/")
