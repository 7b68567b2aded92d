"""Two commits in turns: the seconds are those of each arm's epochs, and a ratio is of one pair."""

import json
from pathlib import Path

from benchmarks import versus


def test_an_arm_has_the_seconds_of_the_epochs_of_all_its_seeds(tmp_path: Path) -> None:
    for name, seconds in (
        ("head_only-s0-1a2b3c4d", [1.5, 2.0]),
        ("scratch-s0-00000000", [4.0]),
        ("scratch-s1-00000000", [0.5]),
    ):
        folder = tmp_path / "quickstart" / name
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps({"seconds": each}) + "\n" for each in seconds))
    assert versus._arms(tmp_path) == {"head_only": 3.5, "scratch": 4.5}


def test_a_ratio_is_of_one_pair() -> None:
    pairs = [
        {"before": {"a": before, versus.WHOLE: 10.0}, "after": {"a": after, versus.WHOLE: 11.0}}
        for before, after in ((2.0, 1.0), (4.0, 4.0), (5.0, 10.0))
    ]
    assert versus.table(pairs).splitlines()[2:] == [
        "| a | 4.0 | 4.0 | 1.00 (0.50 to 2.00, n = 3) |",
        "| whole process | 10.0 | 11.0 | 1.10 (1.10 to 1.10, n = 3) |",
    ]
