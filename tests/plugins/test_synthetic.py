"""Synthetic pictures: the same options give the same bytes, and a class can be told by its template."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tlkit.plugin import DataFiles, Images, call
from tlkit_synthetic import SyntheticOptions, synthetic


def read(options: SyntheticOptions | None = None) -> Images:
    return call(synthetic.read, DataFiles(Path("."), ()), options)


def pixels(images: Images, split: str) -> np.ndarray:
    return images.splits[split].pixels


def test_defaults_are_512_and_128_pictures_of_10_balanced_classes() -> None:
    images = read()
    assert images.classes == tuple(f"class{label}" for label in range(10))
    assert pixels(images, "train").shape == (512, 32, 32, 3)
    assert pixels(images, "test").shape == (128, 32, 32, 3)
    assert pixels(images, "train").dtype == np.uint8
    assert images.splits["train"].targets.dtype == np.int64
    assert sorted(np.bincount(images.splits["train"].targets).tolist()) == [51] * 8 + [52] * 2


def test_equal_options_give_equal_pictures_and_another_seed_gives_others() -> None:
    first, again, other = read(SyntheticOptions(seed=3)), read(SyntheticOptions(seed=3)), read(SyntheticOptions(seed=4))
    for split in ("train", "test"):
        np.testing.assert_array_equal(pixels(first, split), pixels(again, split))
        np.testing.assert_array_equal(first.splits[split].targets, again.splits[split].targets)
        assert (pixels(first, split) != pixels(other, split)).mean() > 0.9


def test_the_test_set_stays_when_only_train_changes() -> None:
    np.testing.assert_array_equal(pixels(read(SyntheticOptions(train=20)), "test"), pixels(read(), "test"))


def test_train_and_test_share_no_picture() -> None:
    images = read()
    train = {picture.tobytes() for picture in pixels(images, "train")}
    assert len(train) == 512
    assert not train & {picture.tobytes() for picture in pixels(images, "test")}


def test_pictures_made_in_pieces_are_those_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import tlkit_synthetic.read

    monkeypatch.setattr(tlkit_synthetic.read, "_CHUNK", 2**24)
    whole = pixels(read(), "train")
    monkeypatch.setattr(tlkit_synthetic.read, "_CHUNK", 3072 * 100)
    np.testing.assert_array_equal(pixels(read(), "train"), whole)


@pytest.mark.parametrize("size", [8, 32])
def test_the_nearest_class_mean_is_nearly_always_right(size: int) -> None:
    images = read(SyntheticOptions(size=size))
    x, y = pixels(images, "train").reshape(512, -1).astype(float), images.splits["train"].targets
    means = np.stack([x[y == label].mean(0) for label in range(10)])
    distances = ((pixels(images, "test").reshape(128, 1, -1).astype(float) - means) ** 2).sum(-1)
    assert (distances.argmin(1) == images.splits["test"].targets).mean() > 0.95


def test_without_noise_every_picture_of_a_class_is_equal_and_smooth() -> None:
    images = read(SyntheticOptions(noise=0.0, classes=2, train=6))
    x = pixels(images, "train")
    for label in (0, 1):
        assert len({picture.tobytes() for picture in x[images.splits["train"].targets == label]}) == 1
    steps = np.abs(np.diff(x.astype(int), axis=1))
    assert steps.max() <= 255 * 3 / 31 + 1  # four random points over 31 steps, and rounding


@pytest.mark.parametrize(
    "options",
    [{"classes": 1}, {"train": 5}, {"test": 0}, {"size": 0}, {"noise": -0.1}, {"seed": -1}, {"colour": 1}, {"seed": "1"}],
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SyntheticOptions.model_validate(options)


def test_too_few_training_images_are_explained() -> None:
    with pytest.raises(ValidationError, match="train = 5 gives no image to some of 10 classes"):
        SyntheticOptions(train=5)
