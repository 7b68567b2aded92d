"""How many images the fixed prefix takes at a time."""

import pytest

from tlkit.record.formats import chunk_on


@pytest.mark.parametrize(
    ("device", "pixels", "images"),
    [
        ("cpu", 224 * 224, 32),
        ("cpu", 999 * 960, 32),
        ("cuda", 224 * 224, 128),
        ("cuda", 299 * 299, 128),
        ("cuda", 999 * 960, 11),
        ("cuda", 10_000 * 10_000, 1),
    ],
)
def test_a_gpu_takes_fewer_large_pictures_at_a_time(device: str, pixels: int, images: int) -> None:
    assert chunk_on(device, pixels) == images
