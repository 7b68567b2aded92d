"""One decision for all arms of a recipe: made once, kept for as long as one arm stays as it was."""

import json
from pathlib import Path

import pytest

from tlkit.errors import RunFolderError
from tlkit.record import recipe_choices
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat, SharedFormats, SharedPrecision, SharedPrefix, WhenTested
from tlkit.record.recipe_choices import SharedChoices

HALF_LAST = ComputeFormat("bfloat16", "channels_last")
HALF, WHOLE = (
    SharedChoices(
        SharedFormats(SharedPrecision("bfloat16", "it is faster"), (SharedPrefix("net", 3, HALF_LAST, "4 ms"),)),
        WhenTested("end", "it takes most of the time"),
    ),
    SharedChoices(
        SharedFormats(SharedPrecision("float32", "too short"), (SharedPrefix("net", 3, PLAIN_FORMAT, "8 ms"),)),
        WhenTested("every", "it takes little time"),
    ),
)


def test_nothing_was_decided_of_a_new_recipe(tmp_path: Path) -> None:
    assert recipe_choices.find(tmp_path / "new", {"a"}) == SharedChoices()


def test_a_decision_holds_for_arms_that_come_later(tmp_path: Path) -> None:
    assert recipe_choices.keep(tmp_path, {"a", "b"}, HALF) == HALF
    found = recipe_choices.find(tmp_path, {"b", "c"})
    assert found.formats.step == SharedPrecision("bfloat16", "kept since this recipe was first applied: it is faster")
    assert found.formats.prefix("net", 3) == SharedPrefix("net", 3, HALF_LAST, "kept since this recipe was first applied: 4 ms")
    assert found.tested == WhenTested("end", "kept since this recipe was first applied: it takes most of the time")
    assert recipe_choices.keep(tmp_path, {"b", "c"}, WHOLE) == HALF, "the first decision counts"
    assert recipe_choices.find(tmp_path, {"c"}) == found


def test_what_nobody_asked_is_decided_later(tmp_path: Path) -> None:
    recipe_choices.keep(tmp_path, {"a"}, SharedChoices(tested=HALF.tested))
    assert recipe_choices.keep(tmp_path, {"a"}, WHOLE) == SharedChoices(WHOLE.formats, HALF.tested)


def test_a_fixed_prefix_that_comes_later_is_added(tmp_path: Path) -> None:
    recipe_choices.keep(tmp_path, {"a"}, HALF)
    other = SharedPrefix("net", 2, PLAIN_FORMAT, "2 ms")
    more = SharedChoices(SharedFormats(WHOLE.formats.step, (*WHOLE.formats.prefixes, other)), WHOLE.tested)
    found = recipe_choices.keep(tmp_path, {"a", "b"}, more)
    assert found == SharedChoices(SharedFormats(HALF.formats.step, (*HALF.formats.prefixes, other)), HALF.tested)


def test_a_decision_of_a_version_without_prefixes_counts(tmp_path: Path) -> None:
    decision = {"arms": ["a"], "precision": {"precision": "bfloat16", "reason": "it is faster"}, "tested": None}
    (tmp_path / "choices.json").write_text(json.dumps({"format": 1, "decisions": [decision]}))
    found = recipe_choices.keep(tmp_path, {"a"}, WHOLE)
    assert found.formats == SharedFormats(HALF.formats.step, WHOLE.formats.prefixes)


def test_a_recipe_of_which_every_arm_is_another_is_decided_anew_and_the_old_one_keeps_its_own(tmp_path: Path) -> None:
    recipe_choices.keep(tmp_path, {"short"}, WHOLE)
    assert recipe_choices.find(tmp_path, {"long"}) == SharedChoices()
    recipe_choices.keep(tmp_path, {"long"}, HALF)
    assert recipe_choices.find(tmp_path, {"long"}).formats.step.precision == "bfloat16"
    assert recipe_choices.find(tmp_path, {"short"}).formats.step.precision == "float32"


def test_an_unchanged_file_is_not_written(tmp_path: Path) -> None:
    recipe_choices.keep(tmp_path, {"a"}, HALF)
    before = (tmp_path / "choices.json").stat().st_mtime_ns
    recipe_choices.keep(tmp_path, {"a"}, HALF)
    assert (tmp_path / "choices.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2, "decisions": []}',
        json.dumps({"decisions": [{"arms": [], "precision": {"precision": "float8"}}]}),
    ],
)
def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "choices.json").write_text(text)
    for call in (lambda: recipe_choices.find(tmp_path, {"a"}), lambda: recipe_choices.keep(tmp_path, {"a"}, HALF)):
        with pytest.raises(RunFolderError, match=r"choices.json: is damaged.*\n.*decided anew"):
            call()
    assert (tmp_path / "choices.json").read_text() == text
