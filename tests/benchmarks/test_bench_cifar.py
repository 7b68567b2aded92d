"""The benchmark of time to accuracy: what it trains can be tried without a GPU and without the images."""

import os
from pathlib import Path

import pytest
import torch

from benchmarks import cifar, epochs
from benchmarks.epochs import Trained
from tlkit.events import Epoch
from tlkit.recipe import parsing

SMALL = [
    'data.name="synthetic"', "data.options={ train = 20, test = 10, size = 16 }", "data.image_size=16", "data.batch_size=10",
    "backbone.name=toy", "precision=float32", "schedule.epochs=1", "arms.to_96.schedule.warmup_epochs=0.5",
]  # fmt: skip


def epoch(number: int, accuracy: float, *, seconds: float = 10.0) -> tuple[float, Epoch]:
    """An epoch that took 10 seconds, of which 4 evaluated."""
    metrics = {"loss": 1.0, "accuracy": accuracy}
    made = Epoch(number, 1, metrics, None, metrics, seconds, 100.0, {"head": 0.1}, True, times={"evaluation": 4.0})
    return 5 + number * seconds, made


def test_the_time_to_accuracy_is_that_of_the_first_epoch_that_reaches_it() -> None:
    run = Trained([epoch(number, value) for number, value in enumerate([0.5, 0.93, 0.941, 0.939], start=1)])
    found = cifar.summary("to_94", 0, 0.94, run)
    assert (found.reached, found.training, found.whole) == (3, 18.0, 35.0)
    assert cifar.row(found).split() == ["to_94", "0", "94%", "3", "18.0", "35.0", "93.90%"]
    missed = cifar.summary("to_96", 1, 0.96, run)
    assert (missed.reached, missed.training, missed.whole) == (None, 24.0, 45.0)
    assert "not reached" in cifar.row(missed)


def test_the_recipe_has_an_arm_for_each_goal() -> None:
    assert parsing.read(cifar.RECIPE, ()).arms.keys() == cifar.GOALS.keys()


def test_an_arm_is_trained_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", "as-it-was")
    found = cifar.measure("to_96", goal=0.0, seed=3, device="cpu", settings=SMALL)
    assert (found.arm, found.seed, found.reached, len(found.accuracy)) == ("to_96", 3, 1, 1)
    assert 0 < found.training < found.whole
    assert os.environ["TLKIT_CACHE"] == "as-it-was"


def test_a_run_stops_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first epoch after twice the time, for nothing would be known of it."""
    small = [*SMALL, "schedule.epochs=3"]
    monkeypatch.setattr(epochs._Watch, "_elapsed", property(lambda watch: 8.0 + len(watch.trained.epochs)))
    stopped = epochs.train(cifar.RECIPE, "to_94", settings=small, device="cpu", seconds=5)
    assert (len(stopped.epochs), stopped.complete) == (1, False)
    with pytest.raises(TimeoutError, match="no epoch ended within 6 s"):
        epochs.train(cifar.RECIPE, "to_94", settings=small, device="cpu", seconds=3)


def test_files_that_are_not_the_official_ones_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"another")
    said = cifar.missing_files(tmp_path)
    assert said.startswith(f"{folder} does not hold the official files of CIFAR-10 (data_batch_1, ")
    assert "test_batch, batches.meta" in said


def test_what_is_missing_is_said_and_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    cifar.main([])
    assert capsys.readouterr().out == "benchmarks.cifar: skipped: it needs a CUDA device, and torch finds none here\n"
