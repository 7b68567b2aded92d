"""The table [search]: its values, and that a trial changes an arm as --set would."""

import datetime
import tomllib
from typing import Any

import pytest
from conftest import TOY_RECIPE

from tlkit.errors import RecipeError
from tlkit.recipe import parsing, search_space
from tlkit.recipe.recipe import Arm
from tlkit.recipe.search import SpaceEntry, same
from tlkit.recipe.settings import parse_setting

SPACE = """
[search.space]
"lr_groups.head" = { log = [1e-4, 1e-1] }
"optimizer.momentum" = { float = [0.5, 0.9], when = { "optimizer.name" = "sgd" } }
"optimizer.name" = ["sgd", "adamw"]
"freeze" = [{}, { stem = true }]
"""


def parameter(key: str, **entry: object) -> search_space.Parameter:
    return search_space.parameter(key, SpaceEntry.model_validate(entry))


def read(text: str, settings: tuple[str, ...] = ()) -> Any:
    return parsing.build(
        tomllib.loads(TOY_RECIPE + text), where="toy.toml", settings=[parse_setting(each) for each in settings]
    )


KINDS = "log, float, int, values"
FORMS = (
    "a list of values, or { log = [1e-4, 1e-1] }, { float = [0, 0.5] }, { int = [5, 20] }, "
    '{ values = ["a", "b"], when = { ... } }'
)
QUOTED = 'a key of the recipe stands in quotes: "lr_groups.head" = { log = [1e-4, 1e-1] }'


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{ log = [1e-1, 1e-4] }", "log is [0.1, 0.0001]; the smaller number comes first."),
        ("{ float = [1, 1] }", "float is [1.0, 1.0]; the smaller number comes first."),
        ("{ log = [0, 1] }", "log is [0.0, 1.0]; a logarithmic scale has only numbers above 0."),
        ("{ log = [1e-4, 1e-1], int = [1, 2] }", f"has log and int.\n  one of: {KINDS}"),
        ("{ when = { freeze = {} } }", f"has none of {KINDS}.\n  one of: {KINDS}"),
        ("{}", f"has none of {KINDS}.\n  one of: {KINDS}"),
        ("[1, 2, 1]", "has 1 twice.\n  each value once"),
        ("3", f"is 3.\n  {FORMS}"),
        ("{ head = [1] }", f'is {{"head": [1]}}, which has none of {KINDS}.\n  {FORMS}\n  {QUOTED}'),
        (f"{{ int = [{-(2**53)}, {2**53 + 1}] }}", f"int is [{-(2**53)}, {2**53 + 1}]; numbers beyond {2**53} are not drawn exactly."),
        (f"{{ int = [{-(2**53) - 1}, 0] }}", f"int is [{-(2**53) - 1}, 0]; numbers beyond {2**53} are not drawn exactly."),
    ],
)  # fmt: skip
def test_entry_that_is_no_set_of_values_is_refused(entry: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(f'[search.space]\n"lr_groups.head" = {entry}\n')
    assert str(caught.value) == f'toy.toml: search.space."lr_groups.head": {said}'


def test_value_of_another_type_is_refused_at_its_place() -> None:
    for entry, said in (
        ("{ int = [1, 2.5] }", "int.1: is 2.5, but should be a valid integer"),
        ("[]", "values: is [], but should hold at least 1"),
    ):
        with pytest.raises(RecipeError) as caught:
            read(f'[search.space]\n"lr_groups.head" = {entry}\n')
        assert str(caught.value).startswith(f'toy.toml: search.space."lr_groups.head".{said}')


def test_whole_numbers_go_as_far_as_they_are_exact() -> None:
    assert read(f'[search.space]\n"x" = {{ int = [{-(2**53)}, {2**53}] }}\n').search.space["x"].int == (-(2**53), 2**53)


def test_key_without_quotes_is_told_to_stand_in_quotes() -> None:
    with pytest.raises(RecipeError, match=r'stands in quotes: "lr_groups\.head"'):
        read("[search.space]\nlr_groups.head = { log = [1e-4, 1e-1] }\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [('"90s"', 90), ('"30m"', 1800), ('"1.5h"', 5400), ('" 2 h "', 7200), ("7", 7), ("0.5", 0.5)]
)
def test_timeout_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert read(f'[search]\ntimeout = {text}\n[search.space]\n"freeze" = [{{}}]\n').search.timeout == seconds


@pytest.mark.parametrize(
    "text", ['"soon"', '"90"', '"1.5d"', '"0s"', f'"{"9" * 310}s"', "0", "-1", "true", "[]", "inf", "nan", "9" * 310]
)
def test_timeout_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(f'[search]\ntimeout = {text}\n[search.space]\n"freeze" = [{{}}]\n')
    shown = text if len(text) < 60 else f"{text[:57]}..."
    assert str(caught.value) == f'toy.toml: search.timeout: is {shown}.\n  "90s", "30m" or "2h", or a number of seconds'


def test_true_and_one_are_two_values() -> None:
    assert not same(True, 1)
    assert not same(0, False)
    assert same(True, True)
    assert same(1, 1.0)
    assert not same(1, 2)
    assert read('[search.space]\n"x" = [1, true]\n').search.space["x"].values == [1, True]


def test_key_comes_after_those_that_it_waits_for() -> None:
    parameters, waiting = search_space.ordered(read(SPACE).search.space)
    keys = [each.key for each in parameters]
    assert keys.index("optimizer.name") < keys.index("optimizer.momentum")
    assert waiting == []


def test_keys_that_wait_for_each_other_stay_behind_and_one_that_waits_for_no_key_of_the_space_does_not() -> None:
    text = '[search.space]\n"b" = { values = [1], when = { c = 1 } }\n"c" = { values = [1], when = { b = 1 } }\n'
    parameters, waiting = search_space.ordered(read(f'{text}"a" = {{ values = [1], when = {{ d = 1 }} }}\n').search.space)
    assert ([each.key for each in parameters], waiting) == (["a"], ["b", "c"])


def test_parameter_is_a_key_with_its_path_and_its_values() -> None:
    when = {"b": 1}
    assert parameter("a.'x.y'", values=[1, True], when=when) == search_space.Parameter(
        "a.'x.y'", ("a", "x.y"), "values", values=(1, True), when=when
    )
    for kind in ("log", "float", "int"):
        assert parameter("a", **{kind: [1, 3]}, when=when) == search_space.Parameter("a", ("a",), kind, 1, 3, when=when)


def test_values_of_a_list_and_whole_numbers_can_be_listed() -> None:
    assert parameter("a", values=[1, True]).listed == (1, True)
    assert list(parameter("a", int=[2, 4]).listed or ()) == [2, 3, 4]
    assert parameter("a", float=[2, 4]).listed is None
    assert parameter("a", log=[2, 4]).listed is None


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ({"int": [2, 4]}, [2, 3, 4], [1, 5, 3.0, True, "3", None]),
        ({"int": [0, 1]}, [0, 1], [True, False]),
        ({"float": [0.5, 2]}, [0.5, 1, 2.0], [0.4, 2.1, True, "1", None]),
        ({"log": [0.5, 2]}, [0.5, 1, 2.0], [0.4, 2.1, True]),
        ({"values": [1, "a", {}]}, [1, 1.0, "a", {}], [True, 2, "b", {"a": 1}]),
    ],
)
def test_parameter_has_the_values_of_its_kind_from_one_end_to_the_other(
    entry: dict[str, Any], inside: list[object], outside: list[object]
) -> None:
    one = parameter("a", **entry)
    assert [one.has(value) for value in inside] == [True] * len(inside)
    assert [one.has(value) for value in outside] == [False] * len(outside)


