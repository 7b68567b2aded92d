"""Metrics of every task against scikit-learn's."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from peak_memory import MEGABYTE, needs_peak, peak
from sklearn import metrics as reference
from torchmetrics.functional import classification

from tlkit import tasks
from tlkit.tasks import Predictions, metrics, multi_label, scoring
from tlkit.tasks.objective import Objective

CPU = torch.device("cpu")


def predictions(classes: int, images: int = 120, *, task: str = "single_label", seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=generator)
    if task == "multi_label":
        return Predictions(logits, (torch.rand(images, classes, generator=generator) < 0.3).float(), tasks.get(task))
    labels = torch.randint(0, classes, (images,), generator=generator)
    if task == "binary":
        logits[:, 0] = 0
    return Predictions(logits, labels, tasks.get(task))


@pytest.mark.parametrize("classes", [3, 7])
def test_metrics_of_one_class_an_image_are_scikit_learns(classes: int) -> None:
    given = predictions(classes)
    y, p = given.targets.numpy(), torch.softmax(given.logits.double(), 1).numpy()
    found = scoring.scores(given)
    assert found["loss"] == pytest.approx(reference.log_loss(y, p), rel=1e-6)
    assert found["accuracy"] == reference.accuracy_score(y, p.argmax(1))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, p.argmax(1)), rel=1e-6)
    assert found["f1"] == pytest.approx(reference.f1_score(y, p.argmax(1), average="macro"), rel=1e-6)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"), rel=1e-6)
    if classes > 5:
        assert found["top5"] == pytest.approx(reference.top_k_accuracy_score(y, p, k=5), rel=1e-6)
    assert ("top5" in found) == (classes > 5)


@pytest.mark.parametrize("positive", [0, 1])
def test_metrics_of_a_binary_head_are_of_the_positive_class(positive: int) -> None:
    given = predictions(2, task="binary")
    given = Predictions(given.logits, given.targets, tasks.get("binary"), positive)
    y, p = given.targets.numpy() == positive, torch.softmax(given.logits.double(), 1).numpy()[:, positive]
    found = scoring.scores(given)
    assert found["f1"] == pytest.approx(reference.f1_score(y, p > 0.5), rel=1e-6)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(y, p), rel=1e-6)


def test_metrics_of_many_classes_an_image_are_scikit_learns() -> None:
    given = predictions(6, task="multi_label")
    y, p = given.targets.numpy().astype(int), torch.sigmoid(given.logits.double()).numpy()
    assert np.array_equal(given.chosen, p > multi_label.THRESHOLD)
    found = scoring.scores(given)
    assert found["loss"] == pytest.approx(np.mean([reference.log_loss(y[:, i], p[:, i]) for i in range(6)]), rel=1e-6)
    assert found["accuracy"] == pytest.approx(1 - reference.hamming_loss(y, p > 0.5))
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(y, p > 0.5))
    assert found["f1"] == pytest.approx(reference.f1_score(y, p > 0.5, average="macro"), rel=1e-6)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(y, p, average="macro"), rel=1e-6)


def test_equally_probable_classes_share_the_first_five_places() -> None:
    """Two classes are sure, and six share the three places that are left; a uniform answer has five of eight."""
    logits = torch.tensor([[2.0, 1.0] + [0.0] * 6] * 3 + [[0.0] * 8, [math.nan] * 8])
    for found, labels in ((logits, [0, 1, 5, 3, 0]), (logits.flip(1), [7, 6, 2, 4, 7])):
        given = Predictions(found, torch.tensor(labels), tasks.get("single_label"))
        assert metrics.top(given, 5) == pytest.approx((1 + 1 + 3 / 6 + 5 / 8 + 0) / 5)


def test_a_class_without_images_counts_in_no_mean() -> None:
    given = predictions(4)
    labels = given.targets.clone()
    labels[labels == 2] = 1
    found = scoring.scores(Predictions(given.logits, labels, tasks.get("single_label")))
    predicted = given.logits.argmax(1)
    recalls = [float((predicted[labels == label] == label).float().mean()) for label in (0, 1, 3)]
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / 3, rel=1e-6)
    p = torch.softmax(given.logits.double(), 1).numpy()
    areas = [reference.roc_auc_score(labels.numpy() == label, p[:, label]) for label in (0, 1, 3)]
    assert found["auroc"] == pytest.approx(sum(areas) / 3, rel=1e-6)


def test_what_is_not_defined_is_left_out() -> None:
    given = predictions(2, images=5, task="binary")
    found = scoring.scores(Predictions(given.logits, torch.ones(5, dtype=torch.int64), tasks.get("binary")))
    assert "auroc" not in found
    assert math.isfinite(found["f1"])


def test_sure_answers_keep_their_order() -> None:
    logits = torch.tensor([[0.0, 40.0], [0.0, 45.0], [0.0, 50.0], [0.0, 55.0]])  # float32 calls every one of them 1.0
    found = scoring.scores(Predictions(logits, torch.tensor([1, 0, 0, 1]), tasks.get("binary"), 0))
    assert found["auroc"] == pytest.approx(reference.roc_auc_score([0, 1, 1, 0], (-logits[:, 1]).numpy()))


@pytest.mark.parametrize("at_once", [1, 700, 1 << 22])
@pytest.mark.parametrize("several", [False, True])
def test_areas_with_ties_are_scikit_learns_however_many_classes_are_ranked_at_once(
    at_once: int, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(3)
    images, classes = 150, 11
    probabilities = torch.randint(0, 6, (images, classes), generator=generator).double() / 5  # many are equal
    labels = torch.randint(0, classes - 2, (images,), generator=generator)  # two classes have no image
    indicators = torch.nn.functional.one_hot(labels, classes)
    if several:
        indicators = (torch.rand(images, classes, generator=generator) < 0.3).to(torch.uint8)
        indicators[:, 4], indicators[:, 9] = 1, 0
    expected = [
        reference.roc_auc_score(each, score) if 0 < each.sum() < images else None
        for each, score in zip(indicators.numpy().T, probabilities.numpy().T, strict=True)
    ]
    found = metrics.areas(probabilities, indicators if several else labels)
    assert [each is None for each in found] == [each is None for each in expected]
    assert expected.count(None) == 2
    known = [each for each in found if each is not None]
    assert known == pytest.approx([each for each in expected if each is not None], rel=1e-12)


def test_details_add_up() -> None:
    given = predictions(3)
    names = ("a", "b", "c")
    found = scoring.details(given, names)
    y, chosen = given.targets.numpy(), given.logits.argmax(1).numpy()
    assert found["confusion"] == reference.confusion_matrix(y, chosen).tolist()
    precision, recall, f1, count = reference.precision_recall_fscore_support(y, chosen)
    for index, name in enumerate(names):
        mine = found["per_class"][name]
        assert mine["images"] == count[index]
        assert [mine["precision"], mine["recall"], mine["f1"]] == pytest.approx([precision[index], recall[index], f1[index]])


def test_details_of_many_classes_an_image_add_up() -> None:
    given = predictions(3, task="multi_label")
    found = scoring.details(given, ("a", "b", "c"))
    y, chosen = given.targets.numpy().astype(int), (given.logits > 0).numpy().astype(int)
    assert found["confusion"] == reference.multilabel_confusion_matrix(y, chosen).tolist()
    assert [each["images"] for each in found["per_class"].values()] == y.sum(0).tolist()


# ---- what training lowers


def test_weights_of_classes_weigh_images_and_not_the_batch() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 1, 2])
    weights = torch.tensor([2.0, 0.5, 4.0])
    found = Objective(tasks.get("single_label"), smoothing=0.0, weights=weights.tolist(), device=CPU)(logits, labels)
    each = -torch.log_softmax(logits, 1)[torch.arange(6), labels]
    assert float(found) == pytest.approx(float((weights[labels] * each).mean()), rel=1e-6)
    one_hot = torch.nn.functional.one_hot(labels, 3).float()
    assert float(
        Objective(tasks.get("single_label"), smoothing=0.0, weights=weights.tolist(), device=CPU)(logits, one_hot)
    ) == pytest.approx(float(found), rel=1e-6)


@pytest.mark.parametrize("positive", [0, 1])
def test_two_columns_of_one_logit_are_binary_cross_entropy(positive: int) -> None:
    z, labels = torch.randn(9), torch.randint(0, 2, (9,))
    columns = torch.stack((torch.zeros(9), z) if positive else (z, torch.zeros(9)), 1)
    found = Objective(tasks.get("binary"), smoothing=0.0, weights=(), device=CPU)(columns, labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, (labels == positive).float())
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert tasks.get("binary").correct(columns, labels) == (((z > 0) == (labels == positive)).sum(), 9)


def test_smoothing_of_many_classes_an_image_goes_towards_a_half() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 1]])
    found = Objective(tasks.get("multi_label"), smoothing=0.2, weights=(), device=CPU)(logits, labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert tasks.get("multi_label").losses(logits, labels).shape == (4,)


def test_equal_probabilities_of_a_solved_head_stay_equal() -> None:
    """Predictions of one nearest neighbour are 0 or 1: the area of each class is (1 + recall - false positives / others) / 2."""
    chosen = torch.randint(9, (400,), generator=torch.Generator().manual_seed(0))
    labels = torch.where(torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.4, chosen, chosen.roll(1))
    logits = torch.nn.functional.one_hot(chosen, 9).float().clamp_min(1e-7).log()
    found = scoring.details(
        Predictions(logits, labels, tasks.get("single_label"), logarithms=True), [str(number) for number in range(9)]
    )
    for number in range(9):
        mine, said = labels == number, chosen == number
        expected = (1 + float(said[mine].float().mean()) - float(said[~mine].float().mean())) / 2
        assert found["per_class"][str(number)]["auroc"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("task", ["single_label", "multi_label", "binary"])
@pytest.mark.parametrize("logarithms", [False, True])
def test_probabilities_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, task: str, logarithms: bool) -> None:
    given = replace(predictions(2, images=150, task=task), logarithms=logarithms)
    whole = given.logits.double().exp() if logarithms else given.task.probabilities(given.logits.double())
    monkeypatch.setattr("tlkit.tasks.task._AT_ONCE", 14)
    assert torch.equal(given.probabilities, whole)
    assert replace(given, logits=given.logits[:0]).probabilities.shape == (0, 2)


def test_numbers_that_are_none_have_no_area() -> None:
    probabilities = torch.tensor([[0.9, float("nan")], [0.1, float("nan")], [0.4, 0.5]])
    assert metrics.areas(probabilities, torch.tensor([0, 1, 1])) == [1.0, None]
    one_class = torch.full((4, 2), float("nan"))
    assert metrics.areas(one_class, torch.tensor([0, 1, 0, 1])) == [None, None]


@needs_peak
def test_area_of_many_classes_takes_little_more_memory_than_its_probabilities() -> None:
    """20,000 images of 400 classes: 61 MiB of float64."""
    given = predictions(400, images=20_000)
    scoring.details(predictions(400, images=500), [str(number) for number in range(400)])
    assert peak(lambda: metrics.areas(given.probabilities, given.targets)) < 61 * 2.2 * MEGABYTE


@needs_peak
def test_many_classes_take_no_memory_for_their_pairs() -> None:
    """The matrix of 5,000 classes has 200 MB. The metrics keep the bits that torchmetrics gives from its whole matrix."""
    small, many = predictions(30, images=90), predictions(5_000, images=40)
    y, sure = small.targets, {"num_classes": 30}
    assert metrics.f1(small) == float(classification.multiclass_f1_score(small.chosen, y, average="macro", **sure))
    assert metrics.top(small, 5) == float(
        classification.multiclass_accuracy(small.probabilities, y, top_k=5, average="micro", **sure)
    )
    recall = classification.multiclass_recall(small.chosen, y, average="none", **sure)
    assert metrics.balanced_accuracy(small) == float(recall[torch.bincount(y, minlength=30) > 0].double().mean())
    names = [str(number) for number in range(5_000)]
    told = scoring.details(many, names)
    assert "confusion" not in told, "of more than 2,000 classes evaluation.json leaves it out"
    wrong = [(y, said, 1) for y, said in zip(many.targets.tolist(), many.chosen.tolist(), strict=True) if y != said]
    assert sorted(told["confused"]) == sorted(wrong), "each pair of these 40 images once"
    few = predictions(4, images=90)
    pairs = Counter(pair for pair in zip(few.targets.tolist(), few.chosen.tolist(), strict=True) if pair[0] != pair[1])
    ranked = sorted(((*pair, images) for pair, images in pairs.items()), key=lambda each: (-each[2], each))
    assert metrics.confused(few, most=5) == ranked[:5]
    assert metrics.confused(few, most=99) == ranked
    assert peak(lambda: scoring.scores(many) | scoring.details(many, names)) < 60 * MEGABYTE
