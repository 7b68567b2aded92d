"""Detection end to end: pictures of several sizes with boxes are trained on, evaluated, continued, stored, predicted and refused."""

import contextlib
import io
import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_boxes
import toy_masks
from conftest import Cli
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from toy_training import ends_with_the_same_bits, storing, training

from tlkit import tasks
from tlkit.engine.runtime import Runtime
from tlkit.errors import RecipeError, TlkitError
from tlkit.exports.export import export
from tlkit.exports.forms import Form
from tlkit.plugin import Boxes
from tlkit.record import predictions
from tlkit.record.formats import StorePlan
from tlkit.run import box_pictures, data_inspection, evaluation, loading, video_prediction
from tlkit.run.prediction import Predictor
from tlkit.sources import video_files
from tlkit.tasks import Predictions, box_metrics, detection

LEARNS = ("schedule.epochs=8", 'data.augment=["hflip"]')
CPU = torch.device("cpu")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    toy_boxes.write(tmp_path / "data")
    (tmp_path / "r.toml").write_text(toy_boxes.RECIPE)
    return tmp_path / "r.toml"


def test_boxes_are_learned_evaluated_and_predicted(recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = toy_boxes.write(recipe.parent / "more", counts=(16, 4, 4), seed=1)["test"]
    settings = [f"--set={each}" for each in (*LEARNS, "data.options.path=more")]
    code, out, error = run("apply", recipe, *settings)
    assert code == 0, error
    (folder,) = (recipe.parent / "runs" / "boxed").glob("main-*")
    test = json.loads((folder / "result.json").read_text())["test"]
    assert "main, seed 0: mAP (loss) after each epoch\n" in error
    assert re.search(r"\n  8/8 +\(\d\.\d+\) +\d\.\d+ \(\d\.\d+\) +\d\.\d+ \(", error), "no metric of training batches"
    assert "boxed: test mAP and loss of the best epoch by validation mAP\n" in out
    assert "mAP50" in out
    assert "accuracy" not in out + error
    assert f" mAP {test['map']:.3f} " in run("runs")[1]
    assert test["map50"] > 0.3, "by chance it would be about 0"
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["canvas"] == [64, 96]
    assert json.loads((folder / "evaluation.json").read_text())["test"]["per_class"]["bar"]["boxes"] == 4

    on = (
        "--on",
        "yolo",
        "--set",
        f"data.options.path={recipe.parent / 'more'}",
        "--set",
        'data.options.classes=["square","bar"]',
    )
    batches: list[int] = []
    views = evaluation.of_views
    with monkeypatch.context() as patched:
        patched.setattr(
            evaluation, "of_views", lambda *args, **more: batches.append(more["batch_size"]) or views(*args, **more)
        )
        code, out, error = run("evaluate", "boxed", *on, "--json")
    assert code == 0, error
    said = run("evaluate", "boxed", *on)[1].splitlines()
    (head,) = [line.split() for line in said if line.startswith("class ")]
    assert head == ["class", "images", "boxes", "recall", "average", "precision"]
    assert [line.split()[:3] for line in said if line.startswith("accuracy")] == [["accuracy", "of", "boxes"]]
    assert batches == [1], "pictures of any size are put on one canvas"
    again = json.loads(out)["metrics"]
    assert {name: again[name] for name in test} == pytest.approx(test, abs=1e-6)

    pictures = recipe.parent / "more" / "test" / "images"
    code, out, error = run("predict", "boxed", pictures, "--out", recipe.parent / "drawn", "--json")
    assert code == 0, error
    found = json.loads(out)
    assert by_pycocotools(found, truth) == pytest.approx(
        [test["map"], test["map50"]], abs=0.05
    )  # the smaller picture's canvas differs, and 8 boxes are few
    for each in found["images"]:
        with Image.open(each["picture"]) as drawn, Image.open(each["file_name"]) as picture:
            assert drawn.size == picture.size == (each["width"], each["height"])
    code, out, error = run("predict", "boxed", pictures, "--out", recipe.parent / "drawn", "--threshold", "0.1")
    assert code == 0, error
    assert "objects" in out
    predictor = loading.load(folder, arm=None, device=CPU)
    of_frames_and_pages(run, pictures, recipe.parent / "moving", predictor)
    with pytest.raises(TlkitError, match="finds objects in boxes"):
        predictor.predict([pictures / "0.png"])
    with pytest.raises(TlkitError, match="cannot hold lists of boxes"):
        export(folder, Form.ONNX, recipe.parent / "m.onnx")
    assert not (recipe.parent / "m.onnx").exists()
    card = export(folder, Form.SAFETENSORS, recipe.parent / "card" / "m.safetensors").card.read_text()
    assert "pipeline_tag: object-detection" in card
    assert f"- test images: mAP {test['map']:.3f}, loss " in card
    assert "accuracy" not in card.partition("## Preprocessing")[0]


def of_frames_and_pages(run: Cli, pictures: Path, folder: Path, predictor: Predictor) -> None:
    """Boxes of a video's frames are those of its decoded pixels, and boxes of a stack's pages those of the pictures."""
    folder.mkdir()
    with Image.open(pictures / "0.png") as image, Image.open(pictures / "1.png") as other:
        image.save(folder / "stack.tif", save_all=True, append_images=[other])
        stills = [np.asarray(image.convert("RGB")), np.asarray(other.convert("RGB"))]
    with (folder / "clip.mp4").open("wb+") as file, video_files.writing(file, stills[0].shape[:2], Fraction(10)) as writer:
        for still in (stills[0], stills[0], stills[1], stills[1]):
            writer.add(still)
    code, out, error = run("predict", "boxed", folder / "clip.mp4", "--every", "2", "--out", folder / "drawn", "--json")
    assert code == 0, error
    found, (video,) = json.loads(out), json.loads(out)["videos"]
    frames = list(video_files.frames(folder / "clip.mp4", every=2))
    assert [(each["frame"], each["seconds"]) for each in found["images"]] == [(0, 0.0), (2, 0.2)]
    results = [each for n, frame in enumerate(frames, 1) for each in predictor.objects(frame.pixels, least=0.0).results(n)]
    assert found["results"] == results
    drawn = list(video_files.frames(Path(video["overlay"])))
    assert (len(drawn), video["frames"], video_files.rate(Path(video["overlay"]))) == (2, 2, 5)
    answers = video_prediction.write_boxes(predictor, folder / "clip.mp4", folder / "again.mp4", shown=0.5, least=0.0)
    assert [frame.pixels.base for frame, _ in answers] == [None] * 4  # no view that keeps a frame in memory
    code, out, error = run("predict", "boxed", folder / "clip.mp4", "--out", folder / "drawn", "--threshold", "0.1")
    assert code == 0, error
    assert "1 of 1 videos are written with their boxes" in out

    code, out, error = run("predict", "boxed", folder / "stack.tif", "--out", folder / "drawn", "--json")
    assert code == 0, error
    paged = json.loads(out)
    assert [Path(each["picture"]).name for each in paged["images"]] == ["stack.png", "stack-2.png"]
    assert paged["results"] == [
        each for n, still in enumerate(stills, 1) for each in predictor.objects(still, least=0.0).results(n)
    ]


def by_pycocotools(found: dict[str, list[dict[str, object]]], truth: list[list[tuple[int, ...]]]) -> list[float]:
    """Return the mAP and mAP50 that COCO's own tool computes of what predict gave."""
    coco = COCO()
    boxes = [(image, *box) for image, each in enumerate(truth) for box in each]
    annotations = [
        {"id": number, "image_id": image, "category_id": 1 + label, "bbox": [left, top, right - left, bottom - top], "iscrowd": 0,
         "area": (right - left) * (bottom - top)}
        for number, (image, label, left, top, right, bottom) in enumerate(boxes, start=1)
    ]  # fmt: skip
    coco.dataset = {"images": found["images"], "categories": found["categories"], "annotations": annotations}
    assert [each["id"] for each in found["images"]] == list(range(len(truth))), "the pictures' names are numbers"
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found["results"]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:2].tolist()


