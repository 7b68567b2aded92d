"""What a checkpoint costs."""

import pytest
import torch
from peak_memory import MEGABYTE, needs_peak, peak

from tlkit.run import checkpoint


@needs_peak
def test_checksum_of_frozen_weights_does_not_copy_them() -> None:
    weights = {"classifier.0.weight": torch.ones(64 * MEGABYTE // 4)}
    checkpoint._checksum({"small": torch.ones(4)})
    assert peak(lambda: checkpoint._checksum(weights)) < 48 * MEGABYTE  # a copy takes 64, twice that as 64-bit numbers


def test_checksum_of_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of all words, read as 32-bit numbers, worked out by NumPy."""
    draw = torch.Generator().manual_seed(0)
    tensor = torch.randn(1000, generator=draw)
    whole = checkpoint._checksum({"a": tensor})
    monkeypatch.setattr(checkpoint, "_WORDS", 7)
    assert checkpoint._checksum({"a": tensor}) == whole
    assert checkpoint._checksum({"a": tensor + 1}) != whole
    assert checkpoint._checksum({"b": tensor}) != whole
