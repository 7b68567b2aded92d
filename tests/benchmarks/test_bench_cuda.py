"""The benchmark of a GPU: what it measures can be tried without one, but for the graph and the profiler."""

import pytest
import torch

from benchmarks import cuda


def test_a_row_is_an_epoch_of_the_engine() -> None:
    row = cuda.measure(
        "hflip", device=torch.device("cpu"), images=48, batch=16, side=32, epochs=1, backbone="toy", precision="float32"
    )
    assert row.images_per_second > 0
    assert row.step == pytest.approx(16 / row.images_per_second)
    assert (row.replay, row.over_replay, row.idle) == (None, None, None)


def test_idle_is_the_time_that_no_kernel_covers() -> None:
    assert cuda.idle([(0, 4), (2, 5), (8, 10)]) == pytest.approx(0.3)
    assert cuda.idle([(0, 10), (2, 5)]) == 0
    assert cuda.idle([]) is None


def test_a_row_says_which_goals_it_misses() -> None:
    good = cuda.Row("random_resized_crop", 12_000, 0.0107, 0.0100, 1.07, 0.02, [])
    slow = cuda.Row("random_resized_crop", 5_000, 0.0256, 0.0100, 2.56, 0.5, [])
    first, second = cuda.table([good, slow]).splitlines()[1:]
    assert first.rstrip().endswith("2%")
    assert second.endswith("over 1.15 times the replay; idle for more than 10%; under 10,000 images/s")


def test_without_a_gpu_it_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        cuda.main([])
