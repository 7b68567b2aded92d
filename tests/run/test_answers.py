"""evaluate, embed and neighbours: a finished run is asked about other images, and answers as plain PyTorch does."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, Cli
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, log_loss
from statsmodels.stats.proportion import proportion_confint
from tlkit_toy_build import ToyNet

from benchmarks import predicting
from tlkit import api
from tlkit.engine.prefix.prefix import Prefix
from tlkit.errors import TlkitError
from tlkit.exports import finished_run, run_pictures

CLASSES = ("ant", "bee", "cat")


def draw(folder: Path, count: int, *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        level = np.roll([60, 120, 200], CLASSES.index(name) if name in CLASSES else 0)
        for index in range(count):
            pixels = (level + generator.integers(-90, 90, (16, 16, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on `images`, which lies beside `runs`; tests only read both."""
    folder = tmp_path_factory.mktemp("finished")
    draw(folder / "images", 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        return applied(folder)


def applied(folder: Path, old: str = "", new: str = "") -> Path:
    """Apply a recipe on `images` in a folder, with one text of it replaced; return the run's folder."""
    options = TOY_RECIPE[TOY_RECIPE.index("[data.options]") : TOY_RECIPE.index("[lr_groups]")]
    text = TOY_RECIPE.replace('"synthetic"', '"folder"').replace(options, 'crop = 1.0\n[data.options]\npath = "images"\n\n')
    (folder / "toy.toml").write_text(text.replace(old, new, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        done = api.apply(folder / "toy.toml", runs=folder / "runs")
    (run,) = (path.parent for path in done.folder.glob("main-*/result.json"))
    return run


def net_of(run: Path) -> ToyNet:
    net = ToyNet(3)
    net.load_state_dict(load_file(run / "weights.safetensors"))
    return net.eval()


def inputs(files: list[Path]) -> torch.Tensor:
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def pooled(run: Path, files: list[Path]) -> torch.Tensor:
    net, x = net_of(run), inputs(files)
    with torch.no_grad():
        return net.pool(net.block2(net.block1(net.relu(net.bn1(net.conv1(x)))))).flatten(1)


def files_of(folder: Path) -> tuple[list[Path], np.ndarray]:
    files = sorted(folder.glob("*/*.png"))
    return files, np.array([CLASSES.index(file.parent.name) for file in files])


def test_evaluate_has_the_metrics_of_all_images_of_another_folder(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "other", 7, seed=1)
    files, labels = files_of(tmp_path / "other")
    with torch.no_grad():
        probabilities = torch.softmax(net_of(finished)(inputs(files)).double(), 1).numpy()
    code, output, text = run("evaluate", finished, "--on", "other", "--json")
    assert (code, text) == (0, "")
    record = json.loads(output)
    assert (record["part"], record["images"], record["data"]) == ("all", 21, "folder")
    found, said = record["metrics"], probabilities.argmax(1)
    assert found["accuracy"] == pytest.approx(np.mean(said == labels))
    assert found["loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-4)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, said))
    assert found["f1"] == pytest.approx(f1_score(labels, said, average="macro"), rel=1e-5)
    assert record["details"]["confusion"] == confusion_matrix(labels, said, labels=range(3)).tolist()
    code, output, _ = run("evaluate", finished, "--on", "other")
    assert code == 0
    assert "other: all 21 images" in output
    assert f"{found['accuracy']:.1%}" in output


def test_evaluate_writes_a_page_of_what_it_found(finished: Path, tmp_path: Path, run: Cli) -> None:
    pytest.importorskip("plotly")
    draw(tmp_path / "other", 7, seed=1)
    (tmp_path / "other" / "ant" / "0.png").write_bytes(b"no picture")
    code, output, _ = run("evaluate", finished, "--on", "other", "--report", "--json")
    record, page = json.loads(output), (tmp_path / "evaluation.html").read_text()
    assert code == 3
    right = round(record["metrics"]["accuracy"] * 20)
    low, high = proportion_confint(right, 20, method="wilson")
    assert f"{right / 20:.1%} accuracy on 20 images of other (95 % interval {low:.1%} to {high:.1%}; Wilson, one run)" in page
    charts = {
        each["name"]: each for each in json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
    }
    assert list(charts) == ["confusion-0", "reliability-0", "map-0"]
    cells = charts["confusion-0"]["data"][0]
    order = [list(CLASSES).index(name) for name in cells["x"]]
    assert cells["z"] == np.array(record["details"]["confusion"])[np.ix_(order, order)].tolist()
    assert page.count("Most wrong: what it thought, and what it is (all images)") == 1
    assert f"{record['details']['per_class']['bee']['recall']:.1%}" in page
    assert "other/ant/0.png" in page
    assert record["report"] == "evaluation.html"
    code, output, _ = run("evaluate", finished, "--on", "other", "--report", "--out", "mine.html")
    assert (code, output.splitlines()[-1]) == (3, "report: mine.html")
    assert f"tlkit evaluate {finished} --on other --report --out mine.html" in (tmp_path / "mine.html").read_text()
    run("evaluate", finished, "--on", "other", "--data", "other", "--report")
    assert f"tlkit evaluate {finished} --on other --data other --report" in (tmp_path / "evaluation.html").read_text()
    assert run("evaluate", finished, "--on", "other", "--out", "other.html")[0] == 2


def test_evaluate_takes_the_test_images_of_a_data_set_that_has_some(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "parts" / "train", 3)
    draw(tmp_path / "parts" / "test", 2, seed=2)
    record = json.loads(run("evaluate", finished, "--on", "parts", "--json")[1])
    assert (record["part"], record["images"]) == ("test", 6)
    record = json.loads(run("evaluate", finished, "--on", "parts/train", "--set", "data.options.splits={}", "--json")[1])
    assert (record["part"], record["images"]) == ("all", 9)


def test_evaluate_on_some_of_the_classes_keeps_their_places(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "some", 5, seed=3, classes=("bee", "cat"))
    confusion = json.loads(run("evaluate", finished, "--on", "some", "--json")[1])["details"]["confusion"]
    assert [sum(row) for row in confusion] == [0, 5, 5]


def test_evaluate_says_that_the_run_was_trained_on_these_images(finished: Path, run: Cli) -> None:
    images = finished.parents[2] / "images"
    code, _, text = run("evaluate", finished, "--on", images)
    assert code == 0
    assert "the run was trained on images of this data set" in text
    rows = [f"{name}/{index}.png,{name},{part}" for name in CLASSES for index, part in enumerate(["test"] * 10 + ["train"] * 2)]
    (finished / "table.csv").write_text("\n".join(["path,label,part", *rows]))
    trained = set(json.loads((finished / "split.json").read_text())["train"]["files"])
    count = sum(str(images / row.split(",")[0]) in trained for row in rows if row.endswith("test"))
    table = [f"data.options.{each}" for each in (f"path={images}", f"file={finished / 'table.csv'}", "split=part")]
    text = run("evaluate", finished, "--on", "csv", *(part for each in table for part in ("--set", each)))[2]
    assert f"evaluate: csv: {count} of 30 images were trained on by the run; the metrics are better than for new images" in text
    (finished / "table.csv").unlink()


def test_evaluate_leaves_out_what_cannot_be_decoded_and_says_so(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "other", 4)
    (tmp_path / "other" / "ant" / "0.png").write_bytes((tmp_path / "other" / "ant" / "0.png").read_bytes()[:80])
    code, output, text = run("evaluate", finished, "--on", "other", "--json")
    assert code == 3
    assert (json.loads(output)["images"], len(json.loads(output)["unreadable"])) == (11, 1)
    assert "ant/0.png" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--on", "nowhere"), "evaluate: nowhere is neither a data set nor a folder."),
        (("--on", "wolves"), "has classes that the network was not trained on: wolf"),
        (("--on", "other", "--set", "schedule.epochs=2"), "--set schedule.epochs: is no option of the data set."),
        (
            ("--on", "other", "--set", "data.options.tset_fraction=0.5"),
            "evaluate: other: data.options.tset_fraction: there is no such key",
        ),
        (("--on", "cifar10", "--offline"), 'evaluate: cifar10: data.name: "cifar10" is not on this machine'),
    ],
)
def test_wrong_images_are_a_message(finished: Path, tmp_path: Path, run: Cli, options: tuple[str, ...], words: str) -> None:
    draw(tmp_path / "wolves", 2, classes=("ant", "wolf"))
    draw(tmp_path / "other", 2)
    code, output, text = run("evaluate", finished, *options)
    assert (code, output) == (1, "")
    assert words in text


def test_embed_writes_the_pooled_output_of_a_stage(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "new", 2, seed=4)
    files, _ = files_of(tmp_path / "new")
    (tmp_path / "new" / "bad.png").write_bytes(b"no picture")
    code, output, text = run("embed", finished, "new", "--out", "x.npz")
    assert (code, output) == (3, "x.npz: written, 6 of 7 images, 16 features\n")
    assert "bad.png: is not an image" in text
    with np.load(tmp_path / "x.npz") as kept:
        assert kept["images"].tolist() == [str(file.relative_to(tmp_path)) for file in files]
        np.testing.assert_allclose(kept["embeddings"], pooled(finished, files), atol=1e-5)
    code, output, _ = run("embed", finished, "new/ant", "--out", "x.npz", "--at", "stem")
    assert (code, output) == (0, "x.npz: written, 2 of 2 images, 8 features\n")
    code, _, text = run("embed", finished, "new/ant", "--out", "x.npz", "--at", "stme")
    assert (code, 'there is no stage "stme"' in text, 'did you mean "stem"?' in text) == (1, True, True)
    assert run("embed", finished, "new", "--out", "x.txt")[0] == 2
    (tmp_path / "empty").mkdir()
    for command, more in (("embed", ("--out", "x.npz")), ("predict", ())):
        code, _, text = run(command, finished, "empty", *more)
        assert (code, text.startswith(f"{command}: empty holds no image files")) == (1, True)
    code, _, text = run("embed", finished, "nowhere", "--out", "emb2")
    assert (code, text.splitlines()[0]) == (1, "nowhere: there is no such file or folder."), "and nothing of a suffix"


def test_a_folder_of_images_does_not_hide_the_recipe_that_is_named_after_it(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "toy", 1)
    shutil.copytree(finished, tmp_path / "runs" / "toy" / finished.name)
    assert run("predict", "toy", "toy")[0] == 0
    code, *_ = run("embed", "toy", "toy", "--out", "x.npz")  # which is a backbone's name too
    assert code == 0
    with np.load("x.npz") as kept:
        np.testing.assert_allclose(kept["embeddings"], pooled(finished, files_of(tmp_path / "toy")[0]), atol=1e-5)
    assert run("export", "toy", "--to", "safetensors")[0] == 0


def test_embed_computes_an_image_once_wherever_its_file_lies(
    finished: Path, tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    draw(tmp_path / "new", 7, seed=6)
    assert run("embed", finished, "new", "--out", "first.npz")[0] == 0
    shutil.move(tmp_path / "new", tmp_path / "moved")
    draw(tmp_path / "moved" / "more", 1, seed=7, classes=("ant",))
    images, forward = [], Prefix.__call__
    monkeypatch.setattr(Prefix, "__call__", lambda self, x, **more: images.append(len(x)) or forward(self, x, **more))
    assert run("embed", finished, "moved", "--out", "second.npz")[0] == 0
    assert images == [1]
    with np.load(tmp_path / "first.npz") as one, np.load(tmp_path / "second.npz") as two:
        first, second = dict(one), dict(two)
    known = dict(zip(second["images"].tolist(), second["embeddings"], strict=True))
    files = [name.replace("new", "moved", 1) for name in first["images"].tolist()]
    assert len(files) == 21
    np.testing.assert_array_equal([known[name] for name in files], first["embeddings"])
    np.testing.assert_allclose(
        [known["moved/more/ant/0.png"]], pooled(finished, [tmp_path / "moved/more/ant/0.png"]), atol=1e-5
    )
    assert run("embed", finished, "moved", "--out", "second.npz")[0] == 0
    assert images == [1]
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    code, _, text = run("embed", finished, "moved", "--out", "third.npz", "--at", "stem")
    assert (code, text.count("embeddings are computed again next time")) == (0, 1)


def test_neighbours_embed_the_training_images_once(
    finished: Path, run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / os.fsdecode(b"\xff.png")  # no UTF-8
    shutil.copy(finished.parents[2] / "images" / "bee" / "0.png", image)
    first = run("neighbours", finished, image, "--json")
    assert json.loads(first[1])["image"] == rf"{tmp_path}/\udcff.png"
    assert run("embed", finished, image, "--out", "x.npz")[0] == 0
    assert np.load("x.npz")["images"].tolist() == [rf"{tmp_path}/\udcff.png"]
    monkeypatch.setattr(Prefix, "__call__", lambda *_, **__: pytest.fail("computed again"))
    assert run("neighbours", finished, image, "--json") == first


def test_embed_takes_a_backbone_without_a_run(tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "new", 1)
    code, output, text = run("embed", "toy", "new", "--weights", "none", "--out", "x.npz")
    assert (code, output) == (0, "x.npz: written, 3 of 3 images, 16 features\n"), text
    code, _, text = run("embed", "resnet81", "new", "--out", "x.npz")
    assert (code, text.startswith("resnet81: is neither a run's folder nor a backbone")) == (1, True)
    assert 'did you mean "resnet18"?' in text


def test_embed_writes_parquet(finished: Path, tmp_path: Path, run: Cli) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    draw(tmp_path / "new", 1)
    files, _ = files_of(tmp_path / "new")
    assert run("embed", finished, "new", "--out", "x.parquet")[0] == 0
    table = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    assert table["image"] == [str(file.relative_to(tmp_path)) for file in files]
    np.testing.assert_allclose(table["embedding"], pooled(finished, files), atol=1e-5)


def test_neighbours_are_the_training_images_of_the_smallest_angle(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "new", 1, seed=5)
    image = tmp_path / "new" / "bee" / "0.png"
    trained = [Path(file) for file in json.loads((finished / "split.json").read_text())["train"]["files"]]
    rows, own = pooled(finished, trained), pooled(finished, [image])
    angles = torch.nn.functional.cosine_similarity(rows.double(), own.double())
    order = angles.argsort(descending=True)[:4]
    code, output, text = run("neighbours", finished, image, "--top", 4, "--json")
    assert (code, text) == (0, "")
    found = json.loads(output)["neighbours"]
    assert [each["similarity"] for each in found] == pytest.approx(angles[order].tolist(), abs=1e-5)
    assert [Path(each["image"]).parent.name for each in found] == [each["label"] for each in found]
    assert {each["image"] for each in found} <= {str(file) for file in trained}
    code, output, _ = run("neighbours", finished, trained[0])
    assert (code, "1.000" in output, str(trained[0]) in output) == (0, True, True)


def without_images(run: Path, to: Path) -> Path:
    """Copy a run, as if the images that it was trained on were elsewhere now."""
    shutil.copytree(run, to)
    text = (to / "recipe.toml").read_text()
    (to / "recipe.toml").write_text(text.replace(str(run.parents[2] / "images"), str(to / "gone")))
    result = json.loads((to / "result.json").read_text())
    (to / "result.json").write_text(json.dumps(result | {"files": {}}))
    return to


def test_neighbours_without_the_training_images_are_a_message(finished: Path, tmp_path: Path, run: Cli) -> None:
    draw(tmp_path / "new", 1)
    copy = without_images(finished, tmp_path / "copy")
    code, output, said = run("neighbours", copy, tmp_path / "new" / "ant" / "0.png")
    assert (code, output) == (1, "")
    assert str(copy / "gone") in said


def test_images_for_int8_are_those_of_the_folder_that_is_given(finished: Path, tmp_path: Path) -> None:
    copy, images = without_images(finished, tmp_path / "copy"), finished.parents[2] / "images"
    with pytest.raises(TlkitError, match="gone"):
        next(run_pictures.pictures(finished_run.load(copy), "train", 3))
    known = [picture for picture, _ in run_pictures.pictures(finished_run.load(finished), "train", 3)]
    found = [picture for picture, _ in run_pictures.pictures(finished_run.load(copy), "train", 3, data=images)]
    assert len(found) == 3
    np.testing.assert_array_equal(found, known)


def test_images_for_int8_are_those_that_the_run_trained_on_though_it_dropped_some(tmp_path: Path) -> None:
    """Drawn again from the files, the split would have the duplicates of validation images in it again."""
    draw(tmp_path / "images", 12)
    for name in CLASSES:  # each image twice, so that some lie in both parts
        for file in list((tmp_path / "images" / name).iterdir()):
            shutil.copy(file, file.with_stem(f"copy{file.stem}"))
    folder = applied(tmp_path, "[data]\n", '[data]\non_overlap = "drop"\n')
    record = json.loads((folder / "split.json").read_text())
    assert record["dropped"]
    for name in ("train", "validation"):
        files = record[name]["files"]
        found = [picture for picture, _ in run_pictures.pictures(finished_run.load(folder), name, 1_000)]
        np.testing.assert_array_equal(found, [np.asarray(Image.open(file)) for file in files])


@pytest.mark.parametrize("change", ["one more", "another", "renamed"])
def test_other_images_than_the_run_was_trained_with_are_refused(finished: Path, tmp_path: Path, run: Cli, change: str) -> None:
    copy, images = without_images(finished, tmp_path / "copy"), tmp_path / "others"
    shutil.copytree(finished.parents[2] / "images", images)
    match change:
        case "one more":
            shutil.copy(images / "ant/0.png", images / "ant/00.png")
        case "another":
            shutil.copy(images / "ant/0.png", images / "ant/1.png")
        case _:  # moves every later image by one place
            (images / "ant/0.png").rename(images / "ant/9z.png")
    words = f"was trained on other images than those in {images}"
    with pytest.raises(TlkitError, match=words):
        next(run_pictures.pictures(finished_run.load(copy), "train", 3, data=images))
    code, output, said = run("neighbours", copy, images / "bee/0.png", "--data", images)
    assert (code, output, words in said) == (1, "", True)


def test_predict_and_the_evaluation_of_the_engine_are_timed_over_the_same_files(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "other", 4)
    predicting.main([str(finished), str(tmp_path / "other"), "--pairs", "2", "--images", "9", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], len(found["pairs"])) == (6, 2)  # every second of 12
    assert all(cost["seconds"] > 0 for pair in found["pairs"] for cost in pair)
