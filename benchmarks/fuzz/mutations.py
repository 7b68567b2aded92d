"""Make a wrong input of a right one: bytes that change, and tables that change."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Sequence
from random import Random
from typing import Any

_MOST = 8  # changes of one input
# Values that were wrong somewhere before, or are at an end of what a format or a type can hold.
ODD = (
    0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.0, -0.0, 1e-300, 1e308, float("inf"), float("-inf"), float("nan"), True, False, "",
    " ", "\t\n", "a\0b", "\x1b[31m", "../..", "/etc/passwd", "~nobody/x", "C:\\x", "é" * 300, "x" * 5000, "\U0001f600", "<script>", "=1+1",
    "%s%n{0}", "__class__", "none", "auto", "run:.", "weights.pth#a.b", [], {}, [[]], [{}], {"": 0}, {"a": {"a": {"a": 0}}}, [0] * 1000,
    ["a", "a"], [1, "a", None], [0, -1, 2.5], datetime.date(2026, 1, 1), datetime.time(1, 2), datetime.datetime(2026, 1, 1),
)  # fmt: skip
_TOKENS = (b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"'", b"[", b"]", b"{", b"}", b"=", b",", b"-", b"1e999",
           b"nan", b"[" * 2000, b"{a=" * 500, b"9" * 5000, b"\x80\x04", b"\x1b[2J", b"..", b"#", b"\\")  # fmt: skip


def of_bytes(data: bytes, draw: Random) -> bytes:
    """Return bytes with up to eight changes: bits, spans that go, come twice or come from elsewhere, tokens, an end that is missing."""
    found = bytearray(data)
    for _ in range(draw.randint(1, _MOST)):
        at = draw.randrange(len(found) + 1)
        until = min(at + 1 + int(draw.expovariate(0.1)), len(found))
        how = draw.randrange(7)
        if how == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif how == 1 and at < len(found):
            found[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        elif how == 2:
            del found[at:until]
        elif how == 3:
            found[at:at] = found[at:until]
        elif how == 4:
            start = draw.randrange(len(found) + 1)
            found[at:until] = found[start : start + until - at]
        elif how == 5:
            found[at:at] = draw.choice(_TOKENS)
        elif draw.random() < 0.3:
            del found[at:]
    return bytes(found)


def of_tables(tables: dict[str, Any], draw: Random, *, keys: Sequence[str], values: Sequence[object] = ODD) -> dict[str, Any]:
    """Return nested tables with up to eight changes: keys that go, come, or hold another value, of another place or an odd one.

    Args:
        tables: Dicts, lists and values.
        draw: What is drawn.
        keys: Names that a new key may have.
        values: Values that a key may get.
    """
    found = copy.deepcopy(tables)
    for _ in range(draw.randint(1, _MOST)):
        places = list(_places(found))
        holder, key = draw.choice(places) if places else (found, None)
        how = draw.randrange(6)
        if isinstance(holder, list) or key is None or how == 0:
            _put(holder, key, _value(found, places, draw, values))
        elif how == 1:
            holder.pop(key, None)
        elif how == 2:
            holder[draw.choice(keys)] = _value(found, places, draw, values)
        elif how == 3:
            holder[draw.choice(keys)] = holder.pop(key)
        else:
            _put(holder, key, _value(found, places, draw, values))
    return found


def _value(found: Any, places: Sequence[Any], draw: Random, values: Sequence[object]) -> object:
    if places and draw.random() < 0.3:
        holder, key = draw.choice(places)
        return copy.deepcopy(holder[key])
    return copy.deepcopy(draw.choice(values))


def _put(holder: Any, key: Any, value: object) -> None:
    holder["x" if key is None else key] = value


def _places(found: Any) -> Any:
    """Yield every dict or list in a tree with each of its keys, or indices."""
    for key in found if isinstance(found, dict) else range(len(found)):
        yield found, key
        if isinstance(found[key], (dict, list)):
            yield from _places(found[key])
