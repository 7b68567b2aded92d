import pytest

from tlkit.plans.batches import batches_per_epoch, steps_per_epoch


@pytest.mark.parametrize(
    ("images", "batch", "accumulate", "batches", "steps"),
    [
        (80, 16, 1, 5, 5),
        (82, 16, 1, 6, 6),
        (81, 16, 1, 5, 5),  # a last batch of one image is left out
        (81, 16, 2, 5, 3),
        (96, 16, 4, 6, 2),
        (3, 16, 1, 1, 1),
        (1, 16, 1, 1, 1),
        (5, 1, 1, 5, 5),
        (5, 1, 3, 5, 2),
        (17, 16, 1, 1, 1),
    ],
)
def test_steps_of_an_epoch(images: int, batch: int, accumulate: int, batches: int, steps: int) -> None:
    assert batches_per_epoch(images, batch) == batches
    assert steps_per_epoch(images, batch, accumulate) == steps
