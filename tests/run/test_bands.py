"""Images of bands, from files to predictions: `data.channels`."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_bands
from conftest import TOY, Cli, python_path
from PIL import Image
from safetensors.torch import load_file
from tlkit_toy_build import ToyNet
from torch import nn
from toy_observers import SignalAfter
from toy_training import CPU, training

import tlkit
from tlkit import api
from tlkit.engine.images.device_batches import batched_inputs
from tlkit.errors import DataError, Interrupted, RecipeError, TlkitError
from tlkit.events import Observer
from tlkit.plans.plan_json import from_json, to_json
from tlkit.record import report_data
from tlkit.run import decoding, loading

pytestmark = pytest.mark.usefixtures("undrawn")

RECIPE = """\
format = 1
name = "bands"

[backbone]
name = "toy"
weights = "none"

[data]
name = "folder"
channels = 13
image_size = 16
batch_size = 8
options = { path = "images" }

[lr_groups]
backbone = 1e-2
head = 1e-2

[schedule]
name = "constant"
epochs = 2
"""
ARRAYS, LABELS = toy_bands.pictures(36, size=16)
GEOMETRIC = '["random_crop", "hflip", "vflip", "rotate", "random_erasing", "mixup", "cutmix"]'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    toy_bands.folder(tmp_path / "images", ARRAYS, LABELS)
    (tmp_path / "bands.toml").write_text(RECIPE)
    return tmp_path / "bands.toml"


def applied(recipe: Path, *settings: str, observer: Observer | None = None) -> Path:
    """Apply a recipe; return the folder of its one run."""
    done = api.apply(recipe, list(settings), runs=recipe.parent / "runs", observer=observer)
    assert not done.failures
    (run,) = (path for path in done.folder.iterdir() if path.is_dir())
    return run


def resolved(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "resolved.toml").read_text())


def trained_on(run: Path) -> np.ndarray:
    """Return the arrays of a run's training images."""
    files = json.loads((run / "split.json").read_text())["train"]["files"]
    return np.stack([np.load(file) for file in files])


def by_hand(run: Path, arrays: np.ndarray) -> np.ndarray:
    """Return the probabilities that plain torch computes with a run's weights and its resolved.toml."""
    network = ToyNet(3).eval()
    network.conv1 = nn.Conv2d(arrays.shape[-1], 8, 3, padding=1, bias=False)
    tensors = {name.replace("head.", "fc."): tensor for name, tensor in load_file(run / "weights.safetensors").items()}
    network.load_state_dict(tensors, strict=False)
    given = resolved(run)["input"]
    x = (arrays.astype(np.float64) - given["mean"]) / given["std"]
    with torch.no_grad():
        return network.eval()(torch.from_numpy(x).float().permute(0, 3, 1, 2)).softmax(1).numpy()


def test_mean_and_deviation_are_those_of_the_training_images_alone(recipe: Path) -> None:
    run = applied(recipe, "data.crop=1.0")
    given, pixels = resolved(run)["input"], trained_on(run).reshape(-1, 13).astype(np.float64)
    assert len(pixels) < ARRAYS.size / 13
    spread = np.mean([0.229, 0.224, 0.225]) / 0.5  # the toy's own input is (v - 0.5) / 0.5
    np.testing.assert_allclose(given["mean"], pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.array(given["std"]) * spread, pixels.std(0), rtol=1e-5)
    assert (given["channels"], given["values"], given["range"]) == ("bands", "uint16", 255.0)
    assert json.loads((run / "plan.json").read_text())["input"]["mean"] == given["mean"]


