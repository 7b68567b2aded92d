"""`tlkit init`: the recipe that it writes for a folder of images, and what it chooses from their number and likeness."""

import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import toy_bands
from conftest import Cli
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tlkit.advice import init_recipe, strategies
from tlkit.advice.folder_look import Look
from tlkit.advice.strategies import FEW, MANY, SCRATCH
from tlkit.errors import DataError
from tlkit.plans import resolve
from tlkit.plugin import Backbone, Images, Split, registry
from tlkit.sources.places import Places

NEITHER = """\
# Which is better for these images: a new last layer on a trained network, or training all of it?
#
#   tlkit plan images.toml
#   tlkit apply images.toml
#
# Seen in images: 2 classes, 13 train, 3 test images.
# The smallest class is ant with 5 training images, the largest bee with 8.
# Their short side is 40 pixels (median of a sample).
# Few images a class: expect head_only to do as well as finetune.
# Result: not measured yet.
format = 1
name = "images"

[backbone]
name = "efficientnet_lite0"
weights = "imagenet"

[data]
name = "folder"
image_size = 64  # pixels; larger is slower, by its square, and usually better
batch_size = 8
augment = ["random_crop", "hflip"]  # leave out hflip where left and right mean something

[data.options]
path = "images"  # relative to this file
test_fraction = 0.2  # of every class, by file name: pictures of one thing may fall on both sides

[data.split]
validation = 0.1  # of the training images, to choose the best epoch

[lr_groups]  # peak rates: what is trained already moves slowly, the new head fast
backbone = 1e-4
head = 1e-3

[optimizer]
name = "adamw"

[schedule]
name = "one_cycle"
epochs = 15

[arms.head_only]
freeze = { backbone = true }

[arms.finetune]
"""

# What the six cases ask of efficientnet_lite0, whose stages are stem, blocks0 to blocks6 and top.
CASES = {
    ("few", "similar"): {"head": {"kind": "svm", "options": {"kernel": "linear"}}},
    ("few", "dissimilar"): {"head": {"kind": "svm", "embed": "blocks4", "options": {"kernel": "linear"}}},
    ("some", "similar"): {
        "freeze": {"backbone": True, "blocks5": False, "blocks6": False, "top": False},
        "lr_groups": {"backbone": 3e-4, "head": 1e-3},
    },
    ("some", "dissimilar"): {
        "freeze": {"backbone": True, **dict.fromkeys(("blocks2", "blocks3", "blocks4", "blocks5", "blocks6", "top"), False)},
        "lr_groups": {"backbone": 3e-4, "head": 1e-3},
    },
    ("many", "similar"): {
        "lr_groups": {
            "backbone": 3e-5, "blocks2": 1e-4, "blocks3": 1e-4, "blocks4": 1e-4,
            "blocks5": 3e-4, "blocks6": 3e-4, "top": 3e-4, "head": 1e-3,
        },
    },
    ("many", "dissimilar"): {"lr_groups": {"backbone": 1e-3, "head": 1e-3}},
}  # fmt: skip
SIDES = [(1, "few"), (FEW - 1, "few"), (FEW, "some"), (MANY - 1, "some"), (MANY, "many"), (50 * MANY, "many")]


def folder(root: Path, counts: dict[str, int]) -> Path:
    """Class folders with so many names of one picture each."""
    root.mkdir()
    Image.new("RGB", (40, 40)).save(root.parent / "picture.png")
    for part, count in counts.items():
        (root / part).mkdir(parents=True)
        for index in range(count):
            os.link(root.parent / "picture.png", root / part / f"{index}.png")
    return root


def seen(least: int, most: int) -> Look:
    """A look at two classes of so many training images, with validation and test images of their own."""
    splits = {"train": np.arange(least + most) < least, "validation": np.arange(2) < 1, "test": np.arange(2) < 1}
    images = Images(("ant", "bee"), {name: Split(targets=labels.astype(np.int64)) for name, labels in splits.items()})
    return Look(images, (least, "ant"), (most, "bee"), 300, "test")


def words(text: str) -> str:
    """The comments of a recipe as one line, however they are broken."""
    return " ".join(re.sub(r"\s+", " ", line.removeprefix("#").strip()) for line in text.splitlines() if line.startswith("#"))


