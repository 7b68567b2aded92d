"""head.start = "solved": a trained head begins as a logistic regression on the features of the training images as they are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from toy_training import CPU, Training, training

from tlkit.advice import proposal
from tlkit.engine.ranks.ranks import Group
from tlkit.engine.runtime import Runtime
from tlkit.errors import RecipeError
from tlkit.run import range_tests

SOLVED = "head.start=solved"
STILL = ("freeze.backbone=true", "optimizer={name='sgd', momentum=0.0}", "lr_groups.head=1e-30", "schedule.epochs=1")


@pytest.fixture
def weights(toy_recipe: Path) -> str:
    """A file of weights of the toy network, as a setting of its recipe."""
    tensors = training(toy_recipe).network.tensors()
    file = toy_recipe.parent / "w.safetensors"
    save_file({name: each.clone() for name, each in tensors.items() if not name.startswith("head")}, file)
    return "backbone.weights=w.safetensors"


def features(mine: Training) -> tuple[torch.Tensor, np.ndarray]:
    """Pooled features of the training images without augmentation, by plain PyTorch, and their labels."""
    part = mine.prepared.train
    x = (
        mine.prepared.head_start.train.inputs(part.indices, 0, CPU)
        if mine.prepared.head_start
        else part.inputs(part.indices, 0, CPU)
    )
    with torch.no_grad():
        for stage in mine.network.eval().stages.values():
            x = stage(x)
    return x.mean((2, 3)), np.asarray(part.pictures.split.targets)[part.indices]


def regression(x: torch.Tensor, y: np.ndarray) -> GridSearchCV:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5_000)),
        {"logisticregression__C": [1e-3, 1e-2, 0.1, 1.0, 10.0]},
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
    )
    return search.fit(x.numpy(), y)


@pytest.mark.parametrize("augment", ["", "hflip", "random_resized_crop"])
def test_first_weights_give_the_probabilities_of_scikit_learns_logistic_regression(
    toy_recipe: Path, weights: str, augment: str
) -> None:
    settings = [weights, SOLVED, "head.options.dropout=0.5", *([f"data.augment=['{augment}']"] if augment else [])]
    mine = training(toy_recipe, *settings)
    plain = training(toy_recipe, weights)
    x, y = features(plain)
    assert torch.equal(features(mine)[0], x)
    expected = regression(x, y).predict_proba(x.numpy())
    random = mine.network.head.weight.clone()
    mine.fit._given.begin()
    with torch.no_grad():
        found = mine.network.head.eval()(x).softmax(1).numpy()
    assert not torch.equal(random, mine.network.head.weight)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_loss_of_the_first_epoch_begins_at_the_solved_heads(toy_recipe: Path, weights: str) -> None:
    mine = training(toy_recipe, weights, SOLVED, *STILL)
    x, y = features(mine)
    (epoch,) = mine.fit.epochs()
    assert epoch.train["loss"] == pytest.approx(log_loss(y, regression(x, y).predict_proba(x.numpy())), rel=1e-3)
    assert epoch.train["loss"] < math.log(4) - 0.1
    (cold,) = training(toy_recipe, weights, *STILL).fit.epochs()
    assert cold.train["loss"] > epoch.train["loss"] + 0.1


def test_binary_head_begins_with_the_logit_of_its_positive_class(toy_recipe: Path, weights: str) -> None:
    mine = training(toy_recipe, weights, SOLVED, "head.kind=binary", "head.positive=class0", "data.options.classes=2")
    x, y = features(mine)
    expected = regression(x, y).predict_proba(x.numpy())
    mine.fit._given.begin()
    with torch.no_grad():
        logits = mine.network.head.eval()(x)
    assert mine.network.positive == 0
    np.testing.assert_allclose(logits.sigmoid().numpy()[:, 0], expected[:, 0], atol=1e-4)


def test_running_mean_begins_with_the_solved_head(toy_recipe: Path, weights: str) -> None:
    mine = training(toy_recipe, weights, SOLVED, *STILL, "optimizer.ema=0.9")
    list(mine.fit.epochs())
    trained = mine.network.head.weight.clone()
    with mine.fit.averaged():
        torch.testing.assert_close(mine.network.head.weight, trained)


def test_run_that_is_continued_ends_with_the_same_bits(toy_recipe: Path, weights: str) -> None:
    whole, stopped, continued = (training(toy_recipe, weights, SOLVED) for _ in range(3))
    list(whole.fit.epochs())
    next(stopped.fit.epochs())
    continued.fit.resume_({name: each.clone() for name, each in stopped.fit.tensors().items()}, stopped.fit.scalars())
    list(continued.fit.epochs())
    expected = whole.fit.tensors()
    assert all(torch.equal(each, expected[name]) for name, each in continued.fit.tensors().items())


def test_digest_changes_with_the_key_alone_and_the_plan_says_why(toy_recipe: Path, weights: str) -> None:
    usual, given, solved = (training(toy_recipe, weights, *each) for each in ([], ["head.start=random"], [SOLVED]))
    assert usual.prepared.job.digest == given.prepared.job.digest != solved.prepared.job.digest
    said = {each.what: each for each in solved.plan.choices}
    assert said["head start"].value == "solved"
    assert "logistic regression on the features of the training images as they are" in said["head start"].reason
    assert "head start, features, training images" in said
    running, frozen = (
        training(toy_recipe, weights, SOLVED, each) for each in ("backbone.batch_norm=running", "freeze.backbone=true")
    )
    warned = [[line for line in each.plan.warnings if "head.start" in line] for each in (solved, running, frozen, usual)]
    assert [len(each) for each in warned] == [1, 0, 0, 0]  # normalizing by batches changes what the head was fitted to
    assert not any(each.what.startswith("head start") for each in usual.plan.choices)


def test_range_test_begins_with_the_solved_head_and_leaves_the_network(toy_recipe: Path, weights: str) -> None:
    solved, random = (training(toy_recipe, weights, *each, "freeze.backbone=true").prepared for each in ([SOLVED], []))
    before = {name: each.clone() for name, each in solved.start.get().tensors().items()}
    of_two = Runtime(CPU, ranks=Group(0, 2, 0, 2))  # the other one waits
    first = [range_tests.measure(each, ["head"], of_two, steps=20).losses[0] for each in (solved, random)]
    assert first[0] < first[1] - 0.1
    assert all(torch.equal(each, before[name]) for name, each in solved.start.get().tensors().items())


def test_ways_that_advice_tries_from_random_weights_have_no_solved_start() -> None:
    tables = {"data": {"name": "folder"}, "head": {"kind": "linear", "start": "solved"}}
    base = proposal.base_of(tables, network={"name": "toy", "weights": "none"}, image_size=16, single=True)
    assert base["head"] == {"kind": "linear"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["head.kind=multilabel"], "the multilabel head is not one linear layer that learns one class of each image"),
        (["head.kind=mlp"], "the mlp head is not one linear layer"),
        (["head.kind=conv"], "the conv head is not one linear layer"),
        (["head.kind=logistic"], "the logistic head is solved, and not trained afterwards"),
        (["backbone.weights=none"], "the features of random weights are not worth a fit"),
        (["freeze.head=true"], "the head, or a part of it, never trains"),
        (["head.start=svm"], "head.start"),
    ],
)
def test_what_cannot_begin_solved_is_refused(toy_recipe: Path, weights: str, settings: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as error:
        training(toy_recipe, weights, SOLVED, *settings)
    assert all(each.hints for each in error.value.problems)
