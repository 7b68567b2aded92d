"""The table [search]: its values, and that a trial changes an arm as --set would."""

import tomllib
from typing import Any

import pytest
from conftest import TOY_RECIPE

from tlkit.errors import RecipeError
from tlkit.recipe import parsing, search_space
from tlkit.recipe.recipe import Arm
from tlkit.recipe.search import same
from tlkit.recipe.settings import parse_setting

SPACE = """
[search.space]
"lr_groups.head" = { log = [1e-4, 1e-1] }
"optimizer.momentum" = { float = [0.5, 0.9], when = { "optimizer.name" = "sgd" } }
"optimizer.name" = ["sgd", "adamw"]
"freeze" = [{}, { stem = true }]
"""


def read(text: str, settings: tuple[str, ...] = ()) -> Any:
    return parsing.build(
        tomllib.loads(TOY_RECIPE + text), where="toy.toml", settings=[parse_setting(each) for each in settings]
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{ log = [1e-1, 1e-4] }", "the smaller number comes first"),
        ("{ log = [0, 1] }", "only numbers above 0"),
        ("{ log = [1e-4, 1e-1], int = [1, 2] }", "has log and int"),
        ("{ int = [1, 2.5] }", "should be a valid integer"),
        ("{ when = { freeze = {} } }", "has none of log, float, int, values"),
        ("[1, 2, 1]", "has 1 twice"),
        ("[]", "at least 1"),
        ("3", "a list of values, or"),
    ],
)
def test_entry_that_is_no_set_of_values_is_refused(entry: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read(f'[search.space]\n"lr_groups.head" = {entry}\n')


def test_key_without_quotes_is_told_to_stand_in_quotes() -> None:
    with pytest.raises(RecipeError, match=r'stands in quotes: "lr_groups\.head"'):
        read("[search.space]\nlr_groups.head = { log = [1e-4, 1e-1] }\n")


@pytest.mark.parametrize(("text", "seconds"), [('"90s"', 90), ('"30m"', 1800), ('"1.5h"', 5400), ("7", 7)])
def test_timeout_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert read(f'[search]\ntimeout = {text}\n[search.space]\n"freeze" = [{{}}]\n').search.timeout == seconds
    with pytest.raises(RecipeError, match='"90s", "30m" or "2h"'):
        read('[search]\ntimeout = "soon"\n[search.space]\n"freeze" = [{}]\n')


def test_true_and_one_are_two_values() -> None:
    assert not same(True, 1)
    assert same(1, 1.0)
    assert read('[search.space]\n"x" = [1, true]\n').search.space["x"].values == [1, True]


def test_key_comes_after_those_that_it_waits_for() -> None:
    parameters, waiting = search_space.ordered(read(SPACE).search.space)
    keys = [each.key for each in parameters]
    assert keys.index("optimizer.name") < keys.index("optimizer.momentum")
    assert waiting == []


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ({}, ()),
        (
            {"lr_groups.head": 0.02, "optimizer.momentum": 0.7, "optimizer.name": "sgd"},
            ("lr_groups.head=0.02", "optimizer.momentum=0.7", "optimizer.name=sgd"),
        ),
        ({"freeze": {"stem": True}}, ("freeze={ stem = true }",)),
    ],
)
def test_trial_is_the_arm_that_settings_make(values: dict[str, Any], settings: tuple[str, ...]) -> None:
    recipe = read(SPACE)
    parameters, _ = search_space.ordered(recipe.search.space)
    made: Arm = search_space.arm_of(recipe.arms["main"], parameters, values)
    assert made.model_dump() == read(SPACE, settings).arms["main"].model_dump()


def test_recipe_as_written_has_the_values_that_lie_in_the_space() -> None:
    recipe = read(SPACE.replace("[1e-4, 1e-1]", "[1e-4, 1e-3]"))  # its rate of the head is 1e-2
    parameters, _ = search_space.ordered(recipe.search.space)
    assert search_space.written(recipe.arms["main"], parameters) == {"optimizer.name": "adamw", "freeze": {}}


def test_combinations_leave_out_what_waits_for_another_value() -> None:
    text = SPACE.replace("{ float = [0.5, 0.9], when", "{ values = [0.5, 0.9], when").replace(
        '"lr_groups.head" = { log = [1e-4, 1e-1] }', ""
    )
    parameters, _ = search_space.ordered(read(text).search.space)
    found = list(search_space.combinations(parameters))
    assert len(found) == (2 + 1) * 2  # sgd with two momenta, adamw; each with two maps
    assert search_space.count(parameters, most=100) == 6
    assert all(("optimizer.momentum" in each) == (each["optimizer.name"] == "sgd") for each in found)


def test_key_of_a_parts_own_rate_keeps_its_other_keys() -> None:
    text = TOY_RECIPE.replace("backbone = 1e-2", "backbone = { lr = 1e-2, decay = 0.9 }")
    made = parsing.build(tomllib.loads(text), where="", settings=[parse_setting("lr_groups.backbone.decay=0.5")])
    assert made.arms["main"].lr_groups["backbone"].model_dump(exclude_none=True) == {"lr": 1e-2, "decay": 0.5}
