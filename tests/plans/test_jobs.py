"""Jobs of a recipe: what is said of a run that is new although its recipe was run before."""

from pathlib import Path

import pytest
import tomli_w
from PIL import Image
from safetensors.torch import load_file, save_file

from tlkit import api
from tlkit.plans import earlier_runs, jobs, resolve
from tlkit.recipe.recipe import arm_toml
from tlkit.sources.places import Places


@pytest.fixture
def recipe(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of a folder of images and of weights in a file, applied once."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    monkeypatch.chdir(toy_recipe.parent)
    for index in range(8):
        Path("images", "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (index * 30, 0, 0)).save(f"images/{'ab'[index % 2]}/{index}.png")
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"').replace('weights = "none"', 'weights = "w.safetensors"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    text = text.replace(options, '[data.options]\npath = "images"\n\n').replace("epochs = 2", "epochs = 1")
    toy_recipe.write_text(text.replace("w.safetensors", "none"))
    first = api.apply(toy_recipe, ["name=first", "data.batch_size=2"])
    (run,) = first.folder.glob("*/weights.safetensors")
    save_file(load_file(run), "w.safetensors")
    toy_recipe.write_text(text)
    api.apply(toy_recipe)
    return toy_recipe


def _said(recipe: Path, *settings: str) -> list[str]:
    places = Places(recipe=recipe.parent)
    read, arms = resolve.load(recipe, settings, places)
    return [earlier_runs.changed_since(job) for job in jobs.plan_jobs(read, arms, places, runs=Path("runs"), where="")]


def test_a_new_run_says_which_of_its_inputs_changed(recipe: Path) -> None:
    assert _said(recipe) == [""], "it was run"
    assert _said(recipe, "schedule.epochs=2") == [""], "the recipe changed, not an input"
    (before,) = (path.parent for path in Path("runs/toy").glob("*/result.json"))
    Image.new("RGB", (16, 16), (0, 99, 0)).save("images/a/0.png")
    assert _said(recipe) == [f"main, seed 0: the images changed since {before}, so this is a new run"]
    assert _said(recipe, "schedule.epochs=2") == [""]
    tensors = load_file("w.safetensors")
    save_file({**tensors, "conv1.weight": tensors["conv1.weight"] * 2}, "w.safetensors")
    assert _said(recipe) == [f"main, seed 0: the images, the weights changed since {before}, so this is a new run"]


def test_the_recipe_of_a_run_can_be_read_where_a_data_set_has_no_option_for_its_folder(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ants and bees are found without a name; of other data sets the option is made absolute, wherever a table names them."""
    folder = toy_recipe.parent
    for name in ("train/ants", "train/bees", "val/ants", "val/bees", "more"):
        (folder / "hymenoptera_data" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / "hymenoptera_data" / name / "0.png")
    monkeypatch.setenv("TLKIT_DATA", str(folder))
    for other, expected in (
        ('{name="hymenoptera"}', {}),
        ('{name="images", options={path="hymenoptera_data/more"}}', {"path": str(folder.resolve() / "hymenoptera_data/more")}),
    ):
        places = Places(recipe=folder, offline=True)
        also = 'also.other={name="hymenoptera"}'
        read, arms = resolve.load(toy_recipe, ["seeds=[0]", also, f"data.unlabelled={other}"], places)
        (job,) = jobs.plan_jobs(read, arms, places, runs=folder, where="")
        tables = arm_toml(jobs.absolute_arm(job))
        assert (tables["also"]["other"]["options"], tables["data"]["unlabelled"]["options"]) == ({}, expected)
        written = folder / "elsewhere" / "recipe.toml"
        written.parent.mkdir(exist_ok=True)
        written.write_text(tomli_w.dumps({"format": 1, "name": "toy"} | tables))
        assert resolve.load(written, [], Places(recipe=written.parent, offline=True))[1]["main"].also.keys() == {"other"}
