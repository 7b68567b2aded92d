"""Arms and --set against the recipe's own tables: what merges, what is replaced, what is emptied."""

from pathlib import Path

import pytest

from tlkit.plans import resolve
from tlkit.recipe import parsing
from tlkit.recipe.merging import merge
from tlkit.recipe.optimizers import AdamW, Sgd
from tlkit.recipe.recipe import Arm
from tlkit.recipe.schedules import OneCycle, Step
from tlkit.sources.places import Places

SGD = '\n[optimizer]\nname = "sgd"\nmomentum = 0.5\nnesterov = true\n'


def arms(recipe: Path, text: str, *settings: str) -> dict[str, Arm]:
    recipe.write_text(recipe.read_text() + text)
    return parsing.read(recipe, settings).arms


def test_arm_that_names_another_optimizer_has_none_of_the_first_ones_options(toy_recipe: Path) -> None:
    made = arms(toy_recipe, SGD + '[arms.a.optimizer]\nname = "adamw"\nweight_decay = 0.1\n[arms.b]\n')
    assert made["a"].optimizer == AdamW(name="adamw", weight_decay=0.1)
    assert made["b"].optimizer == Sgd(name="sgd", momentum=0.5, nesterov=True)


def test_arm_that_names_the_same_optimizer_changes_some_keys(toy_recipe: Path) -> None:
    made = arms(toy_recipe, SGD + '[arms.a.optimizer]\nname = "sgd"\nmomentum = 0.9\n')
    assert made["a"].optimizer == Sgd(name="sgd", momentum=0.9, nesterov=True)


def test_arm_that_names_the_usual_optimizer_where_the_recipe_names_none_changes_some_keys(toy_recipe: Path) -> None:
    made = arms(toy_recipe, '[optimizer]\neps = 1e-6\n[arms.a.optimizer]\nname = "adamw"\nweight_decay = 0.0\n')
    assert made["a"].optimizer == AdamW(name="adamw", eps=1e-6, weight_decay=0.0)


@pytest.mark.parametrize(
    "settings",
    [
        ("optimizer.name=adamw", "optimizer.weight_decay=0.1"),
        ("optimizer.weight_decay=0.1", "optimizer.name=adamw"),
        ("optimizer={name='adamw', weight_decay=0.1}",),
        ("arms.main.optimizer.weight_decay=0.1", "arms.main.optimizer.name=adamw"),
    ],
)
def test_set_of_a_name_replaces_the_table_in_any_order(toy_recipe: Path, settings: tuple[str, ...]) -> None:
    more = "[arms.main]\n" if settings[0].startswith("arms") else ""
    assert arms(toy_recipe, SGD + more, *settings)["main"].optimizer == AdamW(name="adamw", weight_decay=0.1)


def test_set_of_another_data_set_drops_the_options_of_the_first(tmp_path: Path, toy_recipe: Path) -> None:
    text = (
        toy_recipe.read_text()
        .replace('"synthetic"', '"folder"')
        .replace("classes = 4\ntrain = 80\ntest = 40\nsize = 16", 'path = "x"')
    )
    toy_recipe.write_text(text)
    recipe, made = resolve.load(toy_recipe, ["data.name=synthetic"], Places(recipe=tmp_path))
    assert made["main"].dataset.read == "tlkit_synthetic.read:synthetic"
    assert "path" not in recipe.arms["main"].data.options


def test_set_of_another_head_drops_the_options_of_the_first(toy_recipe: Path) -> None:
    made = arms(toy_recipe, '[head]\nkind = "mlp"\n[head.options]\nwidths = [8]\n', "head.kind=linear")
    assert made["main"].head.options == {}


@pytest.mark.parametrize("setting", ["schedule={}", "schedule = { }"])
def test_empty_table_goes_back_to_the_defaults(toy_recipe: Path, setting: str) -> None:
    assert arms(toy_recipe, "", setting)["main"].schedule == OneCycle(name="one_cycle")


def test_empty_table_of_an_arm_goes_back_to_the_defaults(toy_recipe: Path) -> None:
    made = arms(toy_recipe, SGD + "[arms.a]\noptimizer = {}\n[arms.b]\n")
    assert made["a"].optimizer == AdamW(name="adamw")
    assert isinstance(made["b"].optimizer, Sgd)


def test_another_schedule_does_not_keep_the_first_ones_keys(toy_recipe: Path) -> None:
    made = arms(toy_recipe, '[arms.a.schedule]\nname = "step"\nevery = 3\nepochs = 6\n')
    assert made["a"].schedule == Step(name="step", every=3, epochs=6)


def test_merging_changes_neither_table() -> None:
    base, over = {"data": {"options": {"a": 1}}}, {"data": {"options": {"b": 2}}}
    assert merge(base, over) == {"data": {"options": {"a": 1, "b": 2}}}
    assert (base, over) == ({"data": {"options": {"a": 1}}}, {"data": {"options": {"b": 2}}})


def test_maps_are_replaced_whole() -> None:
    assert merge({"freeze": {"stem": True}}, {"freeze": {"head": True}}) == {"freeze": {"head": True}}
