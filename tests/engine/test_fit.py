"""Training as a generator of epochs: when it stops, which epoch is best, what failure says, and exact continuation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_training import CPU, Training, training

from tlkit.engine import evaluate
from tlkit.engine.fit import Fit
from tlkit.engine.learning import Learning
from tlkit.engine.runtime import Runtime
from tlkit.errors import RunFailed, RunFolderError
from tlkit.events import Epoch, Observer
from tlkit.network import tensor_files, weights
from tlkit.tasks import metrics

FULL = [
    'data.augment=["random_crop", "hflip"]',
    "head.options={dropout=0.3}",
    "freeze={stem={epochs=2}}",
    "schedule.epochs=4",
]


def best_of(epochs: list[Epoch]) -> int:
    """Highest validation accuracy, then lowest loss, then the earliest."""
    return min(epochs, key=lambda e: (-e.validation["accuracy"], e.validation["loss"], e.epoch)).epoch


def fit_of(mine: Training, observer: Observer) -> Fit:
    prepared = mine.prepared
    plugins = prepared.job.resolved.network_plugins
    return Fit(
        Learning(
            plan=mine.plan, network=mine.network, plugins=plugins, train=prepared.train, evaluated=prepared.evaluated,
            runtime=Runtime(CPU, observer),
        )
    )  # fmt: skip


def scripted(recipe: Path, script: list[tuple[float, float] | dict[str, float]], *settings: str) -> Fit:
    """A fit whose validation scores are given beforehand, accuracy and loss or all metrics; training and test are real."""
    mine = training(recipe, f"schedule.epochs={len(script)}", "freeze={backbone=true}", *settings)
    fit = fit_of(mine, Observer())
    real = fit._scores.of

    def of(number: int, feed: object, split: str, part: object, **watch: object) -> dict[str, float]:
        scores = real(number, feed, split, part, **watch)
        if split != "validation":
            return scores
        given = script[number - 1]
        return given if isinstance(given, dict) else {"accuracy": given[0], "loss": given[1]}

    fit._scores.of = of
    return fit


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([(0.5, 1.0), (0.6, 2.0), (0.6, 1.5), (0.6, 1.5), (0.55, 0.1)], [1, 2, 3]),
        ([(0.5, 1.0), (0.5, 1.0), (0.5, 0.9)], [1, 3]),
        ([(0.0, 9.0), (0.0, 8.0)], [1, 2]),
        ([(0.5, 1.0), (0.5, math.nan), (0.5, 0.9)], [1, 3]),
    ],
)
def test_the_best_epoch_is_by_accuracy_then_loss_then_the_earlier(
    toy_recipe: Path, script: list[tuple[float, float]], best: list[int]
) -> None:
    fit = scripted(toy_recipe, script)
    assert [epoch.epoch for epoch in fit.epochs() if epoch.best] == best
    assert fit.progress.best_epoch == best[-1]


METRICS = [
    {"accuracy": 0.9, "loss": 0.9, "balanced_accuracy": 0.5, "f1": 0.1, "auroc": 0.5},
    {"accuracy": 0.8, "loss": 0.8, "balanced_accuracy": 0.8, "f1": 0.3, "auroc": 0.6},
    {"accuracy": 0.7, "loss": 0.7, "balanced_accuracy": 0.7, "f1": 0.4, "auroc": 0.7},
    {"accuracy": 0.6, "loss": 0.6, "balanced_accuracy": 0.6, "f1": 0.2, "auroc": 0.8},
    {"accuracy": 0.5, "loss": 0.5, "balanced_accuracy": 0.6, "f1": 0.2, "auroc": 0.7},
]


@pytest.mark.parametrize(
    ("by", "best", "trained"),
    [("auto", 1, 3), ("accuracy", 1, 3), ("balanced_accuracy", 2, 4), ("f1", 3, 5), ("auroc", 4, 5), ("loss", 5, 5)],
)
def test_metric_of_select_by_chooses_the_epoch_and_stops_early(toy_recipe: Path, by: str, best: int, trained: int) -> None:
    fit = scripted(toy_recipe, METRICS, f"select_by={by}", "early_stopping={patience=2}")
    assert len(list(fit.epochs())) == trained
    assert fit.progress.best_epoch == best
    assert fit.warnings == ()


def test_metric_that_the_validation_images_do_not_define_leaves_the_choice_to_the_loss_and_says_so(toy_recipe: Path) -> None:
    fit = scripted(toy_recipe, [(0.9, 0.8), (0.5, 0.3), (0.7, 0.5)], "select_by=auroc")
    list(fit.epochs())
    assert fit.progress.best_epoch == 2
    assert fit.warnings == ("select_by: the validation images do not define auroc; the loss chose the best epoch",)


def test_auroc_is_computed_for_the_best_epochs_or_where_it_chooses(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, areas = [], metrics.areas
    monkeypatch.setattr(metrics, "areas", lambda *given: counted.append(1) or areas(*given))
    fit = scripted(toy_recipe, [(0.5, 1.0), (0.7, 1.0), (0.6, 1.0), (0.6, 1.0)])
    epochs = list(fit.epochs())
    assert [("auroc" in epoch.validation, "auroc" in epoch.test) for epoch in epochs] == [(epoch.best,) * 2 for epoch in epochs]
    assert [epoch.best for epoch in epochs] == [True, True, False, False]
    assert len(counted) == 4, "validation and test images of two epochs"
    mine = training(toy_recipe, "select_by=auroc", "schedule.epochs=3")
    epochs = list(mine.fit.epochs())
    assert all("auroc" in epoch.validation for epoch in epochs)
    assert [list(epoch.test) == list(epoch.validation) for epoch in epochs] == [epoch.best for epoch in epochs]


# patience 1: epoch 3 is no better than epoch 2. patience 2: neither 5 nor 6 is than 4. patience 3: nor is 7.
@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (3, 7)])
def test_training_stops_when_no_epoch_was_better_for_the_patience(toy_recipe: Path, patience: int, epochs: int) -> None:
    accuracies = [0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3, 0.2, 0.2, 0.1]
    fit = scripted(toy_recipe, [(accuracy, 1.0) for accuracy in accuracies], f"early_stopping={{patience={patience}}}")
    assert [epoch.epoch for epoch in fit.epochs()] == list(range(1, epochs + 1))
    assert list(fit.epochs()) == []


# The backbone trains from epoch 9 on; the best epoch is 5, or 10.
@pytest.mark.parametrize(("best", "epochs"), [(5, 10), (10, 12)])
def test_early_stopping_counts_the_epochs_after_the_last_part_began_to_train(toy_recipe: Path, best: int, epochs: int) -> None:
    script = [(0.9 if number == best else 0.5, 1.0) for number in range(1, 15)]
    settings = ("freeze={backbone={epochs=8}}", "lr_groups={backbone=1e-3, head=1e-3}", "early_stopping={patience=2}")
    fit = scripted(toy_recipe, script, *settings)
    assert [epoch.epoch for epoch in fit.epochs()] == list(range(1, epochs + 1))
    assert fit.progress.best_epoch == best


def test_without_early_stopping_every_epoch_is_trained(toy_recipe: Path) -> None:
    assert len(list(scripted(toy_recipe, [(0.5, 1.0)] * 5).epochs())) == 5


def test_without_validation_images_the_last_epoch_is_the_best(toy_recipe: Path) -> None:
    epochs = list(training(toy_recipe, "data.split.validation=0.0", "schedule.epochs=3").fit.epochs())
    assert [epoch.best for epoch in epochs] == [True] * 3
    assert [epoch.validation for epoch in epochs] == [None] * 3
    assert epochs[-1].test is not None


def test_scores_are_the_networks_on_each_split(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "schedule.epochs=1")
    (epoch,) = mine.fit.epochs()
    for scores, part in ((epoch.validation, mine.prepared.evaluated.validation), (epoch.test, mine.prepared.evaluated.test)):
        x, labels = part.inputs(part.indices, 0, CPU), part.targets(part.indices, 0, CPU)
        with torch.no_grad():
            logits = mine.network.eval()(x)
        assert scores["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
        assert scores["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))


def test_the_recorded_rates_are_those_of_the_epochs_last_step(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "lr_groups={backbone=0.01, head=0.04}")
    for epoch, step in zip(mine.fit.epochs(), (4, 9), strict=True):
        factor = (1 + math.cos(math.pi * step / 10)) / 2
        assert epoch.lr == {"backbone": pytest.approx(0.01 * factor), "head": pytest.approx(0.04 * factor)}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_no_number_names_epoch_and_batch(toy_recipe: Path, accumulate: int) -> None:
    mine = training(toy_recipe, f"optimizer={{name='sgd', accumulate={accumulate}}}", 'schedule={name="constant", epochs=3}')
    train = mine.prepared.train
    epochs = mine.fit.epochs()
    next(epochs)
    poison_(train, train.order(1)[16 * 2 + 3])  # in the third batch of the second epoch
    with pytest.raises(RunFailed, match="epoch 2, batch 3 of 5: the loss is not a number") as caught:
        next(epochs)
    assert caught.value.exit_code == 3
    assert "0.01" in str(caught.value)
    assert mine.fit.progress.epochs == 1


def test_a_loss_that_is_no_number_ends_a_long_epoch_early(toy_recipe: Path) -> None:
    asked: list[int] = []
    mine = training(toy_recipe, "data.options.train=400", "data.batch_size=2", watch=lambda: asked.append(1))
    poison_(mine.prepared.train, mine.prepared.train.order(0)[5])
    assert mine.plan.steps_per_epoch == 180
    with pytest.raises(RunFailed, match="epoch 1, batch 3 of 180: the loss is not a number"):
        list(mine.fit.epochs())
    assert len(asked) == 50


def poison_(train: object, position: int) -> None:
    """Let one image reach the network as NaN."""
    original = train.inputs

    def inputs(chosen: np.ndarray, epoch: int, device: torch.device) -> Tensor:
        x = original(chosen, epoch, device)
        x[chosen == position] = math.nan
        return x

    object.__setattr__(train, "inputs", inputs)


def test_rates_that_are_far_too_high_fail_the_run(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "lr_groups={backbone=1e20, head=1e20}", "optimizer={name='sgd'}")
    assert mine.fit.is_sound()
    with pytest.raises(RunFailed, match=r"epoch 1, batch \d of 5: .*not a number"):
        list(mine.fit.epochs())
    assert not mine.fit.is_sound(), "this is never saved"


@pytest.mark.parametrize("validation", [0.1, 0.0])
def test_an_epochs_last_step_that_breaks_the_weights_fails_that_epoch(toy_recipe: Path, validation: float) -> None:
    """One batch an epoch: its loss is a number, and the step after it is not."""
    mine = training(
        toy_recipe, "lr_groups={backbone=1e38, head=1e38}", "optimizer={name='sgd', weight_decay=1e3}",
        'schedule={name="constant", epochs=1}', "data.batch_size=80", f"data.split.validation={validation}",
    )  # fmt: skip
    with pytest.raises(RunFailed, match=r"epoch 1, batch 1 of 1: .*not numbers"):
        list(mine.fit.epochs())


def test_a_last_batch_of_one_image_is_left_out(toy_recipe: Path) -> None:
    settings = ["data.split.validation=0.0", "schedule.epochs=1", "freeze={stem=true}"]
    seen: list[int] = []
    evaluated: list[int] = []

    class Counting(Observer):
        def step(self, epoch: int, step: int) -> None:
            seen.append(step)

        def evaluation(self, epoch: int, batch: int) -> None:
            evaluated.append(batch)

    mine = training(toy_recipe, *settings, "data.options.train=81")
    fit = fit_of(mine, Counting())
    used = spied(mine)
    (epoch,) = fit.epochs()
    assert seen == [1, 2, 3, 4, 5]
    assert evaluated == [1, 2, 3]  # batches of the 40 test images
    assert (fit.steps, fit.evaluations) == (5, 3)
    assert [len(batch) for batch in used] == [16] * 5
    assert epoch.train["accuracy"] * 80 == pytest.approx(round(epoch.train["accuracy"] * 80))
    assert sorted(np.concatenate(used)) == sorted(mine.prepared.train.order(0)[:80])


def test_a_last_batch_of_two_images_is_used(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "data.split.validation=0.0", "schedule.epochs=1", "data.options.train=82")
    used = spied(mine)
    list(mine.fit.epochs())
    assert [len(batch) for batch in used] == [16] * 5 + [2]


def spied(mine: Training) -> list[np.ndarray]:
    """Every batch's images from now on."""
    used: list[np.ndarray] = []
    original = mine.prepared.train.targets

    def targets(chosen: np.ndarray, epoch: int, device: torch.device) -> Tensor:
        used.append(chosen)
        return original(chosen, epoch, device)

    object.__setattr__(mine.prepared.train, "targets", targets)
    return used