@pytest.mark.parametrize(("values", "suffix"), [("uint8", ".npy"), ("uint16", ".npy"), ("uint16", ".tif"), ("float32", ".tif")])
def test_predictions_are_those_of_plain_torch(tmp_path: Path, suffix: str, values: str) -> None:
    arrays = (
        (ARRAYS // 32).astype(np.uint8) if values == "uint8" else ARRAYS.astype(values) / (1 if values == "uint16" else 1e4)
    )
    arrays = arrays.astype(values)
    toy_bands.folder(tmp_path / "images", arrays, LABELS, suffix=suffix)
    (tmp_path / "bands.toml").write_text(RECIPE)
    run = applied(tmp_path / "bands.toml", "data.crop=1.0", "schedule.epochs=1")
    predictor = loading.load(run, arm=None, device=CPU)
    files = sorted((tmp_path / "images").glob(f"*/*{suffix}"))
    order = [int(file.stem) for file in files]
    expected = by_hand(run, arrays)
    np.testing.assert_allclose(predictor.predict(files), expected[order], atol=1e-5)
    np.testing.assert_allclose(predictor.predict(arrays), expected, atol=1e-5)
    np.testing.assert_allclose(np.stack(list(predictor.answers(files))), expected[order], atol=1e-5)
    assert resolved(run)["input"]["values"] == values


def test_a_mean_and_a_deviation_of_the_recipe_are_taken(recipe: Path) -> None:
    mean, std = [float(each) for each in range(13)], [float(each) for each in range(1, 14)]
    run = applied(recipe, f"backbone.input={{mean={mean}, std={std}}}", "data.fit=pad")
    assert (resolved(run)["input"]["mean"], resolved(run)["input"]["std"]) == (mean, std)


def test_stored_pictures_are_those_computed_again_and_take_what_the_plan_says(recipe: Path) -> None:
    settings = (f"data.augment={GEOMETRIC}", "freeze={stem=true}")
    computed, stored, again = (training(recipe, *settings, keep=keep) for keep in (False, True, True))
    parts = [mine.prepared.train for mine in (computed, stored, again)]
    first, *others = [part.inputs(part.indices, 0, CPU) for part in parts]
    assert first.shape == (len(parts[0].indices), 13, 16, 16)
    assert all(torch.equal(first, other) for other in others)
    assert bool(first.isfinite().all())
    losses = [[epoch.train["loss"] for epoch in mine.fit.epochs()] for mine in (computed, stored, again)]
    assert losses[0] == losses[1] == losses[2]
    job = stored.prepared.job
    facts = stored.prepared.decoded.facts
    train, held_out = (18 * 18, facts.images.train), (16 * 16, facts.images.held_out)
    assert decoding.pictures_bytes(job.resolved, facts) == sum(pixels * 13 * 2 * count for pixels, count in (train, held_out))


def test_an_accelerator_makes_the_same_inputs_of_bands(recipe: Path) -> None:
    part = training(recipe, f"data.augment={GEOMETRIC}").prepared.train
    order = part.order(0)
    made = torch.cat(list(batched_inputs(part, order, 0, CPU, 8)))
    torch.testing.assert_close(made, part.inputs(order, 0, CPU), atol=1e-3, rtol=0)
    part.pictures.settle_(part.indices, CPU)
    assert torch.equal(torch.cat(list(batched_inputs(part, order, 0, CPU, 8))), made)


def test_windows_of_random_size_are_taken_from_bands(recipe: Path) -> None:
    mine = training(recipe, 'data.augment=["random_resized_crop"]', "data.image_size=12")
    assert mine.prepared.train.pictures.geometry.size == (16, 16)
    assert mine.prepared.train.inputs(mine.prepared.train.indices[:3], 0, CPU).shape == (3, 13, 12, 12)


def test_a_run_that_was_stopped_goes_on_with_the_measured_scaling_to_the_same_bits(recipe: Path, tmp_path: Path) -> None:
    whole = applied(recipe)
    whole = whole.parent.rename(tmp_path / "whole") / whole.name
    with pytest.raises(Interrupted):
        applied(recipe, observer=SignalAfter(1))
    (run,) = (path for path in (tmp_path / "runs/bands").iterdir() if path.is_dir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlkit.run.band_scaling.measured", lambda _: pytest.fail("it is measured again"))
        assert applied(recipe) == run
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert json.loads((run / "result.json").read_text())["exact"]


def test_epochs_in_memory_go_on_as_a_plan_says(recipe: Path) -> None:
    (plan,) = api.plan(recipe).values()
    assert plan.input.mean == ()
    assert plan.input.values == "uint16"
    assert len(list(api.epochs(plan, device="cpu"))) == 2


def test_a_band_of_one_value_is_said_and_not_divided_by_nothing(recipe: Path, tmp_path: Path) -> None:
    arrays = ARRAYS.copy()
    arrays[..., 4] = 7
    toy_bands.folder(tmp_path / "images", arrays, LABELS)
    said: list[str] = []
    observer = Observer()
    observer.note = said.append
    run = applied(recipe, observer=observer)
    assert resolved(run)["input"]["std"][4] == 1
    assert any("band 5 has one value in all training images" in line for line in said)


def test_a_band_far_from_zero_keeps_its_mean(recipe: Path, tmp_path: Path) -> None:
    """Of a day's number, 2,459,000, an error in the seventh digit is as large as the deviation."""
    draw = np.random.default_rng(0)
    days = draw.integers(-2, 3, (len(ARRAYS), 16, 16, 1)).astype(np.float32) + 2_459_004.0
    toy_bands.folder(tmp_path / "images", np.concatenate([ARRAYS[..., :12].astype(np.float32), days], axis=3), LABELS)
    run = applied(recipe, "data.crop=1.0")
    given, pixels = resolved(run)["input"], trained_on(run)[..., 12].astype(np.float64)
    assert abs(given["mean"][12] - pixels.mean()) < 0.01 * pixels.std()


def test_images_that_a_table_lists_may_have_bands(recipe: Path, tmp_path: Path) -> None:
    lines = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in sorted(tmp_path.glob("images/*/*.npy"))]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(lines))
    run = applied(recipe, "data={name='csv', channels=13, image_size=16, batch_size=8, options={path='.'}}")
    assert len(resolved(run)["input"]["mean"]) == 13


