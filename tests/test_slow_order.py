"""The slow tests of long files come first: see conftest.py."""

from dataclasses import dataclass
from pathlib import Path

import conftest
from conftest import LONGEST, ROOT


@dataclass(frozen=True)
class Item:
    """What of a collected test is asked for."""

    path: Path
    slow: bool

    def get_closest_marker(self, name: str) -> bool:
        return self.slow and name == "slow"


def test_slow_tests_of_long_files_come_first_and_the_others_stay_in_their_order() -> None:
    files = [ROOT / "tests" / "test_z.py", ROOT / LONGEST[1], ROOT / "tests" / "test_a.py", ROOT / LONGEST[0]]
    items = [Item(path, slow) for path in files for slow in (False, True)]
    conftest.pytest_collection_modifyitems(items)
    slow = [items.index(Item(ROOT / path, True)) for path in LONGEST[:2]]
    assert slow == [0, 1]
    assert items[2:] == [
        Item(path, slow) for path in files for slow in (False, True) if not (slow and path in (files[1], files[3]))
    ]


def test_each_of_the_long_files_has_slow_tests() -> None:
    assert [path for path in LONGEST if "mark.slow" not in (ROOT / path).read_text()] == []