def test_recipe_without_either_flag(run: Cli, tmp_path: Path) -> None:
    folder(tmp_path / "images", {"ant": 6, "bee": 10})
    assert run("init", "images") == (0, "images.toml: written. Next: tlkit apply images.toml\n", "")
    assert (tmp_path / "images.toml").read_text() == NEITHER


@pytest.mark.parametrize("order", [("--similar", "--dissimilar"), ("--dissimilar", "--similar")])
def test_both_flags_are_wrong_usage(run: Cli, tmp_path: Path, order: tuple[str, str]) -> None:
    folder(tmp_path / "images", {"ant": 6, "bee": 10})
    code, output, text = run("init", "images", *order)
    assert (code, output) == (2, "")
    assert "--similar and --dissimilar exclude each other" in re.sub(r"[\s│]+", " ", text)
    assert not (tmp_path / "images.toml").exists()


# ---- which strategy


@pytest.mark.parametrize("likeness", ["similar", "dissimilar"])
@pytest.mark.parametrize(("least", "amount"), SIDES)
def test_both_sides_of_each_threshold(least: int, amount: str, likeness: strategies.Likeness) -> None:
    text = init_recipe.recipe_text(Path("images"), seen(least, least + 3), Path("images.toml"), likeness)
    document = tomllib.loads(text)
    assert {table: document[table] for table in ("head", "freeze", "lr_groups") if table in document} == CASES[amount, likeness]
    assert "arms" not in document
    assert ("optimizer" in document, "schedule" in document, "augment" in document["data"]) == (amount != "few",) * 3
    assert f"with {least:,} training images in its smallest class this folder has {amount} images a class" in words(text)
    assert f"--{likeness} says" in words(text)


def test_the_smallest_class_counts() -> None:
    text = init_recipe.recipe_text(Path("images"), seen(FEW - 1, 100 * MANY), Path("images.toml"), "similar")
    assert tomllib.loads(text)["head"]["kind"] == "svm"
    assert "The classes are uneven" in text


STAGES = st.integers(2, 40).map(lambda count: tuple(f"stage{number}" for number in range(count)))
LIKENESS = st.sampled_from(["similar", "dissimilar"])


@given(stages=STAGES)
def test_thirds_are_the_stages_in_order(stages: tuple[str, ...]) -> None:
    early, middle, late = strategies.thirds(stages)
    assert early + middle + late == stages
    assert early
    assert late
    if len(stages) > 2:
        assert len(middle) == len(late) == len(stages) // 3 <= len(early)


@given(least=st.integers(0, 3 * MANY), likeness=LIKENESS, stages=STAGES)
def test_the_more_images_the_more_is_learned(least: int, likeness: strategies.Likeness, stages: tuple[str, ...]) -> None:
    def trained(count: int, like: strategies.Likeness) -> list[str]:
        found = strategies.choose(count, like, stages)
        assert set(found.freeze) | set(found.rates) <= {*stages, "backbone", "head"}
        assert found.solved is (count < FEW)
        assert found.solved is not bool(found.rates)
        return [] if found.solved else [stage for stage in stages if not found.freeze.get(stage, "backbone" in found.freeze)]

    mine = trained(least, likeness)
    assert len(mine) <= len(trained(least + 1, likeness))
    assert len(trained(least, "similar")) <= len(trained(least, "dissimilar"))
    assert mine == list(stages)[len(stages) - len(mine) :], "what trains is at the end"


@given(least=st.integers(MANY, 3 * MANY), stages=STAGES)
def test_rates_of_similar_images_rise_with_depth(least: int, stages: tuple[str, ...]) -> None:
    rates = strategies.choose(least, "similar", stages).rates
    deep = [rates.get(stage, rates["backbone"]) for stage in stages] + [rates["head"]]
    assert deep == sorted(deep)
    assert deep[0] < deep[-2] < deep[-1]


# ---- what is written is a recipe


