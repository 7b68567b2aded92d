"""One decision for all arms of a recipe: made once, kept for as long as one arm stays as it was."""

import json
from pathlib import Path

import pytest

from tlkit.errors import RunFolderError
from tlkit.record import recipe_choices
from tlkit.record.formats import SharedPrecision, WhenTested
from tlkit.record.recipe_choices import SharedChoices

HALF, WHOLE = (
    SharedChoices(SharedPrecision("bfloat16", "it is faster"), WhenTested("end", "it takes most of the time")),
    SharedChoices(SharedPrecision("float32", "too short"), WhenTested("every", "it takes little time")),
)


def test_nothing_was_decided_of_a_new_recipe(tmp_path: Path) -> None:
    assert recipe_choices.find(tmp_path / "new", {"a"}) == SharedChoices()


def test_a_decision_holds_for_arms_that_come_later(tmp_path: Path) -> None:
    assert recipe_choices.keep(tmp_path, {"a", "b"}, HALF) == HALF
    found = recipe_choices.find(tmp_path, {"b", "c"})
    assert found.precision == SharedPrecision("bfloat16", "kept since this recipe was first applied: it is faster")
    assert found.tested == WhenTested("end", "kept since this recipe was first applied: it takes most of the time")
    assert recipe_choices.keep(tmp_path, {"b", "c"}, WHOLE) == HALF, "the first decision counts"
    assert recipe_choices.find(tmp_path, {"c"}) == found


def test_what_nobody_asked_is_decided_later(tmp_path: Path) -> None:
    recipe_choices.keep(tmp_path, {"a"}, SharedChoices(None, HALF.tested))
    assert recipe_choices.keep(tmp_path, {"a"}, WHOLE) == SharedChoices(WHOLE.precision, HALF.tested)


def test_a_recipe_of_which_every_arm_is_another_is_decided_anew_and_the_old_one_keeps_its_own(tmp_path: Path) -> None:
    recipe_choices.keep(tmp_path, {"short"}, WHOLE)
    assert recipe_choices.find(tmp_path, {"long"}) == SharedChoices()
    recipe_choices.keep(tmp_path, {"long"}, HALF)
    assert recipe_choices.find(tmp_path, {"long"}).precision.precision == "bfloat16"
    assert recipe_choices.find(tmp_path, {"short"}).precision.precision == "float32"


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
