"""Arms and --set against the recipe's own tables: what merges, what is replaced, what is emptied."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tlkit.plans import resolve
from tlkit.recipe import parsing
from tlkit.recipe.merging import merge, names_first, set_
from tlkit.recipe.optimizers import AdamW, Sgd
from tlkit.recipe.recipe import Arm
from tlkit.recipe.schedules import OneCycle, Step
from tlkit.recipe.settings import Setting
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


# merge, set_ and names_first themselves


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"name": "x"}, {"precision": "float32"}, {"name": "x", "precision": "float32"}),
        ({"data": {"options": {"a": 1, "b": {"c": 1}}}}, {"data": {"options": {"b": {"d": 2}}}},
         {"data": {"options": {"a": 1, "b": {"c": 1, "d": 2}}}}),
        ({"data": {"options": {"a": 1}}}, {"data": {"options": {}}}, {"data": {"options": {}}}),
        ({"data": {"augment": ["hflip"]}}, {"data": {"augment": {"x": 1}}}, {"data": {"augment": {"x": 1}}}),
        ({"data": {"augment": {"x": 1}}}, {"data": {"augment": ["hflip"]}}, {"data": {"augment": ["hflip"]}}),
        ({"data": 3}, {"data": {"crop": 1}}, {"data": {"crop": 1}}),
        ({"data": {"crop": 1}}, {"data": 3}, {"data": 3}),
        ({"optimizer": 3}, {"optimizer": {"name": "sgd"}}, {"optimizer": {"name": "sgd"}}),
        ({"freeze": {"stem": True}}, {"freeze": {"head": True}}, {"freeze": {"head": True}}),
        ({"lr_groups": {"stem": {"lr": 1}}}, {"lr_groups": {"stem": {"momentum": 0}}}, {"lr_groups": {"stem": {"momentum": 0}}}),
        # another name (or kind) replaces the table, the same or the usual one does not
        ({"optimizer": {"name": "sgd", "momentum": 1}}, {"optimizer": {"name": "adam"}}, {"optimizer": {"name": "adam"}}),
        ({"optimizer": {"eps": 1}}, {"optimizer": {"name": "sgd"}}, {"optimizer": {"name": "sgd"}}),
        ({"optimizer": {"eps": 1}}, {"optimizer": {"name": "adamw"}}, {"optimizer": {"eps": 1, "name": "adamw"}}),
        ({"schedule": {"epochs": 1}}, {"schedule": {"name": "one_cycle"}}, {"schedule": {"epochs": 1, "name": "one_cycle"}}),
        ({"schedule": {"epochs": 1}}, {"schedule": {"name": "step"}}, {"schedule": {"name": "step"}}),
        ({"head": {"options": {"a": 1}}}, {"head": {"kind": "linear"}}, {"head": {"options": {"a": 1}, "kind": "linear"}}),
        ({"head": {"options": {"a": 1}}}, {"head": {"kind": "mlp"}}, {"head": {"kind": "mlp"}}),
        ({"head": {"kind": "mlp", "x": 1}}, {"head": {"name": "y"}}, {"head": {"kind": "mlp", "x": 1, "name": "y"}}),
        ({"data": {"crop": 1}}, {"data": {"name": "folder"}}, {"data": {"name": "folder"}}),
        ({"backbone": {"name": "a", "input": 1}}, {"backbone": {"name": "b"}}, {"backbone": {"name": "b", "input": 1}}),
        # one size replaces the other; both are kept for the message that refuses them
        ({"data": {"image_size": 8, "crop": 1}}, {"data": {"image_sizes": [9]}}, {"data": {"crop": 1, "image_sizes": [9]}}),
        ({"data": {"image_sizes": [9], "crop": 1}}, {"data": {"image_size": 8}}, {"data": {"crop": 1, "image_size": 8}}),
        ({"data": {"image_size": 8}}, {"data": {"crop": 1}}, {"data": {"image_size": 8, "crop": 1}}),
        ({"other": {"image_size": 8}}, {"other": {"image_sizes": 9}}, {"other": {"image_size": 8, "image_sizes": 9}}),
        # another method of adaptation replaces the options alone
        ({"adapt": {"method": "mmd", "target": "t", "options": {"a": 1}}}, {"adapt": {"method": "mcc"}},
         {"adapt": {"method": "mcc", "target": "t"}}),
        ({"adapt": {"method": "mmd", "options": {"a": 1}}}, {"adapt": {"method": "mmd", "options": {"b": 2}}},
         {"adapt": {"method": "mmd", "options": {"a": 1, "b": 2}}}),
        ({"adapt": {"method": "mmd", "options": {"a": 1}}}, {"adapt": {"options": {"b": 2}}},
         {"adapt": {"method": "mmd", "options": {"a": 1, "b": 2}}}),
        ({"adapt": {"options": {"a": 1}}}, {"adapt": {"method": "none"}}, {"adapt": {"options": {"a": 1}, "method": "none"}}),
        ({"adapt": {"options": {"a": 1}}}, {"adapt": {"method": "mcc"}}, {"adapt": {"method": "mcc"}}),
        ({"other": {"method": "a", "options": {"a": 1}}}, {"other": {"method": "b"}},
         {"other": {"method": "b", "options": {"a": 1}}}),
    ],
)  # fmt: skip
def test_tables_merge_key_by_key_unless_a_key_decides_over_the_others(
    base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]
) -> None:
    before = copy.deepcopy((base, over))
    assert merge(base, over) == merged
    assert (base, over) == before


def test_what_was_merged_shares_no_table_with_what_it_was_made_from() -> None:
    base: dict[str, Any] = {"a": {"b": {"c": [1]}}, "freeze": {"stem": True}, "loss": {"weights": [1]}}
    over: dict[str, Any] = {"a": {"d": {"e": [2]}}, "freeze": {"head": {"epochs": 1}}, "seeds": [3]}
    merged = merge(base, over)
    merged["a"]["b"]["c"].append(1)
    merged["a"]["d"]["e"].append(1)
    merged["freeze"]["head"]["epochs"] = 9
    merged["seeds"].append(1)
    merged["loss"]["weights"].append(1)
    assert base == {"a": {"b": {"c": [1]}}, "freeze": {"stem": True}, "loss": {"weights": [1]}}
    assert over == {"a": {"d": {"e": [2]}}, "freeze": {"head": {"epochs": 1}}, "seeds": [3]}


@pytest.mark.parametrize(
    ("tables", "path", "value", "after"),
    [
        ({}, "freeze.stem", True, {"freeze": {"stem": True}}),
        ({"freeze": {"stem": True, "head": False}}, "freeze.head", True, {"freeze": {"stem": True, "head": True}}),
        ({"freeze": {"stem": True}}, "freeze", {"head": True}, {"freeze": {"head": True}}),
        ({"freeze": 3}, "freeze.head", True, {"freeze": {"head": True}}),
        ({"lr_groups": {"stem": 1}}, "lr_groups.head.lr", 2, {"lr_groups": {"stem": 1, "head": {"lr": 2}}}),
        ({"lr_groups": {"head": 1}}, "lr_groups.head.lr", 2, {"lr_groups": {"head": {"lr": 2}}}),
        ({"lr_groups": {"head": {"lr": 1, "momentum": 0}}}, "lr_groups.head.lr", 2, {"lr_groups": {"head": {"lr": 2, "momentum": 0}}}),
        ({"lr_groups": {"head": {"lr": 1, "momentum": 0}}}, "lr_groups.head", {"lr": 2}, {"lr_groups": {"head": {"lr": 2}}}),
        ({"data": {"crop": 1, "split": {"test": 1}}}, "data.split.train", 2, {"data": {"crop": 1, "split": {"test": 1, "train": 2}}}),
        ({"seeds": [1], "name": "x"}, "seeds", [2], {"seeds": [2], "name": "x"}),
    ],
)  # fmt: skip
def test_set_changes_the_one_key_that_it_names(tables: dict[str, Any], path: str, value: object, after: dict[str, Any]) -> None:
    made = copy.deepcopy(tables)
    set_(made, tuple(path.split(".")), value)
    assert made == after


def test_settings_that_can_replace_a_table_come_first_and_the_others_keep_their_order() -> None:
    late = ["optimizer.eps", "arms.a.name", "data.options.name", "backbone.name", "head.name", "adapt.target", "name", "arms.a"]
    names = [
        "optimizer.name",
        "adapt.method",
        "arms.a.schedule.name",
        "arms.optimizer.head.kind",
        "data.name",
        "arms.b.adapt.method",
    ]
    mixed = [each for pair in zip(late, names, strict=False) for each in pair] + late[len(names) :]
    sorted_ = names_first(Setting(tuple(each.split(".")), 1) for each in mixed)
    assert [".".join(each.path) for each in sorted_] == names + late
