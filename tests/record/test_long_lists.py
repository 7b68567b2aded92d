"""Long lists are written as `json.dumps` writes lists, and are never held whole."""

import json
import tracemalloc

import pytest

from tlkit.record import long_lists
from tlkit.record.long_lists import LongList


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 4097, 20_000])
def test_json_is_that_of_plain_lists(count: int) -> None:
    def record(positions: object, files: object) -> object:
        return {
            "format": 1,
            "skipped": [],
            "train": {"count": count, "positions": positions, "files": files},
            "none": {},
            "é": "ü",
        }

    plain = record([7 * each for each in range(count)], [f"a/{each} é.png" for each in range(count)])
    lazy = record(LongList(count, lambda at: 7 * at), LongList(count, lambda at: f"a/{at} é.png"))
    assert b"".join(long_lists.pieces(lazy)) == json.dumps(plain).encode()


def test_a_long_list_is_a_sequence() -> None:
    squares = LongList(5, lambda at: at * at)
    assert list(squares) == [0, 1, 4, 9, 16]
    assert (squares[-1], squares[1:4], squares[4:9]) == (16, [1, 4, 9], [16])
    with pytest.raises(IndexError):
        squares[5]


def test_a_list_of_any_length_takes_the_memory_of_a_piece() -> None:
    peaks = []
    for count in (20_000, 200_000):
        tracemalloc.start()
        written = sum(map(len, long_lists.pieces({"files": LongList(count, lambda at: f"folder/of/a/class/{at:012}.png")})))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert written > 30 * count
    assert peaks[1] < 1.1 * peaks[0]
