"""Tables of images, as the data set "csv" reads them."""

from __future__ import annotations

from pathlib import Path
from random import Random

from pydantic import ValidationError

from benchmarks.fuzz import mutations
from benchmarks.fuzz.trying import Attempt
from tlkit import plugin
from tlkit_csv import CsvOptions

_TABLE = "path,label,split,person\n" + "".join(
    f"{index}.png,{('cat', 'dog', 'a|b')[index % 3]},{('train', 'test', 'val')[index // 8]},p{index // 2}\n"
    for index in range(24)
)
_OPTIONS: tuple[dict[str, object], ...] = (
    {}, {"split": "split"}, {"split": "split", "separator": "|"}, {"group": "person"}, {"header": False}, {"encoding": "latin-1"},
    {"delimiter": ";"}, {"prefix": "../"}, {"label": "person"}, {"test_fraction": 0.5}, {"encoding": "utf-16"}, {"encoding": "rot13"},
)  # fmt: skip


def prepare(folder: Path) -> Attempt:
    """Return what reads a wrong table and the splits that it describes."""
    for index in range(24):
        (folder / f"{index}.png").write_bytes(b"")  # only looked for
    whole = [_TABLE.encode(), b"\xef\xbb\xbf" + _TABLE.replace(",", ";").encode(), _TABLE.encode("utf-16")]
    path = folder / "labels.csv"

    def attempt(number: int, draw: Random) -> None:
        path.write_bytes(mutations.of_bytes(whole[number % len(whole)], draw))
        try:
            options = CsvOptions(file="labels.csv", **draw.choice(_OPTIONS))
        except ValidationError:
            options = CsvOptions(file="labels.csv")
        found = plugin.call("tlkit_csv.read:find", folder, options)
        plugin.call("tlkit_csv.read:read", found, options)

    return attempt
