"""A search is checked before anything runs: keys, values, what waits for what, and what it goes by."""

from pathlib import Path

import pytest
from conftest import TOY_RECIPE
from imports import HEAVY, loaded_by

from tlkit import api
from tlkit.errors import RecipeError
from tlkit.plans import resolve, search_plan
from tlkit.reports import search_table
from tlkit.sources.places import Places

HEAD = '"lr_groups.head" = { log = [1e-4, 1e-1] }\n'


def load(folder: Path, text: str, recipe: str = TOY_RECIPE) -> search_plan.SearchPlan | None:
    path = folder / "toy.toml"
    path.write_text(recipe + text)
    read, _ = resolve.load(path, (), Places(recipe=folder))
    return search_plan.planned(read)


def refused(folder: Path, text: str, recipe: str = TOY_RECIPE) -> str:
    with pytest.raises(RecipeError) as raised:
        load(folder, text, recipe)
    return str(raised.value)


@pytest.mark.parametrize(
    ("space", "said", "nearest"),
    [
        ('"lr_groups.hed" = { log = [1e-4, 1e-1] }', 'space."lr_groups.hed": toy has no stage "hed"', "head"),
        ('"optimizr.lr" = [1]', 'space."optimizr.lr": optimizr: there is no such key', "optimizer"),
        ('"optimizer.name" = ["sgd", "adamm"]', 'space."optimizer.name": with "adamm": there is no optimizer', "adam"),
        ('"freeze" = [{}, { stme = true }]', 'space.freeze: with {"stme": true}: freeze.stme: toy has no stage', "stem"),
        ('"backbone.name" = ["toy", "toi"]', 'space."backbone.name": with "toi": there is no backbone', "toy"),
        ('"schedule.epochs" = { int = [0, 3] }', 'space."schedule.epochs": is 0', ""),
        ('"schedule.warmup_epochs" = [0, 1, 2]', 'space."schedule.warmup_epochs": is 2.0, but the whole run has 2', ""),
        (
            '"optimizer.name" = ["sgd", "adamw"]\n"optimizer.momentum" = [0.5]',
            'space."optimizer.momentum": with optimizer.name = "adamw": there is no such key',
            "",
        ),
        (
            '"optimizer.name" = ["sgd", "adamw"]\n"optimizer.momentum" = { float = [0.5, 1.5], when = { "optimizer.name" = "sgd" } }',
            'space."optimizer.momentum": is 1.5',
            "",
        ),
        ('"data.split.validation" = [0.1, 0.2]', "changes which images are for validation", ""),
        ('"seeds" = [[0], [1]]', "stands at the head of a recipe", ""),
        ('"freeze" = [{}]\n"freeze.stem" = [true]', "is a part of freeze, which is in the space too", ""),
        (
            '"optimizer.eps" = { log = [1e-9, 1e-7], when = { "optimizer.nam" = "adamw" } }',
            '"optimizer.nam" = ["adamw", ..]',
            "",
        ),
        ('"freeze" = { values = [{}], when = { freeze = {} } }', "waits for itself", ""),
        (
            '"optimizer.name" = ["sgd", "adamw"]\n"optimizer.nesterov" = { values = [true], when = { "optimizer.name" = "sdg" } }',
            'is "sdg", which no trial has',
            "sgd",
        ),
    ],
)
def test_mistake_in_the_space_is_found_before_anything_runs(space: str, said: str, nearest: str, tmp_path: Path) -> None:
    text = refused(tmp_path, f"[search.space]\n{space}\n")
    assert said in text
    assert f'did you mean "{nearest}"?' in text or not nearest


def test_one_mistake_hides_no_other(tmp_path: Path) -> None:
    text = refused(
        tmp_path, '[search.space]\n"optimizr.lr" = [1]\n"lr_groups.hed" = [1e-3]\n"freeze" = [{}, { stme = true }]\n'
    )
    assert [word in text for word in ("optimizr", "hed", "stme")] == [True] * 3


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ('metric = "test_accuracy"', "a search that goes by test images has none left to test with"),
        ('metric = "acuracy"', 'did you mean "accuracy"?'),
        ('sampler = "grid"', "endlessly many values, and a grid tries all"),
        ('sampler = "cmaes"', "cmaes needs two ranges of numbers"),
        ('arm = "mian"', 'did you mean "main"?'),
    ],
)
def test_search_that_cannot_be_made_is_refused(search: str, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, f"[search]\n{search}\n[search.space]\n{HEAD}")


def test_search_needs_validation_images_one_arm_and_no_folds(tmp_path: Path) -> None:
    space = f"\n[search.space]\n{HEAD}"
    assert "needs validation images" in refused(tmp_path, f"[data.split]\nvalidation = 0{space}")
    assert "each fold's test images" in refused(tmp_path, f"[cross_validation]\nfolds = 3{space}")
    assert "search.arm = " in refused(tmp_path, f"[arms.a]\n[arms.b]{space}")
    assert "arms.a-best: is the name" in refused(tmp_path, f"[arms.a]\n[arms.a-best]\n[search]\narm = 'a'{space}")


def test_metric_is_by_default_what_the_arm_is_selected_by(tmp_path: Path) -> None:
    plan, by_loss = (
        load(tmp_path, f"[search.space]\n{HEAD}", recipe) for recipe in (TOY_RECIPE, f'select_by = "loss"\n{TOY_RECIPE}')
    )
    assert (plan.metric, by_loss.metric) == ("accuracy", "loss")
    assert plan.written == {"lr_groups.head": 1e-2}
    assert (plan.arm, plan.best_name, plan.epochs) == ("main", "main-best", 2)


def test_grid_has_as_many_trials_as_combinations_and_the_recipe_as_written(tmp_path: Path) -> None:
    grid = '[search]\nsampler = "grid"\n[search.space]\n"schedule.epochs" = { int = [1, 3] }\n'
    inside, outside = load(tmp_path, grid), load(tmp_path, grid.replace("[1, 3]", "[3, 5]"))
    assert (inside.most, outside.most) == (3, 4)  # its two epochs are one of 1, 2, 3, and none of 3, 4, 5
    assert (inside.epochs, outside.epochs) == (3, 5)


def test_plan_holds_the_search(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(f"{TOY_RECIPE}[search]\ntrials = 3\n[search.space]\n{HEAD}")
    plans = api.plan(tmp_path / "toy.toml")
    assert plans.search is not None
    record = search_table.to_record(plans.search)
    assert record["space"] == [{"key": "lr_groups.head", "log": [1e-4, 1e-1], "written": 1e-2}]
    assert (record["trials"], record["metric"]) == (3, "accuracy")


def test_validate_shows_the_space_and_loads_neither_torch_nor_optuna(tmp_path: Path) -> None:
    text = '[search]\ntrials = 3\n[search.space]\n"optimizer.name" = ["sgd", "adamw"]\n'
    (tmp_path / "toy.toml").write_text(TOY_RECIPE + text + HEAD)
    code = f"""
import contextlib, io
sys.path.insert(0, {str(Path(__file__).parents[1] / "toy")!r})
sys.argv = ["tlkit", "validate", "toy.toml"]
from tlkit.cli import main
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        main()
    except SystemExit as done:
        assert not done.code, done.code
assert "3 trials of arm main" in out.getvalue() and "0.0001 to 0.1, logarithmic" in out.getvalue(), out.getvalue()
"""
    assert not loaded_by(code, cwd=tmp_path) & (HEAVY | {"optuna"})