def test_continued_within_an_epoch_a_run_has_the_bits_of_one_that_never_stopped(recipe: Path) -> None:
    settings = ("data.crop_size=48", 'data.augment=["hflip", {name="rotate", steps=90}]')
    ends_with_the_same_bits(recipe, *settings)


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_a_frozen_trunk_gives_the_same_stored_and_computed(recipe: Path, kind: str) -> None:
    settings = (f"head.kind={kind}", "head.options={width=32, smallest=4}", "freeze={backbone=true}")
    stored = StorePlan(2, 0, 0, 0.0, "")
    one, other = (training(recipe, *settings, change=partial(storing, stored=each)) for each in (stored, None))
    found = [[(each.train["loss"], each.validation) for each in mine.fit.epochs()] for mine in (one, other)]
    assert found[0] == found[1]
    assert [len(mine.fit._feed_of(2)._rows) for mine in (one, other)] == [3, 0], "the parts that were stored"


def test_targets_are_where_the_pictures_went(recipe: Path) -> None:
    part = training(recipe, "data.crop_size=40", 'data.augment=["hflip", "vflip"]').prepared.train
    chosen = part.indices[-1:]  # 48 x 80 on a canvas of 64 x 96
    for epoch in range(10):
        (rows,) = part.targets(chosen, epoch, CPU)
        assert rows[0].tolist() == [0, 0, 40, 40, -2, 0], "a crop is of what the picture covers"
        picture = part.inputs(chosen, epoch, CPU)[0]
        for left, top, right, bottom, label, _ in rows[1:].tolist():
            if label < 0:
                continue
            inside = picture[:, int(top) : int(bottom), int(left) : int(right)].mean((1, 2))
            assert inside.max() > picture.mean((1, 2)).max(), "the shape is brighter than what is around it"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.image_size=32", "data.image_size: pictures are not resized to one size"),
        ('data.augment=["mixup"]', "boxes are not mixed"),
        ('data.augment=["rotate"]', "a box that is turned by any angle"),
        ('data.augment=["randaugment"]', "data.augment: randaugment moves pixels"),
        ('data.augment=["elastic"]', "data.augment: elastic moves pixels"),
        ("data.ignore=0", "data.ignore: is for heads of masks"),
        ("data.scale_to={field_of_view=20}", "data.scale_to: a field of view is measured for masks alone"),
        ("loss.label_smoothing=0.1", "loss: label_smoothing and class_weights are not for boxes"),
        ("head={kind='linear'}", "yolo has objects in boxes|learns one class per image"),
    ],
)
def test_what_boxes_cannot_have_is_refused(recipe: Path, setting: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        training(recipe, setting)


def test_without_the_extra_it_says_what_to_install(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.tasks.box_metrics.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="needs faster-coco-eval") as error:
        training(recipe)
    assert "pip install 'tlkit[detection]'" in str(error.value)


def test_the_plan_says_why_a_step_is_not_captured(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlkit.compiler import gpu_choices

    plan = training(recipe).plan
    (said,) = gpu_choices._graph(plan)
    assert (said.value, said.reason) == ("none", "torchvision's losses of boxes read values on the host")


def test_a_picture_without_objects_is_learned_from(recipe: Path) -> None:
    for index in range(7):
        (recipe.parent / "data" / "train" / "labels" / f"{index}.txt").write_text("")
    epochs = list(training(recipe).fit.epochs())
    assert np.isfinite([each.train["loss"] for each in epochs]).all()


def test_data_sets_with_room_for_more_and_fewer_boxes_are_kept_together(tmp_path: Path) -> None:
    parts, room = {}, {"test": 3, "also.more": 1}
    for name, most in room.items():
        corners = np.tile(np.array([[0, 0, 8, 8]], np.float32), (most, 1))
        targets = np.empty(1, object)
        targets[:] = [Boxes((16, 16), corners, np.arange(most), np.zeros(most, bool), most)]
        nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
        row = box_metrics.row(torch.tensor([0.5, 0, most]), nothing, detection.batch(targets)[0])
        parts[name] = (np.zeros(1, np.int64), np.zeros((1, 1), np.int64), row[None].numpy())
    predictions.save(tmp_path, parts)
    for name, most in room.items():
        (kept,) = box_metrics.read(torch.from_numpy(predictions.load(tmp_path).part(name).logits))
        assert (len(kept.found["labels"]), kept.there["labels"].tolist()) == (0, list(range(most)))


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_identical_pictures_of_boxes_and_of_masks_are_named(recipe: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data = recipe.parent / "data"
    images = "train/images/0.png", "test/images/1.png"
    if kind == "masks":
        shutil.rmtree(data)
        toy_masks.install(monkeypatch)
        toy_masks.write(data)
        recipe.write_text(toy_masks.RECIPE)
        images = tuple(str(sorted((data / part / "images").iterdir())[0].relative_to(data)) for part in ("train", "test"))
    shutil.copy(data / images[0], data / images[1])
    found, _ = data_inspection.inspect(training(recipe).prepared, Runtime(CPU), embeds="never")
    (pair,) = found.pairs
    assert [each.label for each in (pair.first, pair.second)] == ["square, bar" if kind == "boxes" else ""] * 2


def test_an_epoch_without_a_box_to_count_has_an_accuracy_of_0(recipe: Path) -> None:
    made = training(recipe, "schedule.epochs=1")
    targets = made.prepared.train.pictures.split.targets
    targets[:] = [replace(each, ignored=np.ones_like(each.ignored)) for each in targets]
    (epoch,) = made.fit.epochs()
    assert epoch.train["accuracy"] == 0


def test_ignored_boxes_are_drawn_neither_missed_nor_as_false_alarms(recipe: Path) -> None:
    part = training(recipe).prepared.evaluated.parts["test"]
    corners = np.array([[4, 4, 20, 20], [30, 4, 50, 20], [4, 30, 20, 44]], np.float32)
    targets = np.empty(1, object)
    targets[:] = [Boxes((64, 96), corners, np.zeros(3, np.int64), np.array([True, True, False]))]
    found = {"boxes": torch.from_numpy(corners[1:]), "labels": torch.zeros(2), "scores": torch.ones(2)}
    row = box_metrics.row(torch.zeros(3), found, detection.batch(targets)[0])[None]
    task = tasks.get("point_detection")
    picture = box_pictures.judged(part, Predictions(row, torch.zeros(1, 1), task, None, False), 0)
    coloured = {tuple(each) for each in picture.reshape(-1, 3).tolist() if len(set(each)) > 1}
    assert coloured == {box_pictures.HIT}
