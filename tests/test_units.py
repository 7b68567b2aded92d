import pytest

from tlkit import units
from tlkit.errors import TlkitError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (2048, "2.05 KB"),
        (999_499, "999 KB"),
        (999_500, "1 MB"),
        (3_449_000, "3.45 MB"),
        (401_408_000, "401 MB"),
        (999_500_000, "1 GB"),
        (20e9, "20 GB"),
        (999.6e9, "1,000 GB"),
        (12_345.6e9, "12,346 GB"),
    ],
)
def test_size_in_three_digits(count: float, text: str) -> None:
    assert units.size(count) == text


def test_images_are_counted_in_words() -> None:
    assert [units.images(count) for count in (0, 1, 2, 12_345)] == ["0 images", "1 image", "2 images", "12,345 images"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("42", 42)])
def test_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert units.duration(text, name="budget") == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-3m", "10 days"])
def test_duration_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TlkitError, match=r"checkpoint_every=.*: is no time"):
        units.duration(text, name="checkpoint-every")


@pytest.mark.parametrize(("text", "expected"), [("200MB", 2e8), ("1.5 gb", 1.5e9), ("50K", 5e4), ("42", 42), (7.0, 7)])
def test_bytes_are_read_with_their_unit(text: str | float, expected: float) -> None:
    assert units.byte_count(text, name="download") == expected


@pytest.mark.parametrize("text", ["", "much", "0", "-5MB", "3TB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(TlkitError, match="is no size"):
        units.byte_count(text, name="download")
