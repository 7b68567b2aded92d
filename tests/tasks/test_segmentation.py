"""The loss and the metrics of masks, against scikit-learn, torchvision and numbers worked by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as known
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from tlkit import tasks
from tlkit.plugin import IGNORED
from tlkit.tasks import Predictions, mask_metrics, scoring
from tlkit.tasks.objective import Objective

TASK = tasks.get("segmentation")
CPU = torch.device("cpu")


def drawn(classes: int, images: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that know something of the masks, a third of whose pixels are ignored."""
    draw = torch.Generator().manual_seed(classes)
    masks = torch.randint(0, classes, (images, 20, 30), generator=draw)
    logits = torch.randn(images, TASK.outputs(classes), 20, 30, generator=draw) * 3
    if classes == 2:
        logits += 3 * masks[:, None] - 2
    else:
        logits.scatter_add_(1, masks[:, None], torch.full_like(logits[:, :1], 3.0))
    masks[torch.rand(masks.shape, generator=draw) < 1 / 3] = IGNORED
    return TASK.expand(logits, 1), masks.to(torch.uint8)


def predictions(logits: torch.Tensor, masks: torch.Tensor) -> Predictions:
    return Predictions(TASK.reduction.rows(logits, masks), torch.zeros(len(masks), 1), TASK)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_class_of_a_pixel_is_the_first_of_the_largest(layout: torch.memory_format) -> None:
    logits = (
        torch.randint(0, 3, (2, 4, 9, 7), generator=torch.Generator().manual_seed(0)).float().contiguous(memory_format=layout)
    )
    logits[0, 2, 3, 3] = math.nan
    assert torch.equal(TASK.chosen(logits), logits.argmax(1))
    assert int(TASK.chosen(logits)[0, 3, 3]) == 2


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_over_all_pixels_are_those_of_scikit_learn(classes: int) -> None:
    logits, masks = drawn(classes)
    counts = masks != IGNORED
    truth, picked = masks[counts].numpy(), logits.argmax(1)[counts].numpy()
    average = {"average": "binary" if classes == 2 else "macro"}
    found = scoring.scores(predictions(logits, masks))
    wanted = {
        "accuracy": known.accuracy_score(truth, picked),
        "dice": known.f1_score(truth, picked, **average),
        "iou": known.jaccard_score(truth, picked, **average),
        "loss": known.log_loss(truth, torch.softmax(logits.double(), 1).movedim(1, -1)[counts].numpy(), labels=range(classes)),
    }
    if classes == 2:
        odds = (logits[:, 1] - logits[:, 0])[counts].numpy()
        wanted |= {
            "sensitivity": known.recall_score(truth, picked),
            "specificity": known.recall_score(truth, picked, pos_label=0),
        }
        assert found["auroc"] == pytest.approx(known.roc_auc_score(truth, odds), abs=2e-3)
        assert found["average_precision"] == pytest.approx(known.average_precision_score(truth, odds), abs=4e-3)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-5)


def test_points_of_the_curves_are_counts_at_their_thresholds() -> None:
    """Counted again at each threshold, and the areas below the points are scikit-learn's."""
    logits, masks = drawn(2)
    counts = masks != IGNORED
    truth, share = masks[counts].numpy() == 1, torch.softmax(logits.double(), 1)[:, 1][counts].numpy()
    found = TASK.details(predictions(logits, masks), ["ground", "square"])["curves"]
    points = list(zip(*(found[name] for name in ("probability", "false_positive_rate", "recall", "precision")), strict=True))
    assert 50 < len(points) <= 200
    for probability, *told in points[::10]:
        picked = share >= probability
        wanted = picked[~truth].mean(), picked[truth].mean(), truth[picked].mean()
        assert told == pytest.approx(wanted, abs=5e-3)
    false, hits = found["false_positive_rate"], found["recall"]
    assert (false[-1], hits[-1]) == (1, 1)
    assert known.auc([0, *false], [0, *hits]) == pytest.approx(known.roc_auc_score(truth, share), abs=3e-3)
    assert "curves" not in TASK.details(predictions(*drawn(3)), ["a", "b", "c"])
    assert "curves" not in TASK.details(predictions(logits, masks * 0), ["ground", "square"]), "there is one class alone"


def test_every_image_and_class_has_its_metrics() -> None:
    logits, masks = drawn(3)
    found = scoring.details(predictions(logits, masks), ("a", "b", "c"))
    each = []
    for one, mask in zip(logits.argmax(1), masks, strict=True):
        counts = mask != IGNORED
        each.append(known.f1_score(mask[counts].numpy(), one[counts].numpy(), average="macro"))
    dice = found["per_image"]["dice"]
    assert dice["each"] == pytest.approx(each)
    assert dice["mean"] == pytest.approx(np.mean(each))
    half = 4.302653 * np.std(each, ddof=1) / math.sqrt(3)  # Student's t of 2 degrees of freedom, 0.975
    assert (dice["low"], dice["high"]) == pytest.approx((np.mean(each) - half, np.mean(each) + half))
    counts = masks != IGNORED
    wanted = known.confusion_matrix(masks[counts].numpy(), logits.argmax(1)[counts].numpy())
    assert found["confusion"] == wanted.tolist()
    assert found["per_class"]["b"]["pixels"] == wanted[1].sum()
    assert found["per_class"]["b"]["recall"] == pytest.approx(wanted[1, 1] / wanted[1].sum())


