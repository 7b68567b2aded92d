"""The table [ensemble]: who its members may be, and what the rest of the recipe says against them."""

from typing import Any

import pytest

from tlkit.errors import RecipeError
from tlkit.recipe import parsing

BASE = {"format": 1, "name": "x", "backbone": {"name": "toy", "weights": "none"}, "data": {"name": "synthetic"}}
ARMS: dict[str, Any] = {"arms": {"cold": {}, "warm": {}, "hot": {}}}
FORMS = '"seeds", or two arms or more: ["a", "b"]'
MEANING = '"seeds": all seeds of each arm; or a list of arms: their runs of each seed, for instance ["a", "b"]'


def members(given: object, **tables: Any) -> str | list[str]:
    ensemble = parsing.build({**BASE, **ARMS, "ensemble": {"members": given}, **tables}, where="r").ensemble
    return ensemble.members


def test_members_are_all_seeds_or_two_arms_or_more() -> None:
    assert members("seeds", seeds=[0, 1]) == "seeds"
    assert members(["warm", "cold"], cross_validation={"folds": 2}) == ["warm", "cold"], "in the order of the recipe"
    assert members(["warm", "cold", "hot"]) == ["warm", "cold", "hot"]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"ensemble": {}}, ["is missing.", MEANING]),
        ({"ensemble": {"members": "all"}}, ['is "all".', FORMS]),
        ({"ensemble": {"members": 3}}, ["is 3.", FORMS]),
        ({"ensemble": {"members": ["cold"]}}, ['is ["cold"].', FORMS]),
        ({"ensemble": {"members": ["cold", "a/b"]}}, ['is ["cold", "a/b"].', FORMS]),
        ({"ensemble": {"members": ["cold", "cold"]}}, ['is ["cold", "cold"], which has the same arm twice.', MEANING]),
        ({"ensemble": {"members": ["cold", "wram"]}}, ['there is no arm "wram".', "arms: cold, warm, hot", 'did you mean "warm"?']),
        ({"ensemble": {"members": "seeds"}, "seeds": [3]}, ['is "seeds", and there is one seed.', "seeds = [0, 1, 2]"]),
        (
            {"ensemble": {"members": "seeds"}, "seeds": [0, 1], "cross_validation": {"folds": 2}},
            [
                'is "seeds", but with [cross_validation] each seed tests on images that the others train on.',
                'members = ["a", "b"] averages arms',
            ],
        ),
    ],
)  # fmt: skip
def test_wrong_members_are_a_message(tables: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parsing.build({**BASE, **ARMS, **tables}, where="r")
    assert str(caught.value) == "\n  ".join([f"r: ensemble.members: {said[0]}", *said[1:]])


def test_every_arm_that_does_not_exist_is_said() -> None:
    with pytest.raises(RecipeError) as caught:
        members(["cold", "wram", "host"])
    assert [each.problem for each in caught.value.problems] == [
        'r: ensemble.members: there is no arm "wram".',
        'r: ensemble.members: there is no arm "host".',
    ]
