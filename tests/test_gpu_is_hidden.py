"""A machine with a GPU gives the tests the answers that one without gives, except those marked cuda."""

import os

import pytest
from conftest import asks_for_cuda


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("", False),
        ("not slow", False),
        ("cuda", True),
        ("cuda and not slow", True),
        ("not cuda", False),
        ("slow or (not cuda)", False),
    ],
)
def test_only_tests_marked_cuda_see_a_gpu(expression: str, asked: bool) -> None:
    assert asks_for_cuda(expression) is asked


def test_no_gpu_is_visible_here() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
