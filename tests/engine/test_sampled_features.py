"""Features that are kept while images are evaluated: which images, and how much memory."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there

from tlkit.engine import transfer
from tlkit.engine.ranks.ranks import ALONE, Alone, Shared
from tlkit.engine.sampled_features import SampledFeatures, evenly


class Together(Alone):
    """One of several processes: what it gives to the others is noted."""

    given: list[Tensor]

    def gathered(self, rows: Tensor) -> Tensor:
        self.given.append(rows)
        return rows


def batches(features: Tensor, shared: Shared, indices: np.ndarray) -> Iterator[Tensor]:
    """Yield the features of a process's images, 4 at a time."""
    rows = np.searchsorted(indices, shared.indices)
    for start in range(0, len(rows), 4):
        yield features[rows[start : start + 4]]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_processes_keep_the_rows_together_that_one_keeps_alone(size: int) -> None:
    indices, features = np.arange(700, 713), torch.randn(13, 3, 2, 2)  # the fifth process has no image of its own
    given: list[Tensor] = []
    for rank in range(size):
        ranks = Together(rank, size)
        vars(ranks)["given"] = given
        shared = Shared(ranks, indices, 4)
        kept = SampledFeatures(shared)
        for batch in batches(features, shared, indices):
            kept.add_(batch)
        rows = kept.together().rows
    np.testing.assert_array_equal(rows, np.arange(13))
    torch.testing.assert_close(torch.cat(given), features.mean((2, 3)))


def test_a_gpu_is_told_once_which_images_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "pinned", lambda host: host)  # which needs a driver
    kept = SampledFeatures(Shared(ALONE, np.arange(40), 8))
    with on_a_gpu_that_is_not_there(), Operators() as operators:
        for _ in range(5):
            kept.add_(torch.empty(8, 3, device=FAKE))
    assert (operators.uploads, operators.reads) == (1, [])


@pytest.mark.parametrize(
    ("images", "width", "count"), [(40, 8, 40), (9000, 512, 400), (9000, 25_088, 83), (3, 9_000_000, 2), (1, 5, 1)]
)
def test_images_that_are_kept_are_spread_and_take_at_most_8_mib(images: int, width: int, count: int) -> None:
    rows = evenly(images, width)
    assert (len(rows), rows[0], rows[-1]) == (count, 0, images - 1)
    assert len(np.unique(np.diff(rows).clip(0, images // count))) <= 1


def test_rows_are_those_of_images_at_even_distances() -> None:
    indices, features = np.arange(1000), torch.arange(1000.0)[:, None]
    kept = SampledFeatures(Shared(ALONE, indices, 64))
    for batch in features.split(64):
        kept.add_(batch)
    found = kept.together()
    assert len(found.rows) == 400
    np.testing.assert_array_equal(found.features[:, 0], found.rows)
