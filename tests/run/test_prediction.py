"""tlkit predict: class and probability of images, as plain PyTorch works them out from the same files."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_runs
from conftest import TOY_RECIPE, Cli
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from tlkit_toy_build import ToyNet
from torchvision.transforms import v2

from tlkit import api
from tlkit.cli.predict_classes import Shown
from tlkit.errors import ImageError, TlkitError
from tlkit.reports import tables
from tlkit.run import loading, prediction

CLASSES = ("ant", "bee", "cat")


def _pictures(folder: Path, count: int) -> None:
    draw = np.random.default_rng(count)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            level = np.roll([60, 120, 200], label)
            pixels = (level + draw.integers(-50, 50, (22 + index, 30, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """runs/toy of two arms on a folder of images that is gone since; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    text = TOY_RECIPE.replace('"synthetic"', '"folder"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    text = text.replace(options, 'crop = 0.8\n[data.options]\npath = "images"\n\n')
    arms = "\n[arms.slow]\nlr_groups = { backbone = 1e-7, head = 1e-7 }\n[arms.quick]\n"
    _pictures(folder / "images", 12)
    with toy_runs.applied(folder, text + arms, "schedule.epochs=4", drawn=True) as done:
        shutil.rmtree(folder / "images")
        (folder / "toy.toml").unlink()
        yield done.folder


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """New pictures: of several sizes, grey, transparent, turned by EXIF."""
    _pictures(tmp_path / "new", 1)
    paths = [tmp_path / "new" / name / "0.png" for name in CLASSES]
    Image.open(paths[0]).convert("L").save(tmp_path / "grey.png")
    Image.open(paths[1]).convert("RGBA").resize((40, 25)).save(tmp_path / "with space.png")
    turned = Image.open(paths[2])
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    return [*paths, tmp_path / "grey.png", tmp_path / "with space.png", tmp_path / "turned.jpg"]


def _run(recipe_folder: Path, arm: str) -> Path:
    (folder,) = (path.parent for path in recipe_folder.glob(f"{arm}-*/result.json"))
    return folder


def _expected(folder: Path, images: list[Path]) -> torch.Tensor:
    """Probabilities (N, 3) by torchvision's transforms and the "library's" own network."""
    net = ToyNet(3)
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    net.eval()
    prepare = v2.Compose([v2.Resize(20), v2.CenterCrop(16)])  # 16 / 0.8
    rows = []
    for path in images:
        image = Image.open(path)
        if path.suffix == ".jpg":
            image = image.transpose(Image.Transpose.ROTATE_270)  # what EXIF's orientation 6 asks for
        pixels = torch.from_numpy(np.array(prepare(image.convert("RGB")))).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            rows.append(torch.softmax(net(((pixels - 0.5) / 0.5)[None]), 1)[0])
    return torch.stack(rows)


def test_json_gives_every_class_as_plain_pytorch_does(finished: Path, images: list[Path], run: Cli) -> None:
    folder = _run(finished, "quick")
    code, output, text = run("predict", folder, *images, "--json")
    assert (code, text) == (0, "")
    rows = json.loads(output)["predictions"]
    assert [row["image"] for row in rows] == [str(path) for path in images]
    for row, expected in zip(rows, _expected(folder, images), strict=True):
        found = row["probabilities"]
        assert set(found) == set(CLASSES)
        assert [found[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_table_shows_class_and_probability(finished: Path, images: list[Path], run: Cli) -> None:
    folder = _run(finished, "quick")
    code, output, _ = run("predict", folder, images[0])
    assert code == 0
    best = _expected(folder, images[:1])[0]
    (line,) = [line for line in output.splitlines() if "0.png" in line]
    assert str(images[0]) in line
    assert CLASSES[int(best.argmax())] in line
    assert f"{float(best.max()):.1%}" in line
    assert sum(name in line.replace(str(images[0]), "") for name in CLASSES) == 1


def test_long_path_is_whole_where_there_is_no_terminal(finished: Path, images: list[Path], run: Cli) -> None:
    path = images[0].parent
    for _ in range(3):
        path /= "[red]n" * 30
    path.mkdir(parents=True)
    shutil.copy(images[0], path)
    code, output, _ = run("predict", finished, path / images[0].name)
    assert code == 0
    (line,) = [line for line in output.splitlines() if "%" in line]
    assert line.startswith(f"{path / images[0].name}   ")


def test_narrow_terminal_cuts_nothing() -> None:
    console = Console(width=30, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(tables.predictions([("i" * 70, [("c" * 50, 0.999)])]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert (text.count("i"), text.count("c"), "99.9%" in text) == (70 + len("iii"), 50 + len("c"), True)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_path_that_is_not_utf_8_is_shown_with_its_bytes(
    finished: Path, images: list[Path], run: Cli, options: list[str]
) -> None:
    path = Path(os.fsdecode(os.fsencode(images[0].parent) + b"/i\xff.png"))
    shutil.copy(images[0], path)
    code, output, text = run("predict", _run(finished, "quick"), path, *options)
    assert (code, text) == (0, "")
    shown = json.loads(output)["predictions"][0]["image"] if options else output
    assert r"/i\udcff.png" in shown


@pytest.mark.parametrize(("top", "shown"), [(2, 2), (3, 3), (99, 3)])
def test_top_shows_as_many_classes(finished: Path, images: list[Path], run: Cli, top: int, shown: int) -> None:
    code, output, _ = run("predict", _run(finished, "quick"), images[0], "--top", top)
    assert code == 0
    assert sum(name in output.replace(str(images[0]), "") for name in CLASSES) == shown


def test_folder_of_a_recipe_means_its_best_run(finished: Path, images: list[Path]) -> None:
    accuracy = {
        arm: json.loads((_run(finished, arm) / "result.json").read_text())["validation"]["accuracy"]
        for arm in ("quick", "slow")
    }
    assert accuracy["quick"] > accuracy["slow"]
    cpu = torch.device("cpu")
    for arm, expected in ((None, "quick"), ("quick", "quick"), ("slow", "slow")):
        found = loading.load(finished, arm=arm, device=cpu).predict(images)
        assert torch.allclose(torch.from_numpy(found), _expected(_run(finished, expected), images), atol=1e-5)


def test_embedding_is_the_pooled_output_of_the_last_stage(finished: Path, images: list[Path]) -> None:
    folder = _run(finished, "quick")
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    state = load_file(folder / "weights.safetensors")
    logits = torch.from_numpy(predictor.embed(images)) @ state["fc.weight"].T + state["fc.bias"]
    assert torch.allclose(torch.softmax(logits, 1), _expected(folder, images), atol=1e-5)


def test_no_images_are_no_rows(finished: Path) -> None:
    predictor = loading.load(finished, arm=None, device=torch.device("cpu"))
    assert predictor.predict([]).shape == (0, 3)
    assert predictor.embed([]).shape == (0, 16)


def test_order_and_batches_change_nothing(finished: Path, images: list[Path]) -> None:
    predictor = loading.load(finished, arm=None, device=torch.device("cpu"))
    many = predictor.predict(images * 7)  # more than a batch of 16
    assert len(many) == 42
    np.testing.assert_allclose(many[::-1], predictor.predict((images * 7)[::-1]), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"), [(b"no picture", "is not an image"), (b"", "is not an image"), (None, "there is no such file")]
)
def test_file_that_is_no_image_is_named(
    finished: Path, images: list[Path], run: Cli, content: bytes | None, words: str
) -> None:
    bad = images[0].with_name("bad.png")
    if content is not None:
        bad.write_bytes(content)
    code, output, text = run("predict", finished, bad)
    assert (code, output) == (1, "")
    assert f"\n{bad}: {words}" in text
    assert "Traceback" not in text


def test_other_images_are_answered_where_one_cannot_be_read(finished: Path, images: list[Path], run: Cli) -> None:
    bad = images[0].with_name("bad.png")
    bad.write_bytes(b"no picture")
    code, output, text = run("predict", finished, images[0], bad, images[1], "--json")
    assert code == 3
    assert f"\n{bad}: is not an image" in text
    record = json.loads(output)
    assert record["format"] == 2
    assert [row["image"] for row in record["predictions"]] == [str(images[0]), str(bad), str(images[1])]
    assert [bool(row["probabilities"]) for row in record["predictions"]] == [True, False, True]
    assert [row["error"] is None for row in record["predictions"]] == [True, False, True]
    code, output, _ = run("predict", finished, images[0], bad)
    assert code == 3
    assert str(images[0]) in output


def test_predict_and_embed_take_a_limit_of_pixels_of_their_own(
    finished: Path, images: list[Path], run: Cli, tmp_path: Path
) -> None:
    with Image.open(images[0]) as picture:
        count = picture.width * picture.height
    for command, out in (("predict", ()), ("embed", ("--out", tmp_path / "x.npz"))):
        code, _, text = run(command, finished, images[0], *out, "--max-pixels", count - 1)
        assert code == 1
        assert text.endswith(f"more than the limit of {count - 1}.\n  --max-pixels {count}, or make the image smaller\n")
        assert run(command, finished, images[0], *out, "--max-pixels", count)[0] == 0
    predictor = loading.load(_run(finished, "quick"), arm=None, device=torch.device("cpu"))
    with pytest.raises(ImageError) as caught:  # Python has no such option, and a run's recipe stays as it is
        replace(predictor, geometry=replace(predictor.geometry, max_pixels=1)).predict(images[:1])
    assert caught.value.hints == ("make the image smaller",)


def test_run_is_found_by_its_recipes_name_below_runs(finished: Path, images: list[Path], run: Cli) -> None:
    code, output, text = run("predict", finished.name, images[0], "--runs", finished.parent)
    assert code == 0
    assert f"{_run(finished, 'quick')}: the best of 2 finished runs by validation" in text
    assert str(images[0]) in output


def test_truncated_image_is_an_error_not_half_a_picture(finished: Path, images: list[Path]) -> None:
    images[0].write_bytes(images[0].read_bytes()[:-200])
    with pytest.raises(ImageError, match="cannot be decoded"):
        loading.load(finished, arm=None, device=torch.device("cpu")).predict(images)


def test_folder_given_as_an_image_is_an_error(finished: Path, run: Cli, tmp_path: Path) -> None:
    code, output, text = run("predict", finished, tmp_path)
    assert (code, output) == (1, "")
    assert str(tmp_path) in text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "nowhere: there is no such run folder"),
        (".", "holds no finished run"),
        ("a.png", "a.png: is a file, not a run's folder"),
    ],
)
def test_wrong_run_is_a_message(run: Cli, tmp_path: Path, path: str, words: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    code, output, text = run("predict", path, "a.png")
    assert (code, output) == (1, "")
    assert words in text


def test_wrong_arm_is_a_message_that_names_the_arms(finished: Path, run: Cli, images: list[Path]) -> None:
    code, _, text = run("predict", finished, images[0], "--arm", "fast")
    assert code == 1
    assert 'no finished run of arm "fast"' in text
    assert "arms: quick, slow" in text


def test_arm_of_a_run_that_is_another_arm_is_an_error(finished: Path) -> None:
    with pytest.raises(TlkitError, match='is a run of arm "quick"'):
        loading.load(_run(finished, "quick"), arm="slow", device=torch.device("cpu"))


@pytest.mark.parametrize("name", ["recipe.toml", "weights.safetensors", "resolved.toml"])
def test_damaged_run_is_a_message_that_names_the_file(
    finished: Path, tmp_path: Path, run: Cli, images: list[Path], name: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(_run(finished, "quick"), copy)
    (copy / name).write_bytes(b"\x00\x01 = [")
    code, output, text = run("predict", copy, images[0])
    assert (code, output) == (1, "")
    assert name in text.splitlines()[0]
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [("classes =", "clas ="), ("image_size = [\n    16", 'image_size = [\n    "x"'), ("[input]", "[in]"), ('"rgb"', '"gbr"')],
)
def test_resolved_toml_without_what_is_needed_is_damaged(finished: Path, tmp_path: Path, old: str, new: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(_run(finished, "quick"), copy)
    text = (copy / "resolved.toml").read_text()
    assert old in text
    (copy / "resolved.toml").write_text(text.replace(old, new))
    with pytest.raises(TlkitError, match=r"resolved\.toml: is damaged"):
        loading.load(copy, arm=None, device=torch.device("cpu"))


def test_weights_of_another_network_are_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(_run(finished, "quick"), copy)
    text = (copy / "resolved.toml").read_text().partition("\n")[2]  # without its checksum
    (copy / "resolved.toml").write_text(text.replace('"ant",', '"ant", "asp",'))
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"files": {}}))  # else it is seen at once that the file is another
    with pytest.raises(TlkitError, match="does not fit this run's network") as error:
        loading.load(copy, arm=None, device=torch.device("cpu"))
    assert "head.weight is (3, 16)" in str(error.value)


@pytest.mark.parametrize("split", ["fractions=[0.5, 0.2, 0.3]", "train_per_class=4", "validation=0.0"])
def test_a_run_of_any_split_can_be_asked(split: str, toy_recipe: Path, tmp_path: Path, run: Cli) -> None:
    """What the run wrote of its recipe is a recipe."""
    key, _, value = split.partition("=")
    applied = api.apply(toy_recipe, [f"data.split.{key}={value}", "schedule.epochs=1"], runs=tmp_path / "runs")
    _pictures(tmp_path / "new", 1)
    code, output, text = run("predict", applied.folder, tmp_path / "new" / "ant" / "0.png", "--json")
    assert (code, text) == (0, "")
    assert sum(json.loads(output)["predictions"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert run("validate", next(applied.folder.glob("main-*")) / "recipe.toml")[0] == 0


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_image_that_is_named_twice_is_answered_twice(finished: Path, images: list[Path], run: Cli, options: list[str]) -> None:
    code, output, _ = run("predict", finished, images[0], images[1], images[0], *options)
    assert code == 0
    if options:
        assert [row["image"] for row in json.loads(output)["predictions"]] == [str(images[at]) for at in (0, 1, 0)]
    else:
        assert output.count(f"{images[0].parent.name}/{images[0].name}") == 2


def test_a_folder_is_every_image_in_it_and_below(finished: Path, images: list[Path], run: Cli) -> None:
    new = images[0].parents[1]
    (new / "notes.txt").write_text("no image")
    code, output, _ = run("predict", _run(finished, "quick"), new, images[3], "--json")
    assert code == 0
    named = [row["image"] for row in json.loads(output)["predictions"]]
    assert named == [str(new / name / "0.png") for name in sorted(CLASSES)] + [str(images[3])]
    (new.parent / "empty").mkdir()
    code, _, text = run("predict", _run(finished, "quick"), new.parent / "empty")
    assert code == 1
    assert "holds no image files" in text


def test_images_beside_an_unreadable_one_are_answered_in_batches(
    finished: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _run(finished, "quick")
    broken = images[0].with_name("broken.png")
    broken.write_bytes(b"no image")
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    sizes: list[int] = []
    predictor.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    answers = list(predictor.answers([images[0], broken, *images[1:]]))
    assert sizes == [len(images)]
    assert isinstance(answers.pop(1), ImageError)
    np.testing.assert_allclose(np.stack(answers), _expected(folder, images).numpy(), atol=1e-5)


def test_files_are_decoded_for_several_batches_at_once_and_answered_in_order(
    finished: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _run(finished, "quick")
    monkeypatch.setattr(prediction, "_DECODED", 5)
    predictor = replace(loading.load(folder, arm=None, device=torch.device("cpu")), batch_size=2)
    sizes: list[int] = []
    predictor.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    answers = np.stack(list(predictor.answers(images * 2)))
    assert (sum(sizes), set(sizes[:4])) == (2 * len(images), {2})
    np.testing.assert_allclose(answers, _expected(folder, images * 2).numpy(), atol=1e-5)


def test_top_holds_in_json_too(finished: Path, images: list[Path], run: Cli) -> None:
    folder = _run(finished, "quick")
    expected = _expected(folder, images[:2])
    _, output, _ = run("predict", folder, *images[:2], "--top", 2, "--json")
    for row, mine in zip(json.loads(output)["predictions"], expected, strict=True):
        assert list(row["probabilities"]) == [CLASSES[place] for place in mine.argsort(descending=True)[:2]]


def test_patterns_and_a_list_on_standard_input_name_images(
    finished: Path, images: list[Path], run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, new = _run(finished, "quick"), images[0].parents[1]
    _, output, _ = run("predict", folder, new / "**" / "*.png", "--json")
    assert [row["image"] for row in json.loads(output)["predictions"]] == [str(each) for each in sorted(images[:3])]
    listed = io.TextIOWrapper(io.BytesIO(f"{images[3]}\n\n{new}\n".encode()))
    monkeypatch.setattr("sys.stdin", listed)
    _, output, _ = run("predict", folder, "-", images[4], "--json")
    named = [row["image"] for row in json.loads(output)["predictions"]]
    assert named == [str(each) for each in (images[3], *sorted(images[:3]), images[4])]
    code, _, text = run("predict", folder, new / "*.gif")
    assert (code, f"{new}/*.gif: there is no such file" in text) == (1, True)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    code, _, text = run("predict", folder, "-")
    assert (code, "standard input names no image." in text) == (1, True)


def test_csv_has_a_row_for_every_image_and_no_formula(finished: Path, images: list[Path], run: Cli, tmp_path: Path) -> None:
    folder = _run(finished, "quick")
    for name in ("=cmd|'calc'!A0.png", "+1.png", "@x.png", "-2.png"):
        shutil.copy(images[0], tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    names = ["=cmd|'calc'!A0.png", "+1.png", "@x.png", "./-2.png", "bad.png"]
    code, output, text = run("predict", folder, *names, "--top", 2, "--csv", "out.csv")
    assert (code, output) == (3, "out.csv: written, 4 of 5 images answered\n")
    assert "bad.png: is not an image" in text
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["image", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert [row[0] for row in rows] == ["'=cmd|'calc'!A0.png", "'+1.png", "'@x.png", "'-2.png", "bad.png"]
    expected = _expected(folder, images[:1])[0].sort(descending=True)
    assert rows[0][1:4:2] == [CLASSES[place] for place in expected.indices[:2]]
    assert [float(cell) for cell in rows[0][2:5:2]] == pytest.approx(expected.values[:2].tolist(), abs=1e-5)
    assert rows[4][1:5] == [""] * 4
    assert "is not an image" in rows[4][5]


def test_csv_that_cannot_be_written_is_a_message(finished: Path, images: list[Path], run: Cli) -> None:
    code, _, text = run("predict", finished, images[0], "--csv", images[0] / "out.csv")
    assert f"{images[0]}/out.csv: cannot be written: {images[0]} is a file, not a folder." in text
    code, _, text = run("predict", finished, images[0], "--csv", "nowhere/out.csv")
    assert code == 1
    assert "nowhere/out.csv: cannot be written: there is no folder nowhere." in text


def test_threshold_leaves_out_less_probable_classes(finished: Path, images: list[Path], run: Cli) -> None:
    folder = _run(finished, "quick")
    expected = _expected(folder, images)
    middle = float(expected.median())
    _, output, _ = run("predict", folder, *images, "--threshold", middle, "--json")
    record = json.loads(output)
    assert record["threshold"] == middle
    for row, mine in zip(record["predictions"], expected, strict=True):
        assert set(row["probabilities"]) == {name for name, each in zip(CLASSES, mine, strict=True) if each >= middle - 1e-7}
    _, output, _ = run("predict", folder, images[0], "--threshold", 1)
    assert output.split()[-1] == "none"
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    neighbours = torch.softmax(torch.tensor([0.7, 0.3, 1e-7]).log(), 0).numpy()  # of a k-NN: 7 of 10 are below 0.7 in float32
    assert [name for name, _ in Shown(None, 0.7, 1.0).of(predictor, neighbours)] == [CLASSES[0]]
    assert [name for name, _ in Shown(None, 1e-6, 1.0).of(predictor, neighbours)] == list(CLASSES[:2]), (
        "as --coverage may ask for"
    )


def test_calibrated_probabilities_are_those_of_the_temperature_of_the_validation_images(
    finished: Path, images: list[Path], run: Cli, tmp_path: Path
) -> None:
    _, output, said = run("predict", _run(finished, "quick"), *images, "--calibrated", "--json")
    assert "validation images are right, which tells no temperature: 1 is taken" in said
    assert "temperature" not in json.loads(output)
    folder = shutil.copytree(_run(finished, "quick"), tmp_path / "run")
    with np.load(folder / "predictions.npz") as kept:
        label = kept["label"].copy()
        label[np.flatnonzero(kept["split"] == "validation")[:2]] += 1
        arrays = {**kept, "label": label % len(CLASSES)}
    np.savez(folder / "predictions.npz", **arrays)
    with np.load(folder / "predictions.npz") as kept:
        mine = kept["split"] == "validation"
        logits, labels = torch.from_numpy(kept["logits"][mine]).double(), torch.from_numpy(kept["label"][mine])
    grid = torch.logspace(np.log10(0.05), np.log10(20), 20001, dtype=torch.float64)
    losses = torch.stack([torch.nn.functional.cross_entropy(logits / each, labels) for each in grid])
    best = float(grid[losses.argmin()])
    _, output, _ = run("predict", folder, *images, "--calibrated", "--json")
    record = json.loads(output)
    assert record["temperature"] == pytest.approx(best, rel=1e-3)
    scaled = torch.softmax(_expected(folder, images).double().log() / best, 1)
    for row, each in zip(record["predictions"], scaled, strict=True):
        assert [row["probabilities"][name] for name in CLASSES] == pytest.approx(each.tolist(), abs=1e-3)


def test_coverage_shows_the_classes_above_the_rank_of_the_validation_images(
    finished: Path, images: list[Path], run: Cli
) -> None:
    folder = _run(finished, "quick")
    with np.load(folder / "predictions.npz") as kept:
        mine = kept["split"] == "validation"
        scores = torch.softmax(torch.from_numpy(kept["logits"][mine]).double(), 1).numpy()
        own = sorted(scores[np.arange(mine.sum()), kept["label"][mine]], reverse=True)
    _, output, _ = run("predict", folder, *images, "--coverage", 0.5, "--json")
    least = json.loads(output)["threshold"]
    rank = int(np.ceil((len(own) + 1) * 0.5))
    assert least == pytest.approx(own[rank - 1], rel=1e-3)
    code, output, text = run("predict", folder, images[0], "--coverage", 0.999)
    assert code == 0
    assert f"{len(own)} validation images are too few for --coverage 0.999: every class is shown" in text
    assert sum(name in output.replace(str(images[0]), "") for name in CLASSES) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--threshold", "0.5", "--coverage", "0.9"), "give one of --threshold and --coverage"),
        (("--coverage", "1"), "above 0 and below 1"),
        (("--csv", "x.csv", "--json"), "give one of --csv FILE and --json"),
        (("--threshold", "2"), "--threshold"),
        (("--views", "5", "--calibrated"), "leave out --views"),
    ],
)
def test_options_that_exclude_each_other_are_usage(finished: Path, run: Cli, options: tuple[str, ...], words: str) -> None:
    code, _, text = run("predict", finished, "a.png", *options)
    assert code == 2
    assert words in " ".join(text.replace("│", " ").split())


def test_views_average_the_probabilities_of_torchvisions_crops(finished: Path, images: list[Path], run: Cli) -> None:
    folder = _run(finished, "quick")
    code, out, _ = run("predict", folder, images[0], "--views", "10", "--json", "--device", "cpu")
    record = json.loads(out)
    assert (code, record["views"]) == (0, 10)
    net = ToyNet(3)
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    crops = v2.FiveCrop(16)(v2.Resize(20)(Image.open(images[0]).convert("RGB")))
    upright = torch.stack([torch.from_numpy(np.array(crop)).permute(2, 0, 1) for crop in crops]).float() / 255
    pixels = torch.cat([upright, upright.flip(3)])
    with torch.no_grad():
        wanted = torch.softmax(net.eval()((pixels - 0.5) / 0.5), 1).mean(0)
    found = [record["predictions"][0]["probabilities"][name] for name in CLASSES]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert run("predict", folder, images[0], "--views", "3")[0] == 2


def test_views_store_no_copy_of_an_image_each(
    finished: Path, tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pictures(tmp_path / "labelled", 3)
    stored = []
    for count in ("1", "10"):
        monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / count))
        assert run("evaluate", _run(finished, "slow"), "--on", "labelled", "--views", count, "--device", "cpu")[0] == 0
        stored.append(sum(each.stat().st_size for each in (tmp_path / count / "pictures").rglob("*") if each.is_file()))
    assert stored[0] == stored[1] > 0


def test_evaluate_tells_what_views_bring(finished: Path, tmp_path: Path, run: Cli) -> None:
    _pictures(tmp_path / "labelled", 3)
    code, out, _ = run("evaluate", _run(finished, "slow"), "--on", "labelled", "--views", "5", "--json", "--device", "cpu")
    one = json.loads(run("evaluate", _run(finished, "slow"), "--on", "labelled", "--json", "--device", "cpu")[1])
    record = json.loads(out)
    assert code == 0
    assert record["views"]["count"] == 5
    assert record["views"]["accuracy_of_one"] == one["metrics"]["accuracy"]
    assert record["views"]["accuracy"] == record["metrics"]["accuracy"]
    assert record["metrics"]["loss"] != one["metrics"]["loss"]
    assert "views" not in one
    _, out, _ = run("evaluate", _run(finished, "slow"), "--on", "labelled", "--views", "5", "--device", "cpu")
    assert "5 views of each image: accuracy" in out