@pytest.mark.parametrize(("least", "asked"), [(SCRATCH - 1, False), (SCRATCH, True)])
def test_random_weights_are_an_arm_where_each_class_has_images_enough(least: int, asked: bool, tmp_path: Path) -> None:
    path = tmp_path / "images.toml"
    path.write_text(init_recipe.recipe_text(tmp_path / "images", seen(least, 9 * SCRATCH), path))
    recipe, resolved = resolve.load(path, (), Places(recipe=tmp_path))
    assert list(recipe.arms) == ["head_only", "finetune", *["scratch"] * asked]
    assert ("random weights" in words(path.read_text())) is asked
    assert all(arm.unused == () for arm in resolved.values())
    if asked:
        scratch, finetune = recipe.arms["scratch"], recipe.arms["finetune"]
        assert (scratch.backbone.weights, scratch.freeze) == ("none", {})
        assert {name: rate.lr if hasattr(rate, "lr") else rate for name, rate in scratch.lr_groups.items()} == {
            "backbone": 1e-3,
            "head": 1e-3,
        }
        assert scratch.schedule.epochs == 3 * finetune.schedule.epochs
        assert scratch.data == finetune.data


@given(
    least=st.integers(1, 2 * MANY), more=st.integers(0, 2 * MANY), likeness=LIKENESS, own=st.booleans(),
    test_from=st.sampled_from(["", "test", "val"]),
)  # fmt: skip
def test_every_recipe_parses_to_its_strategy(
    least: int, more: int, likeness: strategies.Likeness, own: bool, test_from: str
) -> None:
    look = seen(least, least + more)
    splits = {name: split for name, split in look.images.splits.items() if own or name != "validation"}
    look = Look(Images(look.images.classes, splits), look.least, look.most, look.short_side, test_from)
    text = init_recipe.recipe_text(Path("images"), look, Path("images.toml"), likeness)
    document = tomllib.loads(text)
    stages = tuple(registry.get(Backbone, document["backbone"]["name"]).stages)
    strategy = strategies.choose(least, likeness, stages)
    assert document.get("freeze", {}) == strategy.freeze
    assert document.get("lr_groups", {}) == pytest.approx(strategy.rates)
    head = document.get("head", {"kind": "linear"})
    assert (head["kind"], head.get("embed", "")) == ("svm" if strategy.solved else "linear", strategy.embed)
    assert words(strategy_lines(strategy)) in words(text)
    assert ("split" in document["data"]) is not own
    assert max(map(len, text.splitlines())) <= 128
    assert ("validation images are taken" in text) is (test_from == "val" and not own)
    assert own or document["data"]["split"] == {"validation": 0.1}  # without validation images nothing can be chosen


def strategy_lines(strategy: strategies.Strategy) -> str:
    return f"# {strategy.why}"


