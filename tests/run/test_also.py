"""Other data sets that are evaluated too, and earlier runs that are evaluated as they are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image

pytestmark = pytest.mark.usefixtures("undrawn")

CPU = torch.device("cpu")

RECIPE = """\
format = 1
name = "first"
[backbone]
name = "toy"
weights = "none"
[data]
name = "folder"
image_size = 16
batch_size = 8
[data.options]
path = "bright"
[also.dark]
name = "folder"
options = { path = "dark" }
[lr_groups]
backbone = 1e-2
head = 1e-2
[schedule]
epochs = 2
"""


def pictures(folder: Path, light: int, classes: tuple[str, ...] = ("green", "red"), *, images: int = 20) -> None:
    generator = np.random.default_rng(light)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(images):
            pixels = generator.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            pixels[:, :, label % 3] = light
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """Bright and dark pictures of red and green; a recipe that trains on the bright ones."""
    pictures(tmp_path / "bright", 250)
    pictures(tmp_path / "dark", 90)
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path


def only(folder: Path, name: str) -> Path:
    (found,) = (folder / "runs" / name).glob("main-*")
    return found


def test_another_domain_is_evaluated_with_the_best_weights(run: Cli, domains: Path) -> None:
    from tlkit.run import loading

    code, out, error = run("plan", "r.toml")
    assert code == 0, error
    assert "also test  dark: 8 images" in out
    code, out, error = run("apply", "r.toml")
    assert code == 0, error
    assert "also test  main, dark: accuracy" in out
    folder = only(domains, "first")
    result = json.loads((folder / "result.json").read_text())
    split = json.loads((folder / "split.json").read_text())["also.dark"]
    assert split["count"] == 8
    predictor = loading.load(folder, arm=None, device=CPU)
    found = predictor.predict(split["files"])
    labels = [["green", "red"].index(Path(file).parent.name) for file in split["files"]]
    assert result["also"]["dark"]["accuracy"] == (found.argmax(1) == labels).mean()
    loss = -np.log(found[np.arange(8), labels]).mean()
    assert result["also"]["dark"]["loss"] == pytest.approx(loss, rel=1e-4)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[result["best_epoch"] - 1]["also"] == result["also"]
    summary = json.loads((domains / "runs" / "first" / "result.json").read_text())
    assert summary["arms"]["main"]["also"]["dark"]["accuracy"]["mean"] == result["also"]["dark"]["accuracy"]
    assert set(json.loads((folder / "evaluation.json").read_text())["also.dark"]["per_class"]) == {"green", "red"}


def test_training_does_not_depend_on_what_is_evaluated_beside_it(run: Cli, domains: Path) -> None:
    assert run("apply", "r.toml")[0] == 0
    text = RECIPE.replace('name = "first"', 'name = "second"').replace(
        '[also.dark]\nname = "folder"\noptions = { path = "dark" }\n', ""
    )
    (domains / "alone.toml").write_text(text)
    assert run("apply", "alone.toml")[0] == 0
    one, other = (only(domains, name) / "weights.safetensors" for name in ("first", "second"))
    assert one.read_bytes() == other.read_bytes()
    assert "also" not in json.loads((only(domains, "second") / "metrics.jsonl").read_text().splitlines()[0])


def test_other_pictures_there_are_another_run(run: Cli, domains: Path) -> None:
    assert run("apply", "r.toml")[0] == 0
    Image.new("RGB", (16, 16), (90, 3, 3)).save(domains / "dark" / "red" / "0.png")
    code, _, error = run("apply", "r.toml")
    assert code == 0, error
    assert len(list((domains / "runs" / "first").glob("main-*"))) == 2


def test_its_classes_may_be_fewer_and_in_another_place(run: Cli, domains: Path) -> None:
    pictures(domains / "three", 250, ("blue", "green", "red"))
    code, _, error = run("apply", "r.toml", "--data", domains / "three")
    assert code == 0, error
    folder = only(domains, "first")
    told = json.loads((folder / "evaluation.json").read_text())["also.dark"]["per_class"]
    assert {name: each["images"] for name, each in told.items()} == {"blue": 0, "green": 4, "red": 4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "nowhere"}, "also.dark: "),
        ({"path": "strange"}, "also.dark: folder has classes that are not trained on: violet"),
        ({"paths": "dark"}, "also.dark.options"),
    ],
)
def test_what_cannot_be_evaluated_is_a_message(run: Cli, domains: Path, change: dict[str, str], words: str) -> None:
    pictures(domains / "strange", 90, ("red", "violet"))
    ((key, value),) = change.items()
    text = RECIPE.replace('options = { path = "dark" }', f'options = {{ {key} = "{value}" }}')
    (domains / "r.toml").write_text(text)
    code, _, error = run("apply", "r.toml")
    assert code == 1
    assert words in error
    assert not (domains / "runs" / "first").exists()


def test_a_run_is_evaluated_as_it_is(run: Cli, domains: Path) -> None:
    assert run("apply", "r.toml")[0] == 0
    first = json.loads((only(domains, "first") / "result.json").read_text())
    text = RECIPE.replace('weights = "none"', 'weights = "run:runs/first"').replace('name = "first"', 'name = "second"')
    text = (
        text.replace('path = "bright"', 'path = "PLACE"').replace('path = "dark"', 'path = "bright"').replace("PLACE", "dark")
    )
    text = text.replace("[also.dark]", "[also.bright]") + "[freeze]\nbackbone = true\nhead = true\n"
    (domains / "r2.toml").write_text(text)
    code, out, error = run("plan", "r2.toml")
    assert code == 0, error
    assert "steps      none: nothing is trained" in out
    assert "not used   lr_groups: nothing is trained" in out
    code, out, error = run("apply", "r2.toml")
    assert code == 0, error
    second = json.loads((only(domains, "second") / "result.json").read_text())
    assert second["also"]["bright"] == pytest.approx(first["test"], rel=1e-5)
    assert second["test"] == pytest.approx(first["also"]["dark"], rel=1e-5)
    assert second["parameters"]["trained"] == 0
    one, other = (only(domains, name) / "weights.safetensors" for name in ("first", "second"))
    assert one.read_bytes() == other.read_bytes()
    code, out, error = run("apply", "r2.toml")
    assert "nothing to do" in out + error


def test_as_it_is_needs_a_head_of_these_classes(run: Cli, domains: Path) -> None:
    assert run("apply", "r.toml")[0] == 0
    pictures(domains / "three", 250, ("blue", "green", "red"))
    text = RECIPE.replace('weights = "none"', 'weights = "run:runs/first"').replace('name = "first"', 'name = "second"')
    (domains / "r2.toml").write_text(
        text.replace('path = "bright"', 'path = "three"') + "[freeze]\nbackbone = true\nhead = true\n"
    )
    code, _, error = run("apply", "r2.toml")
    assert code == 1
    assert "has no head of these classes, and nothing of it is to be trained" in error
    assert not (domains / "runs" / "second").exists()


def test_random_weights_as_they_are_are_still_refused(run: Cli, domains: Path) -> None:
    code, _, error = run("plan", "r.toml", "--set", "freeze={backbone=true, head=true}")
    assert code == 1
    assert "freeze: nothing trains" in error


def test_low_resolution_twins_are_the_test_images(run: Cli, domains: Path) -> None:
    text = RECIPE.replace(
        "[lr_groups]",
        '[also.low]\nshrink = 4\n[also.dark_low]\nname = "folder"\noptions = { path = "dark" }\nshrink = 2\n[lr_groups]',
    )
    (domains / "r.toml").write_text(text)
    code, out, error = run("plan", "r.toml")
    assert code == 0, error
    assert "also test  low: 8 images" in out
    assert run("apply", "r.toml")[0] == 0
    folder = only(domains, "first")
    split, result = (json.loads((folder / name).read_text()) for name in ("split.json", "result.json"))
    assert split["also.low"] == split["test"]
    assert split["also.dark_low"] == split["also.dark"]
    assert [each["second"] for each in split["overlap"]] == []
    assert set(result["also"]) == {"dark", "dark_low", "low"}

    from tlkit.run import loading

    smaller = []  # Pillow's own reduction, of files of the size that the network takes
    for number, file in enumerate(split["test"]["files"]):
        image = Image.open(file).resize((4, 4), Image.Resampling.BILINEAR).resize((16, 16), Image.Resampling.BILINEAR)
        image.save(domains / f"{number}.png")
        smaller.append(str(domains / f"{number}.png"))
    predictor = loading.load(folder, arm=None, device=CPU)
    found = predictor.predict(smaller)
    labels = [["green", "red"].index(Path(file).parent.name) for file in split["test"]["files"]]
    loss = -np.log(found[np.arange(len(labels)), labels]).mean()
    assert result["also"]["low"]["loss"] == pytest.approx(loss, rel=1e-4)
    assert result["also"]["low"]["loss"] != pytest.approx(result["test"]["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("{}", "also.low: name is missing"),
        ('{ options = { path = "dark" }, shrink = 4 }', "also.low: options are those of a data set, and name is missing"),
        ("{ shrink = 16 }", "also.low.shrink: is 16, and images have 16 pixels: nothing would be lost"),
        ("{ shrink = 0 }", "also.low.shrink"),
    ],
)
def test_a_shrink_that_makes_no_sense_is_named(run: Cli, domains: Path, table: str, words: str) -> None:
    code, _, error = run("plan", "r.toml", "--set", f"also.low={table}")
    assert code == 1
    assert words in error
