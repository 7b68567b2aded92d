"""Metrics of boxes against pycocotools; what a data set's boxes may be."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tlkit import tasks
from tlkit.plugin import Boxes
from tlkit.tasks import box_metrics
from tlkit.tasks.detection import BOXES, batch
from tlkit.tasks.task import Predictions

CLASSES = 3
TASK = tasks.get("point_detection")


def images(draw: np.random.Generator, count: int) -> tuple[np.ndarray, list[dict[str, torch.Tensor]]]:
    """Return boxes of images, and detections that are near some of them, or anywhere, some of the wrong class."""
    targets, found = np.empty(count, object), []
    for index in range(count):
        many = int(draw.integers(0, 5)) if index else 4
        corners = draw.uniform(0, 60, (many, 2))
        boxes = np.concatenate([corners, corners + draw.uniform(8, 40, (many, 2))], 1)
        labels = draw.integers(0, CLASSES, many)
        targets[index] = Boxes((100, 100), boxes.astype(np.float32), labels, draw.random(many) < 0.2, 6)
        near = np.concatenate([boxes, boxes, draw.uniform(0, 1, (2, 4)) * 20 + (0, 0, 30, 30)]) + draw.normal(
            0, 3, (2 * many + 2, 4)
        )
        said = np.where(draw.random(len(near)) < 0.2, draw.integers(0, CLASSES, len(near)), [*labels, *labels, 0, 1])
        found.append(
            {
                "boxes": torch.from_numpy(near).float(),
                "labels": torch.from_numpy(said),
                "scores": torch.from_numpy(draw.random(len(near))).float(),
            }
        )
    return targets, found


def by_pycocotools(targets: np.ndarray, found: list[dict[str, torch.Tensor]], *, label: int | None = None) -> list[float]:
    """Return COCO's mAP, mAP50 and mAP75, of all classes or of one."""

    def wide(boxes: np.ndarray) -> list[list[float]]:
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float).tolist()

    annotations = [
        {"image_id": image, "category_id": int(number), "bbox": box, "area": box[2] * box[3], "iscrowd": int(ignored)}
        for image, each in enumerate(targets)
        for box, number, ignored in zip(wide(each.corners), each.classes, each.ignored, strict=True)
    ]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(len(targets))],
        "categories": [{"id": number} for number in range(CLASSES)],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
    }
    results = [
        {"image_id": image, "category_id": int(number), "bbox": box, "score": float(score)}
        for image, each in enumerate(found)
        for box, number, score in zip(wide(each["boxes"].numpy()), each["labels"], each["scores"], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        if label is not None:
            evaluation.params.catIds = [label]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3].tolist()


def rows_of(targets: np.ndarray, found: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    pairs = zip(found, batch(targets), strict=True)
    return torch.stack([box_metrics.row(torch.tensor([0.5, 1, 4]), each, there) for each, there in pairs])


def test_mean_average_precision_is_that_of_pycocotools() -> None:
    targets, found = images(np.random.default_rng(4), 20)
    predictions = Predictions(rows_of(targets, found), torch.zeros(20, 1), TASK)
    expected = by_pycocotools(targets, found)
    assert 0.1 < expected[0] < expected[1] < 1
    scores = TASK.scores(predictions)
    assert [scores["map"], scores["map50"], scores["map75"]] == pytest.approx(expected, abs=1e-6)
    each = TASK.details(predictions, ["a", "b", "c"])["per_class"]
    for number, name in enumerate(["a", "b", "c"]):
        assert each[name]["average_precision"] == pytest.approx(by_pycocotools(targets, found, label=number)[0], abs=1e-6)
        counted = [(known.classes == number) & ~known.ignored for known in targets]
        assert each[name]["boxes"] == sum(mine.sum() for mine in counted)
        assert each[name]["images"] == sum(mine.any() for mine in counted)
    assert TASK.reduction.basic(predictions) == (0.5, 0.25)


def test_metrics_wait_for_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, found = images(np.random.default_rng(4), 3)
    predictions = Predictions(rows_of(targets, found), torch.zeros(3, 1), TASK)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)  # whoever speaks to the others then fails here
    assert TASK.details(predictions, ["a", "b", "c"])["per_class"]["a"]["boxes"] > 0


def test_without_a_box_or_a_detection_nothing_is_defined_or_nothing_is_found() -> None:
    targets, found = images(np.random.default_rng(4), 3)
    none = [{name: each[:0] for name, each in one.items()} for one in found]
    nothing = Predictions(rows_of(targets, none), torch.zeros(3, 1), TASK)
    assert TASK.scores(nothing) == {"map": 0.0, "map50": 0.0, "map75": 0.0}
    empty = np.empty(3, object)
    empty[:] = [Boxes((100, 100), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool), 6)] * 3
    without = Predictions(rows_of(empty, found), torch.zeros(3, 1), TASK)
    assert TASK.scores(without) == {"map": None, "map50": None, "map75": None}
    assert TASK.reduction.quality(without) == [None] * 3


