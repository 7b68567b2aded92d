"""Classes that ImageNet has too: how they are found, and the plan that says so."""

import pytest

from tlkit.compiler import source_classes


def test_classes_of_imagenet_are_named() -> None:
    given = ["ants", "Bees", "golden_retriever", "pneumonia", "elephant", "trucks", "person"]
    assert source_classes.shared(given) == ("ants", "Bees", "golden_retriever", "elephant", "trucks")


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("imagenet1k-v2", True),
        ("a1_in1k", True),
        ("augreg_in21k_ft_in1k", True),
        ("cifar10", False),
        ("none", False),
        ("in1ky.pth", False),
    ],
)
def test_weights_of_imagenet_are_known_by_their_name(weights: str, expected: bool) -> None:
    assert source_classes.of_imagenet(weights) is expected