@pytest.mark.parametrize(
    "network", [("efficientnet_lite0", "imagenet", 64), ("resnet18", "imagenet1k-v1", 64)], ids=lambda net: net[0]
)
@pytest.mark.parametrize("likeness", ["similar", "dissimilar"])
@pytest.mark.parametrize("least", [FEW - 1, FEW, MANY])
def test_every_case_is_valid(
    least: int, likeness: strategies.Likeness, network: tuple[str, str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_recipe, "_network", lambda short_side: network)
    path = tmp_path / "images.toml"
    path.write_text(init_recipe.recipe_text(tmp_path / "images", seen(least, least), path, likeness))
    recipe, resolved = resolve.load(path, (), Places(recipe=tmp_path))
    assert list(recipe.arms) == ["main"]
    assert resolved["main"].unused == ()
    assert bool(resolved["main"].head.solve) is (least < FEW)


@pytest.mark.parametrize(
    ("flag", "count", "said"),
    [("--dissimilar", FEW - 1, "solved"), ("--similar", FEW, "frozen"), ("--dissimilar", MANY, "all epochs")],
)
def test_what_init_writes_is_planned(run: Cli, tmp_path: Path, flag: str, count: int, said: str) -> None:
    folder(
        tmp_path / "images", {"train/ant": count, "train/bee": count, "val/ant": 2, "val/bee": 2, "test/ant": 2, "test/bee": 2}
    )
    assert run("init", "images", flag)[0] == 0
    assert run("validate", "images.toml") == (0, "images.toml: valid. arms: main; 1 seed\n", "")
    code, plan, text = run("plan", "images.toml")
    assert (code, text) == (0, "")
    assert said in plan
    assert "not used" not in plan
    assert f"train {2 * count:,}, validation 4, test 4" in plan


def test_few_images_from_init_to_predict(run: Cli, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, tint in (("dark", 0), ("light", 120)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(8):
            pixels = generator.integers(0, 100, (40, 40, 3), dtype=np.uint8) + np.uint8(tint)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    assert run("init", "images", "--dissimilar")[0] == 0
    code, output, text = run("apply", "images.toml")
    assert code == 0, text
    assert "100.0%" in output, "dark and light are told apart by any features"
    code, output, text = run("predict", "runs/images", "images/light/0.png")
    assert (code, text) == (0, "")
    assert "light" in output


COCO = '{"images": [{"file_name": ""}], "annotations": [{"image_id": 0, "bbox": [0, 0, 1, 1]}]}'
LAYOUTS = {
    "masks": (("images/{}.png", "masks/{}.png"), "masks of them in masks", "segmentation_folder"),
    "masks of splits": (("images/train/{}.png", "masks/train/{}.png"), "masks of them in masks", "segmentation_folder"),
    "yolo": (("images/{}.png", "labels/{}.txt"), "YOLO's boxes of them in labels", "yolo"),
    "splits of yolo": (("images/train/{}.png", "labels/train/{}.txt", "images/val/{}.png"), "YOLO's boxes of them in labels", "yolo"),
    "yolo in splits": (("train/images/{}.png", "train/labels/{}.txt", "val/images/{}.png"), "YOLO's boxes of them in labels", "yolo"),
    "yolo beside": (("train/{}.png", "train/{}.txt"), "YOLO's text files beside the pictures", "yolo"),
    "coco": (("images/{}.png", "annotations/{}.json"), "COCO's boxes in annotations/0.json", "coco"),
    "coco in a folder": (("set/images/{}.png", "set/{}.json"), "shapes/set: holds COCO's boxes in 0.json", "coco"),
    "voc": (("JPEGImages/{}.png", "Annotations/{}.xml"), "Pascal VOC's boxes of them in Annotations", "voc"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_masks_or_boxes_is_no_folder_of_classes(run: Cli, tmp_path: Path, layout: str) -> None:
    places, said, name = LAYOUTS[layout]
    for number in range(2):
        for place in places:
            path = tmp_path / "shapes" / place.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".png":
                Image.new("RGB", (8, 8)).save(path)
            else:
                path.write_text(COCO if path.suffix == ".json" else "0 0.5 0.5 0.2 0.2\n")
    code, _, error = run("init", "shapes")
    assert code == 1
    assert said in error
    assert name in error
    assert not (tmp_path / "shapes.toml").exists()
    if places[0].startswith("images"):  # one inside of it
        assert said in run("init", tmp_path / "shapes/images")[2]


def test_what_only_looks_like_masks_or_boxes_is_told_as_it_is(tmp_path: Path) -> None:
    for place in ("photos/images/cat", "photos/images/dog", "photos/masks", "captions/images", "yolo/train"):
        (tmp_path / place).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos/images/cat/a.png")
    with pytest.raises(DataError, match="dog") as caught:  # a class without images, beside masks of other pictures
        init_recipe.write(tmp_path / "photos/images", tmp_path / "x.toml", force=False)
    assert "masks" not in str(caught.value)

    Image.new("RGB", (8, 8)).save(tmp_path / "captions/images/a.png")
    (tmp_path / "captions/all.json").write_text('{"images": [{"file_name": "a.png"}], "annotations": [{"caption": "A cat."}]}')
    with pytest.raises(DataError) as caught:
        init_recipe.write(tmp_path / "captions", tmp_path / "x.toml", force=False)
    assert "COCO" not in str(caught.value)

    for name, text in (("a", ""), ("b", "\n"), ("c", ""), ("d", "0 0.5 0.5 0.2 0.2\n")):  # the first three without objects
        Image.new("RGB", (8, 8)).save(tmp_path / f"yolo/train/{name}.png")
        (tmp_path / f"yolo/train/{name}.txt").write_text(text)
    with pytest.raises(DataError, match="holds YOLO's text files beside the pictures") as caught:
        init_recipe.write(tmp_path / "yolo", tmp_path / "x.toml", force=False)
    assert caught.value.hints[-1].startswith("as a folder of classes: "), "the first problem is not lost"


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_a_folder_of_bands_gets_their_number(run: Cli, tmp_path: Path, suffix: str) -> None:
    toy_bands.folder(tmp_path / "images", *toy_bands.pictures(30, size=24), suffix=suffix)
    assert run("init", "images")[0] == 0
    text = (tmp_path / "images.toml").read_text()
    assert "channels = 13  # bands of uint16, as in the files; mean and std are measured on the training images\n" in text
    assert "Their short side is 24 pixels" in text
    code, out, _ = run("plan", "images.toml")
    assert code == 0
    assert "bands of uint16 as in the files" in " ".join(out.split())


def test_a_folder_of_bands_gets_the_number_that_most_files_have(run: Cli, tmp_path: Path) -> None:
    toy_bands.folder(tmp_path / "images", *toy_bands.pictures(30, size=24))
    first, second, *_ = sorted((tmp_path / "images").glob("*/*.npy"))
    np.save(first, np.zeros((24, 24, 4), np.uint16))
    second.write_bytes(b"")
    code, _, said = run("init", "images")
    assert code == 0
    assert tomllib.loads((tmp_path / "images.toml").read_text())["data"]["channels"] == 13
    assert "2 of 30 files cannot be read" in said


def test_tiff_files_of_colours_or_grey_get_no_bands(run: Cli, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(5):
            pixels = draw.integers(0, 256, (20, 24, 3) if name == "a" else (20, 24), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.tif")
    assert run("init", "images")[0] == 0
    assert "channels" not in (tmp_path / "images.toml").read_text()


def test_splits_of_folders_whose_names_do_not_say_it(tmp_path: Path, run: Cli) -> None:
    for part, count in (("one", 4), ("two", 2)):
        for name in ("ant", "bee"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40, 50), (index, count, 0)).save(folder / f"{index}.png")
    code, _, refused = run("init", "images")
    assert code == 1
    assert """--splits '{ one = "train", two = "test" }'""" in refused
    assert "if they are classes: --splits '{}'" in refused
    code, _, error = run("init", "images", "--splits", '{ one = "train", two = "test" }')
    assert (code, error) == (0, "")
    options = tomllib.loads((tmp_path / "images.toml").read_text())["data"]["options"]
    assert options == {"path": "images", "splits": {"one": "train", "two": "test"}}
    assert "2 classes, 8 train, 4 test images" in (tmp_path / "images.toml").read_text()
    resolve.load(tmp_path / "images.toml", (), Places(recipe=tmp_path))
    for wrong, said in (
        ("one=train", "is no table"),
        ('{ one = "traim" }', '--splits.one: is "traim".'),
        ('{ six = "train" }', '"six"'),
    ):
        code, _, error = run("init", "images", "--force", "--splits", wrong)
        assert code == 1
        assert said in error


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a-000.tar": b""}, 'holds tar files, as WebDataset\'s shards are.\n  .* "shards", options = '),
        ({"ant/1.mp4": b"", "bee/1.mp4": b""}, 'holds videos in its folders.\n  .* "clips"'),
        ({"im/1.png": b"x", "labels.csv": b"path;label\nim/1.png;ant\n"}, 'a table, labels.csv, .*\n  .* file = "labels.csv"'),
        ({"im/1.png": b"x", "labels.csv": b"id;label\n1;ant\n"}, 'a table, labels.csv, .*\n  .* file = "labels.csv"'),
        (
            {"train/1.png": b"x", "test/2.png": b"x", "sample.csv": b"id,label\n2,ant\n", "train.csv": b"id,label\n1,ant\n"},
            'a table, train.csv, .*\n  .* file = "train.csv"',
        ),
        ({"data/train-00000-of-00001.parquet": b""}, 'holds parquet files, .*\n  .* "parquet", options = '),
        ({"mine.npz": b""}, r"holds arrays, .*\n  tlkit.Model.fit\(x, y\) takes arrays"),
        (
            {"train/1.png": b"x", "test/2.png": b"x", "train/metadata.csv": b"", "test/metadata.csv": b""},
            'a table, metadata.csv, .*\n  .* file = "train/metadata.csv", test_file = "test/metadata.csv" }',
        ),
        ({"train/1.png": b"x", "test/2.png": b"x", "train/metadata.jsonl": b""}, "metadata.jsonl, which is not read"),
        ({"im/1.png": b"x", "prices.csv": b"path;label\nnowhere.png;ant\n"}, "^(?!.*table)"),
    ],
)
def test_init_of_shards_videos_and_tables_says_what_reads_them(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    for name, content in files.items():
        (path := tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        init_recipe.write(tmp_path / "x", tmp_path / "r.toml", force=False)
    assert ("as a folder of classes: " in str(caught.value)) == ("prices.csv" not in files)
