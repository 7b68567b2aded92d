"""weights = "run:PATH" and "FILE#KEY": a run begins with an earlier run's network, or a part of a checkpoint."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_runs
from conftest import TOY_RECIPE
from PIL import Image
from safetensors.torch import load_file, save_file
from tlkit_toy_build import ToyNet
from toy_observers import Notes
from toy_training import training

from tlkit import api
from tlkit.errors import TlkitError
from tlkit.plans import jobs, resolve
from tlkit.sources.places import Places

pytestmark = pytest.mark.usefixtures("undrawn")

# A run that moves nothing: what it ends with is what it began with. SGD steps of 1e-30 times any gradient round to nothing.
STILL = (
    "freeze.backbone=true", "optimizer={name='sgd', momentum=0.0}", "lr_groups.head=1e-30", "schedule.epochs=1",
    "data.split.validation=0.0",
)  # fmt: skip


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """runs/toy of a recipe with the arms "good" and "poor"; tests only read it."""
    folder = tmp_path_factory.mktemp("earlier")
    text = TOY_RECIPE + "\n[arms.poor]\nlr_groups = { backbone = 1e-7, head = 1e-7 }\n[arms.good]\n"
    with toy_runs.applied(folder, text, drawn=True) as done:
        yield done.folder


def _run(recipe_folder: Path, arm: str = "main") -> Path:
    (folder,) = (path.parent for path in recipe_folder.glob(f"{arm}-*/result.json"))
    return folder


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def _apply(recipe: Path, *settings: str) -> tuple[Path, list[str]]:
    notes = Notes()
    folder = api.apply(recipe, [*STILL, *settings], runs=recipe.parent / "runs", observer=notes).folder
    return _run(folder), notes.notes


def test_run_begins_with_the_other_runs_backbone_and_head(toy_recipe: Path, earlier: Path) -> None:
    folder, notes = _apply(toy_recipe, f"backbone.weights=run:{_run(earlier, 'poor')}")
    theirs = _weights(_run(earlier, "poor"))
    assert _weights(folder).keys() == theirs.keys()
    for name, tensor in _weights(folder).items():
        assert torch.equal(tensor, theirs[name]), name
    assert not any("anew" in line for line in notes)


def test_folder_of_a_recipe_means_its_best_run_by_validation(toy_recipe: Path, earlier: Path) -> None:
    scores = {arm: json.loads((_run(earlier, arm) / "result.json").read_text())["validation"] for arm in ("good", "poor")}
    assert scores["good"]["accuracy"] > scores["poor"]["accuracy"]
    folder, _ = _apply(toy_recipe, f"backbone.weights=run:{earlier}")
    assert torch.equal(_weights(folder)["conv1.weight"], _weights(_run(earlier, "good"))["conv1.weight"])


def test_other_classes_get_a_new_head_and_a_note(toy_recipe: Path, earlier: Path) -> None:
    folder, notes = _apply(toy_recipe, f"backbone.weights=run:{earlier}", "data.options.classes=3")
    theirs = _weights(_run(earlier, "good"))
    for name, tensor in _weights(folder).items():
        assert name.startswith("fc.") or torch.equal(tensor, theirs[name]), name
    assert _weights(folder)["fc.weight"].shape == (3, 16)
    assert [line for line in notes if "head begins anew" in line] == [
        f"run:{earlier}: its head is of another kind, of other classes or another shape; this run's head begins anew"
    ]


def test_as_many_classes_of_other_names_get_a_new_head(toy_recipe: Path, earlier: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("ant", "bee", "cat", "dog"):
        (toy_recipe.parent / "animals" / name).mkdir(parents=True)
        for index in range(5):
            Image.fromarray(draw.integers(0, 255, (16, 16, 3), np.uint8)).save(
                toy_recipe.parent / "animals" / name / f"{index}.png"
            )
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "animals"\n\n'))
    folder, notes = _apply(toy_recipe, f"backbone.weights=run:{earlier}")
    assert not torch.equal(_weights(folder)["fc.weight"], _weights(_run(earlier, "good"))["fc.weight"])
    assert any("head begins anew" in line for line in notes)


def test_another_head_begins_anew_on_the_same_backbone(toy_recipe: Path, earlier: Path) -> None:
    folder, notes = _apply(toy_recipe, f"backbone.weights=run:{earlier}", "head.kind=mlp")
    ours = _weights(folder)
    assert torch.equal(ours["conv1.weight"], _weights(_run(earlier, "good"))["conv1.weight"])
    assert "head.0.weight" in ours
    assert any("head begins anew" in line for line in notes)


def test_head_that_is_not_linear_is_taken_over_too(toy_recipe: Path) -> None:
    mlp = ("head.kind=mlp", "head.options.widths=[5]")
    first = api.apply(toy_recipe, [*mlp, "name='first'", "schedule.epochs=1"], runs=toy_recipe.parent / "runs")
    folder, notes = _apply(toy_recipe, f"backbone.weights=run:{_run(first.folder)}", *mlp)
    theirs = _weights(_run(first.folder))
    assert set(theirs) >= {"head.0.weight", "head.3.weight"}
    for name, tensor in _weights(folder).items():
        assert torch.equal(tensor, theirs[name]), name
    assert not any("anew" in line for line in notes)


def test_input_convention_travels_with_the_weights(toy_recipe: Path, tmp_path: Path) -> None:
    first = api.apply(toy_recipe, ["name='first'", "schedule.epochs=1", "data.crop=0.5"], runs=toy_recipe.parent / "runs")
    plain = api.plan(toy_recipe)["main"].input
    after = api.plan(toy_recipe, [f"backbone.weights=run:{first.folder}"])["main"].input
    assert plain.crop == 1.0
    assert after.crop == 0.5
    assert (after.mean, after.std, after.resize) == (plain.mean, plain.std, plain.resize)


@pytest.mark.parametrize("place", ["beside the recipe", "in the working folder", "absolute"])
def test_path_begins_at_the_recipe_or_the_working_folder(
    toy_recipe: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (toy_recipe.parent / "recipes").mkdir()
    recipe = toy_recipe.rename(toy_recipe.parent / "recipes" / "toy.toml")
    monkeypatch.chdir(toy_recipe.parent)
    parent = recipe.parent if place == "beside the recipe" else toy_recipe.parent
    (parent / "before").symlink_to(earlier)
    value = str(earlier) if place == "absolute" else "before"
    digests = {
        api.apply(recipe, [*STILL, f"backbone.weights=run:{each}"], runs="out").result["arms"]["main"]["seeds"]["0"]["digest"]
        for each in (value, str(earlier))
    }
    assert len(digests) == 1, "its content counts, not where it lies"


def test_written_recipe_names_the_very_run_wherever_it_is_applied(
    toy_recipe: Path, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy_recipe.parent / "before").symlink_to(earlier)
    folder, _ = _apply(toy_recipe, "backbone.weights=run:before")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = api.apply(folder / "recipe.toml", runs="runs")
    assert again.result["arms"]["main"]["seeds"]["0"]["digest"] == json.loads((folder / "result.json").read_text())["digest"]


def test_frozen_backbone_of_a_run_is_no_warning(toy_recipe: Path, earlier: Path) -> None:
    folder, _ = _apply(toy_recipe, f"backbone.weights=run:{earlier}")
    assert json.loads((folder / "result.json").read_text())["warnings"] == []


def test_folder_that_is_not_there_is_an_error(toy_recipe: Path) -> None:
    with pytest.raises(TlkitError, match="nowhere: there is no such run folder"):
        _apply(toy_recipe, "backbone.weights=run:nowhere")


def test_folder_of_something_else_is_an_error(toy_recipe: Path) -> None:
    (toy_recipe.parent / "pictures").mkdir()
    with pytest.raises(TlkitError, match="pictures: holds no finished run") as error:
        _apply(toy_recipe, "backbone.weights=run:pictures")
    assert "tlkit apply" in str(error.value)


def test_run_without_weights_is_an_error(toy_recipe: Path, tmp_path: Path, earlier: Path) -> None:
    copy = tmp_path / "begun"
    copy.mkdir()
    for name in ("resolved.toml", "recipe.toml", "result.json"):
        (copy / name).write_text((_run(earlier, "good") / name).read_text())
    with pytest.raises(TlkitError, match=r"begun.weights\.safetensors: is missing"):
        _apply(toy_recipe, "backbone.weights=run:begun")
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"status": "interrupted", "files": {}}))
    with pytest.raises(TlkitError, match="begun: this run has no weights yet"):
        _apply(toy_recipe, "backbone.weights=run:begun")
    (copy / "result.json").write_text(json.dumps(result))
    (copy / "weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(TlkitError, match=r"begun.weights\.safetensors: is damaged: it has 9 bytes"):
        _apply(toy_recipe, "backbone.weights=run:begun")


def test_run_of_another_backbone_is_an_error_that_names_both(toy_recipe: Path, tmp_path: Path, earlier: Path) -> None:
    copy = tmp_path / "other"
    copy.mkdir()
    for name in ("resolved.toml", "recipe.toml", "result.json"):
        (copy / name).write_text((_run(earlier, "good") / name).read_text())
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"files": {}}))  # else it is seen at once that the file is another
    state = dict(ToyNet(4).state_dict())
    state["layer1.weight"] = state.pop("block1.0.weight")
    save_file(state, copy / "weights.safetensors")
    with pytest.raises(TlkitError, match=r"weights\.safetensors: does not fit toy") as error:
        _apply(toy_recipe, "backbone.weights=run:other")
    assert "missing: block1.0.weight" in str(error.value)
    assert "surplus: layer1.weight" in str(error.value)
    assert not (toy_recipe.parent / "runs").exists()


def test_recipe_that_begins_with_its_own_runs_is_refused(toy_recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = api.apply(toy_recipe, ["schedule.epochs=1"], runs=runs)
    with pytest.raises(TlkitError, match="this recipe's own runs") as caught:
        api.apply(toy_recipe, [f"backbone.weights=run:{done.folder}"], runs=runs)
    assert 'another name than "toy"' in str(caught.value)
    (run,) = done.folder.glob("main-*")
    again = api.apply(toy_recipe, [f"backbone.weights=run:{run}", "schedule.epochs=1"], runs=runs)
    assert not again.failures


def test_a_part_of_a_checkpoint_is_chosen_by_its_key_and_is_part_of_the_digest(toy_recipe: Path) -> None:
    state = ToyNet(classes=7).state_dict()
    average = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"model": state, "model_ema": average, "epoch": 3}, toy_recipe.parent / "a#1.pth")
    places = Places(recipe=toy_recipe.parent, offline=True)
    folders = set()
    for value, wanted, said in (
        ("a#1.pth", average, True),
        ("a#1.pth#model", state, False),
        ("a#1.pth#model_ema", average, False),
    ):
        recipe, arms = resolve.load(toy_recipe, [f"backbone.weights={value!r}"], places)
        (job,) = jobs.plan_jobs(recipe, arms, places, runs=toy_recipe.parent, where="")
        folders.add(job.folder)
        assert jobs.absolute_arm(job).backbone.weights == str(toy_recipe.parent.resolve() / value)
        notes = Notes()
        made = training(toy_recipe, f"backbone.weights={value!r}", observer=notes)
        assert torch.equal(made.network.tensors()["conv1.weight"], wanted["conv1.weight"])
        assert any("an average (EMA)" in line for line in notes.notes) == said
    assert len(folders) == 3


def test_a_part_of_a_file_that_is_not_there_is_looked_for_by_the_files_name(toy_recipe: Path) -> None:
    with pytest.raises(TlkitError, match=r'no weights "b\.pth#model", and there is no such file\.\n  looked for .*/b\.pth\n'):
        resolve.load(toy_recipe, ["backbone.weights='b.pth#model'"], Places(recipe=toy_recipe.parent, offline=True))