def test_an_interval_of_images_stays_between_0_and_1_and_there_is_none_of_two() -> None:
    assert mask_metrics.interval([1.0, 0.98, None, 0.7])["high"] == 1.0  # mean + half is 1.31
    assert mask_metrics.interval([0.0, 0.02, 0.3])["low"] == 0.0
    assert mask_metrics.interval([0.5, 0.7]) == {"mean": pytest.approx(0.6), "low": None, "high": None}
    assert mask_metrics.interval([None]) == {"mean": None, "low": None, "high": None}


def test_a_class_that_is_nowhere_has_no_metric() -> None:
    masks, logits = torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1, 2, 2, 2)
    logits[:, 0] = 5
    found = scoring.scores(predictions(logits, masks))
    assert "dice" not in found
    assert "auroc" not in found
    assert found["accuracy"] == 1
    masks[:] = IGNORED
    assert scoring.scores(predictions(logits, masks))["loss"] == 0, "no pixel counts"


def test_the_loss_is_the_mean_over_pixels_that_count() -> None:
    logits, masks = drawn(2)
    counts = masks != IGNORED
    z, truth = (logits[:, 1] - logits[:, 0])[counts], masks[counts].float()
    plain = functional.binary_cross_entropy_with_logits(z, truth)
    shares = torch.sigmoid(z)
    dice = 1 - (2 * (shares * truth).sum() + 1) / (shares.sum() + truth.sum() + 1)
    focal = sigmoid_focal_loss(z, truth, alpha=-1, gamma=2, reduction="mean")
    made = Objective(TASK, smoothing=0.0, weights=(), device=CPU, terms={"dice": 0.5, "focal": 2.0})
    assert float(made(logits, masks)) == pytest.approx(float(plain + 0.5 * dice + 2 * focal), rel=1e-5)
    weighted = Objective(TASK, smoothing=0.0, weights=(1.0, 3.0), device=CPU)(logits, masks)
    each = functional.binary_cross_entropy_with_logits(z, truth, reduction="none")
    assert float(weighted) == pytest.approx(float((each * (1 + 2 * truth)).mean()), rel=1e-5)


def test_dice_of_several_classes_is_the_mean() -> None:
    logits, masks = drawn(3)
    counts = masks != IGNORED
    shares = torch.softmax(logits, 1).movedim(1, -1)[counts]
    truth = functional.one_hot(masks[counts].long(), 3).float()
    dice = (2 * (shares * truth).sum(0) + 1) / (shares.sum(0) + truth.sum(0) + 1)
    assert float(TASK.terms["dice"](logits, masks, None, lambda sums: sums)) == pytest.approx(float(1 - dice.mean()), rel=1e-5)


def test_the_threshold_is_chosen_on_validation_images() -> None:
    logits, masks = drawn(2)
    logits[:, 1] -= 4  # so that 0.5 is too high
    part = predictions(logits, masks)
    found = mask_metrics.thresholds(
        {"validation": mask_metrics.counted(part.logits), "test": mask_metrics.counted(part.logits)}
    )
    counts = masks != IGNORED
    truth, shares = masks[counts].numpy(), torch.sigmoid(logits[:, 1] - logits[:, 0])[counts].numpy()
    best = max(known.f1_score(truth, shares >= level) for level in np.linspace(0.001, 0.9, 300))
    assert found["test"]["dice"] >= best - 1e-3
    assert known.f1_score(truth, shares >= found["test"]["probability"]) == pytest.approx(found["test"]["dice"], abs=1e-6)
    assert mask_metrics.thresholds({"test": mask_metrics.counted(part.logits)}) == {}, "nothing is chosen on test images"


@pytest.mark.parametrize(
    ("ground", "second", "expected"), [(-3.0, 3.0, 0.5), (1.01, 3.0, 0.7371), (-3.0, -1.01, 0.2639), (None, 3.0, 0.5)]
)
def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken(
    ground: float | None, second: float, expected: float
) -> None:
    """Logits of the pixels of the two classes, which lie apart; None: no pixel is of the first."""
    masks = torch.ones(1, 4, 4, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1] = second
    if ground is not None:
        masks[:, :2], logits[:, 1, :2] = 0, ground
    found = mask_metrics.thresholds({"validation": mask_metrics.counted(predictions(logits, masks).logits)})["validation"]
    assert found["dice"] == 1
    assert found["probability"] == pytest.approx(expected, abs=0.01)
