"""Binary and multi-label recipes from table to answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image
from toy_training import training

from tlkit.errors import DataError, RecipeError
from tlkit.plans import resolve
from tlkit.recipe import defaults
from tlkit.record import selection
from tlkit.sources.places import Places
from tlkit.tasks import Predictions, scoring
from tlkit.tasks.multi_label import MULTI_LABEL

TWO = ["data.options.classes=2", "schedule.epochs=1"]


def test_a_binary_head_trains_as_one_logit_with_binary_cross_entropy(toy_recipe: Path) -> None:
    settings = [
        *TWO,
        "head.kind=binary",
        "optimizer.name=sgd",
        "optimizer.momentum=0.0",
        "schedule.name=constant",
        "precision=float32",
    ]
    mine = training(
        toy_recipe, *settings, "loss.class_weights={ class1 = 3.0 }", "data.batch_size=40", "freeze={backbone=true}"
    )
    network = mine.network
    assert network.head.weight.shape == (1, 16)
    weight, bias = network.head.weight.detach().clone(), network.head.bias.detach().clone()
    train = mine.prepared.train
    network.eval()
    for batch in np.split(train.order(0), range(40, len(train.indices), 40)):
        with torch.no_grad():
            features = network.embed(train.inputs(batch, 0, torch.device("cpu")))
        y = train.targets(batch, 0, torch.device("cpu")).float()
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        z = (features @ w.T + b)[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(3.0))
        loss.backward()
        weight, bias = weight - 1e-2 * w.grad, bias - 1e-2 * b.grad
    list(mine.fit.epochs())
    assert torch.allclose(network.head.weight, weight, atol=1e-6)
    assert torch.allclose(network.head.bias, bias, atol=1e-6)


def test_the_positive_class_may_be_either(toy_recipe: Path) -> None:
    x = torch.randn(3, 3, 16, 16)
    columns = []
    for settings in ([], ["head.positive=class0"]):
        network = training(toy_recipe, *TWO, "head.kind=binary", *settings).network.eval()
        with torch.no_grad():
            columns.append(network(x))
    assert torch.equal(columns[0], columns[1].flip(1))
    assert torch.equal(columns[0][:, 0], torch.zeros(3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["head.kind=binary", "data.options.classes=3"], "the binary head is for 2 classes, synthetic has 3"),
        (["head.kind=binary", "data.options.classes=2", "head.positive=cat"], 'synthetic has no class "cat"'),
        (["head.positive=class1"], "head.positive: the linear head has an output for every class"),
        (
            ["head.kind=multilabel"],
            "the multilabel head learns any number of classes per image, and synthetic has one class per image",
        ),
        (["loss.class_weights={ cat = 2.0 }"], 'loss.class_weights: synthetic has no class "cat"'),
        (["loss.class_weights={ class0 = 0.0, class1 = 0.0, class2 = 0.0, class3 = 0.0 }"], "are 0 for every class"),
        (["loss.class_weights={ class0 = -1.0 }"], "settings loss.class_weights.class0: "),
        (["loss.class_weights=uneven"], 'settings loss.class_weights: is "uneven"'),
    ],
)
def test_what_does_not_go_together_is_a_message(toy_recipe: Path, settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        training(toy_recipe, *settings)
    assert words in str(error.value)


def test_balanced_weights_are_of_the_images_that_are_trained_on(run: Cli, tmp_path: Path) -> None:
    for label, count in (("ant", 24), ("bee", 8)):
        for index in range(count):
            path = tmp_path / "pictures" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (index * 9, 40, 200 if label == "ant" else 20)).save(path)
    (tmp_path / "r.toml").write_text(RECIPE)
    code, out, error = run("plan", "r.toml", "--json")
    assert code == 0, error
    (plan,) = json.loads(out)["arms"].values()
    train = plan["images"]["train"]
    counts = [round(train / (2 * weight)) for weight in plan["class_weights"]]
    assert sum(counts) == train
    assert counts[0] > 2 * counts[1]
    code, out, _ = run("plan", "r.toml")
    assert "positive class: bee (the last one)" in out
    assert "class weights: " in out
    code, out, error = run("apply", "r.toml")
    assert code == 0, error
    assert "AUROC" in out
    (folder,) = (tmp_path / "runs" / "insects").glob("main-*")
    told = json.loads((folder / "evaluation.json").read_text())
    assert set(told["test"]["per_class"]) == {"ant", "bee"}
    result = json.loads((folder / "result.json").read_text())
    assert sum(map(sum, told["test"]["confusion"])) == sum(each["images"] for each in told["test"]["per_class"].values())
    assert result["test"].keys() >= {"loss", "accuracy", "balanced_accuracy", "f1", "auroc"}
    code, out, error = run("predict", folder, "pictures/bee/0.png", "--json", "--top", "2")
    assert code == 0, error
    assert sum(json.loads(out)["predictions"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


RECIPE = """\
format = 1
name = "insects"
[backbone]
name = "toy"
weights = "none"
[head]
kind = "binary"
[data]
name = "folder"
image_size = 16
batch_size = 8
[data.options]
path = "pictures"
[lr_groups]
backbone = 1e-2
head = 1e-2
[loss]
class_weights = "balanced"
[schedule]
epochs = 2
"""


# ---- several classes an image


@pytest.fixture
def findings(tmp_path: Path) -> Path:
    """A table of pictures in which a red, a green and a blue square are each there or not; a recipe for it."""
    generator = np.random.default_rng(0)
    lines = ["path,findings"]
    for index in range(90):
        there = generator.random(3) < 0.5
        pixels = generator.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        for channel, present in enumerate(there):
            if present:
                pixels[4:12, 4:12, channel] = 255
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        names = [name for name, present in zip(("red", "green", "blue"), there, strict=True) if present]
        lines.append(f"{index}.png,{'|'.join(names) or 'nothing'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "r.toml").write_text(FINDINGS)
    return tmp_path


FINDINGS = """\
format = 1
name = "findings"
[backbone]
name = "toy"
weights = "none"
[head]
kind = "multilabel"
[data]
name = "csv"
image_size = 16
batch_size = 8
augment = [{ name = "mixup", alpha = 0.2 }]
[data.options]
path = "."
label = "findings"
separator = "|"
none = "nothing"
[lr_groups]
backbone = 3e-2
head = 3e-2
[schedule]
epochs = 12
"""


def test_several_classes_an_image_are_learned(run: Cli, findings: Path) -> None:
    code, out, error = run("apply", "r.toml")
    assert code == 0, error
    (folder,) = (findings / "runs" / "findings").glob("main-*")
    test = json.loads((folder / "result.json").read_text())["test"]
    assert test.keys() == {"loss", "accuracy", "exact_match", "f1", "auroc"}
    assert test["auroc"] > 0.9
    assert test["accuracy"] > 0.75
    code, out, error = run("predict", folder, "0.png", "--json", "--top", "3")
    assert code == 0, error
    found = json.loads(out)["predictions"][0]["probabilities"]
    assert found.keys() == {"red", "green", "blue"}
    assert all(0 <= each <= 1 for each in found.values())
    told = json.loads((folder / "evaluation.json").read_text())
    assert set(told["test"]["per_class"]) == {"blue", "green", "red"}


def test_a_table_may_name_images_anywhere(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "table").mkdir()
    lines = ["path,label"]
    for index in range(40):
        path = tmp_path / "elsewhere" / f"{index}.png"
        Image.new("RGB", (16, 16), (6 * index, 100, 100)).save(path)
        lines.append(f"{path},{'dark' if index < 20 else 'bright'}")
    (tmp_path / "table" / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "r.toml").write_text(
        'format = 1\nname = "r"\n[backbone]\nname = "toy"\nweights = "none"\n[data]\nname = "csv"\nimage_size = 16\n'
        'batch_size = 4\n[data.options]\npath = "table"\n[lr_groups]\nbackbone = 1e-2\nhead = 1e-2\n[schedule]\nname = "constant"\n'
        "epochs = 1\n"
    )
    code, out, error = run("apply", "r.toml")
    assert code == 0, error
    assert "finished" in out
    assert "finished before, nothing to do" in run("apply", "r.toml")[1]


def test_several_classes_an_image_want_a_head_for_them(run: Cli, findings: Path) -> None:
    code, _, error = run("plan", "r.toml", "--set", "head.kind=linear")
    assert code == 1
    assert "the linear head learns one class per image, and csv has any number of classes per image" in error
    code, _, error = run("validate", "r.toml", "--set", "loss.class_weights=balanced")
    assert code == 1
    assert "loss.class_weights: the multilabel head answers for every class by itself" in error


def test_a_chest_may_have_any_findings(tmp_path: Path) -> None:
    from toy_reading import read

    arrays = {}
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = np.full((count, 28, 28), 7, np.uint8)
        arrays[f"{part}_labels"] = np.eye(14, dtype=np.int64)[:count]
    np.savez(tmp_path / "chestmnist.npz", **arrays)
    images = read("medmnist:chestmnist", tmp_path)
    assert images.splits["train"].targets.dtype == np.uint8
    assert np.array_equal(images.splits["test"].targets, np.eye(14)[:3])
    assert images.classes[:2] == ("atelectasis", "cardiomegaly")


def test_a_table_of_several_classes_is_read(tmp_path: Path) -> None:
    from tlkit_csv import CsvOptions
    from tlkit_csv import read as table

    rows = [
        "path,label,split",
        "0.png,a|b,train",
        "1.png,,train",
        "2.png, c | none |a,train",
        "3.png,none,test",
        "4.png,b|b,test",
    ]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    for index in range(5):
        (tmp_path / f"{index}.png").touch()
    options = CsvOptions(separator="|", none="none", split="split")
    images = table.read(table.find(tmp_path, options), options)
    assert images.classes == ("a", "b", "c")
    assert images.splits["train"].targets.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert images.splits["test"].targets.tolist() == [[0, 0, 0], [0, 1, 0]]
    assert images.splits["train"].targets.dtype == np.uint8
    (tmp_path / "labels.csv").write_text("\n".join([*rows[:-1], "4.png,b|d,test"]) + "\n")
    with pytest.raises(DataError, match='class "d" of test has no training images'):
        table.read(table.find(tmp_path, options), options)


def test_a_class_of_which_only_test_images_are_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_reading import read

    arrays = {}
    for part, labels in (("train", [0, 1, 2]), ("val", [0, 1, 2]), ("test", [0, 3, 3])):
        arrays[f"{part}_images"] = np.full((3, 28, 28, 3), 7, np.uint8)
        arrays[f"{part}_labels"] = np.array(labels)[:, None]
    np.savez(tmp_path / "bloodmnist.npz", **arrays)
    assert read("medmnist:bloodmnist", tmp_path).splits["test"].targets.tolist() == [0, 3, 3]
    (tmp_path / "r.toml").write_text(RECIPE.replace('"binary"', '"linear"').replace('"folder"', '"medmnist:bloodmnist"'))
    (tmp_path / "r.toml").write_text((tmp_path / "r.toml").read_text().replace('path = "pictures"', ""))
    import tlkit

    with pytest.raises(DataError, match=r"test has images of class .*, of which there is no training image"):
        tlkit.plan(tmp_path / "r.toml", data=tmp_path)


def test_accuracy_of_rare_classes_is_won_by_answering_none_and_the_default_metric_is_not() -> None:
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(400, 4, generator=draw) < 0.05).float()
    none = torch.full((400, 4), -4.0) + 0.01 * torch.randn(400, 4, generator=draw)
    learned = 3 * targets - 1 + torch.randn(400, 4, generator=draw)
    first, second = (scoring.scores(Predictions(logits, targets, MULTI_LABEL)) for logits in (none, learned))
    assert selection.worth(first, "accuracy") > selection.worth(second, "accuracy")
    assert selection.worth(first, MULTI_LABEL.select_by) < selection.worth(second, MULTI_LABEL.select_by)


@pytest.mark.parametrize(
    ("settings", "metric"),
    [
        ([], "auto"),
        (["select_by=accuracy"], "auto"),
        (["select_by=f1"], "f1"),
        (["head.kind=multilabel"], "auroc"),
        (["head.kind=multilabel", "select_by=accuracy"], "accuracy"),
        (["head.kind=svm", "select_by=f1"], "f1"),
    ],
)
def test_metric_is_in_the_digest_where_it_is_not_accuracy_as_before(toy_recipe: Path, settings: list[str], metric: str) -> None:
    _, arms = resolve.load(toy_recipe, settings, Places(recipe=toy_recipe.parent))
    arm = arms["main"].arm
    assert arm.select_by == metric
    told = defaults.differences(arm.model_dump(mode="json"))
    assert told.get("select_by", "auto") == metric
