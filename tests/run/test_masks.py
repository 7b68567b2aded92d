"""Segmentation end to end: pictures of several sizes with masks are trained on, evaluated, continued and predicted."""

import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_masks
from conftest import Cli
from PIL import Image
from sklearn.metrics import f1_score
from toy_training import ends_with_the_same_bits, storing, training

import tlkit
from tlkit import api
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.errors import DataError, RecipeError, TlkitError
from tlkit.plugin import ImageFile, members
from tlkit.record import report_data
from tlkit.record.formats import StorePlan
from tlkit.run import loading, mask_pictures, mask_prediction
from tlkit.sources import image_files, mask_counts, video_files

LEARNS = ("data.crop_size=16", "schedule.epochs=12", 'data.augment=["hflip", "vflip", "color_jitter"]', "loss.dice=1.0")
CASES = {
    "crops": ("data.crop_size=16", 'data.augment=["hflip", {name="rotate", steps=90}]', "loss.dice=1.0", "head.options.dropout=0.3"),
    "whole pictures, prefix stored": ("freeze={stem=true, block1=true}", "head.options.dropout=0.3"),
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return toy_masks.recipe(tmp_path, monkeypatch)


def folder_of(recipe: Path) -> Path:
    (folder,) = (recipe.parent / "runs" / "shapes").glob("main-*")
    return folder


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_network_that_gives_no_map_is_a_message_that_names_the_recipe(run: Cli, recipe: Path, command: str) -> None:
    code, _, error = run(command, recipe, "--set=backbone={name='vgg11', weights='none'}")
    assert code == 1
    assert error.startswith(f"{recipe}: head.kind: ")
    assert "gives 4096 values and no map" in " ".join(error.split())


def test_a_plan_tells_of_masks_that_apply_would_stop_at(recipe: Path, run: Cli) -> None:
    def told(*options: str) -> str:
        code, out, error = run("plan", recipe, "--json", *options)
        assert code == 0, error
        return next((line for line in json.loads(out)["arms"]["main"]["warnings"] if "masks" in line), "")

    assert not told()
    masks = sorted((recipe.parent / "data").glob("*/masks/*.png"))
    for path in masks:
        Image.fromarray(np.asarray(Image.open(path)) * 7).save(path)
    first = recipe.parent / "data" / "train" / "masks" / "0.png"
    assert told().startswith(f"16 of 16 masks cannot be used: {first}: holds the value 7, which is no class, ")
    assert told().endswith('; apply stops at them; data.on_corrupt = "skip" leaves them out')
    assert told("--set=data.on_corrupt=skip").endswith('; apply leaves them out, as data.on_corrupt = "skip" says')
    for path in masks:
        Image.new("L", (20, 10)).save(path)
    assert f"{first}: has 20 x 10 pixels, and its picture has 44 x 30, " in told()
    code, _, error = run("apply", recipe)
    assert code == 1
    assert f"{first}: has 20 x 10 pixels, and its picture has 44 x 30." in " ".join(error.split())
    for path in masks:
        with Image.open(path.parent.parent / "images" / path.name) as picture:
            Image.new("L", picture.size).save(path)
    for _ in range(2):  # looked at, and remembered
        assert told() == (one := 'all 16 masks looked at are "ground" everywhere; apply stops where every training mask is')
    with Image.open(first) as mask:
        Image.fromarray(np.eye(*np.asarray(mask).shape, dtype=np.uint8) * 255).save(first)
    thing = "255 counts for nothing, unless it is a class: data.options.classes = { ground = 0, square = 255 }"
    assert told() == f"{one}; {thing}"


def test_a_plan_tells_of_crops_that_are_larger_than_pictures(recipe: Path, run: Cli) -> None:
    def told(*options: str) -> list[str]:
        code, out, error = run("plan", recipe, "--json", *(f"--set={each}" for each in options))
        assert code == 0, error
        return [line for line in json.loads(out)["arms"]["main"]["warnings"] if "crop_size" in line]

    images = recipe.parent / "data" / "train" / "images"
    assert not told("data.crop_size=16")
    others, helps = (
        "so have 8 of the 8 training images",
        'a smaller data.crop_size, or augment = [{ name = "random_crop", padding = 4 }]',
    )
    (line,) = told("data.crop_size=32")
    assert line == f"{images / '0.png'}: has 30x44 px, less than data.crop_size, 32 px; {others}; apply stops there: {helps}"
    with pytest.raises(DataError) as refused:
        training(recipe, "data.crop_size=32")
    assert (refused.value.problem[:-1], refused.value.hints) == (line.partition("; ")[0], (others, helps)), "the same words"
    (line,) = told("data.crop_size=16", "data.scale_to=0.5")
    assert line.startswith(f"{images / '0.png'}: has 15x22 px after data.scale_to, less than data.crop_size, 16 px; ")
    assert not told("data.crop_size=32", "data.augment=[{name='random_crop', padding=9}]")
    (line,) = told("data.crop_size=15", "data.scale_to={ field_of_view = 20 }")  # they are bright everywhere
    assert line.startswith(f"{images / '0.png'}: has 14x20 px after data.scale_to, less than data.crop_size, 15 px; ")


def test_arms_of_a_plan_look_at_the_files_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, compared = Counter[ImageFile](), list[Sequence[ImageFile]]()
    real, sizes = image_files.opened, members.sizes
    monkeypatch.setattr(image_files, "opened", lambda file: [opened.update([file]), real(file)][1])
    monkeypatch.setattr(members, "sizes", lambda files: [compared.append(files), sizes(files)][1])
    recipe.write_text(recipe.read_text() + "".join(f"\n[arms.a{size}.data]\ncrop_size = {size}\n" for size in (8, 32)))
    told = {name: sum("crop_size" in line for line in plan.warnings) for name, plan in tlkit.plan(recipe).items()}
    assert told == {"a8": 0, "a32": 1}
    assert max(opened.values()) == 3, (
        "as in a plan of one arm: whether it can be read, and its size for the canvas and its mask"
    )
    assert len(compared) == 3, "the sizes of the files of each part, to find copies"


def pixels_of(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_masks_are_learned_evaluated_and_predicted(recipe: Path, run: Cli) -> None:
    code, out, error = run("apply", recipe, *(f"--set={each}" for each in LEARNS))
    assert code == 0, error
    assert "shapes: test Dice and loss of the best epoch by validation Dice\n" in out
    assert "threshold  Dice, IoU, sensitivity and specificity take pixels with a probability of 0.5 or more\n" in out
    folder = folder_of(recipe)
    test = json.loads((folder / "result.json").read_text())["test"]
    assert test["dice"] > 0.8
    details = json.loads((folder / "evaluation.json").read_text())["test"]
    assert sum(map(sum, details["confusion"])) == 3 * 30 * 44 + 24 * 36, "every pixel of every picture, and none of the canvas"
    assert run("apply", recipe, *(f"--set={each}" for each in LEARNS))[0] == 0

    other = recipe.with_name("as_is.toml")
    frozen = "[freeze]\nbackbone = true\nhead = true\n"
    start = toy_masks.RECIPE.replace('weights = "none"', f'weights = "run:{folder}"').partition("[lr_groups]")[0]
    other.write_text(start.replace("[data]\n", "[data]\ncrop_size = 16\n") + frozen)
    (as_is,) = training(other).fit.epochs()
    assert as_is.test == pytest.approx(test, abs=1e-6), "without a step it is what the run was"

    for head in ("fcn", "unet"):  # which read the last stage, and several
        code, out, error = run("inspect", other, f"--set=head.kind={head}", "--json")
        assert code == 0, error
        assert json.loads(out)["embedded"], "near duplicates are looked for among pictures with masks too"

    code, out, error = run(
        "evaluate", "shapes", "--on", "shapes", "--set", f"data.options.path={recipe.parent / 'data'}", "--json"
    )
    assert code == 0, error
    again = json.loads(out)["metrics"]
    assert {name: again[name] for name in test} == pytest.approx(test, abs=1e-6)

    page = recipe.with_name("page.html")
    on = ("shapes", "--set", f"data.options.path={recipe.parent / 'data'}")
    _, out, _ = run("evaluate", "shapes", "--on", *on, "--report", "--out", page)
    chosen = json.loads((folder / "evaluation.json").read_text())["validation"]["threshold"]["probability"]
    told = (
        f"take pixels with a probability of 0.5 or more; predict takes {chosen:.3g}, the best for the run's validation images"
    )
    assert told in " ".join(out.split())
    assert f"at a probability of {chosen:.2g}, the best for validation images, recall" in page.read_text()
    assert out.splitlines()[1].split() == ["Dice", f"{again['dice']:.3f}"], "before accuracy, of which most is ground"
    code, out, error = run("evaluate", "shapes", "--on", recipe.parent / "data", "--json")
    assert (code, json.loads(out)["metrics"]) == (0, again), "its own data set reads a folder"
    assert "/data: read as shapes, the data set of the run's recipe; --on NAME says another" in error

    pictures = recipe.parent / "data" / "test" / "images"
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    classes = predictor.classes
    shares = predictor.predict([pictures / "0.png", pixels_of(pictures / "0.png")])
    assert shares.shape == (2, 2, 30, 44)
    assert (shares[0] == shares[1]).all()
    whole, held, tiled = (predictor.mask(pictures / "0.png", tile=tile).probabilities for tile in (None, 44, 32))
    assert np.array_equal(whole, held), "a tile holds the picture"
    assert 0 < np.abs(whole - tiled).mean() < 0.02
    with pytest.raises(DataError, match="have several sizes"):
        predictor.predict([pictures / "0.png", pictures / "3.png"])
    with pytest.raises(TlkitError, match="gives masks of whole pictures"):
        predictor.embed([pictures / "0.png"])
    code, out, error = run(
        "predict", "shapes", pictures, "--out", recipe.parent / "m", "--threshold", "0.5", "--probabilities", "--json"
    )
    assert code == 0, error
    for row, wanted in zip(json.loads(out)["predictions"], details["per_image"]["dice"]["each"], strict=True):
        truth = pixels_of(recipe.parent / "data" / "test" / "masks" / Path(row["image"]).name)
        mask = pixels_of(row["mask"])
        assert mask.shape == truth.shape
        assert f1_score(truth.ravel(), mask.ravel()) == pytest.approx(wanted, abs=0.03)  # canvases differ at their borders
        with np.load(row["probabilities"]) as arrays:
            shares = arrays["probabilities"]
        assert shares.dtype == np.float16
        assert ((shares[1] > 0.51) <= (mask == 1)).all()
        assert pixels_of(row["overlay"]).shape == (*mask.shape, 3)

    _, out, _ = run("predict", "shapes", pictures / "0.png", "--out", recipe.parent / "o")
    assert out.splitlines()[0].split() == ["image", "class", "share", "of", "pixels"]
    assert f"values: 0 {classes[0]}, 1 {classes[1]} where its probability is {chosen:.3g} or more" in " ".join(out.split())
    assert set(np.unique(pixels_of(recipe.parent / "o" / "0.png"))) == {0, 1}

    with Image.open(pictures / "0.png") as image, Image.open(pictures / "3.png") as other:
        image.save(recipe.parent / "stack.tif", save_all=True, append_images=[other])
    code, out, error = run(
        "predict", "shapes", recipe.parent / "stack.tif", "--out", recipe.parent / "s", "--threshold", "0.5", "--json"
    )
    assert code == 0, error
    rows = json.loads(out)["predictions"]
    assert [Path(row["image"]).name for row in rows] == ["stack.tif, page 1", "stack.tif, page 2"]
    for row, page in zip(rows, (0, 3), strict=True):
        assert np.array_equal(pixels_of(row["mask"]), pixels_of(recipe.parent / "m" / f"{page}.png"))

    clip, still = recipe.parent / "clip.mp4", pixels_of(pictures / "0.png")
    with clip.open("wb+") as file, video_files.writing(file, still.shape[:2], Fraction(10)) as writer:
        for _ in range(4):
            writer.add(still)
    code, out, error = run(
        "predict", "shapes", clip, "--every", "2", "--out", recipe.parent / "v", "--threshold", "0.5", "--json"
    )
    assert code == 0, error
    (row,) = json.loads(out)["predictions"]
    (decoded, _) = video_files.frames(clip, every=2)
    assert row["shares"] == pytest.approx(dict(predictor.mask(decoded.pixels).shares(predictor.classes)), abs=0.01)
    overlay = list(video_files.frames(Path(row["overlay"])))
    assert (len(overlay), video_files.rate(Path(row["overlay"]))) == (row["frames"], 5) == (2, 5)
    assert np.abs(overlay[0].pixels.astype(int) - decoded.pixels).mean() > 1, "something is drawn over it"


def test_an_overlay_is_the_mean_of_picture_and_colour() -> None:
    draw = np.random.default_rng(0)
    picture, mask = draw.integers(0, 256, (90, 80, 3), np.uint8), draw.integers(0, 256, (90, 80), np.uint8)
    colours = np.array(mask_prediction.palette()).reshape(256, 3)[mask]
    expected = np.where((mask == 0)[..., None], picture, np.rint((picture + colours) / 2))  # to the nearest even number
    assert np.array_equal(mask_prediction.overlay(picture, mask), expected)


@pytest.mark.parametrize("case", CASES)
def test_continued_within_an_epoch_a_run_has_the_bits_of_one_that_never_stopped(recipe: Path, case: str) -> None:
    settings = (*CASES[case], "schedule.epochs=2")
    ends_with_the_same_bits(recipe, *settings)


@pytest.mark.parametrize("frozen", ["head.kind=fcn; freeze={backbone=true}", "head.kind=unet; freeze={stem=true, block1=true}"])
def test_a_frozen_trunk_gives_the_same_stored_and_computed(recipe: Path, frozen: str) -> None:
    settings = (*frozen.split("; "), "schedule.epochs=2")
    stored = StorePlan(2, 0, 0, 0.0, "")
    one, other = (training(recipe, *settings, change=partial(storing, stored=each)) for each in (stored, None))
    assert one.plan.image_size == one.plan.canvas == (30, 44)
    found = [[(each.train["loss"], each.validation) for each in mine.fit.epochs()] for mine in (one, other)]
    assert found[0] == found[1]
    assert [len(mine.fit._feed_of(2)._rows) for mine in (one, other)] == [3, 0], "the parts that were stored"
    left, right = one.network.tensors(), other.network.tensors()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("augment", ["[]", '["vflip", {name="random_resized_crop", scale=[0.2, 1.0]}, "hflip"]'])
def test_crops_are_of_what_the_pictures_cover(recipe: Path, augment: str) -> None:
    part = training(recipe, "data.crop_size=16", f"data.augment={augment}").prepared.train
    small = part.indices[-1:]  # 24 x 36 on a canvas of 30 x 44
    for epoch in range(40):
        masks = part.targets(small, epoch, torch.device("cpu"))
        assert masks.shape == (1, 16, 16)
        assert int(masks.max()) < 2, "no pixel is of the canvas"


def test_pictures_that_no_tile_holds_are_evaluated_in_tiles_as_they_are_predicted(
    recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a frozen prefix, whose outputs are not stored then; each image's Dice is that of the masks that `predict` gives in tiles.

    The report draws the masks that were counted: no picture passes the network again.
    """
    settings = (*LEARNS[1:], "data.crop_size=16", "freeze={stem=true}", "evaluation.test=end")
    monkeypatch.setattr(mask_pictures, "evaluating", lambda network: pytest.fail("a picture passes the network again"))
    code, _, error = run("apply", recipe, *(f"--set={each}" for each in settings), "--set=data.tile_size=32")
    assert code == 0, error
    folder = folder_of(recipe)
    plan = json.loads((folder / "plan.json").read_text())
    assert (plan["tile"], plan["canvas"]) == (32, [30, 44])
    kept = json.loads((folder / "evaluation.json").read_text())["test"]["per_image"]["dice"]["each"]
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    pictures, shown = recipe.parent / "data" / "test", report_data.load(folder)
    assert shown is not None
    drawn = {each["position"]: picture for each, picture in zip(shown.about["images"], shown.arrays["images"], strict=True)}
    for index, dice in enumerate(kept[:3]):  # whose size is the canvas's
        tiled, whole = (predictor.mask(pictures / "images" / f"{index}.png", tile=tile) for tile in (None, 44))
        truth = pixels_of(pictures / "masks" / f"{index}.png")
        assert f1_score(truth.ravel(), tiled.mask.ravel()) == pytest.approx(dice, abs=1e-6)
        seen = np.asarray(Image.open(pictures / "images" / f"{index}.png"))
        assert np.array_equal(drawn[index], mask_pictures.marked(seen, truth, tiled.probabilities.argmax(0)))
        assert not np.array_equal(tiled.probabilities, whole.probabilities), "in tiles the answer is another one"

    def evaluated(*options: str, tile: int = 32) -> dict[str, float]:
        on = ("--on", "shapes", "--set", f"data.options.path={recipe.parent / 'data'}", "--json")
        code, out, error = run("evaluate", "shapes", *on, *options)
        assert code == 0, error
        assert json.loads(out)["tile"] == tile
        return json.loads(out)["metrics"]

    test = json.loads((folder / "result.json").read_text())["test"]
    assert evaluated() == pytest.approx(test, abs=1e-6), "in the tiles of its recipe"
    assert evaluated("--tile", "32") == evaluated()
    held = evaluated("--tile", "44", tile=44)
    assert held != evaluated()
    assert held == evaluated("--tile", "400", tile=400)


def test_where_whole_pictures_do_not_fit_into_memory_the_tiles_that_the_message_offers_do(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = EvaluationForward._answered

    def limited(self: EvaluationForward, x: torch.Tensor, *, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        if max(x.shape[-2:]) > 32:  # the canvas has 32 x 48 pixels
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answered(self, x, start=start)

    monkeypatch.setattr(EvaluationForward, "_answered", limited)
    (failure,) = api.apply(recipe, ["schedule.epochs=1"], runs=recipe.parent / "runs").failures
    assert "evaluation does not fit into the memory of cpu" in failure.problem
    setting = failure.hints[-1].removesuffix(" evaluates larger pictures in tiles")
    assert setting == "data.tile_size = 32"
    assert not api.apply(recipe, ["schedule.epochs=1", setting.replace(" ", "")], runs=recipe.parent / "runs").failures


def test_where_a_tile_holds_the_pictures_a_run_has_the_bits_of_whole_ones(recipe: Path) -> None:
    one, other = (training(recipe, *CASES["whole pictures, prefix stored"], *more) for more in ((), ("data.tile_size=44",)))
    assert other.plan.tile is None
    assert [each.validation for each in one.fit.epochs()] == [each.validation for each in other.fit.epochs()]
    assert one.fit.predictions["validation"].masks is None, (
        "no report draws the pictures of an epoch that training goes on from"
    )


def broken(path: Path, part: str, index: int, pixels: np.ndarray | None) -> None:
    """Write another mask, or none."""
    file = path / part / "masks" / f"{index}.png"
    file.unlink() if pixels is None else Image.fromarray(pixels).save(file)


@pytest.mark.parametrize(
    ("part", "pixels", "settings", "words"),
    [
        ("train", np.zeros((30, 40), np.uint8), (), r"train/masks/1.png: has 40 x 30 pixels, and its picture has 44 x 30"),
        ("test", np.full((30, 44), 7, np.uint8), (), r"test/masks/1.png: holds the value 7, which is no class"),
        ("validation", None, (), r"validation/masks/1.png: there is no such file"),
        ("", None, ("data.crop_size=32",), r"images/0.png: has 30x44 px, less than data.crop_size, 32 px"),
        ("", None, ("data.crop_size=20", "data.scale_to=0.5"), r"0.png: has 15x22 px after data.scale_to"),
        ("", None, ("data.crop_size=48", 'data.augment=[{name="random_crop", padding=4}]'), "a padding of 4 pixels, less than"),
    ],
)
def test_what_cannot_be_learned_from_is_named_with_its_path(
    recipe: Path, part: str, pixels: np.ndarray | None, settings: tuple[str, ...], words: str
) -> None:
    if part:
        broken(recipe.parent / "data", part, 1, pixels)
    with pytest.raises(DataError, match=words) as refused:
        training(recipe, *settings)
    assert not (recipe.parent / "runs").exists()
    assert ("classes are 0 to 1, and 255 is ignored" in refused.value.hints) == ("no class" in words), "what would be right"


def test_masks_of_one_class_alone_are_refused(recipe: Path) -> None:
    for index in range(8):
        size = (24, 36) if index == 7 else toy_masks.SIZE
        broken(recipe.parent / "data", "train", index, np.zeros(size, np.uint8))
    with pytest.raises(DataError, match=r"train/masks/0.png: is ground everywhere, and so is every other training mask"):
        training(recipe)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.image_size=32", "data.image_size: pictures are not resized to one size"),
        ('data.augment=["mixup"]', "data.augment: mixup and cutmix mix whole images"),
        ('data.augment=["randaugment"]', "data.augment: randaugment moves pixels"),
        ('data.augment=["random_crop"]', "data.augment: random_crop needs the size of the crops"),
        ("data.channels=4", "data.channels: shapes has colour pictures, not images of bands"),
        ("head.kind=linear", "data.name: shapes has a class for every pixel|the linear head learns one class per image"),
    ],
)
def test_what_masks_cannot_have_is_refused(recipe: Path, setting: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        training(recipe, setting)


def test_balanced_weights_are_of_the_pixels_that_count(recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = sorted((recipe.parent / "data" / "train" / "masks").glob("*.png"))
    hidden = pixels_of(masks[0]).copy()
    hidden[:20] = 255
    Image.fromarray(hidden).save(masks[0])
    pixels = np.concatenate([pixels_of(path).ravel() for path in masks])
    counts = np.bincount(pixels[pixels != 255])
    wanted = pytest.approx((counts.sum() / (2 * counts)).tolist())
    code, out, error = run("plan", recipe, "--set=loss.class_weights=balanced", "--json")
    assert code == 0, error
    assert json.loads(out)["arms"]["main"]["class_weights"] == wanted
    trained = training(recipe, "loss.class_weights=balanced", "data.crop_size=16", "data.scale_to=0.8")
    assert trained.plan.class_weights == wanted, "whatever the scale is, as the plan says it"
    assert next(iter(trained.fit.epochs())).train["loss"] > 0

    monkeypatch.setattr(mask_counts.mask_files, "read", None)
    _, out, _ = run("plan", recipe, "--set=loss.class_weights=balanced")
    assert f"class weights: ground {counts.sum() / (2 * counts[0]):.3g}, square" in out, "and masks are read for it once"


def test_masks_are_not_averaged_over_networks(recipe: Path) -> None:
    arms = '[arms.a]\n[arms.b]\nhead.options.dropout = 0.1\n[ensemble]\nmembers = ["a", "b"]\n'
    recipe.write_text(toy_masks.RECIPE + arms)
    with pytest.raises(RecipeError, match="ensemble: a gives masks or boxes, whose probabilities are not kept"):
        training(recipe, arm="a")


@pytest.mark.parametrize(
    "setting", ["data.crop_size=16", "data.tile_size=64", "data.scale_to=0.5", "loss.dice=1.0", "data.ignore=0"]
)
def test_keys_of_masks_are_refused_for_other_heads(toy_recipe: Path, setting: str) -> None:
    with pytest.raises(RecipeError, match=r"is for heads of masks|has no such term"):
        training(toy_recipe, setting)