def state(fit: Fit) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in fit.tensors().items()}


@pytest.mark.parametrize("optimizer", ['{name="sgd", momentum=0.9}', '{name="adam"}', '{name="adamw", accumulate=2}'])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_continued_run_has_the_bits_of_one_that_was_never_stopped(toy_recipe: Path, stop: int, optimizer: str) -> None:
    whole = training(toy_recipe, *FULL, f"optimizer={optimizer}")
    expected = list(whole.fit.epochs())
    before = training(toy_recipe, *FULL, f"optimizer={optimizer}")
    for epoch in before.fit.epochs():
        if epoch.epoch == stop:
            break
    kept = weights.to_bytes(before.fit.tensors(), {})
    path = toy_recipe.with_suffix(".safetensors")
    path.write_bytes(kept)
    torch.rand(7)  # what else draws numbers in this process does not matter
    after = training(toy_recipe, *FULL, f"optimizer={optimizer}")
    after.fit.resume_(tensor_files.read(path).tensors, before.fit.scalars())
    continued = list(after.fit.epochs())
    assert [epoch.epoch for epoch in continued] == list(range(stop + 1, 5))
    one, other = state(whole.fit), state(after.fit)
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    for mine, theirs in zip(continued, expected[stop:], strict=True):
        assert (mine.train, mine.validation, mine.test, mine.lr, mine.best, mine.phase) == (
            theirs.train, theirs.validation, theirs.test, theirs.lr, theirs.best, theirs.phase
        )  # fmt: skip
    assert after.fit.progress == whole.fit.progress


