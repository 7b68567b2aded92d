"""Keep what Pillow's libtiff writes of damaged files off the terminal: it writes to stderr from C, and Pillow raises an error for the same.

The rule: the handler belongs to the process, so what calls this sets it, and puts back what it was.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from PIL import _imaging


def set_error_handler(handler: int | None) -> int | None:
    """Set the function that libtiff calls with an error, and return the one before.

    Args:
        handler: Its address; None for no words at all. Where libtiff cannot be reached nothing changes.

    Source: TIFFSetErrorHandler, https://libtiff.gitlab.io/libtiff/functions/TIFFError.html
    """
    function = _set_error_handler()
    return None if function is None else function(handler)


@cache
def _set_error_handler() -> Any:  # ctypes' functions have no type that can be named
    """Return libtiff's function; None where Pillow has no libtiff, or one that is a part of it."""
    try:
        function = ctypes.CDLL(
            _imaging.__file__
        ).TIFFSetErrorHandler  # it is looked for in the libraries that Pillow loaded, too
    except (AttributeError, OSError):
        return None
    function.argtypes, function.restype = (ctypes.c_void_p,), ctypes.c_void_p
    return function