def test_trial_has_a_key_where_all_keys_that_it_waits_for_have_their_values() -> None:
    one = parameter("a", values=[1], when={"b": True, "c": "x"})
    assert one.active({"b": True, "c": "x", "d": 1})
    for values in ({}, {"b": True}, {"b": 1, "c": "x"}, {"b": True, "c": "y"}):
        assert not one.active(values)


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


def test_values_that_the_recipe_refuses_or_does_not_have_are_not_those_as_written() -> None:
    parameters = [
        parameter("optimizer.momentum", values=[0.9], when={"optimizer.name": "sgd"}),
        parameter("optimizer.eps", float=[0.1, 0.9]),
        parameter("schedule.epochs", values=[0, 3, 2]),
        parameter("lr_groups.head.lr", log=[1e-3, 1]),  # its rate is written without a table
        parameter("lr_groups.head", log=[1e-3, 1]),
        parameter("early_stopping.patience", int=[1, 3]),
        parameter(
            "data.augment", values=[[], ["hflip"]]
        ),  # in the form of the list, not of the arm: { name = "hflip", p = 0.5 }
    ]
    arm = read("", ('data.augment=["hflip"]',)).arms["main"]
    found = {"schedule.epochs": 2, "lr_groups.head": 0.01, "data.augment": ["hflip"]}
    assert search_space.written(arm, parameters) == found


def test_combinations_are_those_of_a_grid_whose_last_key_changes_first() -> None:
    parameters = [
        parameter("a", values=[1, 2]),
        parameter("b", int=[3, 4], when={"a": 2}),
        parameter("c", log=[0.5, 1]),
        parameter("d", values=["x", "y"]),
    ]
    rest = [{"c": 0.5, "d": each} for each in "xy"]
    assert list(search_space.combinations(parameters)) == [
        {**first, **last} for first in ({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 4}) for last in rest
    ]
    assert list(search_space.combinations(parameters, {"a": 2, "c": 9, "d": 7})) == [
        {"a": 2, "b": 3, "c": 9, "d": 7},
        {"a": 2, "b": 4, "c": 9, "d": 7},
    ]
    assert search_space.count(parameters, most=100) is None
    assert [search_space.count(parameters[:2], most=most) for most in (2, 3, 4)] == [2, 3, 3]


def test_search_keeps_tables_lists_and_truths_as_text() -> None:
    assert [search_space.label(value) for value in ("sgd", 3, 0.5)] == ["sgd", 3, 0.5]
    assert [search_space.label(value) for value in (True, {"stem": True}, [1])] == ["true", '{"stem": true}', "[1]"]
    assert search_space.label([datetime.date(2026, 11, 27)]) == '["2026-11-27"]'


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
