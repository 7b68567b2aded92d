"""JSON with lists of a million entries, which are made and written piece by piece and never held whole.

What is written is what `json.dumps` would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

_PIECE = 4096  # entries: 0.4 MB of paths
Entry = TypeVar("Entry", int, str)


@dataclass(frozen=True, eq=False)
class LongList(Sequence[Entry], Generic[Entry]):
    """A list whose entries are made when they are read.

    Attributes:
        length: How many there are.
        entry: Returns the entry of a position, from 0.
    """

    length: int
    entry: Callable[[int], Entry]

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...

    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        here = range(self.length)[at]
        return self.entry(here) if isinstance(here, int) else [self.entry(each) for each in here]


def pieces(value: object) -> Iterator[bytes]:
    """Yield the JSON of a value in pieces; long lists may stand in it, as values of mappings."""
    yield from (piece.encode() for piece in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for number, (key, each) in enumerate(value.items()):
            yield f"{', ' if number else '{'}{json.dumps(key)}: "
            yield from _texts(each)
        yield "}" if value else "{}"
    elif isinstance(value, LongList):
        for begin in range(0, len(value), _PIECE):
            yield f"{', ' if begin else '['}{json.dumps(value[begin : begin + _PIECE])[1:-1]}"
        yield "]" if value else "[]"
    else:
        yield json.dumps(value)
