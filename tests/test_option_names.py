"""A message names an option as the reader gave it: on the command line, or as an argument in Python."""

from pathlib import Path

import pytest
from conftest import Cli

import tlkit
from tlkit import api, files
from tlkit.errors import RecipeError, TlkitError, command_line, option, setting
from tlkit.record import run_folder


def test_option_is_named_for_the_door_that_is_used() -> None:
    assert [option("data"), option("data", "images"), option("offline", True)] == ["data=", 'data="images"', "offline=True"]
    with command_line():
        assert [option("data"), option("data", "images"), option("offline", True)] == ["--data", "--data images", "--offline"]
    assert option("data") == "data="


def test_missing_folder_names_the_argument_in_python_and_the_option_on_the_command_line(toy_recipe: Path, run: Cli) -> None:
    settings = ["data.name=folder", 'data.options.path="nowhere"']
    with pytest.raises(TlkitError, match=r"or data=$"):
        api.apply(toy_recipe, settings)
    code, _, text = run("apply", toy_recipe, "--set", settings[0], "--set", settings[1])
    assert code == 1
    assert text.rstrip().endswith("or --data")


def test_setting_is_named_for_the_door_that_is_used() -> None:
    assert setting("a.b=3") == 'settings=["a.b=3"]'
    with command_line():
        assert setting("a=1", "freeze={}") == "--set a=1 --set 'freeze={}'"


def test_no_message_names_an_option_of_the_command_line_in_python(tmp_path: Path, toy_recipe: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "resolved.toml").write_text("format = 99")
    cases = (
        lambda: api.apply(toy_recipe, "data.name=cifar10", offline=True),
        lambda: run_folder.resolved(tmp_path / "damaged"),
        lambda: files.refuse_unwritable(toy_recipe / "runs"),
    )
    for case in cases:
        with pytest.raises(TlkitError) as error:
            case()
        assert "--" not in str(error.value), error.value
        assert "=" in str(error.value)


def test_one_setting_may_stand_alone(toy_recipe: Path) -> None:
    (made,) = api.plan(toy_recipe, "schedule.epochs=7").values()
    assert made.epochs == 7
    for wrong in ({"schedule.epochs": 7}, [("schedule.epochs", 7)], 7):
        with pytest.raises(TlkitError, match="settings: is"):
            api.plan(toy_recipe, wrong)


def test_epochs_of_no_plan_is_a_message(toy_recipe: Path) -> None:
    with pytest.raises(TlkitError, match="the plans of a recipe, not one of them") as error:
        next(api.epochs(api.plan(toy_recipe)))
    assert "plans['main']" in str(error.value)
    with pytest.raises(TlkitError, match="which is no plan"):
        next(api.epochs(toy_recipe))


def test_problems_of_a_recipe_are_raised_as_a_public_class(toy_recipe: Path) -> None:
    toy_recipe.write_text("format = 1")
    with pytest.raises(TlkitError) as error:
        tlkit.Model.from_recipe(toy_recipe)
    assert type(error.value) is RecipeError


def test_what_is_no_path_is_a_message(toy_recipe: Path) -> None:
    for call, name in (
        (lambda: tlkit.apply(3), "recipe"),
        (lambda: tlkit.plan(None), "recipe"),
        (lambda: tlkit.plan(toy_recipe, data=b"x"), "data"),
        (lambda: tlkit.load(None), "folder"),
        (lambda: tlkit.Model.from_recipe(3), "file"),
    ):
        with pytest.raises(TlkitError, match=f"^{name}: is .*\n *text, or a pathlib.Path"):
            call()


def test_an_arm_that_is_no_text_is_a_message(toy_recipe: Path) -> None:
    with pytest.raises(TlkitError, match='the recipe has no arm "3"'):
        tlkit.apply(toy_recipe, arm=3)
