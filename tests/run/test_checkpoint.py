"""What a checkpoint costs."""

from pathlib import Path

import pytest
import torch

from tlkit.run import checkpoint

STATUS, REFERENCED = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEGABYTE = 1 << 20


def status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(field))


@pytest.mark.skipif(
    not REFERENCED.exists(), reason="needs /proc/self/clear_refs, Linux's, to reset the peak of resident memory"
)
def test_checksum_of_frozen_weights_does_not_copy_them() -> None:
    weights = {"classifier.0.weight": torch.ones(64 * MEGABYTE // 4)}
    checkpoint._checksum({"small": torch.ones(4)})
    REFERENCED.write_text("5")  # proc(5): the peak becomes what is resident now
    before = status("VmRSS")
    checkpoint._checksum(weights)
    assert status("VmHWM") - before < 32 * MEGABYTE


def test_checksum_of_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of all words, read as 32-bit numbers, worked out by NumPy."""
    draw = torch.Generator().manual_seed(0)
    tensor = torch.randn(1000, generator=draw)
    whole = checkpoint._checksum({"a": tensor})
    monkeypatch.setattr(checkpoint, "_WORDS", 7)
    assert checkpoint._checksum({"a": tensor}) == whole
    assert checkpoint._checksum({"a": tensor + 1}) != whole
    assert checkpoint._checksum({"b": tensor}) != whole
