"""Wrong inputs of every kind are accepted or refused with a message: 2,000 of each. `make fuzz` tries a million; see benchmarks/fuzz."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from benchmarks.fuzz import mutations
from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.trying import ACCEPTED, REFUSED, Kind, outcome
from tlkit.errors import RunLocked, TlkitError

COUNT = 2000
SEED = 30  # other inputs than those of `make fuzz` by itself


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_wrong_input_is_accepted_or_refused_with_a_message(kind: Kind, tmp_path: Path) -> None:
    attempt = kind.prepare(tmp_path)
    found = {number: outcome(attempt, kind.name, number, seed=SEED) for number in range(COUNT)}
    assert {number: said for number, said in found.items() if said not in (ACCEPTED, REFUSED)} == {}
    assert Counter(found.values())[REFUSED] > COUNT / 10  # they are wrong


def test_an_input_depends_on_its_number_and_seed_alone() -> None:
    assert mutations.of_bytes(b"abc" * 50, Random("0 recipes 7")) == mutations.of_bytes(b"abc" * 50, Random("0 recipes 7"))
    tables = {"a": {"b": [1, {"c": 2}]}, "d": "e"}
    changed = [mutations.of_tables(tables, Random(str(number)), keys=["x", "y"]) for number in range(50)]
    assert tables == {"a": {"b": [1, {"c": 2}]}, "d": "e"}
    assert len({repr(each) for each in changed}) > 40


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("x"), "KeyError"),
        (RunLocked("a: is locked."), "exit code 4"),
        (TlkitError("a\nTraceback"), "message"),
        (TlkitError("x" * 30_000), "a message of 30,000 characters"),
    ],
)
def test_what_is_no_message_for_users_is_a_fault(error: Exception, words: str) -> None:
    def attempt(number: int, draw: Random) -> None:
        raise error

    assert outcome(attempt, "kind", 0, seed=0).startswith(words)