def test_weights_of_a_run_bring_their_scaling_and_their_bands(recipe: Path, tmp_path: Path) -> None:
    run = applied(recipe)
    begun = training(recipe, f"backbone.weights=run:{run}")
    given = resolved(run)["input"]
    assert list(begun.plan.input.mean) == given["mean"]
    tensors = load_file(run / "weights.safetensors")
    assert torch.equal(begun.network.tensors()["conv1.weight"], tensors["conv1.weight"])
    with pytest.raises(TlkitError, match=r"was trained on images of 13 bands, and data\.channels is 4"):
        training(recipe, f"backbone.weights=run:{run}", "data.channels=4")
    with pytest.raises(TlkitError, match="was trained on images of 13 bands, and this recipe has colour pictures"):
        training(recipe, f"backbone.weights=run:{run}", "data={name='synthetic', image_size=16}")
    toy_bands.folder(tmp_path / "floats", ARRAYS.astype(np.float32), LABELS)
    with pytest.raises(DataError, match="was trained on images of uint16, and these are float32"):
        training(recipe, f"backbone.weights=run:{run}", "data.options={path='floats'}")


def test_weights_of_a_run_on_colours_are_carried_over(recipe: Path, tmp_path: Path) -> None:
    colours = applied(recipe, "data={name='synthetic', image_size=16}", "name=colours")
    begun = training(recipe, f"backbone.weights=run:{colours}")
    weight = load_file(colours / "weights.safetensors")["conv1.weight"]
    expected = torch.stack([weight[:, band % 3] for band in range(13)], 1) * (3 / 13)
    torch.testing.assert_close(begun.network.tensors()["conv1.weight"], expected)
    assert any(choice.what == "first convolution" and "times 3/13" in choice.value for choice in begun.plan.choices)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (['data.augment=["hflip", "color_jitter", "randaugment"]'], "color_jitter, randaugment change colours"),
        (["data={name='cifar10', channels=13}"], "cifar10 has colour pictures, not images of bands"),
        (["backbone.input=torch"], "is of three colours, and data.channels says 13"),
        (["backbone.input={mean=[1.0, 2.0], std=[1.0, 2.0]}"], "backbone.input.mean: has 2 values, and data.channels says 13"),
        ([f"backbone.input={{mean={[1.0] * 13}}}"], "has one of mean and std"),
        (["backbone.input={range=1.0}"], "backbone.input.range: is of colours"),
        (["data.fit=pad"], "fills the border with the mean of each band"),
        (["data.channels=0"], "data.channels: is 0"),
        (["data.options.channels=4"], "data.options.channels: is a key of the table"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(recipe: Path, settings: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        api.plan(recipe, settings)
    assert said in str(caught.value)
    if "color_jitter" in said:
        assert "augmentations of bands: random_crop, random_resized_crop, hflip, vflip, rotate, elastic, random_erasing" in str(
            caught.value
        )


def test_colour_pictures_still_need_three_means(recipe: Path) -> None:
    with pytest.raises(RecipeError, match=r"backbone\.input\.mean: has 1 value, and colour pictures have 3 channels"):
        api.plan(recipe, ["data={name='synthetic'}", "backbone.input={mean=[1.0]}"])


def test_validating_a_recipe_of_bands_imports_no_torch(recipe: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tlkit.plans import resolve; from tlkit.sources.places import Places;"
        f"resolve.load(Path({str(recipe)!r}), [], Places()); sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": python_path(TOY), "PATH": "", "HOME": "/nonexistent"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (ARRAYS[0][:, :, :4], "has 16 or 4 bands (16 x 16 x 4), and data.channels is 13"),
        (ARRAYS[0].astype(np.float32), "holds float32, and the other images uint16"),
        (ARRAYS[0][:, :, 0], "has 1 band (16 x 16), and data.channels is 13"),
    ],
    ids=["bands", "type", "flat"],
)
def test_a_file_that_does_not_fit_stops_or_is_left_out(recipe: Path, tmp_path: Path, array: np.ndarray, said: str) -> None:
    path = tmp_path / "images/wheat/9999.npy"
    np.save(path, array)
    (plan,) = api.plan(recipe).values()
    assert any("1 of 37 files cannot be read" in line and said in line for line in plan.warnings)
    with pytest.raises(DataError) as caught:
        training(recipe)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert training(recipe, "data.on_corrupt=skip").prepared.decoded.skipped


def test_values_that_are_no_numbers_name_their_file(tmp_path: Path) -> None:
    arrays = ARRAYS.astype(np.float32)
    arrays[5, 3, 4, 7] = np.nan
    toy_bands.folder(tmp_path / "images", arrays, LABELS)
    (tmp_path / "bands.toml").write_text(RECIPE)
    with pytest.raises(DataError, match=r"0005.npy: band 8 of 13 holds values that are no finite numbers"):
        training(tmp_path / "bands.toml")


def test_folders_of_other_files_say_which_are_read(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "photos/a/1.png")
    with pytest.raises(TlkitError, match=r"holds no images.*1 \.png") as caught:
        training(recipe, "data.options={path='photos'}")
    assert "image files of bands end in .npy, .tif, .tiff" in str(caught.value)
    recipe.write_text(RECIPE.replace("channels = 13\n", ""))
    with pytest.raises(TlkitError, match="holds no images") as caught:
        training(recipe)
    assert "data.channels = k" in str(caught.value)


def test_predict_takes_files_and_folders_of_bands(recipe: Path, run: Cli, tmp_path: Path) -> None:
    applied(recipe)
    np.save(tmp_path / "images/few.npy", ARRAYS[0][:, :, :3])
    code, out, err = run("predict", "runs/bands", tmp_path / "images", "--json")
    assert code == 3
    answers = json.loads(out)["predictions"]
    assert len([each for each in answers if each["error"] is None]) == 36
    assert "few.npy: has 16 or 3 bands (16 x 16 x 3), and data.channels is 13" in err
    code, out, _ = run("cache")
    assert code == 0
    assert "bands 13 of uint16" in " ".join(out.split())


def test_evaluate_reads_a_folder_of_bands(recipe: Path, run: Cli, tmp_path: Path) -> None:
    folder = applied(recipe)
    code, out, err = run("evaluate", folder, "--on", tmp_path / "images", "--json")
    assert code == 0, err
    answers = by_hand(folder, ARRAYS).argmax(1)
    assert json.loads(out)["metrics"]["accuracy"] == pytest.approx(float((answers == LABELS).mean()))


def test_an_exported_graph_takes_bands_of_any_size(tmp_path: Path) -> None:
    """Of float32; the graphs of whole numbers are those that onnxruntime is asked for, below."""
    arrays = ARRAYS.astype(np.float32)
    toy_bands.folder(tmp_path / "images", arrays, LABELS)
    (tmp_path / "bands.toml").write_text(RECIPE)
    folder = applied(tmp_path / "bands.toml", "schedule.epochs=1")
    made = tlkit.export(folder, "torch-export", tmp_path / "out" / "bands.pt2")
    graph = torch.export.load(made.file).module()
    np.testing.assert_allclose(graph(torch.from_numpy(arrays)).detach().numpy(), by_hand(folder, arrays), atol=1e-4)
    larger = np.repeat(arrays[:2], 2, axis=1)[:, :, 3:]  # (2, 32, 13, bands)
    predictor = loading.load(folder, arm=None, device=CPU)
    np.testing.assert_allclose(graph(torch.from_numpy(larger)).detach().numpy(), predictor.predict(larger), atol=1e-4)
    card = (made.file.parent / "README.md").read_text()
    assert 'np.load("picture.npy")' in card
    assert "PIL" not in card.partition("## Preprocessing")[0]


@pytest.mark.slow
@pytest.mark.parametrize("values", ["uint8", "uint16"])  # bytes have an arithmetic of their own
def test_onnx_of_bands_answers_as_predict_does(tmp_path: Path, values: str) -> None:
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    arrays = (ARRAYS // 32).clip(0, 255).astype(np.uint8) if values == "uint8" else ARRAYS
    toy_bands.folder(tmp_path / "images", arrays, LABELS)
    (tmp_path / "bands.toml").write_text(RECIPE)
    folder = applied(tmp_path / "bands.toml", "schedule.epochs=1")
    session = runtime.InferenceSession(tlkit.export(folder, "onnx", tmp_path / "onnx" / "bands.onnx").file)
    larger = np.repeat(arrays[:2], 2, axis=1)[:, :, 3:]  # (2, 32, 13, bands)
    (answers,) = session.run(None, {"pictures": larger})
    np.testing.assert_allclose(answers, loading.load(folder, arm=None, device=CPU).predict(larger), atol=1e-4)


@pytest.mark.slow
def test_pretrained_colour_weights_tell_what_only_an_infrared_band_shows(tmp_path: Path) -> None:
    arrays, labels = toy_bands.pictures(240)
    scores = {}
    for name, chosen in (("all", arrays), ("rgb", arrays[..., list(toy_bands.BLUE_GREEN_RED)[::-1]])):
        toy_bands.folder(tmp_path / name, chosen, labels)
        (tmp_path / f"{name}.toml").write_text(
            f'format = 1\nname = "{name}"\n[backbone]\nname = "efficientnet_lite0"\nweights = "imagenet"\n[head]\nkind = "logistic"\n'
            f'[data]\nname = "folder"\nchannels = {chosen.shape[-1]}\nimage_size = 64\ncrop = 1.0\noptions = {{ path = "{name}" }}\n'
        )
        run = applied(tmp_path / f"{name}.toml")
        scores[name] = json.loads((run / "result.json").read_text())["test"]["accuracy"]
    assert scores["all"] >= 0.95
    assert scores["rgb"] <= 0.5  # of three classes


def test_report_shows_the_first_three_bands_as_colours(recipe: Path) -> None:
    run = applied(recipe, "schedule.epochs=1", "data.split.validation=0.25")
    data = report_data.load(run)
    assert data.arrays["images"].shape[1:] == (16, 16, 3)
    assert data.arrays["images"].dtype == np.uint8
    assert "first three bands" in data.about["notes"][0]
    assert data.arrays["kernel0_before"].shape == (8, 3, 3)  # the mean over 13 bands
    one = data.about["images"][0]
    split = json.loads((run / "split.json").read_text())[data.about["split"]]
    array = np.load(recipe.parent / "images" / dict(zip(split["positions"], split["files"], strict=True))[one["position"]])
    shown = data.arrays["images"][0, ..., 1].astype(float).ravel()
    assert np.corrcoef(shown, array[..., 1].ravel())[0, 1] > 0.95


def test_another_data_set_and_each_fold_have_bands_too(recipe: Path, tmp_path: Path) -> None:
    toy_bands.folder(tmp_path / "other", *toy_bands.pictures(12, seed=9, size=20))
    done = api.apply(
        recipe, ["also={north={name='folder', options={path='other'}}}", "cross_validation.folds=2"], runs=tmp_path / "runs"
    )
    runs = sorted(path for path in done.folder.iterdir() if path.is_dir())
    means = [resolved(run)["input"]["mean"] for run in runs]
    assert len(runs) == 2
    assert means[0] != means[1]
    for run, mean in zip(runs, means, strict=True):
        np.testing.assert_allclose(mean, trained_on(run).reshape(-1, 13).mean(0), rtol=1e-5)
        assert "accuracy" in json.loads((run / "result.json").read_text())["also"]["north"]


def test_a_plan_of_bands_is_the_same_when_it_is_read_again(recipe: Path) -> None:
    plan = training(recipe).plan
    assert len(plan.input.mean) == 13
    assert from_json(to_json(plan)) == plan
