"""The tables [also] and [adapt]: what their keys may be."""

import pytest

from tlkit.errors import RecipeError
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Arm

BASE = {"format": 1, "name": "x", "backbone": {"name": "toy", "weights": "none"}, "data": {"name": "synthetic"}}


def arm(pseudo_labels: object) -> Arm:
    adapt = {"target": "b", "pseudo_labels": pseudo_labels}
    return parsing.build({**BASE, "also": {"b": {"name": "folder"}}, "adapt": adapt}, where="r").arms["main"]


@pytest.mark.parametrize(
    ("given", "read"), [(False, False), (True, "prototypes"), ("prototypes", "prototypes"), ("confident", "confident")]
)
def test_true_is_the_first_kind_of_pseudo_labels(given: object, read: object) -> None:
    adapt = arm(given).adapt
    assert adapt.pseudo_labels is read or adapt.pseudo_labels == read != 1


@pytest.mark.parametrize(
    ("given", "shown", "nearest"),
    [("confidnt", '"confidnt"', '\n  did you mean "confident"?'), (1, "1", ""), (0, "0", ""), ("", '""', "")],
)
def test_other_pseudo_labels_are_a_message(given: object, shown: str, nearest: str) -> None:
    with pytest.raises(RecipeError) as caught:
        arm(given)
    assert str(caught.value) == (
        f"r: adapt.pseudo_labels: is {shown}.\n"
        f'  one of: "prototypes", "confident"{nearest}\n'
        '  true is "prototypes"; false for none'
    )


@pytest.mark.parametrize(
    ("key", "hints"),
    [
        ("path", ['a path is an option: options = { path = "images" }']),
        ("folder", ["keys: name, options, shrink, split"]),
        ("shrnk", ["keys: name, options, shrink, split", 'did you mean "shrink"?']),
    ],
)
def test_key_that_another_data_set_does_not_have_is_a_message(key: str, hints: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parsing.build({**BASE, "also": {"b": {"name": "folder", key: 3}}}, where="r")
    assert str(caught.value) == "\n  ".join([f"r: also.b.{key}: there is no such key.", *hints])
