"""data.augment as a person writes it: names, tables with options, and what does not go together."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tlkit.errors import RecipeError
from tlkit.recipe import augmentations, json_schema, messages, parsing
from tlkit.recipe.augmentations import Augmentation, RandomErasing
from tlkit.recipe.digest import digest_of
from tlkit.recipe.domains import AdaptTable
from tlkit.recipe.recipe import Arm, arm_toml
from tlkit.recipe.settings import parse_setting

BASE: dict[str, Any] = {"format": 1, "name": "small", "backbone": {"name": "toy", "weights": "none"}}


def recipe(augment: object, **more: object) -> dict[str, Any]:
    return BASE | {"data": {"name": "synthetic", "augment": augment, **more}}


def arm(augment: object, **more: object) -> Arm:
    return parsing.build(recipe(augment, **more), where="r.toml").arms["main"]


def problems(text: str, *settings: str) -> list[str]:
    start = 'format = 1\nname = "small"\nbackbone = { name = "toy", weights = "none" }\n'
    with pytest.raises(RecipeError) as caught:
        parsing.build(tomllib.loads(start + text), where="r.toml", settings=[parse_setting(each) for each in settings])
    return [str(problem).removeprefix("r.toml: ") for problem in caught.value.problems]


def problem(data: str) -> str:
    (found,) = problems(f'[data]\nname = "synthetic"\n{data}\n')
    return found


WRITTEN: dict[str, dict[str, object]] = {
    "random_crop": {},
    "random_resized_crop": {"scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]},
    "hflip": {"p": 0.5},
    "vflip": {"p": 0.5},
    "rotate": {"degrees": 15.0},
    "elastic": {"pixels": 10.0, "points": 3},
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "random_erasing": {"p": 0.25, "scale": [0.02, 0.33], "ratio": [0.3, 3.3]},
    "mixup": {"alpha": 0.2},
    "cutmix": {"alpha": 1.0},
    "randaugment": {"ops": 2, "magnitude": 9},
}
NAMES = list(WRITTEN)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_table_with_its_defaults(name: str) -> None:
    tables = [[name], [{"name": name}], [{"name": name, **WRITTEN[name]}]]
    arms = [arm(each) for each in tables]
    assert arms[0] == arms[1] == arms[2]
    assert len({digest_of(each, {}) for each in arms}) == 1
    assert arm_toml(arms[0])["data"]["augment"] == [{"name": name, **WRITTEN[name]}]


@pytest.mark.parametrize("name", [name for name in NAMES if WRITTEN[name]])
def test_every_option_is_part_of_the_digest(name: str) -> None:
    changed: dict[str, object] = {"scale": [0.1, 0.2], "ratio": [0.5, 1.5], "ops": 1, "magnitude": 3, "points": 4}
    digests = {digest_of(arm([{"name": name, option: changed.get(option, 0.3)}]), {}) for option in WRITTEN[name]}
    digests.add(digest_of(arm([name]), {}))
    assert len(digests) == len(WRITTEN[name]) + 1


def test_order_is_kept_and_counts() -> None:
    one, other = arm(["hflip", "random_crop"]), arm(["random_crop", "hflip"])
    assert [table.name for table in one.data.augment] == ["hflip", "random_crop"]
    assert digest_of(one, {}) != digest_of(other, {})


def test_written_arm_reads_back_as_the_same_arm() -> None:
    made = arm(
        ["random_resized_crop", {"name": "color_jitter", "hue": 0}, "randaugment", "cutmix", {"name": "mixup", "alpha": 1}]
    )
    text = tomli_w.dumps({"format": 1, "name": "again", **arm_toml(made)})
    assert parsing.build(tomllib.loads(text), where="r.toml").arms["main"] == made
    assert Arm.model_validate(json.loads(made.model_dump_json())) == made


def test_set_gives_names_and_tables() -> None:
    made = parsing.build(
        recipe(["hflip"]), where="r", settings=[parse_setting('data.augment=["hflip", { name = "mixup", alpha = 1 }]')]
    )
    assert made.arms["main"].data.augment == augmentations.read(["hflip", {"name": "mixup", "alpha": 1.0}])


def test_an_arm_replaces_the_list() -> None:
    tables = recipe(["hflip", "mixup"]) | {"arms": {"a": {}, "b": {"data": {"augment": ["cutmix"]}}}}
    made = parsing.build(tables, where="r").arms
    assert [[table.name for table in each.data.augment] for each in made.values()] == [["hflip", "mixup"], ["cutmix"]]


LISTED = f"augmentations: {', '.join(NAMES)}"


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ('["mixupp"]', ['data.augment.0: there is no augmentation "mixupp".', LISTED, 'did you mean "mixup"?']),
        ('["hflip", { name = "cutmx" }]', ['data.augment.1: there is no augmentation "cutmx".', 'did you mean "cutmix"?']),
        ("[3]", ["data.augment.0: is 3, but should be a name, or a table with a name.", LISTED]),
        ("[[]]", ["data.augment.0: is [], but should be a name, or a table with a name."]),
        ("[{ alpha = 0.4 }]", ['data.augment.0: is {"alpha": 0.4}, and has no name.', LISTED]),
        ("[{ name = 3 }]", ["data.augment.0: there is no augmentation 3."]),
        ('[{ name = "mixup", alfa = 1 }]', ["data.augment.0.alfa: there is no such key.", "keys: name, alpha", '"alpha"?']),
        ('[{ name = "random_crop", p = 1 }]', ["data.augment.0.p: there is no such key.", "keys: name, padding"]),
        (
            '[{ name = "mixup", alpha = 0 }]',
            ["data.augment.0.alpha: is 0, but should be greater than 0.", "Beta(alpha, alpha)"],
        ),
        ('[{ name = "mixup", alpha = "1" }]', ['data.augment.0.alpha: is "1", but should be a valid number.']),
        ('[{ name = "mixup", alpha = inf }]', ["data.augment.0.alpha: is inf"]),
        ('[{ name = "hflip", p = 1.1 }]', ["data.augment.0.p: is 1.1, but should be less than or equal to 1."]),
        ('["mixup", { name = "color_jitter", hue = 0.6 }]', ["data.augment.1.hue: is 0.6, but", "colour circle"]),
        ('[{ name = "randaugment", magnitude = 31 }]', ["data.augment.0.magnitude: is 31, but", "0 to 30"]),
        ('[{ name = "randaugment", ops = 1.0 }]', ["data.augment.0.ops: is 1.0, but should be a valid integer."]),
        (
            '[{ name = "random_erasing", scale = [0.5, 0.1] }]',
            ["data.augment.0.scale: is [0.5, 0.1]; the smaller comes first."],
        ),
        (
            '[{ name = "random_erasing", scale = [0.5, 1.1] }]',
            ["data.augment.0.scale.1: is 1.1, but", "as a fraction of the picture's"],
        ),
        ('[{ name = "random_erasing", scale = 0.5 }]', ["data.augment.0.scale: is 0.5, but should be a list."]),
        ('[{ name = "random_resized_crop", ratio = [1.0] }]', ["data.augment.0.ratio.1: is missing."]),
        ('["hflip", "mixup", { name = "hflip", p = 1 }]', ["data.augment: has hflip twice; give it once."]),
        (
            '["random_crop", "random_resized_crop"]',
            ["data.augment: has random_crop and random_resized_crop", "give one of them"],
        ),
    ],
)
def test_wrong_augmentation_is_said_in_words_and_once(augment: str, words: list[str]) -> None:
    found = problem(f"augment = {augment}")
    assert [word for word in words if word not in found] == []
    assert "=" not in found.partition(":")[0]


@pytest.mark.parametrize(
    ("augment", "shown", "example"),
    [
        ('"hflip"', '"hflip"', '["hflip"]'),
        ('"crop"', '"crop"', '["random_crop"]'),
        ('"sepia"', '"sepia"', '["sepia"]'),
        ("3", "3", "[3]"),
        ('{ name = "hflip" }', '{"name": "hflip"}', "[{ ... }]"),
    ],
)
def test_what_is_no_list_is_answered_with_a_list_of_the_nearest_name(augment: str, shown: str, example: str) -> None:
    assert problem(f"augment = {augment}").splitlines() == [
        f"data.augment: is {shown}, but should be a list.",
        f"  for instance augment = {example}",
        "  augmentations are applied in this order",
        f"  {LISTED}",
    ]


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (["hflip", "mixup"], "has mixup, which mixes images, and both views are of one image; leave it out."),
        (["random_crop"], "has random_crop, and both views are cropped alike; give it in data.augment."),
        (["random_resized_crop"], "has random_resized_crop, and both views are cropped alike; give it in data.augment."),
    ],
)
def test_second_view_is_of_the_same_whole_picture(view: list[str], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AdaptTable.model_validate({"target": "x", "second_view": view})
    (line,) = caught.value.errors()
    assert messages.words(line, AdaptTable) == (words,)
    made = AdaptTable.model_validate({"target": "x", "second_view": ["vflip", "color_jitter"]})
    assert augmentations.twice(arm(["hflip", "color_jitter"]).data.augment, made.second_view) == "color_jitter"
    assert augmentations.twice(arm(["hflip"]).data.augment, made.second_view) is None


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_views_of_mixed_images_cannot_be_fixed(name: str) -> None:
    found = problem(f'augment = ["hflip", "{name}"]\naugment_views = 4')
    assert found == f"data.augment_views: is 4, but {name} mixes images, so views cannot be fixed; leave out one of the two."


@pytest.mark.parametrize("augment", ["", "augment = []"])
def test_views_of_what_is_not_augmented_are_refused(augment: str) -> None:
    assert problem(f"{augment}\naugment_views = 4").startswith(
        "data.augment_views: is 4, but there is no augmentation: add some"
    )


@pytest.mark.parametrize(
    ("views", "words"), [("0", "greater than or equal to 1"), ("1.5", "a valid integer"), ("true", "a valid integer")]
)
def test_wrong_number_of_views_is_said(views: str, words: str) -> None:
    found = problem(f'augment = ["hflip"]\naugment_views = {views}')
    assert found.startswith(f"data.augment_views: is {views}, but")
    assert words in found


def test_wrong_augmentation_hides_no_wrong_views() -> None:
    found = problems('[data]\nname = "synthetic"\naugment = ["flip"]\naugment_views = 0\n')
    assert [each.partition(": ")[0] for each in found] == ["data.augment.0", "data.augment_views"]


def test_views_that_only_an_arm_spoils_name_the_arm() -> None:
    (found,) = problems(
        '[data]\nname = "synthetic"\naugment = ["hflip"]\naugment_views = 2\n[arms.a]\n[arms.b]\ndata.augment = ["mixup"]\n'
    )
    assert found.startswith("arms.b.data.augment_views: is 2, but mixup")


def test_views_of_augmented_images_are_taken() -> None:
    assert arm(["hflip"], augment_views=3).data.augment_views == 3
    assert arm([]).data.augment_views is None


def test_smallest_and_largest_area_may_be_equal() -> None:
    (table,) = arm([{"name": "random_erasing", "scale": [0.3, 0.3]}]).data.augment
    assert isinstance(table, RandomErasing)
    assert table.scale == (0.3, 0.3)


@pytest.mark.parametrize(
    ("names", "room", "window", "mixed", "colours"),
    [
        ([], False, None, False, []),
        (["hflip", "mixup"], False, None, True, []),
        (["random_crop"], True, None, False, []),
        ([{"name": "random_crop", "padding": 4}, "randaugment"], False, None, False, ["randaugment"]),
        (["cutmix", "random_resized_crop", "color_jitter"], False, "random_resized_crop", True, ["color_jitter"]),
    ],
)
def test_augmentations_say_what_they_do_to_a_picture(
    names: list[str], room: bool, window: str | None, mixed: bool, colours: list[str]
) -> None:
    tables: list[Augmentation] = arm(names).data.augment
    found = augmentations.windows(tables)
    assert augmentations.needs_room(tables) is room
    assert (None if found is None else found.name) == window
    assert augmentations.crops(tables) is any("crop" in table.name for table in tables)
    assert augmentations.mixes(tables) is mixed
    assert augmentations.of_colour(tables) == colours
    assert set(augmentations.not_of_colour()) == set(NAMES) - {"color_jitter", "randaugment"}


DOCUMENTS: list[tuple[object, bool]] = [
    ([], True), (["hflip", {"name": "mixup", "alpha": 1}], True), ([{"name": "random_erasing", "scale": [0.1, 0.2]}], True),
    (["flip"], False), ([{"name": "flip"}], False), ([{}], False), ([{"alpha": 1}], False), ([3], False),
    ([{"name": "mixup", "alpha": 0}], False), ([{"name": "mixup", "p": 1}], False), ([{"name": "hflip", "p": 2}], False),
    ([{"name": "random_erasing", "scale": [0.1]}], False), ([{"name": "random_erasing", "scale": [0.1, 0.2, 0.3]}], False),
]  # fmt: skip


@pytest.mark.parametrize(("augment", "right"), DOCUMENTS, ids=[json.dumps(augment) for augment, _ in DOCUMENTS])
@pytest.mark.parametrize("place", ["recipe", "arm"])
def test_an_editor_says_the_same(augment: object, right: bool, place: str) -> None:
    document = recipe(augment) if place == "recipe" else recipe([]) | {"arms": {"a": {"data": {"augment": augment}}}}
    assert jsonschema.Draft202012Validator(json_schema.schema()).is_valid(document) is right
    try:
        parsing.build(document, where="r.toml")
    except RecipeError:
        assert not right
    else:
        assert right


ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "p", "scale", "alpha", "ops"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(augment=st.lists(ITEMS, max_size=3), views=ITEMS)
def test_whatever_augment_holds_it_is_taken_or_the_error_is_a_message(augment: list[object], views: object) -> None:
    document, refused = recipe(augment, augment_views=views), []
    try:
        parsing.build(document, where="r.toml")
    except RecipeError as error:
        refused = [str(each) for each in error.problems]
    assert refused or jsonschema.Draft202012Validator(json_schema.schema()).is_valid(document)
    assert [each for each in refused if not each.startswith("r.toml: data.augment")] == []


def test_every_recipe_of_plain_names_is_still_right() -> None:
    for path in (Path(__file__).parents[2] / "recipes").glob("*.toml"):
        parsing.read(path)


@pytest.mark.parametrize("first", ["rotate", "randaugment"])
def test_windows_are_taken_before_a_picture_is_turned(first: str) -> None:
    with pytest.raises(RecipeError, match=f"{first} before random_resized_crop; give random_resized_crop first"):
        arm([first, "random_resized_crop"])
    assert arm(["random_resized_crop", first])
