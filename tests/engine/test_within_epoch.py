"""A run that is continued from the middle of an epoch has the bits of one that was never stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import Training, training

from tlkit.engine.fit import Fit
from tlkit.errors import Interrupted
from tlkit.events import Epoch
from tlkit.network import tensor_files, weights

AUGMENTED = 'data.augment=["random_crop", "hflip"]'
PREFIX = "freeze={stem=true, block1=true}"
DROPOUT = "head.options={dropout=0.3}"
CASES = {
    "phases, accumulation, running mean, dropout": (
        "freeze={stem={epochs=1}}", 'optimizer={name="adamw", accumulate=2, ema=0.9}', AUGMENTED, DROPOUT,
    ),
    "prefix stored": (PREFIX, DROPOUT),
    "prefix computed": (PREFIX, AUGMENTED, DROPOUT),
    "mixed, clipped": ('data.augment=["random_crop", "mixup", "cutmix"]', 'optimizer={name="sgd", momentum=0.9, clip_norm=0.5}'),
    "early stopping": ("early_stopping.patience=1", "data.options.noise=2.0", "schedule={name='constant', epochs=6}"),
}  # fmt: skip


def told(epoch: Epoch) -> tuple[Any, ...]:
    """An epoch without what a clock says."""
    return epoch.epoch, dict(epoch.train), epoch.validation, epoch.test, epoch.lr, epoch.best, epoch.phase


def differing(ours: Fit, theirs: dict[str, torch.Tensor]) -> list[str]:
    found = ours.tensors()
    assert found.keys() == theirs.keys()
    return [name for name, tensor in theirs.items() if not torch.equal(found[name], tensor)]


def started(recipe: Path, *settings: str) -> tuple[Training, Fit]:
    mine = training(recipe, *settings)
    return mine, mine.fit


@pytest.mark.parametrize("case", CASES)
def test_continued_after_any_step_a_run_has_the_bits_of_one_that_never_stopped(toy_recipe: Path, case: str) -> None:
    _, whole = started(toy_recipe, *CASES[case])
    kept: dict[tuple[int, int], tuple[bytes, str]] = {}

    def keep() -> None:
        now = whole.progress
        kept[now.epochs + 1, now.steps] = weights.to_bytes(whole.tensors(), {}), whole.scalars()

    expected = [told(epoch) for epoch in whole.epochs(after_step=keep)]
    last = whole.steps
    assert (2, last) in kept
    path = toy_recipe.with_suffix(".safetensors")
    for epoch, step in ((1, 1), (2, last - 1), (2, last)):
        content, scalars = kept[epoch, step]
        path.write_bytes(content)
        torch.rand(7)  # what else draws numbers in this process does not matter
        _, after = started(toy_recipe, *CASES[case])
        after.resume_(tensor_files.read(path).tensors, scalars)
        assert [told(each) for each in after.epochs()] == expected[epoch - 1 :]
        assert differing(after, whole.tensors()) == []
        assert after.progress == whole.progress


def test_state_is_that_of_the_last_step_wherever_a_run_is_stopped(toy_recipe: Path) -> None:
    """By a signal that is noticed while the next batch is made, and by one while images are evaluated."""
    settings = (AUGMENTED, DROPOUT, "optimizer.ema=0.9")
    _, whole = started(toy_recipe, *settings)
    kept: dict[tuple[int, int], dict[str, torch.Tensor]] = {}

    def keep() -> None:
        kept[whole.progress.epochs + 1, whole.progress.steps] = {name: each.clone() for name, each in whole.tensors().items()}

    expected = [told(epoch) for epoch in whole.epochs(after_step=keep)]
    asked = 0

    def watch() -> None:
        nonlocal asked
        asked += 1
        if asked in (3, whole.steps + 2):
            raise Interrupted(15, "stopped.")

    fit = training(toy_recipe, *settings, watch=watch).fit
    for step in (2, whole.steps):
        with pytest.raises(Interrupted):
            list(fit.epochs())
        assert fit.progress.steps == step
        assert differing(fit, kept[1, step]) == []
    assert [told(epoch) for epoch in fit.epochs()] == expected, "it goes on in the same process too"
