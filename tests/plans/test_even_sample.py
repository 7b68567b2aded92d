"""Some of many images, at even distances."""

import pytest

from tlkit.plans import even_sample


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(10, 4, [0, 3, 6, 9]), (11, 4, [0, 3, 6, 10]), (3, 9, [0, 1, 2]), (5, 1, [0]), (1, 2, [0]), (0, 5, [])],
)
def test_images_are_chosen_from_the_first_to_the_last(count: int, most: int, expected: list[int]) -> None:
    assert even_sample.positions(count, most).tolist() == expected


@pytest.mark.parametrize("most", [7, 399, 400, 401, 5_000])
def test_no_image_is_chosen_twice(most: int) -> None:
    chosen = even_sample.positions(5_000, most).tolist()
    assert len(set(chosen)) == most
    assert chosen == sorted(chosen)