def test_two_runs_of_one_seed_have_the_same_bits_and_another_seed_has_others(toy_recipe: Path) -> None:
    first, again, other = (training(toy_recipe, *FULL, seed=seed) for seed in (3, 3, 4))
    for mine in (first, again, other):
        list(mine.fit.epochs())
    one, same, different = state(first.fit), state(again.fit), state(other.fit)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["network/conv1.weight"], different["network/conv1.weight"])


def test_training_leaves_the_callers_random_numbers_alone(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "head.options={dropout=0.5}")
    torch.manual_seed(8)
    expected = torch.rand(4)
    torch.manual_seed(8)
    list(mine.fit.epochs())
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("scalars", ["{", "[]", '{"epochs": 1, "of": 2}', "3"])
def test_a_damaged_state_is_refused(toy_recipe: Path, scalars: str) -> None:
    mine = training(toy_recipe)
    with pytest.raises(RunFolderError, match="checkpoint: does not belong to this network"):
        mine.fit.resume_(mine.fit.tensors(), scalars)


def test_the_state_of_another_network_is_refused(toy_recipe: Path) -> None:
    mine, other = training(toy_recipe), training(toy_recipe, "head.kind='mlp'")
    with pytest.raises(RunFolderError, match="checkpoint: does not belong to this network"):
        mine.fit.resume_(other.fit.tensors(), other.fit.scalars())


def test_a_watch_may_stop_between_two_batches(toy_recipe: Path) -> None:
    calls: list[int] = []

    def watch() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    mine = training(toy_recipe, watch=watch)
    used = spied(mine)
    with pytest.raises(KeyboardInterrupt):
        list(mine.fit.epochs())
    assert len(used) == 2
    assert mine.fit.progress.epochs == 0


def test_probabilities_sum_to_one_and_leave_the_network_as_it_was(toy_recipe: Path) -> None:
    mine = training(toy_recipe)
    mine.network.train()
    before = state(mine.fit)
    x = torch.rand(5, 3, 16, 16)
    answers = evaluate.probabilities(mine.network, x)
    assert torch.equal(answers, evaluate.probabilities(mine.network, x))
    torch.testing.assert_close(answers.sum(1), torch.ones(5))
    assert evaluate.embeddings(mine.network, x).shape == (5, 16)
    assert mine.network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in mine.fit.tensors().items())
