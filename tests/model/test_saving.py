"""Models to folders and recipes, and back."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from toy_model import OPTIONS, compiled, labels, model, pixels

import tlkit
from tlkit.errors import RunFailed, RunFolderError, TlkitError
from tlkit.exports import finished_run, run_pictures
from tlkit.run import loading

X, Y = pixels(), labels()
FIT = {"options": OPTIONS, "epochs": 2, "batch_size": 16, "verbose": 0}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)  # takes longer than the training


def _same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def _applied(recipe: str) -> dict:
    done = tlkit.apply(recipe)
    (arm,) = done.result["arms"].values()
    (run,) = arm["seeds"].values()
    return load_file(done.folder / run["folder"] / "weights.safetensors")


def test_saved_model_is_loaded_with_everything(tmp_path: Path, run) -> None:
    trained = compiled(classes=["ant", "bee", "cow", "dog"])
    trained.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    trained.save("saved")
    assert not any(path.suffix in (".pkl", ".pt", ".pth") for path in Path("saved").iterdir())
    again = tlkit.load("saved", device="cpu")
    assert again.class_names == ("ant", "bee", "cow", "dog")
    np.testing.assert_array_equal(again.predict(X), trained.predict(X))
    assert again.evaluate(X, Y) == trained.evaluate(X, Y)
    again.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    assert not _same(again.state_dict(), trained.state_dict())
    again.save("saved")
    Image.fromarray(X[0]).save("a.png")
    code, out, _ = run("predict", "saved", "a.png")
    assert code == 0
    assert any(name in out for name in again.class_names)


def test_run_and_recipe_folders_are_loaded(toy_recipe: Path) -> None:
    applied = tlkit.apply(toy_recipe, runs="runs")
    weights = _applied(str(toy_recipe))
    folder = applied.folder / applied.result["arms"]["main"]["seeds"]["0"]["folder"]
    for place in (folder, applied.folder):
        loaded = tlkit.load(place, device="cpu")
        assert _same(loaded.state_dict(), weights)
        assert loaded.predict(X).shape == (24, 4)
        assert len(loaded.fit("synthetic", options=OPTIONS, epochs=1, verbose=0)) == 1


def test_a_solved_head_is_saved_too() -> None:
    solved = model(head="logistic")
    solved.fit(X, Y, batch_size=8, verbose=0)
    solved.save("saved")
    np.testing.assert_allclose(tlkit.load("saved", device="cpu").predict(X), solved.predict(X), atol=1e-6)


def test_save_refuses_a_folder_of_something_else(toy_recipe: Path) -> None:
    made = model()
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty, and holds no saved model"):
        made.save("full")
    with pytest.raises(TlkitError, match="is a file"):
        made.save(toy_recipe)
    applied = tlkit.apply(toy_recipe, ["schedule.epochs=1"])
    with pytest.raises(RunFolderError, match="is a run of the recipe toy"):
        made.save(applied.folder / applied.result["arms"]["main"]["seeds"]["0"]["folder"])


def test_load_of_no_folder_is_a_message() -> None:
    with pytest.raises(RunFolderError, match="there is no such run folder"):
        tlkit.load("nowhere")


@pytest.mark.parametrize("kind", ["plain", "frozen, augmented", "folder"])
def test_apply_of_the_recipe_gives_the_bits_of_fit(kind: str, tmp_path: Path) -> None:
    made, x, fit = model(seed=3), "synthetic", FIT
    if kind == "plain":
        made.compile(optimizer="sgd", lr=1e-2)
    elif kind == "folder":
        for index, pixels_of in enumerate(X):
            (tmp_path / "images" / "abcd"[index % 4]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_of).save(tmp_path / "images" / "abcd"[index % 4] / f"{index}.png")
        x, fit = "images", {"epochs": 2, "batch_size": 8, "verbose": 0, "class_weight": {1: 2.0}, "on_corrupt": "skip"}
        made.compile(lr=1e-2, schedule="cosine")
    else:
        made.freeze("stem").freeze("block1", epochs=1)
        made.compile(
            optimizer={"name": "sgd", "nesterov": True}, lr_groups={"backbone": 1e-2, "head": {"lr": 1e-1, "momentum": 0.5}}
        )
        fit = {**FIT, "augment": ["random_crop", "hflip"], "validation_split": 0.2, "early_stopping": 2}
    made.fit(x, **fit)
    made.to_recipe("mine.toml")
    assert _same(_applied("mine.toml"), made.state_dict())
    again = tlkit.Model.from_recipe("mine.toml", device="cpu")
    again.fit(verbose=0)
    assert _same(again.state_dict(), made.state_dict())


def test_recipe_of_a_second_fit_begins_from_the_saved_model() -> None:
    made = model()
    made.freeze("backbone")
    made.compile(optimizer="adam", lr=1e-2)
    made.fit("synthetic", **FIT, augment=["hflip"])
    made.save("first")
    made.unfreeze("backbone")
    made.compile(optimizer="adam", lr=1e-3)
    made.fit("synthetic", **FIT, augment=["hflip"])
    made.to_recipe("second.toml")
    text = Path("second.toml").read_text()
    assert f'weights = "run:{Path("first").resolve()}"' in text
    assert "initial_epoch = 2" in text
    assert _same(_applied("second.toml"), made.state_dict())


def test_recipe_says_only_what_differs_from_a_default() -> None:
    made = model()
    made.compile(optimizer="sgd", lr=1e20, schedule="constant")
    with pytest.raises(RunFailed):
        made.fit("synthetic", **FIT)
    made = copy.deepcopy(made)  # with the weights that a recipe begins from: they were put back
    made.predict(X)
    made.compile(optimizer="sgd", lr=1e-2, schedule="constant")
    made.fit("synthetic", **FIT)
    made.to_recipe("mine.toml")
    text = Path("mine.toml").read_text()
    assert text.startswith('format = 1\nname = "mine"\nseeds = [')
    assert "on_corrupt" not in text
    assert "crop" not in text


def _continued(made: tlkit.Model) -> None:
    made.fit("synthetic", **FIT)
    made.save("first")
    made.fit("synthetic", **FIT)


def _unsaved(made: tlkit.Model) -> None:
    made.fit("synthetic", **FIT)
    made.compile(optimizer="sgd", lr=1e-3)
    made.fit("synthetic", **FIT)


def _loaded(made: tlkit.Model) -> None:
    made.network.load_state_dict(model(seed=5).network.state_dict())
    made.fit("synthetic", **FIT)


NO_RECIPE = {
    "nothing": (lambda made: None, "nothing was fitted yet"),
    "memory": (lambda made: made.fit(X, Y, epochs=1, verbose=0), "the images were in memory"),
    "validation": (lambda made: made.fit("synthetic", **FIT, validation_data=(X, Y)), "validation_data is beside"),
    "other weights": (_loaded, "began from weights that are not on disk"),
    "not saved": (_unsaved, "model.save(FOLDER) before it"),
    "the optimizer's state": (_continued, "compile before fit"),
}


@pytest.mark.parametrize("kind", NO_RECIPE)
def test_what_no_recipe_can_say_is_refused(kind: str) -> None:
    prepare, words = NO_RECIPE[kind]
    made = compiled()
    prepare(made)
    with pytest.raises(TlkitError) as error:
        made.to_recipe("mine.toml")
    assert words in str(error.value)
    assert not Path("mine.toml").exists()


def test_from_recipe_asks_for_an_arm(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.probe]\nfreeze = { backbone = true }\n[arms.whole]\n")
    with pytest.raises(TlkitError, match="has 2 arms") as error:
        tlkit.Model.from_recipe(toy_recipe)
    assert "probe, whole" in str(error.value)
    with pytest.raises(TlkitError, match='no arm "prob"') as error:
        tlkit.Model.from_recipe(toy_recipe, arm="prob")
    assert 'did you mean "probe"?' in str(error.value)
    made = tlkit.Model.from_recipe(toy_recipe, arm="probe", device="cpu")
    assert not made.stages["stem"].trainable
    assert len(made.fit(verbose=0)) == 2
    assert len(made.fit(X, Y, epochs=1, verbose=0)) == 1


def test_a_model_leaves_out_what_adapts(toy_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = toy_recipe.read_text().replace("head = 1e-2", 'head = 1e-2\n"head.domain" = 1e-2')
    other = '[also.other]\nname = "synthetic"\n[adapt]\ntarget = "other"\nmethod = "dann"\n'
    toy_recipe.write_text(f'select_by = "snd"\n{text}{other}')
    made = tlkit.Model.from_recipe(toy_recipe, device="cpu")
    assert "has [adapt], which is for tlkit.apply: fit trains on the images of [data] alone" in capsys.readouterr().err
    assert len(made.fit(X, Y, epochs=1, verbose=0)) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_loaded_model_goes_on_with_optimizer_and_epochs(optimizer: str) -> None:
    fit = {"batch_size": 8, "verbose": 0, "validation_split": 0.0, "augment": ["hflip"]}
    through, whole = model(), model()
    for made in (through, whole):
        made.compile(optimizer=optimizer, lr=1e-2, schedule="constant")
        made.fit(X, Y, epochs=1, **fit)
    through.save("saved")
    loaded = tlkit.load("saved", device="cpu")
    loaded.save("again")
    for made in (whole, loaded, tlkit.load("again", device="cpu")):
        made.fit(X, Y, epochs=2, **fit)
        assert _same(made.state_dict(), whole.state_dict())
    damaged = bytearray(Path("again/optimizer.safetensors").read_bytes())
    damaged[-1] ^= 1
    Path("again/optimizer.safetensors").write_bytes(damaged)
    with pytest.raises(RunFolderError, match=r"(?s)optimizer\.safetensors: is damaged.*save the model again"):
        tlkit.load("again", device="cpu")
    loaded.compile(optimizer=optimizer, lr=1e-2, schedule="constant")
    loaded.save("saved")
    assert not list(Path("saved").glob("optimizer*")), "compiled anew, it has no state"


def test_a_loaded_run_counts_on_from_its_epochs(toy_recipe: Path) -> None:
    applied = tlkit.apply(toy_recipe, runs="runs")
    loaded = tlkit.load(applied.folder, device="cpu")
    loaded.compile(lr=1e-2)
    loaded.fit("synthetic", options=OPTIONS, epochs=1, verbose=0)
    loaded.to_recipe("next.toml")
    assert "initial_epoch = 2" in Path("next.toml").read_text()
    assert _same(_applied("next.toml"), loaded.state_dict())


def test_a_run_that_trained_on_several_sizes_predicts_at_the_last(toy_recipe: Path) -> None:
    text = toy_recipe.read_text().replace(
        "image_size = 16", "image_sizes = [{ epochs = 1, size = 8 }, { epochs = 1, size = 12 }]"
    )
    toy_recipe.write_text(text)
    applied = tlkit.apply(toy_recipe)
    (run,) = applied.folder.glob("main-*")
    mine, pictures = tlkit.load(run, device="cpu"), pixels(8)
    asked = loading.load(run, arm=None, device=torch.device("cpu"))
    np.testing.assert_array_equal(mine.predict(pictures), asked.predict(pictures))
    made = tlkit.Model.from_recipe(toy_recipe, device="cpu")
    made.fit(verbose=0)
    assert _same(made.state_dict(), mine.state_dict())
    np.testing.assert_array_equal(made.predict(pictures), mine.predict(pictures))


def test_a_model_is_saved_before_it_is_compiled_and_as_it_is_frozen_now() -> None:
    made = model()
    made.save("new")
    with pytest.raises(TlkitError, match="is not compiled"):
        tlkit.load("new", device="cpu").fit(X, Y, epochs=1, verbose=0)
    made.freeze("backbone")
    made.compile(lr_groups={"head": 1e-2})
    made.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    made.unfreeze("backbone")
    made.save("thawed")
    again = tlkit.load("thawed", device="cpu")
    assert again.stages["stem"].trainable
    np.testing.assert_array_equal(again.predict(X), made.predict(X))
    with pytest.raises(TlkitError, match="frozen changed after the model was compiled"):
        again.fit(X, Y, epochs=1, verbose=0)
    again.compile(lr=1e-3)
    assert len(again.fit(X, Y, epochs=1, verbose=0)) == 1


def test_what_compile_said_last_is_saved() -> None:
    made = compiled()
    made.fit(X, Y, epochs=1, batch_size=8, verbose=0, class_weight={0: 2.0})
    made.compile(optimizer="adam", lr=1e-3, loss={"label_smoothing": 0.1})
    made.save("saved")
    text = Path("saved/recipe.toml").read_text()
    assert 'name = "adam"' in text
    assert "label_smoothing = 0.1" in text
    assert "class_weights" not in text


def test_a_saved_model_knows_the_images_that_it_was_fitted_on(tmp_path: Path, run) -> None:
    """Drawn again, the split would have the duplicates of validation images among the training images."""
    for number in range(48):
        (tmp_path / "images" / "abcd"[number % 4]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(X[number % 24]).save(tmp_path / "images" / "abcd"[number % 4] / f"{number}.png")
    made = compiled()
    made.fit("images", epochs=1, batch_size=8, validation_split=0.2, on_overlap="drop", verbose=0)
    made.save("saved")
    record = json.loads(Path("saved/split.json").read_text())
    assert record["dropped"]
    kept = finished_run.load(tmp_path / "saved")
    for name in ("train", "validation"):
        found = [picture for picture, _ in run_pictures.pictures(kept, name, 100)]
        np.testing.assert_array_equal(found, [np.asarray(Image.open(file)) for file in record[name]["files"]])
    code, out, _ = run("neighbours", "saved", "images/a/0.png", "--json", "--top", 48)
    assert (code, len(json.loads(out)["neighbours"])) == (0, len(record["train"]["files"]))
    Path("images/a/0.png").unlink()
    with pytest.raises(TlkitError, match="was trained on other images than those in"):
        next(run_pictures.pictures(kept, "train", 1))
    made.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    made.save("saved")
    with pytest.raises(TlkitError, match="does not say which images it was trained on"):
        next(run_pictures.pictures(finished_run.load(tmp_path / "saved"), "train", 1))