@pytest.mark.parametrize(
    ("corners", "label", "words"),
    [
        ([[4, 4, 4, 9]], 0, "image 0 has the box 4, 4, 4, 9"),
        ([[-1, 4, 6, 9]], 0, "its size is 60 x 40"),
        ([[1, 4, 6, 41]], 0, "has the box"),
        ([[1, 4, 6, 9]], 3, "image 0 has a box of class 3"),
    ],
)
def test_boxes_that_cannot_be_are_told(corners: list[list[float]], label: int, words: str) -> None:
    targets = np.empty(1, object)
    targets[0] = Boxes((40, 60), np.array(corners, np.float32), np.array([label]), np.zeros(1, bool))
    assert words in BOXES.problem(targets, CLASSES)[0]
    assert BOXES.holds(targets)


def test_classes_are_counted_by_images_and_renumbered() -> None:
    targets, _ = images(np.random.default_rng(1), 5)
    again = BOXES.renumber(targets, [2, 0, 1], CLASSES)
    assert tuple(np.roll(BOXES.count(again, CLASSES), 1)) == BOXES.count(targets, CLASSES)
    assert (again[0].classes == np.array([2, 0, 1])[targets[0].classes]).all()


def test_the_loss_is_the_same_whatever_the_random_generator_holds() -> None:
    logits = torch.randn(1, CLASSES + 10, 8)
    logits[:, CLASSES + 4 : CLASSES + 8] = torch.tensor([0.0, 0, 8, 8])[None, :, None]
    logits[:, CLASSES + 8] = 0
    state = torch.get_rng_state()
    TASK.loss(logits, TASK.targets.example(logits.shape), 0.0, None)
    assert torch.equal(torch.get_rng_state(), state)


def test_accuracy_of_evaluation_is_that_of_training_and_batches_do_not_matter() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, CLASSES + 10, 64)
    places = torch.cartesian_prod(torch.arange(8), torch.arange(8)).float() * 8
    logits[:, CLASSES : CLASSES + 4] = 2.0
    logits[:, CLASSES + 4 : CLASSES + 8] = torch.cat([places, places + 8], 1).T
    logits[:, CLASSES + 8] = 0
    targets, _ = images(np.random.default_rng(2), 4)
    wanted = batch(targets)
    rows = TASK.reduction.rows(logits, wanted)
    parts = torch.cat([TASK.reduction.rows(logits[at : at + 1], wanted[at : at + 1]) for at in range(4)])
    torch.testing.assert_close(rows, parts)
    hits, boxes = TASK.correct(logits, wanted)
    assert 0 < int(hits) < int(boxes) == sum(int((~each.ignored).sum()) for each in targets)
    loss, accuracy = TASK.reduction.basic(Predictions(rows, torch.zeros(4, 1), TASK))
    assert accuracy == int(hits) / int(boxes)
    assert loss == pytest.approx(float(TASK.losses(logits, wanted).mean()), rel=1e-5)
