"""What an apply does not take away: results of runs that failed, are not here now, or belong to another recipe; and other seeds' turns."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Cli
from filelock import FileLock
from PIL import Image

from tlkit import api
from tlkit.errors import RunFolderError, RunLocked
from tlkit.plans import jobs, resolve
from tlkit.record import results, run_choice
from tlkit.sources.places import Places

pytestmark = pytest.mark.usefixtures("undrawn")

ONE = ("schedule.epochs=1", "data.options.train=32")
WILD = ("optimizer.name=sgd", "lr_groups={backbone=1e20, head=1e20}", "optimizer.momentum=0.0")


def test_apply_that_fails_leaves_the_result_of_the_finished_runs(toy_recipe: Path, run: Cli) -> None:
    runs = toy_recipe.parent / "runs"
    done = api.apply(toy_recipe, ONE, runs=runs)
    before = (done.folder / "result.json").read_bytes()
    failed = api.apply(toy_recipe, [*ONE, *WILD], runs=runs)
    assert len(failed.failures) == 1
    assert failed.result["arms"]["main"]["seeds"]["0"]["status"] == "failed"
    assert (done.folder / "result.json").read_bytes() == before
    assert run_choice.choose(done.folder).folder.name == done.result["arms"]["main"]["seeds"]["0"]["folder"]
    other = api.apply(toy_recipe, [*ONE, "seeds=[1]"], runs=runs)
    assert json.loads((done.folder / "result.json").read_text()) == other.result


def test_arm_whose_images_are_absent_keeps_its_finished_runs(toy_recipe: Path) -> None:
    images = toy_recipe.parent / "images"
    for index in range(12):
        (images / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * index, 0, 0)).save(images / "ab"[index % 2] / f"{index}.png")
    with toy_recipe.open("a") as file:
        file.write('\n[arms.made]\n[arms.own]\ndata = { name = "folder", image_size = 16, options = { path = "images" } }\n')
    runs, settings = toy_recipe.parent / "runs", ["schedule.epochs=1", "arms.made.data.options.train=32"]
    first = api.apply(toy_recipe, settings, runs=runs)
    shutil.move(images, toy_recipe.parent / "elsewhere")
    again = api.apply(toy_recipe, [*settings, "arms.made.schedule.epochs=2"], arm="made", runs=runs)
    assert again.changed
    assert list(again.result["arms"]) == ["made", "own"]
    assert again.result["arms"]["own"] == first.result["arms"]["own"]
    assert again.result["superseded"] == [first.result["arms"]["made"]["seeds"]["0"]["folder"]]
    other = api.apply(toy_recipe, [*settings, "arms.own.schedule.epochs=3"], arm="made", runs=runs)
    assert list(other.result["arms"]) == ["made"], "that arm has other settings now"


def test_two_recipes_of_one_name_do_not_share_a_folder(toy_recipe: Path) -> None:
    runs = toy_recipe.parent / "runs"
    done = api.apply(toy_recipe, ONE, runs=runs)
    other = shutil.copy(toy_recipe, toy_recipe.with_name("other.toml"))
    with pytest.raises(
        RunFolderError, match=r"holds the runs of another recipe file, toy\.toml, and other\.toml has"
    ) as caught:
        api.apply(other, [*ONE, "data.batch_size=8"], runs=runs)
    assert 'name = "other"' in str(caught.value)
    assert len(list(done.folder.glob("*/result.json"))) == 1
    with other.open("a") as file:
        file.write("\n[arms.main]\n[arms.small]\ndata.batch_size = 8\n")
    assert api.apply(other, ONE, runs=runs).changed, "a renamed recipe with one more arm takes nothing away"
    with pytest.raises(RunFolderError, match=r"holds the runs of another recipe file, other\.toml"):
        api.apply(toy_recipe, ONE, runs=runs)  # which would take the arm away
    for file, name in (("b ä\\2.toml", "b---2"), ("toy ä.toml", "toy-2"), ("日本.toml", "recipe")):
        with pytest.raises(
            RunFolderError, match=f'name = "{name}"\n'
        ):  # which is a name that a recipe may have, and another one
            results.refuse_other_recipe(done.folder, file=file, folders=[])
    assert api.apply(toy_recipe, [*ONE, "data.batch_size=8"], runs=toy_recipe.parent / "more").changed


def test_seed_that_another_process_runs_does_not_hold_up_the_others(toy_recipe: Path, run: Cli) -> None:
    runs, settings = toy_recipe.parent / "runs", [*ONE, "seeds=[0, 1]"]
    places = Places(recipe=toy_recipe.parent)
    read, arms = resolve.load(toy_recipe, settings, places)
    folder = jobs.plan_jobs(read, arms, places, runs=runs, where="")[0].folder
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        done = api.apply(toy_recipe, settings, runs=runs)
        assert [type(failure) for failure in done.failures] == [RunLocked]
        assert "another process is running this" in str(done.failures[0])
        assert {seed: each["status"] for seed, each in done.result["arms"]["main"]["seeds"].items()} == {"1": "finished"}
        flags = [text for setting in settings for text in ("--set", setting)]
        assert run("apply", toy_recipe, *flags)[0] == 4
    assert api.apply(toy_recipe, settings, runs=runs).failures == ()
